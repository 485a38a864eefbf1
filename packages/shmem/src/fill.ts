/**
 * Giving pages to the holes of a file: the largest folios that fit where huge pages are on, single
 * pages in bulk else. All or none.
 */
import { KernelError, log2Floor, PAGE_SIZE, trailingZeros, type PageIndex, type Pfn } from '@liveupdate/base';
import type { AllocOptions, PageAllocator, Taking } from '@liveupdate/mm';
import type { FilePages } from './file-pages.ts';
import type { PageRange } from './page-range.ts';

/** What the pages are for. */
export interface FillOptions {
  /**
   * Bytes of the file that are about to be overwritten: pages whole inside them need not be zeroed.
   */
  readonly overwritten?: { readonly from: number; readonly to: number };
  /** When their memory is taken from the system. */
  readonly taken?: Taking;
}

/** Which folios holes may be given. */
export interface FolioPolicy {
  /** Largest order. */
  readonly maxOrder: number;
  /** Where the file ends, in pages: large folios end there or before. */
  readonly end: PageIndex;
}

/**
 * Gives every hole in `count` pages from `first` on a page, zeroed unless it is about to be
 * overwritten.
 *
 * @returns what was a hole, in pieces
 * @throws KernelError ENOSPC, ENOMEM: beyond a limit of the mount, or no memory in RAM or in the
 * system; the holes are as before
 */
export function fillHoles(
  file: FilePages,
  first: PageIndex,
  count: number,
  policy: FolioPolicy,
  { overwritten, taken = 'now' }: FillOptions = {},
): PageRange[] {
  const { shmem, cache } = file;
  // A file may be larger than any RAM: what cannot be filled is refused before its holes are looked
  // at one by one.
  shmem.checkRoom(count - cache.count);
  const parts: HolePart[] = [];
  let pages = 0;
  cache.forEachRun(first, count, (index, length, pfn) => {
    if (pfn !== 0) return;
    if (overwritten) parts.push(...splitHole(index, length, overwritten));
    else parts.push({ index, count: length, zero: true });
    pages += length;
  });
  shmem.charge(pages);
  try {
    if (policy.maxOrder === 0) fillWithSingles(file, parts, taken);
    else fillWithFolios(file, parts, policy, taken);
  } catch (error) {
    shmem.uncharge(pages);
    throw error;
  }
  return parts;
}

/** Gives all parts single pages, whose memory lies in a row wherever it can. All or none. */
function fillWithSingles(file: FilePages, parts: readonly HolePart[], taken: Taking): void {
  const zeroed = parts.filter((part) => part.zero);
  dealPages(file, zeroed, { movable: true, zero: true, taken });
  try {
    dealPages(
      file,
      parts.filter((part) => !part.zero),
      { movable: true, taken },
    );
  } catch (error) {
    for (const { index, count } of zeroed) file.free(index, count);
    throw error;
  }
}

/** Allocates pages for all parts together, and deals them out. All or none. */
function dealPages(file: FilePages, parts: readonly PageRange[], options: AllocOptions): void {
  if (parts.length === 0) return;
  let part = 0;
  let at = parts[0].index;
  const deal = (pfn: Pfn, length: number): void => {
    for (let done = 0; done < length;) {
      const end = parts[part].index + parts[part].count;
      const pages = Math.min(length - done, end - at);
      file.cache.insert(at, pfn + done, pages);
      done += pages;
      at += pages;
      if (at === end && part + 1 < parts.length) at = parts[++part].index;
    }
  };
  let count = 0;
  for (const each of parts) count += each.count;
  try {
    file.shmem.pages.allocRuns(count, options, deal);
  } catch (error) {
    for (const { index, count } of parts.slice(0, part)) file.free(index, count);
    file.free(parts[part].index, at - parts[part].index);
    throw error;
  }
}

/** Gives each part the largest folios that fit. All or none. */
function fillWithFolios(
  file: FilePages,
  parts: readonly HolePart[],
  policy: FolioPolicy,
  taken: Taking,
): void {
  const filled: PageRange[] = [];
  try {
    for (const part of parts) {
      fillPart(file, part, policy, taken);
      filled.push(part);
    }
  } catch (error) {
    for (const { index, count } of filled) file.free(index, count);
    throw error;
  }
}

/** Allocates the folios of a hole. All or none. */
function fillPart(
  file: FilePages,
  { index, count, zero }: HolePart,
  policy: FolioPolicy,
  taken: Taking,
): void {
  const { cache } = file;
  const { pages } = file.shmem;
  const options = { movable: true, zero, taken };
  let at = index;
  const end = index + count;
  try {
    while (at < end) {
      const maxOrder = at < policy.end ? policy.maxOrder : 0;
      const room = maxOrder > 0 ? Math.min(end, policy.end) - at : 0;
      const fitting = Math.min(
        maxOrder,
        at === 0 ? maxOrder : trailingZeros(at),
        log2Floor(Math.max(1, room)),
      );
      const pfn = fitting > 0 ? tryAlloc(pages, fitting, options) : 0;
      if (pfn !== 0) {
        const taken = 2 ** pages.orderOf(pfn);
        cache.insert(at, pfn, taken);
        at += taken;
        continue;
      }
      // One page where no more fits. Where memory has no block of any larger order, single pages up
      // to where the largest may be tried again.
      const step = maxOrder > 0 && fitting === 0 ? 1 : 2 ** maxOrder;
      const next = maxOrder === 0 ? end : Math.min(end, (Math.floor(at / step) + 1) * step);
      dealPages(file, [{ index: at, count: next - at }], options);
      at = next;
    }
  } catch (error) {
    file.free(index, at - index);
    throw error;
  }
}

/** A folio of at most `order`, 0 where only single pages are left. */
function tryAlloc(pages: PageAllocator, order: number, options: AllocOptions): Pfn {
  for (let o = order; o > 0; o--) {
    try {
      return pages.alloc(o, { ...options, optional: true });
    } catch (error) {
      if (!(error instanceof KernelError && error.code === 'ENOMEM')) throw error;
    }
  }
  return 0;
}

interface HolePart extends PageRange {
  readonly zero: boolean;
}

/**
 * Cuts a hole into the pages that are about to be overwritten whole, and those that must be zeroed.
 */
function splitHole(
  index: PageIndex,
  count: number,
  overwritten: NonNullable<FillOptions['overwritten']>,
): HolePart[] {
  const end = index + count;
  const from = Math.min(end, Math.max(index, Math.ceil(overwritten.from / PAGE_SIZE)));
  const to = Math.max(from, Math.min(end, Math.floor(overwritten.to / PAGE_SIZE)));
  return [
    { index, count: from - index, zero: true },
    { index: from, count: to - from, zero: false },
    { index: to, count: end - to, zero: true },
  ].filter((part) => part.count > 0);
}
