/**
 * The array of (pfn, flags, index) that lists a file's folios, written and read 256 at a time: a
 * page of it.
 */
import {
  assert,
  KernelError,
  MAX_FOLIO_SIZE,
  MAX_ORDER,
  PAGE_SIZE,
  pfnToPhys,
  type PageIndex,
  type Pfn,
} from '@liveupdate/base';
import { readVmallocPages, type VmallocDescriptor } from '@liveupdate/kho';
import { FolioRuns, type PageTable, type Ram, type RamWords, type VmallocArea } from '@liveupdate/mm';
import {
  FLAGS_SHIFT,
  FOLIO_DIRTY,
  FOLIO_UPTODATE,
  FOLIO_WORDS,
  MemfdFolioSer,
  PFN_HIGH_MASK,
} from './abi.ts';

/** Records in a page. */
const PER_PAGE = PAGE_SIZE / MemfdFolioSer.SIZE;

/** Folios as recorded, in the order of the array. */
export interface FolioList {
  readonly pfns: Uint32Array;
  /** Page index in the file. */
  readonly indices: Uint32Array;
  /** Bit 0 dirty, bit 1 up to date. */
  readonly flags: Uint16Array;
}

function words(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
}

/** Pages of an array of so many folios. */
export function arrayPages(folios: number): number {
  return Math.ceil(folios / PER_PAGE);
}

/**
 * Writes folios, all of them dirty and up to date, into pages that have room for them, and behind
 * them one of zeros, which ends the array: what else is in the last page was there before.
 *
 * @param pages their frames, `count` from index `from` on
 */
export function writeFolioArray(
  ram: RamWords,
  pages: Uint32Array,
  from: number,
  count: number,
  runs: FolioRuns,
): void {
  assert(count * PER_PAGE >= runs.folios, 'the folio array has room for every folio');
  let run = 0;
  let done = 0;
  for (let page = from; page < from + count; page++) {
    const base = ram.page(pages[page]);
    const { words } = ram;
    let place = 0;
    while (place < PER_PAGE && run < runs.length) {
      const step = 1 << runs.orders[run];
      const count = Math.min(PER_PAGE - place, runs.counts[run] - done);
      const at = base + place * FOLIO_WORDS;
      writeRecords(words, at, runs.pfns[run] + done * step, runs.indices[run] + done * step, count, step);
      place += count;
      done += count;
      if (done < runs.counts[run]) continue;
      run += 1;
      done = 0;
    }
    const end = base + place * FOLIO_WORDS;
    if (place < PER_PAGE) for (let at = end; at < end + FOLIO_WORDS; at++) words[at] = 0;
  }
}

function writeRecords(
  out: Uint32Array,
  from: number,
  pfn: Pfn,
  index: PageIndex,
  count: number,
  step: number,
): void {
  const flags = (FOLIO_DIRTY | FOLIO_UPTODATE) << FLAGS_SHIFT;
  const end = from + count * FOLIO_WORDS;
  for (let at = from, offset = 0; at < end; at += FOLIO_WORDS, offset += step) {
    out[at] = pfn + offset;
    out[at + 1] = flags;
    out[at + 2] = index + offset;
    out[at + 3] = 0;
  }
}

/** Where an array lies: a vmalloc area, restored or not. */
export type ArrayPieces = Pick<VmallocArea, 'pfns' | 'order'>;

/**
 * The pieces of the array that a descriptor names.
 *
 * @throws KernelError EINVAL: the array is damaged
 */
export function arrayPieces(ram: Ram, descriptor: VmallocDescriptor): ArrayPieces {
  const { pfns } = readVmallocPages(ram, descriptor);
  return { pfns, order: descriptor.order };
}

/** Records that fit into an array. */
function capacityOf({ pfns, order }: ArrayPieces): number {
  return pfns.length * (1 << order) * PER_PAGE;
}

/** Throws where an array has no room for so many records. */
function checkCount(pieces: ArrayPieces, count: number): void {
  if (count <= capacityOf(pieces)) return;
  throw new KernelError(
    'EINVAL',
    `a memfd record claims ${count} folios, its array holds ${capacityOf(pieces)}: it is damaged`,
  );
}

/**
 * Calls `visit` with the first `count` records of an array, in as few parts as RAM shows them:
 * pieces that lie in a row are one.
 */
function forEachPart(
  ram: Ram,
  { pfns, order }: ArrayPieces,
  count: number,
  visit: (records: Uint32Array, count: number) => void,
): void {
  const step = 1 << order;
  const most = MAX_FOLIO_SIZE / PAGE_SIZE;
  for (let from = 0, piece = 0; from < count;) {
    const first = pfns[piece++];
    const border = (Math.floor(first / most) + 1) * most; // every RAM shows so much at once
    let end = first + step;
    for (; end < border && pfns[piece] === end; piece++) end += step;
    const length = Math.min((end - first) * PER_PAGE, count - from);
    visit(words(ram.bytes(pfnToPhys(first), PAGE_SIZE * (end - first))), length);
    from += length;
  }
}

/**
 * Whether record `at` is the one that ends the array: behind it lies what was in the page before.
 */
function isEnd(records: Uint32Array, at: number): boolean {
  return (records[at] | records[at + 1] | records[at + 2] | records[at + 3]) === 0;
}

function endsEarly(): KernelError {
  return new KernelError('EINVAL', 'a memfd record counts more folios than its array lists: it is damaged');
}

/** Throws where a record has a number that no folio can have. */
function checkRecord(high: number, indexHigh: number): void {
  if ((high & PFN_HIGH_MASK) !== 0 || indexHigh !== 0) {
    throw new KernelError('EINVAL', 'a memfd record lists a folio beyond 16 TiB: it is damaged');
  }
}

