/**
 * Folios of a file in runs: side by side in the file and in RAM, of one order. Work on a file's
 * memory is done per run, so a file in one piece costs the same at any size, and one in single
 * scattered pages 14 bytes a folio.
 *
 * Always: runs are in file order; a folio that would go on the last run is part of it.
 */
import { checkWhole, log2Ceil, type PageIndex, type Pfn } from '@liveupdate/base';
import type { PageTable } from './page-table.ts';

/** Files in one piece are many: arrays of a few numbers are made in no time. */
const FIRST_CAPACITY = 4;

/** Runs that an empty one has room for at most. */
const MOST_KEPT = 1024;

function grown<A extends Uint32Array | Uint16Array>(array: A, larger: A): A {
  larger.set(array);
  return larger;
}

/**
 * Rows that are looked at for one that goes on: files are written in a few streams at a time, if in
 * more than one.
 */
const OPEN_ROWS = 4;

/**
 * Folios by where they lie in RAM alone, in rows side by side of one order: for work that the file
 * does not matter to.
 */
export interface FolioRows {
  /** Number of rows; entries of the arrays beyond it mean nothing. */
  readonly length: number;
  /** First frame of each row. */
  readonly pfns: Uint32Array;
  /** Folios in each row. */
  readonly counts: Uint32Array;
  /** Order of the folios of each row. */
  readonly orders: Uint16Array;
}

/**
 * One row.
 *
 * @throws KernelError EINVAL: no whole numbers
 */
export function rowOf(pfn: Pfn, count: number, order: number): FolioRows {
  checkWhole(pfn, 'a frame');
  checkWhole(count, 'a number of folios');
  checkWhole(order, 'an order of folios');
  return {
    length: 1,
    pfns: Uint32Array.of(pfn),
    counts: Uint32Array.of(count),
    orders: Uint16Array.of(order),
  };
}

/**
 * @internal How many folios in a row, `step` frames apart, a list names from index `at` on, before
 * index `end`.
 */
export function inARow(pfns: Uint32Array, at: number, end: number, step: number): number {
  let next = pfns[at] + step;
  let to = at + 1;
  while (to < end && pfns[to] === next) {
    next += step;
    to += 1;
  }
  return to - at;
}

export class FolioRuns implements FolioRows {
  /** Number of runs; entries of the arrays beyond it mean nothing. */
  length = 0;
  /** Folios in all runs. */
  folios = 0;
  /** First frame of each run. */
  pfns = new Uint32Array(FIRST_CAPACITY);
  /** Page index in the file at which each run begins. */
  indices = new Uint32Array(FIRST_CAPACITY);
  /** Folios in each run. */
  counts = new Uint32Array(FIRST_CAPACITY);
  /** Order of the folios of each run. */
  orders = new Uint16Array(FIRST_CAPACITY);

  /**
   * Forgets all runs, to be used again: making the arrays costs more than what a small file has to
   * put in.
   */
  clear(): void {
    if (this.pfns.length > MOST_KEPT) {
      this.pfns = new Uint32Array(FIRST_CAPACITY);
      this.indices = new Uint32Array(FIRST_CAPACITY);
      this.counts = new Uint32Array(FIRST_CAPACITY);
      this.orders = new Uint16Array(FIRST_CAPACITY);
    }
    this.length = 0;
    this.folios = 0;
  }

  /** Adds `count` folios of one order that begin at page `index` of the file and at frame `pfn`. */
  push(index: PageIndex, pfn: Pfn, count: number, order: number): void {
    const last = this.length - 1;
    this.folios += count;
    if (last >= 0 && this.orders[last] === order) {
      const pages = this.counts[last] * (1 << order);
      if (this.pfns[last] + pages === pfn && this.indices[last] + pages === index) {
        this.counts[last] += count;
        return;
      }
    }
    this.#append(index, pfn, count, order);
  }

  /**
   * Adds the folios that `count` pages in a row belong to: frames from `pfn` on, of whole folios in
   * use whose orders the table knows.
   */
  pushPages(index: PageIndex, pfn: Pfn, count: number, table: PageTable): void {
    let at = 0;
    while (at < count) {
      const order = table.orderOf(pfn + at);
      const folios = table.foliosAlike(0, 0, order, pfn + at, Math.ceil((count - at) / (1 << order)));
      this.push(index + at, pfn + at, folios, order);
      at += folios * (1 << order);
    }
  }

  /** Pages in all runs. */
  get pages(): number {
    let pages = 0;
    for (let i = 0; i < this.length; i++) pages += this.counts[i] * (1 << this.orders[i]);
    return pages;
  }

  /**
   * First frame and page index of every folio, one by one: for work that cannot be done per run.
   */
  list(): { readonly pfns: Uint32Array; readonly indices: Uint32Array } {
    const pfns = new Uint32Array(this.folios);
    const indices = new Uint32Array(this.folios);
    let n = 0;
    for (let i = 0; i < this.length; i++) {
      const step = 1 << this.orders[i];
      for (let f = 0; f < this.counts[i]; f++, n++) {
        pfns[n] = this.pfns[i] + f * step;
        indices[n] = this.indices[i] + f * step;
      }
    }
    return { pfns, indices };
  }

  /**
   * The same folios as rows in RAM. A sparse file whose holes were filled has thousands of runs,
   * for its pages lie in RAM as they came: those that were written in one row, the others in
   * another.
   */
  rows(): FolioRows {
    if (this.length < 2) return this;
    const rows = new FolioRuns();
    rows.pushRows(this);
    return rows;
  }

  /** Adds rows, those of another file. Page indices mean nothing then. */
  pushRows({ length, pfns, counts, orders }: FolioRows): void {
    for (let i = 0; i < length; i++) this.pushRow(pfns[i], counts[i], orders[i]);
  }

  /** Adds folios to a row that they go on, or as a new one. Page indices mean nothing then. */
  pushRow(pfn: Pfn, count: number, order: number): void {
    const { pfns, counts, orders } = this;
    for (let i = this.length - 1, end = Math.max(0, this.length - OPEN_ROWS); i >= end; i--) {
      if (pfns[i] + counts[i] * (1 << order) !== pfn || orders[i] !== order) continue;
      counts[i] += count;
      return;
    }
    this.#append(0, pfn, count, order);
  }

  #append(index: PageIndex, pfn: Pfn, count: number, order: number): void {
    if (this.length === this.pfns.length) this.#grow();
    this.pfns[this.length] = pfn;
    this.indices[this.length] = index;
    this.counts[this.length] = count;
    this.orders[this.length] = order;
    this.length += 1;
  }

  #grow(): void {
    const capacity = 2 ** (log2Ceil(this.length) + 1);
    this.pfns = grown(this.pfns, new Uint32Array(capacity));
    this.indices = grown(this.indices, new Uint32Array(capacity));
    this.counts = grown(this.counts, new Uint32Array(capacity));
    this.orders = grown(this.orders, new Uint16Array(capacity));
  }
}
