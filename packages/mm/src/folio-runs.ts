/**
 * Folios of a file in runs: side by side in the file and in RAM, of one order. Work on a file's memory is done per run, so a file in one
 * piece costs the same at any size, and one in single scattered pages 14 bytes a folio.
 *
 * Always: runs are in file order; a folio that would go on the last run is part of it.
 */
import { log2Ceil, type PageIndex, type Pfn } from '@liveupdate/base';
import type { PageTable } from './page-table.ts';

/** Files in one piece are many: arrays of a few numbers are made in no time. */
const FIRST_CAPACITY = 4;

function grown<A extends Uint32Array | Uint16Array>(array: A, larger: A): A {
  larger.set(array);
  return larger;
}

export class FolioRuns {
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
    if (this.length === this.pfns.length) this.#grow();
    this.pfns[this.length] = pfn;
    this.indices[this.length] = index;
    this.counts[this.length] = count;
    this.orders[this.length] = order;
    this.length += 1;
  }

  /** Adds the folios that `count` pages in a row belong to: frames from `pfn` on, of whole folios in use whose orders the table knows. */
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

  /** First frame and page index of every folio, one by one: for work that cannot be done per run. */
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

  #grow(): void {
    const capacity = 2 ** (log2Ceil(this.length) + 1);
    this.pfns = grown(this.pfns, new Uint32Array(capacity));
    this.indices = grown(this.indices, new Uint32Array(capacity));
    this.counts = grown(this.counts, new Uint32Array(capacity));
    this.orders = grown(this.orders, new Uint16Array(capacity));
  }
}
