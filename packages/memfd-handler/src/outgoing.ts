/**
 * What preserve leaves of a file for the next kernel: a page with its record, pages with the array
 * of its folios, and pages that list those. Each is written up to where its readers stop, and no
 * further: of thousands of small files, zeros would be most of the work.
 */
import { assert, type Field, type Pfn } from '@liveupdate/base';
import {
  EMPTY_VMALLOC,
  listVmallocFrames,
  putVmallocDescriptor,
  vmallocChunks,
  writeVmallocChunks,
  type VmallocDescriptor,
} from '@liveupdate/kho';
import type { FolioRuns, RamWords } from '@liveupdate/mm';
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
 * @param memory from index `at` on as many pages as recordPages says: the record, the array, what
 * lists that
 */
export function writeRecord(
  ram: RamWords,
  memory: Uint32Array,
  at: number,
  file: ShmemFile,
  runs: FolioRuns,
): void {
  const array = writeArray(ram, memory, at + 1, runs);
  const base = ram.page(memory[at]);
  const { words } = ram;
  putU64(words, base, MemfdV2Ser.position, file.position);
  putU64(words, base, MemfdV2Ser.size, file.inode.size);
  words[base + wordOf(MemfdV2Ser.seals)] = file.inode.seals;
  words[base + wordOf(MemfdV2Ser.flags)] = 0;
  putU64(words, base, MemfdV2Ser.folioCount, runs.folios);
  putVmallocDescriptor(words, base + wordOf(MemfdV2Ser.folios), array);
}

function writeArray(ram: RamWords, memory: Uint32Array, from: number, runs: FolioRuns): VmallocDescriptor {
  const count = arrayPages(runs.folios);
  if (count === 0) return EMPTY_VMALLOC;
  writeFolioArray(ram, memory, from, count, runs);
  return writeVmallocChunks(ram, { pfns: memory, from, count, order: 0 }, memory, from + count);
}

/**
 * The frames of a record that `writeRecord` wrote, and of all that it names but the folios: in the
 * order in which it was given them.
 */
export function recordMemory(ram: RamWords, record: Pfn): Uint32Array {
  const base = ram.page(record);
  const memory = new Uint32Array(recordPages(ram.words[base + wordOf(MemfdV2Ser.folioCount)]));
  memory[0] = record;
  listVmallocFrames(ram, base + wordOf(MemfdV2Ser.folios), memory, 1);
  return memory;
}

function wordOf({ at }: Field): number {
  return at >>> 2;
}

/** @param value at most 53 bits */
function putU64(words: Uint32Array, base: number, field: Field, value: number): void {
  assert(field.bytes === 8, 'field is not a u64');
  words[base + wordOf(field)] = value;
  words[base + wordOf(field) + 1] = value / 2 ** 32;
}
