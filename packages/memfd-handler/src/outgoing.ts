/**
 * What preserve leaves of a file for the next kernel: a page with its record, pages with the array of its folios, and pages that list those. Each is
 * written up to where its readers stop, and no further: of thousands of small files, zeros would be most of the work.
 */
import { pfnToPhys, StructView } from '@liveupdate/base';
import { EMPTY_VMALLOC, vmallocChunks, writeVmallocChunks, writeVmallocField } from '@liveupdate/kho';
import type { FolioRuns, Ram } from '@liveupdate/mm';
import type { ShmemFile } from '@liveupdate/shmem';
import { MemfdV2Ser } from './abi.ts';
import { arrayPages, writeFolioArray } from './folio-array.ts';

/** Pages for the record of a file of so many folios, and all that it names but the folios. */
export function recordPages(folios: number): number {
  const array = arrayPages(folios);
  return 1 + array + (array === 0 ? 0 : vmallocChunks(array));
}

/**
 * Writes the record of a file and all that it names.
 *
 * @param memory as many pages as recordPages says: the record, the array, what lists that
 */
export function writeRecord(ram: Ram, memory: Uint32Array, file: ShmemFile, runs: FolioRuns): void {
  const record = new StructView(ram.bytes(pfnToPhys(memory[0]), MemfdV2Ser.SIZE));
  record.setU64(MemfdV2Ser.position, file.position);
  record.setU64(MemfdV2Ser.size, file.inode.size);
  record.setU32(MemfdV2Ser.seals, file.inode.seals);
  record.setU32(MemfdV2Ser.flags, 0);
  record.setU64(MemfdV2Ser.folioCount, runs.folios);
  const count = arrayPages(runs.folios);
  if (count === 0) {
    writeVmallocField(record, MemfdV2Ser.folios, EMPTY_VMALLOC);
    return;
  }
  writeFolioArray(ram, memory, 1, count, runs);
  const pieces = { pfns: memory, from: 1, count, order: 0 };
  writeVmallocField(record, MemfdV2Ser.folios, writeVmallocChunks(ram, pieces, memory, 1 + count));
}
