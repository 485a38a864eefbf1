/**
 * The pages of one file: from page index to page frame. Most files have theirs in one row, in the
 * file and in RAM, for they came in one piece: those are three numbers. Any other has blocks.
 *
 * Always: a folio lies at an index that is a multiple of its size, with one entry for each of its
 * pages. 0 means a hole.
 */
import { AssertionError, type PageIndex, type Pfn } from '@liveupdate/base';
import { CachedBlocks } from './cached-blocks.ts';
import type { PageRange, PageRunVisitor } from './page-range.ts';
import { PageSet } from './page-set.ts';

export class PageCache {
  /**
   * The row: its first page, the frame of that, and how many pages it has. Means nothing where
   * there are blocks.
   */
  #from: PageIndex = 0;
  #first: Pfn = 0;
  #length = 0;
  #blocks: CachedBlocks | undefined;
  /**
   * Pages that are there and were never written: allocated ahead. They read as zeros, and seeking
   * takes them for holes.
   */
  readonly #unwritten = new PageSet();

  /** Pages that are there. */
  get count(): number {
    return this.#blocks ? this.#blocks.count : this.#length;
  }

  /** Frame of a page; 0 where it is a hole. */
  at(index: PageIndex): Pfn {
    if (this.#blocks) return this.#blocks.at(index);
    const place = index - this.#from;
    return place >= 0 && place < this.#length ? this.#first + place : 0;
  }

  /** Puts `count` pages in a row, in frames in a row, into holes. */
  insert(index: PageIndex, pfn: Pfn, count: number): void {
    if (count === 0) return;
    if (!this.#blocks) {
      if (this.#length === 0) {
        this.#from = index;
        this.#first = pfn;
        this.#length = count;
        return;
      }
      if (index === this.#end && pfn === this.#first + this.#length) {
        this.#length += count;
        return;
      }
    }
    this.#open().insert(index, pfn, count);
  }

  /** Replaces the frame of one page. */
  replace(index: PageIndex, pfn: Pfn): void {
    if (this.at(index) === 0) throw new AssertionError(`page ${index} of the file is a hole`);
    this.#open().replace(index, pfn);
  }

  /** Makes `count` pages holes. Their frames must have been taken care of. */
  remove(index: PageIndex, count: number): void {
    this.#unwritten.delete(index, count);
    if (!this.#blocks && this.#removeEnd(index, index + count)) return;
    const blocks = this.#open();
    blocks.remove(index, count);
    if (blocks.count > 0) return;
    this.#blocks = undefined;
    this.#length = 0;
  }

  /** Whether what is left of the row without [from, to) is a row, and was made so. */
  #removeEnd(from: PageIndex, to: PageIndex): boolean {
    const first = Math.max(from, this.#from);
    if (first >= Math.min(to, this.#end)) return true;
    if (to < this.#end) return false;
    this.#length = first - this.#from;
    return true;
  }

  /** Parts of [from, to) that may hold pages, in order. All else is a hole, however long it is. */
  stretches(from: PageIndex, to: PageIndex): PageRange[] {
    if (this.#blocks) return this.#blocks.stretches(from, to);
    const index = Math.max(from, this.#from);
    const count = Math.min(to, this.#end) - index;
    return count > 0 ? [{ index, count }] : [];
  }

  /** Calls `visit` for each run of [index, index + count), holes included, in order. */
  forEachRun(index: PageIndex, count: number, visit: PageRunVisitor): void {
    if (this.#blocks) {
      this.#blocks.forEachRun(index, count, visit);
      return;
    }
    const end = index + count;
    const first = Math.min(end, Math.max(index, this.#from));
    const last = Math.max(first, Math.min(end, this.#end));
    if (first === last) {
      if (count > 0) visit(index, count, 0);
      return;
    }
    if (first > index) visit(index, first - index, 0);
    visit(first, last - first, this.#first + (first - this.#from));
    if (end > last) visit(last, end - last, 0);
  }

  // ---- What was written -------------------------------------------------------------------------

  /** Whether any page is allocated and not written. */
  get hasUnwritten(): boolean {
    return !this.#unwritten.isEmpty;
  }

  markUnwritten(index: PageIndex, count: number): void {
    this.#unwritten.add(index, count);
  }

  markWritten(index: PageIndex, count: number): void {
    this.#unwritten.delete(index, count);
  }

  /** First page in [from, end) that was written; `end` where there is none. */
  nextData(from: PageIndex, end: PageIndex): PageIndex {
    const unwritten = this.#unwritten;
    if (this.#blocks) return this.#blocks.nextData(from, end, unwritten);
    const to = Math.min(end, this.#end);
    for (let at = Math.max(from, this.#from); at < to; at++) if (!unwritten.has(at)) return at;
    return end;
  }

  /** First page in [from, end) that is a hole or was never written; `end` where there is none. */
  nextHole(from: PageIndex, end: PageIndex): PageIndex {
    const unwritten = this.#unwritten;
    if (this.#blocks) return this.#blocks.nextHole(from, end, unwritten);
    if (from < this.#from) return Math.min(from, end);
    const to = Math.min(end, this.#end);
    if (unwritten.isEmpty) return Math.min(Math.max(from, to), end);
    let at = from;
    while (at < to && !unwritten.has(at)) at += 1;
    return Math.min(at, end);
  }

  // ---- Inside -----------------------------------------------------------------------------------

  get #end(): PageIndex {
    return this.#from + this.#length;
  }

  /** From now on there are blocks. */
  #open(): CachedBlocks {
    if (this.#blocks) return this.#blocks;
    const blocks = new CachedBlocks();
    if (this.#length > 0) blocks.insert(this.#from, this.#first, this.#length);
    this.#blocks = blocks;
    return blocks;
  }
}