/**
 * The folios that an array of `count` records lists. Records with pfn 0 are left out.
 *
 * @throws KernelError EINVAL: the array is damaged, too short, ends before its count, or has a
 * number that no file can have
 */
export function readFolioArray(ram: Ram, descriptor: VmallocDescriptor, count: number): FolioList {
  const pieces = arrayPieces(ram, descriptor);
  checkCount(pieces, count); // before room is made for so many
  const pfns: Uint32Array = new Uint32Array(count);
  const indices = new Uint32Array(count);
  const flags = new Uint16Array(count);
  let n = 0;
  forEachPart(ram, pieces, count, (records, length) => {
    for (let at = 0; at < length * FOLIO_WORDS; at += FOLIO_WORDS) {
      checkRecord(records[at + 1], records[at + 3]);
      if (isEnd(records, at)) throw endsEarly();
      if (records[at] === 0) continue;
      pfns[n] = records[at];
      indices[n] = records[at + 2];
      flags[n] = records[at + 1] >>> FLAGS_SHIFT;
      n += 1;
    }
  });
  return { pfns: pfns.subarray(0, n), indices: indices.subarray(0, n), flags: flags.subarray(0, n) };
}

/**
 * Calls `visit` with every frame that an array names, whatever else is wrong with its records and
 * their number: for giving them back. Not with what lies behind the record that ends it.
 */
export function forEachListedFrame(ram: Ram, pieces: ArrayPieces, visit: (pfn: Pfn) => void): void {
  let hasEnded = false;
  forEachPart(ram, pieces, capacityOf(pieces), (records, length) => {
    for (let at = 0; at < length * FOLIO_WORDS && !hasEnded; at += FOLIO_WORDS) {
      hasEnded = isEnd(records, at);
      if (records[at] !== 0 && (records[at + 1] & PFN_HIGH_MASK) === 0) visit(records[at]);
    }
  });
}

/**
 * The folios that an array of `count` records lists as runs, checked to be what one file can have.
 *
 * @param pages pages of the file
 * @param table knows the order of the folio at each frame, as the preserved memory map has it
 * @param unwritten is given the folios that are not up to date: allocated and never written, so
 * that the file has zeros there
 * @throws KernelError EINVAL: the array is too short, ends before its count, or has a number that
 * no file can have; or folios that overlap, are out of order, beyond the file, or not at a multiple
 * of their size
 */
export function readFolioRuns(
  ram: Ram,
  pieces: ArrayPieces,
  count: number,
  pages: number,
  table: PageTable,
  unwritten: Pfn[] = [],
): FolioRuns {
  checkCount(pieces, count);
  const runs = new FolioRuns();
  let next = 0;
  forEachPart(ram, pieces, count, (records, length) => {
    next = addRecords(records, length, runs, next, pages, table, unwritten);
  });
  return runs;
}

/**
 * Adds records to runs; `next` is the first page index that is not taken yet. Returns it as it is
 * after them.
 */
function addRecords(
  records: Uint32Array,
  length: number,
  runs: FolioRuns,
  next: PageIndex,
  pages: number,
  table: PageTable,
  unwritten: Pfn[],
): PageIndex {
  const end = length * FOLIO_WORDS;
  let free = next;
  for (let at = 0; at < end;) {
    const pfn = records[at];
    const high = records[at + 1];
    const index = records[at + 2];
    checkRecord(high, records[at + 3]);
    if (isEnd(records, at)) throw endsEarly();
    at += FOLIO_WORDS;
    if (pfn === 0) continue;
    const order = pfn < table.frames ? table.orderOf(pfn) : 0;
    const size = 1 << order;
    checkPlace(index, order > MAX_ORDER ? 0 : size, free, pages);
    // The folios that go on from this one, side by side in the file and in RAM, of one order and
    // with the same flags.
    const most = Math.min((end - at) / FOLIO_WORDS + 1, Math.ceil((pages - index) / size));
    const row = inRow(records, at, pfn, high, index, size, most);
    const run = Math.max(1, table.foliosAlike(0, 0, order, pfn, row));
    at += (run - 1) * FOLIO_WORDS;
    runs.push(index, pfn, run, order);
    if ((high & (FOLIO_UPTODATE << FLAGS_SHIFT)) === 0)
      for (let i = 0; i < run; i++) unwritten.push(pfn + i * size);
    free = index + run * size;
  }
  return free;
}

/** How many folios, at most `most`, go on from the one before record `at`, itself included. */
function inRow(
  records: Uint32Array,
  at: number,
  pfn: Pfn,
  high: number,
  index: PageIndex,
  size: number,
  most: number,
): number {
  let run = 1;
  let nextPfn = (pfn + size) | 0;
  let nextIndex = (index + size) | 0;
  for (let i = at; run < most; i += FOLIO_WORDS, run++) {
    const differs = (records[i] ^ nextPfn) | (records[i + 1] ^ high);
    if ((differs | (records[i + 2] ^ nextIndex) | records[i + 3]) !== 0) break;
    nextPfn = (nextPfn + size) | 0;
    nextIndex = (nextIndex + size) | 0;
  }
  return run;
}

/**
 * Throws unless a folio of `size` pages may lie at `index` of a file of `pages` pages, of which
 * those before `free` are taken.
 */
export function checkPlace(index: PageIndex, size: number, free: PageIndex, pages: number): void {
  if (index >= free && index < pages && index % size === 0) return;
  throw new KernelError(
    'EINVAL',
    `a memfd record puts ${size} page(s) at index ${index}, where they cannot be: it is damaged`,
  );
}
