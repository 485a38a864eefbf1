/**
 * The pages of one file and what they cost: finding, dropping, splitting, adopting them (kernel:
 * mm/shmem.c, mm/truncate.c). Giving pages to holes is in fill.ts.
 *
 * Always: every page of the cache is counted in the mount; the file has one reference to each folio
 * of its cache, and gives it back when the folio leaves.
 */
import {
  AssertionError,
  MAX_ORDER,
  PAGE_SIZE,
  pagesFor,
  pfnToPhys,
  type PageIndex,
  type Pfn,
} from '@liveupdate/base';
import {
  FolioRuns,
  forEachBlock,
  HEAD,
  KIND,
  SCRATCH,
  TAIL,
  type FolioRows,
  type PageTable,
} from '@liveupdate/mm';
import { PageCache } from './page-cache.ts';
import type { FoundFolios } from './folios.ts';
import type { ShmemMount } from './mount.ts';

export class FilePages {
  readonly shmem: ShmemMount;
  readonly cache = new PageCache();

  constructor(shmem: ShmemMount) {
    this.shmem = shmem;
  }

  /** Calls `visit` for each part of a byte range that is contiguous in RAM; pa 0: a hole. */
  eachPart(position: number, length: number, visit: (at: number, bytes: number, pa: number) => void): void {
    if (length <= 0) return;
    const end = position + length;
    const first = Math.floor(position / PAGE_SIZE);
    this.cache.forEachRun(first, pagesFor(end) - first, (index, count, pfn) => {
      const from = Math.max(position, index * PAGE_SIZE);
      const to = Math.min(end, (index + count) * PAGE_SIZE);
      if (pfn === 0) {
        visit(from, to - from, 0);
        return;
      }
      const pa = pfnToPhys(pfn) + (from - index * PAGE_SIZE);
      forEachBlock(pa, to - from, (blockPa, bytes) => {
        visit(from + (blockPa - pa), bytes, blockPa);
      });
    });
  }

  /** Whether these pages are all there, and in memory. */
  areThere(first: PageIndex, count: number): boolean {
    const { residency } = this.shmem.pages;
    let all = true;
    this.cache.forEachRun(first, count, (_, length, pfn) => {
      all &&= pfn !== 0 && residency.has(pfn, length);
    });
    return all;
  }

  /**
   * The parts of a byte range whose pages are in memory, and of those that are not: from and to in
   * turn, ascending.
   */
  residentParts(position: number, length: number): { readonly there: number[]; readonly missing: number[] } {
    const there: number[] = [];
    const missing: number[] = [];
    const { residency } = this.shmem.pages;
    this.eachPart(position, length, (at, bytes, pa) => {
      residency.eachPart(pa, bytes, (partPa, partBytes, isThere) => {
        const list = isThere ? there : missing;
        const from = at + (partPa - pa);
        if (list.length > 0 && list[list.length - 1] === from) list[list.length - 1] = from + partBytes;
        else list.push(from, from + partBytes);
      });
    });
    return { there, missing };
  }

  /**
   * Takes the memory of the pages that are there in the first `count` from `first` on.
   *
   * @throws KernelError ENOSPC, ENOMEM: the system has not so much; nothing is taken
   */
  take(first: PageIndex, count: number): void {
    const { residency } = this.shmem.pages;
    residency.attempt(() => {
      this.cache.forEachRun(first, count, (_, length, pfn) => {
        if (pfn !== 0) residency.take(pfn, length);
      });
    });
  }

  /** Asks the system which pages were written: a view of holes may have stored to them. */
  look(): void {
    const { residency } = this.shmem.pages;
    for (const { index, count } of this.cache.stretches(0, Infinity)) {
      this.cache.forEachRun(index, count, (_, length, pfn) => {
        if (pfn !== 0 && !residency.has(pfn, length)) residency.look(pfn, length);
      });
    }
  }

  /** Zeroes a byte range where it has pages. */
  zero(position: number, length: number): void {
    const { residency } = this.shmem.pages;
    this.eachPart(position, length, (_, bytes, pa) => {
      if (pa !== 0) residency.zero(pa, bytes);
    });
  }

  /** Zeroes every byte that the file's pages hold from `position` on. */
  zeroFrom(position: number): void {
    const next = pagesFor(position);
    this.zero(position, next * PAGE_SIZE - position);
    for (const { index, count } of this.cache.stretches(next, Infinity))
      this.zero(index * PAGE_SIZE, count * PAGE_SIZE);
  }

  /**
   * All folios in the first `count` pages, and how many of those are holes. A folio may reach past
   * them.
   *
   * @param into runs that nobody needs any more, to be used for the result
   */
  runs(count: number, into?: FolioRuns): FoundFolios {
    return this.#runsIn(0, count, into);
  }

