/**
 * The pages of one file: from page index to page frame (kernel: the address space's xarray). 4 bytes per page, in blocks that exist once used, so a
 * sparse file costs what it holds.
 *
 * Always: a folio lies at an index that is a multiple of its size, with one entry for each of its pages. 0 means a hole.
 */
import { AssertionError, type PageIndex, type Pfn } from '@liveupdate/base';

/** Entries in a block: 2 MiB of file, as much as the largest folio that a file of ours gets. */
const BLOCK = 512;

export interface PageRange {
  readonly index: PageIndex;
  readonly count: number;
}

/** `count` pages side by side in the file and in RAM; pfn 0: a hole. */
export type PageRunVisitor = (index: PageIndex, count: number, pfn: Pfn) => void;

export class PageCache {
  readonly #blocks = new Map<number, Uint32Array>();
  #count = 0;

  /** Pages that are there. */
  get count(): number {
    return this.#count;
  }

  /** Frame of a page; 0 where it is a hole. */
  at(index: PageIndex): Pfn {
    const block = this.#blocks.get(Math.floor(index / BLOCK));
    return block ? block[index % BLOCK] : 0;
  }

  /** Puts `count` pages in a row, in frames in a row, into holes. */
  insert(index: PageIndex, pfn: Pfn, count: number): void {
    this.#eachBlock(index, count, true, (block, from, to, at) => {
      for (let i = from; i < to; i++) {
        if (block[i] !== 0) throw new AssertionError(`page ${at + i - from} of the file is there already`);
        block[i] = pfn + (at - index) + (i - from);
      }
    });
    this.#count += count;
  }

  /** Puts single pages `pfns[from ..]` into `count` holes in a row. */
  insertMany(index: PageIndex, pfns: Uint32Array, from: number, count: number): void {
    this.#eachBlock(index, count, true, (block, first, to, at) => {
      for (let i = first; i < to; i++)
        if (block[i] !== 0) throw new AssertionError(`page ${at + i - first} of the file is there already`);
      block.set(pfns.subarray(from + (at - index), from + (at - index) + (to - first)), first);
    });
    this.#count += count;
  }

  /** Replaces the frame of one page. */
  replace(index: PageIndex, pfn: Pfn): void {
    const block = this.#blocks.get(Math.floor(index / BLOCK));
    if (!block || block[index % BLOCK] === 0) throw new AssertionError(`page ${index} of the file is a hole`);
    block[index % BLOCK] = pfn;
  }

  /** Makes `count` pages holes. Their frames must have been taken care of. */
  remove(index: PageIndex, count: number): void {
    this.#eachBlock(index, count, false, (block, from, to, at) => {
      for (let i = from; i < to; i++) if (block[i] !== 0) this.#count -= 1;
      if (to - from === BLOCK) this.#blocks.delete(Math.floor(at / BLOCK));
      else block.fill(0, from, to);
    });
  }

  /** Parts of the file from page `index` on that may hold pages, in order. All else from there on is a hole, however long the file. */
  stretchesFrom(index: PageIndex): PageRange[] {
    const stretches: { index: PageIndex; count: number }[] = [];
    let end = index;
    for (const number of [...this.#blocks.keys()].sort((a, b) => a - b)) {
      const from = Math.max(index, number * BLOCK);
      const to = (number + 1) * BLOCK;
      if (to <= index) continue;
      const last = stretches.at(-1);
      if (last && from === end) last.count += to - from;
      else stretches.push({ index: from, count: to - from });
      end = to;
    }
    return stretches;
  }

  /** Calls `visit` for each run of [index, index + count), holes included, in order. */
  forEachRun(index: PageIndex, count: number, visit: PageRunVisitor): void {
    let runAt = index;
    let runPfn = 0;
    let runLength = 0;
    const end = index + count;
    let at = index;
    while (at < end) {
      const blockNumber = Math.floor(at / BLOCK);
      const blockEnd = Math.min(end, (blockNumber + 1) * BLOCK);
      const block = this.#blocks.get(blockNumber);
      if (!block) {
        if (runLength > 0 && runPfn !== 0) {
          visit(runAt, runLength, runPfn);
          runLength = 0;
        }
        if (runLength === 0) runAt = at;
        runPfn = 0;
        runLength += blockEnd - at;
        at = blockEnd;
        continue;
      }
      while (at < blockEnd) {
        const alike =
          runLength === 0
            ? 0
            : matching(block, at % BLOCK, blockEnd - at, runPfn === 0 ? 0 : runPfn + runLength);
        if (alike === 0) {
          if (runLength > 0) visit(runAt, runLength, runPfn);
          runAt = at;
          runPfn = block[at % BLOCK];
          runLength = 1;
          at += 1;
        } else {
          runLength += alike;
          at += alike;
        }
      }
    }
    if (runLength > 0) visit(runAt, runLength, runPfn);
  }

  #eachBlock(
    index: PageIndex,
    count: number,
    make: boolean,
    visit: (block: Uint32Array, from: number, to: number, at: PageIndex) => void,
  ): void {
    let at = index;
    const end = index + count;
    while (at < end) {
      const number = Math.floor(at / BLOCK);
      const next = Math.min(end, (number + 1) * BLOCK);
      let block = this.#blocks.get(number);
      if (!block && make) {
        block = new Uint32Array(BLOCK);
        this.#blocks.set(number, block);
      }
      if (block) {
        const from = at % BLOCK;
        visit(block, from, from + (next - at), at);
      }
      at = next;
    }
  }
}

/** How many of `count` entries from `from` on go on a run whose next frame is `pfn`; 0: a run of holes. */
function matching(block: Uint32Array, from: number, count: number, pfn: Pfn): number {
  const step = pfn === 0 ? 0 : 1;
  const end = from + count;
  let expected = pfn;
  let i = from;
  while (i < end && block[i] === expected) {
    i += 1;
    expected += step;
  }
  return i - from;
}
