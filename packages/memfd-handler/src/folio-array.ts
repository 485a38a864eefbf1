/** The array of (pfn, flags, index) that lists a file's folios, written and read 256 at a time: a page of it. */
import {
  assert,
  KernelError,
  MAX_ORDER,
  PAGE_SIZE,
  pfnToPhys,
  type PageIndex,
  type Pfn,
} from '@liveupdate/base';
import { readVmallocPages, type VmallocDescriptor } from '@liveupdate/kho';
import { FolioRuns, type Ram, type VmallocArea } from '@liveupdate/mm';
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

/** Writes folios into an area of single pages that has room for them, all of them dirty and up to date. */
export function writeFolioArray(area: VmallocArea, runs: FolioRuns): void {
  assert(
    area.order === 0 && area.pageCount * PER_PAGE >= runs.folios,
    'the folio array has room for every folio',
  );
  let page = 0;
  let out = words(area.piece(0));
  let place = 0;
  for (let i = 0; i < runs.length; i++) {
    const step = 1 << runs.orders[i];
    for (let done = 0; done < runs.counts[i];) {
      if (place === PER_PAGE) {
        page += 1;
        out = words(area.piece(page));
        place = 0;
      }
      const count = Math.min(PER_PAGE - place, runs.counts[i] - done);
      writeRecords(out, place, runs.pfns[i] + done * step, runs.indices[i] + done * step, count, step);
      place += count;
      done += count;
    }
  }
}

function writeRecords(
  out: Uint32Array,
  place: number,
  pfn: Pfn,
  index: PageIndex,
  count: number,
  step: number,
): void {
  const flags = (FOLIO_DIRTY | FOLIO_UPTODATE) << FLAGS_SHIFT;
  const end = (place + count) * FOLIO_WORDS;
  for (let at = place * FOLIO_WORDS, offset = 0; at < end; at += FOLIO_WORDS, offset += step) {
    out[at] = pfn + offset;
    out[at + 1] = flags;
    out[at + 2] = index + offset;
    out[at + 3] = 0;
  }
}

/**
 * The pieces of the array of `count` records that a descriptor names.
 *
 * @throws KernelError EINVAL: the array is damaged or too short
 */
function arrayPieces(ram: Ram, descriptor: VmallocDescriptor, count: number): Uint32Array {
  if (count > descriptor.totalPages * PER_PAGE) {
    throw new KernelError(
      'EINVAL',
      `a memfd record claims ${count} folios, its array holds ${descriptor.totalPages * PER_PAGE}: it is damaged`,
    );
  }
  return readVmallocPages(ram, descriptor).pfns;
}

/** Calls `visit` with the first `count` records of an array, piece by piece. */
function forEachPart(
  ram: Ram,
  pieces: Uint32Array,
  order: number,
  count: number,
  visit: (records: Uint32Array, count: number) => void,
): void {
  const perPiece = PER_PAGE * 2 ** order;
  for (let from = 0, piece = 0; from < count; from += perPiece, piece++) {
    const bytes = ram.bytes(pfnToPhys(pieces[piece]), PAGE_SIZE * 2 ** order);
    visit(words(bytes), Math.min(perPiece, count - from));
  }
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
 * @throws KernelError EINVAL: the array is damaged, too short, or has a number that no file can have
 */
export function readFolioArray(ram: Ram, descriptor: VmallocDescriptor, count: number): FolioList {
  const pieces = arrayPieces(ram, descriptor, count); // before room is made for so many
  const pfns: Uint32Array = new Uint32Array(count);
  const indices = new Uint32Array(count);
  const flags = new Uint16Array(count);
  let n = 0;
  forEachPart(ram, pieces, descriptor.order, count, (records, length) => {
    for (let at = 0; at < length * FOLIO_WORDS; at += FOLIO_WORDS) {
      checkRecord(records[at + 1], records[at + 3]);
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
 * Calls `visit` with every frame that an array names, whatever else is wrong with its records and their number: for giving them back.
 *
 * @throws KernelError EINVAL: the array itself is damaged
 */
export function forEachListedFrame(ram: Ram, descriptor: VmallocDescriptor, visit: (pfn: Pfn) => void): void {
  const capacity = descriptor.totalPages * PER_PAGE;
  const pieces = arrayPieces(ram, descriptor, capacity);
  forEachPart(ram, pieces, descriptor.order, capacity, (records, length) => {
    for (let at = 0; at < length * FOLIO_WORDS; at += FOLIO_WORDS) {
      if (records[at] !== 0 && (records[at + 1] & PFN_HIGH_MASK) === 0) visit(records[at]);
    }
  });
}

/**
 * The same folios as runs, checked to be what one file can have.
 *
 * @param pages pages of the file
 * @param orders order of the folio at each frame, as the preserved memory map has it
 * @param unwritten is given the folios that are not up to date: allocated and never written, so that the file has zeros there
 * @throws KernelError EINVAL: as readFolioArray; or folios that overlap, are out of order, beyond the file, or not at a multiple of their size
 */
export function readFolioRuns(
  ram: Ram,
  descriptor: VmallocDescriptor,
  count: number,
  pages: number,
  orders: Uint8Array,
  unwritten: Pfn[] = [],
): FolioRuns {
  const runs = new FolioRuns();
  let next = 0;
  forEachPart(ram, arrayPieces(ram, descriptor, count), descriptor.order, count, (records, length) => {
    next = addRecords(records, length, runs, next, pages, orders);
    listUnwritten(records, length, unwritten);
  });
  return runs;
}

/** Adds records to runs; `next` is the first page index that is not taken yet. Returns it as it is after them. */
function addRecords(
  records: Uint32Array,
  length: number,
  runs: FolioRuns,
  next: PageIndex,
  pages: number,
  orders: Uint8Array,
): PageIndex {
  const end = length * FOLIO_WORDS;
  let free = next;
  for (let at = 0; at < end;) {
    const pfn = records[at];
    const index = records[at + 2];
    checkRecord(records[at + 1], records[at + 3]);
    at += FOLIO_WORDS;
    if (pfn === 0) continue;
    const order = pfn < orders.length ? orders[pfn] : 0;
    const size = 1 << order;
    checkPlace(index, order > MAX_ORDER ? 0 : size, free, pages);
    // The folios that go on from this one, side by side in the file and in RAM.
    let run = 1;
    for (; at < end && index + run * size < pages; at += FOLIO_WORDS, run++) {
      if (records[at] !== pfn + run * size || records[at + 2] !== index + run * size) break;
      if (orders[records[at]] !== order) break;
      checkRecord(records[at + 1], records[at + 3]);
    }
    runs.push(index, pfn, run, order);
    free = index + run * size;
  }
  return free;
}

function listUnwritten(records: Uint32Array, length: number, unwritten: Pfn[]): void {
  const upToDate = FOLIO_UPTODATE << FLAGS_SHIFT;
  for (let at = 0; at < length * FOLIO_WORDS; at += FOLIO_WORDS) {
    if ((records[at + 1] & upToDate) === 0 && records[at] !== 0) unwritten.push(records[at]);
  }
}

/** Throws unless a folio of `size` pages may lie at `index` of a file of `pages` pages, of which those before `free` are taken. */
export function checkPlace(index: PageIndex, size: number, free: PageIndex, pages: number): void {
  if (index >= free && index < pages && index % size === 0) return;
  throw new KernelError(
    'EINVAL',
    `a memfd record puts ${size} page(s) at index ${index}, where they cannot be: it is damaged`,
  );
}
