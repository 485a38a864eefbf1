/**
 * One pass over an image of memory, for all that can be recognised in it: what leads to a handover,
 * and the records of one that nothing leads to any more. Nothing is decided here. Bounded: a second
 * or two for a GiB, and lists that end.
 *
 * - The `setup_data` record by which Linux passes its entry record on x86.
 * - Pages that begin with a `kho` device tree, of whatever version.
 * - Arrays that can be no other than that of the scratch areas.
 * - Pages that are blocks of sessions or of files, the FLBs, or a record of a memfd.
 * - The marks in which a kernel notes, page by page, what it was handed and has not taken yet.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';
import { readEntry, type EntryRecord } from '@liveupdate/kho';
import type { Ram, RamPiece } from '@liveupdate/mm';
import { LUO_FORMATS, MEMFD_FORMATS } from './formats/index.ts';
import type { Progress } from './progress.ts';
import { TakenMarks } from './taken-marks.ts';

/**
 * Header of a setup_data record after its `next` pointer: u32 type 10 (SETUP_KEXEC_KHO), u32 length
 * 32.
 */
const SETUP_HEADER = Buffer.from([10, 0, 0, 0, 32, 0, 0, 0]);
const ENTRY_BYTES = 32;
/** d00dfeed, as a little-endian word reads it. */
const FDT_MAGIC_WORD = 0xedfe_0dd0;
/** Bytes of an area in the array. */
export const AREA_BYTES = 16;
/** Linux aligns scratch areas to a page block: 2 MiB or more. */
const AREA_ALIGN = 2 * 2 ** 20;
/** Linux has an area for low memory, one for all, and one per NUMA node. */
const LEAST_AREAS = 3;
/** The array lies within one page. */
export const MOST_AREAS = PAGE_SIZE / AREA_BYTES;
/** The allocator that Linux takes the array from aligns to cache lines. */
const LINE_WORDS = 64 / 4;
const PAGE_WORDS = PAGE_SIZE / 4;
/** Arrays, trees and records that are kept, at most. */
const MAX_TRIED = 64;
/** Pages of each kind of record, at most: a million sessions or files. */
const MAX_PAGES = 2 ** 20;

export interface Area {
  readonly addr: number;
  readonly size: number;
}

export interface Findings {
  readonly records: EntryRecord[];
  /** Addresses of pages that begin as a device tree does. */
  readonly trees: number[];
  /** Scratch arrays, by what is in them: copies of one array are one. */
  readonly arrays: Map<string, { readonly pa: number; readonly areas: readonly Area[] }>;
  readonly sessionBlocks: number[];
  readonly fileBlocks: number[];
  readonly flbs: number[];
  /** Addresses of records, and of which version. */
  readonly memfds: { readonly pa: number; readonly compatible: string }[];
  readonly marks: TakenMarks;
}

/**
 * Areas in a row at `at`, as far as they can be scratch areas: aligned, in order of nothing, but
 * without overlap.
 */
export function areasAt(bytes: Uint8Array, at: number, align: number): Area[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const areas: Area[] = [];
  for (let from = at; from + AREA_BYTES <= bytes.length && areas.length < MOST_AREAS; from += AREA_BYTES) {
    const addr = Number(view.getBigUint64(from, true));
    const size = Number(view.getBigUint64(from + 8, true));
    if (addr === 0 || addr % align !== 0 || size % align !== 0 || addr + size > 2 ** 50) break;
    if (areas.some((other) => addr < other.addr + other.size && other.addr < addr + size)) break;
    areas.push({ addr, size });
  }
  return areas;
}

function findRecords(block: Uint8Array, found: Findings): void {
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.length);
  for (
    let at = bytes.indexOf(SETUP_HEADER);
    at >= 0 && at + SETUP_HEADER.length + ENTRY_BYTES <= block.length;
    at = bytes.indexOf(SETUP_HEADER, at + 1)
  ) {
    if (found.records.length === MAX_TRIED) return;
    const payload = at + SETUP_HEADER.length;
    const entry = plausibleEntry(block.slice(payload, payload + ENTRY_BYTES));
    if (entry) found.records.push(entry);
  }
}

function plausibleEntry(bytes: Uint8Array): EntryRecord | undefined {
  try {
    const entry = readEntry(bytes);
    const { fdtAddr, fdtSize, scratchAddr, scratchSize } = entry;
    const isTree = fdtSize === PAGE_SIZE && fdtAddr > 0 && fdtAddr % PAGE_SIZE === 0;
    const isArray =
      scratchAddr > 0 && scratchSize > 0 && scratchSize % AREA_BYTES === 0 && scratchSize <= PAGE_SIZE;
    return isTree && isArray ? entry : undefined;
  } catch {
    return undefined; // a number beyond 2^53: these bytes are something else
  }
}

