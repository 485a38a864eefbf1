/**
 * Which formats a program reads and writes: asked by starting it with a variable of its
 * environment, the path of a file for the answer. It ends where it would open its first machine,
 * and touches no RAM.
 */
import * as fs from 'node:fs';
import { bootCold, KHO_COMPATIBLE } from '@liveupdate/kho';
import { LUO_COMPATIBLE } from '@liveupdate/luo-core';
import { HeapRam } from '@liveupdate/mm';
import { Shmem } from '@liveupdate/shmem';
import { BOOT_PAGE_VERSION } from './boot-page.ts';
import { memfdOnly, type HandlerFactory } from './kernel.ts';

/** Names the file for the answer. A program without it goes on as ever. */
export const FORMATS_VARIABLE = 'LIVEUPDATE_TELL_FORMATS';

/** What a program reads and writes, as it tells. */
export interface ProgramFormats {
  readonly bootPage: number;
  readonly kho: string;
  readonly luo: string;
  readonly handlers: readonly {
    readonly compatible: string;
    readonly alsoReads: readonly string[];
    /** State that files share. */
    readonly flbs: readonly string[];
  }[];
}

/** Enough for handlers to be made in. */
const RAM_BYTES = 4 * 2 ** 20;

/** Tells where that is asked for, and ends the process then. */
export function tellFormats(handlers: HandlerFactory = memfdOnly): void {
  const path = process.env[FORMATS_VARIABLE];
  if (path === undefined) return;
  const ram = new HeapRam(RAM_BYTES);
  const kho = bootCold(ram);
  const { pages } = kho;
  const made = handlers({ ram, pages, kho, shmem: new Shmem({ pages }), fds: undefined });
  const formats: ProgramFormats = {
    bootPage: BOOT_PAGE_VERSION,
    kho: KHO_COMPATIBLE,
    luo: LUO_COMPATIBLE,
    handlers: made.map(({ compatible, alsoReads = [], flbs = [] }) => ({
      compatible,
      alsoReads,
      flbs: flbs.map((flb) => flb.compatible),
    })),
  };
  fs.writeFileSync(path, JSON.stringify(formats));
  process.exit(0);
}
