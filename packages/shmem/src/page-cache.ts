/**
 * The pages of one file: from page index to page frame (kernel: the address space's xarray). In blocks of 2 MiB that exist once used, so a sparse
 * file costs what it holds. A block whose pages lie in a row in RAM (a large folio, or single pages that came in one piece) is one number, any other
 * has 4 bytes per page: work on a file is done per block where it lies well, and not per page.
 *
 * Always: a folio lies at an index that is a multiple of its size, with one entry for each of its pages. 0 means a hole. A block that is there has a
 * page.
 */
import { AssertionError, type PageIndex, type Pfn } from '@liveupdate/base';
import { PageSet } from './page-set.ts';

/** Entries in a block: 2 MiB of file, as much as the largest folio that a file of ours gets. */
const BLOCK = 512;

/** How many blocks are looked for one by one before the list of all of them is asked. */
const NEARBY = 8;

/** Frame of the first of 512 pages in a row, or a frame for each. */
type Block = Pfn | Uint32Array;

export interface PageRange {
  readonly index: PageIndex;
  readonly count: number;
}

/** `count` pages side by side in the file and in RAM; pfn 0: a hole. */
export type PageRunVisitor = (index: PageIndex, count: number, pfn: Pfn) => void;

export class PageCache {
  readonly #blocks = new Map<number, Block>();
  /** Numbers of all blocks in order, while #isSorted. */
  #numbers: number[] = [];
  #isSorted = true;
  #count = 0;
  /** Pages that are there and were never written: allocated ahead. They read as zeros, and seeking takes them for holes. */
  readonly #unwritten = new PageSet();

  /** Pages that are there. */
  get count(): number {
    return this.#count;
  }

  /** Frame of a page; 0 where it is a hole. */
  at(index: PageIndex): Pfn {
    const block = this.#blocks.get(Math.floor(index / BLOCK));
    if (block === undefined) return 0;
    return typeof block === 'number' ? block + (index % BLOCK) : block[index % BLOCK];
  }

  /** Puts `count` pages in a row, in frames in a row, into holes. */
  insert(index: PageIndex, pfn: Pfn, count: number): void {
    for (let at = index, end = index + count; at < end;) {
      const number = Math.floor(at / BLOCK);
      const to = Math.min(end, (number + 1) * BLOCK);
      if (to - at === BLOCK && !this.#blocks.has(number)) {
        this.#set(number, pfn + (at - index));
      } else {
        const block = this.#open(number);
        const last = to - number * BLOCK;
        for (let i = at % BLOCK, frame = pfn + (at - index); i < last; i++, frame++) {
          if (block[i] !== 0) throw isThere(number * BLOCK + i);
          block[i] = frame;
        }
        this.#close(number, block);
      }
      at = to;
    }
    this.#count += count;
  }

  /** Puts single pages `pfns[from ..]` into `count` holes in a row. */
  insertMany(index: PageIndex, pfns: Uint32Array, from: number, count: number): void {
    for (let at = index, end = index + count; at < end;) {
      const number = Math.floor(at / BLOCK);
      const to = Math.min(end, (number + 1) * BLOCK);
      const block = this.#open(number);
      const last = to - number * BLOCK;
      for (let i = at % BLOCK, next = from + (at - index); i < last; i++, next++) {
        if (block[i] !== 0) throw isThere(number * BLOCK + i);
        block[i] = pfns[next];
      }
      this.#close(number, block);
      at = to;
    }
    this.#count += count;
  }

  /** Replaces the frame of one page. */
  replace(index: PageIndex, pfn: Pfn): void {
    if (this.at(index) === 0) throw new AssertionError(`page ${index} of the file is a hole`);
    this.#open(Math.floor(index / BLOCK))[index % BLOCK] = pfn;
  }

  /** Makes `count` pages holes. Their frames must have been taken care of. */
  remove(index: PageIndex, count: number): void {
    this.#unwritten.delete(index, count);
    for (let at = index, end = index + count; at < end;) {
      const number = Math.floor(at / BLOCK);
      const to = Math.min(end, (number + 1) * BLOCK);
      const block = this.#blocks.get(number);
      if (block !== undefined) this.#removeFrom(number, block, at % BLOCK, to - number * BLOCK);
      at = to;
    }
  }

