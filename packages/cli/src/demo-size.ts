/**
 * How much shared memory a demo takes: what doctor promises and demo asks for are one calculation.
 */
import { MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';

/**
 * RAM beyond the files, as a share of them and at least: scratch, records of 16 bytes per folio,
 * maps, the ledger.
 */
const OVERHEAD_SHARE = 0.02;
const OVERHEAD_BYTES = 32 * 2 ** 20;
/**
 * Bytes of RAM beyond its content that a file takes, for its records: three pages, and what its
 * last page leaves.
 */
const FILE_BYTES = 4 * PAGE_SIZE;
const MIB = 2 ** 20;

/** Files of a demo, unless more or fewer are asked for. */
export const DEMO_FILES = 4;

/** Bytes of RAM for so many bytes in so many files, in whole 4 MiB blocks. */
export function ramSizeFor(size: number, files: number): number {
  const needed = size * (1 + OVERHEAD_SHARE) + OVERHEAD_BYTES + files * FILE_BYTES;
  return Math.ceil(needed / MAX_FOLIO_SIZE) * MAX_FOLIO_SIZE;
}

/** Bytes in so many files that fit where so many are free: whole MiB, 0 where not even one does. */
export function filesThatFit(free: number, files: number): number {
  const blocks = Math.floor(free / MAX_FOLIO_SIZE) * MAX_FOLIO_SIZE;
  const room = blocks - OVERHEAD_BYTES - files * FILE_BYTES;
  const mebibytes = Math.floor(room / (1 + OVERHEAD_SHARE) / MIB);
  return Math.max(0, mebibytes) * MIB;
}
