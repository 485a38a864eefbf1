/** The sessions of Linux 7.x. */
import {
  findFileBlock,
  findFlbs,
  findSessionBlock,
  LUO_COMPATIBLE,
  LUO_SUBTREE,
  readLuo,
  readLuoHead,
} from '@liveupdate/luo-core';
import type { LuoFormat } from './format.ts';

export const luoV5: LuoFormat = {
  compatible: LUO_COMPATIBLE,
  subtree: LUO_SUBTREE,
  read: readLuo,
  head: readLuoHead,
  sessions: findSessionBlock,
  files: findFileBlock,
  flbs: findFlbs,
};