  #removeFrom(number: number, block: Block, from: number, to: number): void {
    if (typeof block === 'number' && to - from === BLOCK) {
      this.#count -= BLOCK;
      this.#delete(number);
      return;
    }
    const entries = this.#open(number);
    for (let i = from; i < to; i++) {
      if (entries[i] === 0) continue;
      entries[i] = 0;
      this.#count -= 1;
    }
    if (alike(entries, 0, BLOCK) === BLOCK && entries[0] === 0) this.#delete(number);
  }

  /** Parts of the file from page `index` on that may hold pages, in order. All else from there on is a hole, however long the file. */
  stretchesFrom(index: PageIndex): PageRange[] {
    const stretches: { index: PageIndex; count: number }[] = [];
    const numbers = this.#sorted();
    let end = index;
    for (let n = lowerBound(numbers, Math.floor(index / BLOCK)); n < numbers.length; n++) {
      const from = Math.max(index, numbers[n] * BLOCK);
      const to = (numbers[n] + 1) * BLOCK;
      const last = stretches.at(-1);
      if (last && from === end) last.count += to - from;
      else stretches.push({ index: from, count: to - from });
      end = to;
    }
    return stretches;
  }

  /** Calls `visit` for each run of [index, index + count), holes included, in order. */
  forEachRun(index: PageIndex, count: number, visit: PageRunVisitor): void {
    const end = index + count;
    let runAt = index;
    let runPfn = 0;
    let runLength = 0;
    let number = -1;
    let block: Block | undefined;
    for (let at = index; at < end;) {
      if (at >= (number + 1) * BLOCK || number < 0) {
        number = Math.floor(at / BLOCK);
        block = this.#blocks.get(number);
      }
      const to = Math.min(end, (number + 1) * BLOCK);
      let pfn = 0;
      let length = to - at;
      if (block === undefined) {
        if (to < end) length = Math.min(end, this.#nextBlock(number + 1) * BLOCK) - at;
      } else if (typeof block === 'number') {
        pfn = block + (at % BLOCK);
      } else {
        pfn = block[at % BLOCK];
        length = alike(block, at % BLOCK, to - number * BLOCK);
      }
      if (runLength > 0 && (pfn === 0 ? runPfn === 0 : runPfn !== 0 && pfn === runPfn + runLength)) {
        runLength += length;
      } else {
        if (runLength > 0) visit(runAt, runLength, runPfn);
        runAt = at;
        runPfn = pfn;
        runLength = length;
      }
      at += length;
    }
    if (runLength > 0) visit(runAt, runLength, runPfn);
  }

  // ---- What was written ----------------------------------------------------------------------------------------------------------

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
    for (let at = from; at < end;) {
      const number = Math.floor(at / BLOCK);
      if (!this.#blocks.has(number)) {
        at = this.#nextBlock(number + 1) * BLOCK;
        continue;
      }
      for (const to = Math.min(end, (number + 1) * BLOCK); at < to; at++) if (this.#isData(at)) return at;
    }
    return end;
  }

  /** First page in [from, end) that is a hole or was never written; `end` where there is none. */
  nextHole(from: PageIndex, end: PageIndex): PageIndex {
    for (let at = from; at < end;) {
      const number = Math.floor(at / BLOCK);
      const to = Math.min(end, (number + 1) * BLOCK);
      if (this.#unwritten.isEmpty && typeof this.#blocks.get(number) === 'number') at = to;
      for (; at < to; at++) if (!this.#isData(at)) return at;
    }
    return end;
  }

  #isData(index: PageIndex): boolean {
    return this.at(index) !== 0 && !this.#unwritten.has(index);
  }

  // ---- Blocks ----------------------------------------------------------------------------------------------------------------------

  /** A block with an entry for each page, to be changed. */
  #open(number: number): Uint32Array {
    const block = this.#blocks.get(number);
    if (block instanceof Uint32Array) return block;
    const entries = new Uint32Array(BLOCK);
    if (block !== undefined) for (let i = 0; i < BLOCK; i++) entries[i] = block + i;
    this.#set(number, entries);
    return entries;
  }

  /** Makes a block one number again where its pages have come to lie in a row. */
  #close(number: number, block: Uint32Array): void {
    const first = block[0];
    if (first !== 0 && block[BLOCK - 1] === first + BLOCK - 1 && alike(block, 0, BLOCK) === BLOCK)
      this.#blocks.set(number, first);
  }

  #set(number: number, block: Block): void {
    if (this.#isSorted && !this.#blocks.has(number)) {
      if (this.#numbers.length === 0 || this.#numbers[this.#numbers.length - 1] < number)
        this.#numbers.push(number);
      else this.#isSorted = false;
    }
    this.#blocks.set(number, block);
  }

  #delete(number: number): void {
    this.#blocks.delete(number);
    if (this.#isSorted && this.#numbers[this.#numbers.length - 1] === number) this.#numbers.pop();
    else this.#isSorted = false;
  }

  #sorted(): readonly number[] {
    if (!this.#isSorted) {
      this.#numbers = [...this.#blocks.keys()].sort((a, b) => a - b);
      this.#isSorted = true;
    }
    return this.#numbers;
  }

  /** Number of the first block that is there from `number` on; Infinity where there is none. */
  #nextBlock(number: number): number {
    for (let next = number; next < number + NEARBY; next++) if (this.#blocks.has(next)) return next;
    const numbers = this.#sorted();
    return numbers.at(lowerBound(numbers, number + NEARBY)) ?? Infinity;
  }
}

/** How many entries from `from` up to `to` go on what the first of them is: a run of frames, or of holes. */
function alike(block: Uint32Array, from: number, to: number): number {
  const step = block[from] === 0 ? 0 : 1;
  let expected = block[from];
  let i = from;
  while (i < to && block[i] === expected) {
    i += 1;
    expected += step;
  }
  return i - from;
}

/** Place of the first of these ascending numbers that is at least `least`. */
function lowerBound(numbers: readonly number[], least: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numbers[middle] < least) low = middle + 1;
    else high = middle;
  }
  return low;
}

function isThere(index: PageIndex): AssertionError {
  return new AssertionError(`page ${index} of the file is there already`);
}
