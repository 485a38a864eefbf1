/**
 * The pages of a file that lie in more than one row: from page index to page frame (kernel: the
 * address space's xarray). In blocks of 2 MiB that exist once used, so a sparse file costs what it
 * holds. A block whose pages lie in a row in RAM (a large folio, or single pages that came in one
 * piece) is one number, or two where it is not full; any other has 4 bytes per page: work on a file
 * is done per block where it lies well, and not per page.
 *
 * Always: a block that is there has a page.
 */
import { AssertionError, type PageIndex, type Pfn } from '@liveupdate/base';
import { BlockIndex } from './block-index.ts';
import { NumberRow } from './number-row.ts';
import type { PageRange, PageRunVisitor } from './page-range.ts';
import type { PageSet } from './page-set.ts';

/** Entries in a block: 2 MiB of file, as much as the largest folio that a file of ours gets. */
const BLOCK = 512;

/** In place of a block's first frame: it is not full, or its pages do not lie in a row. */
const PARTED = 0xffff_ffff;

export class CachedBlocks {
  /** Frame of the first of 512 pages in a row, or PARTED. */
  readonly #blocks = new BlockIndex(BLOCK);
  /** The frames of those blocks that are parted. */
  readonly #parted = new Map<number, NumberRow>();
  /** The one that was opened last: filling holes opens the same one again and again. */
  #lastNumber = -1;
  #last: NumberRow | undefined;
  #count = 0;

  /** Pages that are there. */
  get count(): number {
    return this.#count;
  }

  /** Frame of a page; 0 where it is a hole. */
  at(index: PageIndex): Pfn {
    const number = Math.floor(index / BLOCK);
    const first = this.#blocks.get(number);
    if (first === 0) return 0;
    return first === PARTED ? this.#parted.get(number)!.get(index % BLOCK) : first + (index % BLOCK);
  }

  /** Puts `count` pages in a row, in frames in a row, into holes. */
  insert(index: PageIndex, pfn: Pfn, count: number): void {
    for (let at = index, end = index + count; at < end;) {
      const number = Math.floor(at / BLOCK);
      if (at % BLOCK === 0 && end - at >= BLOCK) {
        const filled = this.#blocks.fill(number, Math.floor(end / BLOCK), pfn + (at - index));
        if (filled > number) {
          at = filled * BLOCK;
          continue;
        }
      }
      const to = Math.min(end, (number + 1) * BLOCK);
      const block = this.#open(number);
      const last = to - number * BLOCK;
      const stop = block.fill(at % BLOCK, last, pfn + (at - index));
      if (stop < last) throw isThere(number * BLOCK + stop);
      this.#close(number, block);
      at = to;
    }
    this.#count += count;
  }

  /** Replaces the frame of one page. */
  replace(index: PageIndex, pfn: Pfn): void {
    if (this.at(index) === 0) throw new AssertionError(`page ${index} of the file is a hole`);
    this.#open(Math.floor(index / BLOCK)).replace(index % BLOCK, pfn);
  }

  /** Makes `count` pages holes. Their frames must have been taken care of. */
  remove(index: PageIndex, count: number): void {
    for (const stretch of this.stretches(index, index + count)) {
      for (let at = stretch.index, end = at + stretch.count; at < end;) {
        const number = Math.floor(at / BLOCK);
        const to = Math.min(end, (number + 1) * BLOCK);
        this.#removeFrom(number, this.#blocks.get(number), at % BLOCK, to - number * BLOCK);
        at = to;
      }
    }
  }