  #runsIn(first: PageIndex, count: number, into?: FolioRuns): FoundFolios {
    const { table } = this.shmem.pages;
    const singles = into ?? new FolioRuns();
    singles.clear();
    let holes = 0;
    this.cache.forEachRun(first, count, (index, length, pfn) => {
      if (pfn === 0) holes += length;
      else singles.push(index, pfn, length, 0);
    });
    // Most files have single pages only, outside scratch, and the table tells so row by row.
    const rows = singles.rows();
    if (areOrdinary(table, rows)) return { runs: singles, rows, holes, areOutsideScratch: true };
    const runs = new FolioRuns();
    for (let i = 0; i < singles.length; i++)
      runs.pushPages(singles.indices[i], singles.pfns[i], singles.counts[i], table);
    return { runs, rows: runs.rows(), holes, areOutsideScratch: false };
  }

  /**
   * Takes pages out of the file, frees them and gives their charge back. Folios must lie whole in
   * the range.
   */
  drop(index: PageIndex, count: number): void {
    this.shmem.uncharge(this.free(index, count));
  }

  /**
   * Drops every page from `index` on, those beyond the end of the file included (a large folio may
   * reach past it).
   */
  dropFrom(index: PageIndex): void {
    for (const part of this.cache.stretches(index, Infinity)) this.drop(part.index, part.count);
  }

  /**
   * Takes pages out of the file and frees them. Returns how many there were: their charge is the
   * caller's to give back.
   */
  free(index: PageIndex, count: number): number {
    if (count <= 0) return 0;
    const { rows, runs } = this.#runsIn(index, count);
    this.shmem.pages.putRows(rows);
    this.cache.remove(index, count);
    return runs.pages;
  }

  /**
   * Splits the folio that has pages on both sides of `index`. One that must stay as it is, because
   * the previous kernel's record names it still, is not split.
   *
   * @returns from where and to where it reaches then; `index` twice where no folio does any more
   */
  splitAt(index: PageIndex): { readonly first: PageIndex; readonly end: PageIndex } {
    const { pages } = this.shmem;
    const pfn = this.cache.at(index);
    const head = this.#headOf(pfn);
    if (head === pfn) return { first: index, end: index };
    if (pages.isKept(head, 1)) return this.#folioAt(index);
    pages.split(head);
    return { first: index, end: index };
  }

  /**
   * Notes that pages are written, and with them all others of their folios: what was allocated
   * ahead in them is zeros that are data from now on.
   */
  markWritten(index: PageIndex, count: number): void {
    if (!this.cache.hasUnwritten || count <= 0) return;
    const last = index + count - 1;
    const from = this.#folioAt(index).first;
    this.cache.markWritten(from, this.#folioAt(last).end - from);
  }

  /** Pages of the file that are in the folio of page `index`; itself alone where that is a hole. */
  #folioAt(index: PageIndex): { first: PageIndex; end: PageIndex } {
    const pfn = this.cache.at(index);
    const head = this.#headOf(pfn);
    const first = index - (pfn - head);
    return { first, end: first + (pfn === 0 ? 1 : 2 ** this.shmem.pages.orderOf(head)) };
  }

  /** First frame of the folio that a frame of this file is in. */
  #headOf(pfn: Pfn): Pfn {
    const { pages } = this.shmem;
    if (pfn === 0 || pages.table.kindOf(pfn) !== TAIL) return pfn;
    for (let order = 1; order <= MAX_ORDER; order++) {
      const head = pfn - (pfn % 2 ** order);
      if (pages.isHead(head) && pages.orderOf(head) >= order) return head;
    }
    throw new AssertionError(`frame ${pfn} is in a folio without a head`);
  }

  /**
   * Puts folios in use, which the file then owns, at their indices (holes, each a multiple of its
   * folio's size); counts all their pages. All or none.
   *
   * @throws KernelError ENOSPC, ENOMEM: beyond a limit of the mount
   */
  adopt(runs: FolioRuns): void {
    this.shmem.charge(runs.pages);
    for (let i = 0; i < runs.length; i++)
      this.cache.insert(runs.indices[i], runs.pfns[i], runs.counts[i] << runs.orders[i]);
  }

  /** Puts the folio `to` where `from` was, which it is a copy of, and frees that. */
  replace(index: PageIndex, from: Pfn, to: Pfn): void {
    const { pages } = this.shmem;
    for (let page = 0; page < 1 << pages.orderOf(from); page++) this.cache.replace(index + page, to + page);
    pages.put(from);
  }
}

/**
 * Whether all frames of these rows, of whole folios in use, are folios of order 0 outside scratch.
 */
function areOrdinary(table: PageTable, { length, pfns, counts }: FolioRows): boolean {
  for (let i = 0; i < length; i++)
    if (table.foliosAlike(KIND | SCRATCH, HEAD, 0, pfns[i], counts[i]) < counts[i]) return false;
  return true;
}
