/** In-memory files of Linux 7.x. */
import { MEMFD_V2, readMemfdFolios, readMemfdRecord } from '@liveupdate/memfd-handler';
import type { MemfdFormat } from './format.ts';
import { mayBeMemfd, type MemfdOffsets } from './may-be-memfd.ts';

const OFFSETS: MemfdOffsets = { size: 8, flags: 20, folioCount: 24, folios: 32, end: 48 };

export const memfdV2: MemfdFormat = {
  compatible: MEMFD_V2,
  read: (ram, pa) => readMemfdRecord(ram, pa, MEMFD_V2),
  folios: readMemfdFolios,
  mayBe: (page, ramSize) => mayBeMemfd(page, OFFSETS, ramSize),
};