  #removeFrom(number: number, first: Pfn, from: number, to: number): void {
    if (first !== PARTED && to - from === BLOCK) {
      this.#count -= BLOCK;
      this.#blocks.set(number, 0);
      return;
    }
    const block = this.#open(number);
    const before = block.count;
    block.clear(from, to);
    this.#count -= before - block.count;
    if (block.count === 0) this.#set(number, 0);
  }

  /** Parts of [from, to) that may hold pages, in order. All else is a hole, however long it is. */
  stretches(from: PageIndex, to: PageIndex): PageRange[] {
    const stretches: { index: PageIndex; count: number }[] = [];
    let end = from;
    let number = this.#blocks.next(Math.floor(from / BLOCK));
    for (; number * BLOCK < to; number = this.#blocks.next(number + 1)) {
      const first = Math.max(from, number * BLOCK);
      const last = stretches.at(-1);
      if (last && first === end) last.count += BLOCK;
      else stretches.push({ index: first, count: (number + 1) * BLOCK - first });
      end = (number + 1) * BLOCK;
    }
    const last = stretches.at(-1);
    if (last) last.count = Math.min(last.count, to - last.index);
    return stretches;
  }

  /** Calls `visit` for each run of [index, index + count), holes included, in order. */
  forEachRun(index: PageIndex, count: number, visit: PageRunVisitor): void {
    const end = index + count;
    let runAt = index;
    let runPfn = 0;
    let runLength = 0;
    for (let at = index; at < end;) {
      const number = Math.floor(at / BLOCK);
      const base = number * BLOCK;
      const first = this.#blocks.get(number);
      const block = first === PARTED ? this.#parted.get(number) : undefined;
      let to = Math.min(end, base + BLOCK);
      if (first === 0) {
        if (to < end) to = Math.min(end, this.#blocks.next(number + 1) * BLOCK);
      } else if (!block) {
        to = Math.min(end, this.#blocks.rowEnd(number, Math.ceil(end / BLOCK)) * BLOCK);
      }
      while (at < to) {
        let pfn = 0;
        let stop = to;
        if (block) {
          pfn = block.get(at - base);
          stop = base + block.runEnd(at - base, to - base, pfn);
        } else if (first !== 0) {
          pfn = first + (at - base);
        }
        if (runLength > 0 && (pfn === 0 ? runPfn === 0 : runPfn !== 0 && pfn === runPfn + runLength)) {
          runLength += stop - at;
        } else {
          if (runLength > 0) visit(runAt, runLength, runPfn);
          runAt = at;
          runPfn = pfn;
          runLength = stop - at;
        }
        at = stop;
      }
    }
    if (runLength > 0) visit(runAt, runLength, runPfn);
  }

  // ---- What was written -------------------------------------------------------------------------

  /** First page in [from, end) that was written; `end` where there is none. */
  nextData(from: PageIndex, end: PageIndex, unwritten: PageSet): PageIndex {
    for (let at = from; at < end;) {
      const number = Math.floor(at / BLOCK);
      const first = this.#blocks.get(number);
      if (first === 0) {
        at = this.#blocks.next(number + 1) * BLOCK;
        continue;
      }
      if (first !== PARTED && !unwritten.hasNear(at)) return at;
      for (const to = Math.min(end, (number + 1) * BLOCK); at < to; at++)
        if (this.#isData(at, unwritten)) return at;
    }
    return end;
  }

  /** First page in [from, end) that is a hole or was never written; `end` where there is none. */
  nextHole(from: PageIndex, end: PageIndex, unwritten: PageSet): PageIndex {
    for (let at = from; at < end;) {
      const number = Math.floor(at / BLOCK);
      const to = Math.min(end, (number + 1) * BLOCK);
      const first = this.#blocks.get(number);
      if (first === 0) return at;
      if (first !== PARTED && !unwritten.hasNear(at)) at = to;
      for (; at < to; at++) if (!this.#isData(at, unwritten)) return at;
    }
    return end;
  }

  #isData(index: PageIndex, unwritten: PageSet): boolean {
    return this.at(index) !== 0 && !unwritten.has(index);
  }

  // ---- Blocks -----------------------------------------------------------------------------------

  /** A block as what it has for each page, to be changed. */
  #open(number: number): NumberRow {
    if (number !== this.#lastNumber || !this.#last) {
      this.#last = this.#find(number);
      this.#lastNumber = number;
    }
    return this.#last;
  }

  #find(number: number): NumberRow {
    const first = this.#blocks.get(number);
    if (first === PARTED) return this.#parted.get(number)!;
    const block = new NumberRow(BLOCK, 1);
    if (first !== 0) block.fill(0, BLOCK, first);
    this.#blocks.set(number, PARTED);
    this.#parted.set(number, block);
    return block;
  }

  /** Forgets what a parted block has for each page: it is `value` from now on. */
  #set(number: number, value: number): void {
    this.#blocks.set(number, value);
    this.#parted.delete(number);
    if (number === this.#lastNumber) this.#last = undefined;
  }

  /** Makes a block one number again where its pages have come to lie in a row. */
  #close(number: number, block: NumberRow): void {
    if (block.count < BLOCK) return;
    const first = block.get(0);
    if (block.runEnd(0, BLOCK, first) < BLOCK) return;
    this.#set(number, first);
  }
}

function isThere(index: PageIndex): AssertionError {
  return new AssertionError(`page ${index} of the file is there already`);
}
