/** How much shared memory a demo takes: what doctor promises and demo asks for are one calculation. */
import { MAX_FOLIO_SIZE } from '@liveupdate/base';

/** RAM beyond the files, as a share of them and at least: scratch, records of 16 bytes per folio, maps, the ledger. */
const OVERHEAD_SHARE = 0.02;
const OVERHEAD_BYTES = 32 * 2 ** 20;
const MIB = 2 ** 20;

/** Bytes of RAM for so many bytes in files, in whole 4 MiB blocks. */
export function ramSizeFor(size: number): number {
  return Math.ceil((size * (1 + OVERHEAD_SHARE) + OVERHEAD_BYTES) / MAX_FOLIO_SIZE) * MAX_FOLIO_SIZE;
}

/** Bytes in files that fit where so many are free: whole MiB, 0 where not even one does. */
export function filesThatFit(free: number): number {
  const blocks = Math.floor(free / MAX_FOLIO_SIZE) * MAX_FOLIO_SIZE;
  const mebibytes = Math.floor((blocks - OVERHEAD_BYTES) / (1 + OVERHEAD_SHARE) / MIB);
  return Math.max(0, mebibytes) * MIB;
}