/** What whole pages are. */
function findPages(
  block: Uint8Array,
  words: Uint32Array,
  pa: number,
  ramSize: number,
  found: Findings,
): void {
  for (let at = 0; at + PAGE_WORDS <= words.length; at += PAGE_WORDS) {
    const first = words[at];
    if (first === FDT_MAGIC_WORD) {
      if (found.trees.length < MAX_TRIED) found.trees.push(pa + at * 4);
      continue;
    }
    // A block begins with an address of a page and a small number, a memfd with two small numbers.
    const isBlock = words[at + 2] !== 0 && words[at + 2] < 256 && words[at + 3] === 0;
    const isMemfd =
      (words[at + 2] | words[at + 3]) !== 0 && words[at + 3] < 2 ** 13 && words[at + 1] < 2 ** 21;
    if (!isBlock && !isMemfd) continue;
    const page = block.subarray(at * 4, at * 4 + PAGE_SIZE);
    if (isBlock && findBlocks(page, pa + at * 4, found)) continue;
    if (!isMemfd || found.memfds.length === MAX_PAGES) continue;
    for (const { compatible, mayBe } of MEMFD_FORMATS)
      if (mayBe(page, ramSize)) found.memfds.push({ pa: pa + at * 4, compatible });
  }
}

function findBlocks(page: Uint8Array, pa: number, found: Findings): boolean {
  for (const format of LUO_FORMATS) {
    const list = format.sessions(page)
      ? found.sessionBlocks
      : format.files(page)
        ? found.fileBlocks
        : format.flbs(page)
          ? found.flbs
          : undefined;
    if (!list) continue;
    if (list.length < MAX_PAGES) list.push(pa);
    return true;
  }
  return false;
}

/** What begins at a cache line. */
function findLines(block: Uint8Array, words: Uint32Array, pa: number, found: Findings): void {
  for (let at = 0; at + LINE_WORDS <= words.length; at += LINE_WORDS) {
    found.marks.look(words, at, pa);
    // The first areas decide nearly always: low words that are aligned, and no zeros.
    if (((words[at] | words[at + 2]) & (AREA_ALIGN - 1)) !== 0 || (words[at] | words[at + 1]) === 0) continue;
    if (((words[at + 4] | words[at + 6]) & (AREA_ALIGN - 1)) !== 0 || (words[at + 4] | words[at + 5]) === 0)
      continue;
    if (found.arrays.size === MAX_TRIED || (words[at + 1] | words[at + 3]) >= 2 ** 18) continue;
    const page = Math.floor((at * 4) / PAGE_SIZE) * PAGE_SIZE;
    const areas = areasAt(block.subarray(page, page + PAGE_SIZE), at * 4 - page, AREA_ALIGN);
    if (areas.length < LEAST_AREAS || areas.every(({ size }) => size === 0)) continue;
    const key = JSON.stringify(areas);
    if (!found.arrays.has(key)) found.arrays.set(key, { pa: pa + at * 4, areas });
  }
}

/** Blocks of memory that have something, each once. */
function* blocksOf(pieces: readonly RamPiece[], size: number): Generator<number> {
  let next = 0;
  for (const { pa, length } of pieces) {
    const end = Math.min(size, pa + length);
    const first = Math.max(next, Math.floor(pa / MAX_FOLIO_SIZE) * MAX_FOLIO_SIZE);
    for (let at = first; at < end; at += MAX_FOLIO_SIZE) {
      yield at;
      next = at + MAX_FOLIO_SIZE;
    }
  }
}

/** Looks at all memory of an image. */
export async function survey(ram: Ram, pieces: readonly RamPiece[], progress: Progress): Promise<Findings> {
  const found: Findings = {
    records: [],
    trees: [],
    arrays: new Map(),
    sessionBlocks: [],
    fileBlocks: [],
    flbs: [],
    memfds: [],
    marks: new TakenMarks(),
  };
  for (const pa of blocksOf(pieces, ram.size)) {
    const block = ram.bytes(pa, Math.min(MAX_FOLIO_SIZE, ram.size - pa));
    const words = new Uint32Array(block.buffer, block.byteOffset, block.length / 4);
    findRecords(block, found);
    findPages(block, words, pa, ram.size, found);
    findLines(block, words, pa, found);
    progress.add(block.length);
    await turn();
  }
  return found;
}
