/** Giving pages to the holes of a file: the largest folios that fit where huge pages are on, single pages in bulk else. All or none. */
import { KernelError, log2Floor, PAGE_SIZE, trailingZeros, type PageIndex, type Pfn } from '@liveupdate/base';
import type { AllocOptions, PageAllocator } from '@liveupdate/mm';
import type { FilePages } from './file-pages.ts';
import type { PageRange } from './page-cache.ts';

/** What the pages are for. */
export interface FillOptions {
  /** Bytes of the file that are about to be overwritten: pages whole inside them need not be zeroed. */
  readonly overwritten?: { readonly from: number; readonly to: number };
  /** Memory is taken from the system when a page is first written, not now. */
  readonly lazy?: boolean;
}

/** Which folios holes may be given. */
export interface FolioPolicy {
  /** Largest order. */
  readonly maxOrder: number;
  /** Where the file ends, in pages: large folios end there or before. */
  readonly end: PageIndex;
}

/**
 * Gives every hole in `count` pages from `first` on a page, zeroed unless it is about to be overwritten.
 *
 * @returns what was a hole, in pieces
 * @throws KernelError ENOSPC, ENOMEM: beyond a limit of the mount, or no memory in RAM or in the system; the holes are as before
 */
export function fillHoles(
  file: FilePages,
  first: PageIndex,
  count: number,
  policy: FolioPolicy,
  { overwritten, lazy = false }: FillOptions = {},
): PageRange[] {
  const { shmem, cache } = file;
  // A file may be larger than any RAM: what cannot be filled is refused before its holes are looked at one by one.
  shmem.checkRoom(count - cache.count);
  const holes: PageRange[] = [];
  cache.forEachRun(first, count, (index, length, pfn) => {
    if (pfn === 0) holes.push({ index, count: length });
  });
  const filled: PageRange[] = [];
  try {
    for (const hole of holes) {
      for (const part of splitHole(hole.index, hole.count, overwritten)) {
        shmem.charge(part.count);
        try {
          fillPart(file, part, policy, lazy);
        } catch (error) {
          shmem.uncharge(part.count);
          throw error;
        }
        filled.push(part);
      }
    }
  } catch (error) {
    for (const part of filled) file.drop(part.index, part.count);
    throw error;
  }
  return filled;
}

/** Allocates the folios of a hole. All or none. */
function fillPart(
  file: FilePages,
  { index, count, zero }: HolePart,
  policy: FolioPolicy,
  lazy: boolean,
): void {
  const { cache } = file;
  const { pages } = file.shmem;
  const options = { movable: true, zero, lazy };
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
      // One page where no more fits. Where memory has no block of any larger order, single pages up to where the largest may be tried again.
      const step = maxOrder > 0 && fitting === 0 ? 1 : 2 ** maxOrder;
      const next = maxOrder === 0 ? end : Math.min(end, (Math.floor(at / step) + 1) * step);
      pages.allocRuns(next - at, options, (first, length) => {
        cache.insert(at, first, length);
        at += length;
      });
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
      return pages.alloc(o, options);
    } catch (error) {
      if (!(error instanceof KernelError && error.code === 'ENOMEM')) throw error;
    }
  }
  return 0;
}

interface HolePart extends PageRange {
  readonly zero: boolean;
}

/** Cuts a hole into the pages that are about to be overwritten whole, and those that must be zeroed. */
function splitHole(index: PageIndex, count: number, overwritten: FillOptions['overwritten']): HolePart[] {
  if (!overwritten) return [{ index, count, zero: true }];
  const end = index + count;
  const from = Math.min(end, Math.max(index, Math.ceil(overwritten.from / PAGE_SIZE)));
  const to = Math.max(from, Math.min(end, Math.floor(overwritten.to / PAGE_SIZE)));
  return [
    { index, count: from - index, zero: true },
    { index: from, count: to - from, zero: false },
    { index: to, count: end - to, zero: true },
  ].filter((part) => part.count > 0);
}
