/**
 * A set of pages of a file, for what few of them have: a bitmap per 2 MiB, which exists while it
 * has members.
 *
 * Always: no bitmap is empty.
 */
import { clearBits, findBit, setBits, type PageIndex } from '@liveupdate/base';

/** Pages that one bitmap stands for. */
const BLOCK = 512;

export class PageSet {
  /** Most files have no members, and many files have no map for them. */
  #blocks: Map<number, Uint32Array> | undefined;

  get isEmpty(): boolean {
    return this.#blocks === undefined;
  }

  has(index: PageIndex): boolean {
    const words = this.#blocks?.get(Math.floor(index / BLOCK));
    const bit = index % BLOCK;
    return words !== undefined && (words[bit >>> 5] & (1 << (bit & 31))) !== 0;
  }

  /** Whether any page of the 2 MiB that this one is in is a member. */
  hasNear(index: PageIndex): boolean {
    return this.#blocks?.has(Math.floor(index / BLOCK)) ?? false;
  }

  add(index: PageIndex, count: number): void {
    if (count <= 0) return;
    const blocks = (this.#blocks ??= new Map<number, Uint32Array>());
    for (let at = index, end = index + count; at < end;) {
      const number = Math.floor(at / BLOCK);
      const to = Math.min(end, (number + 1) * BLOCK);
      let words = blocks.get(number);
      if (!words) {
        words = new Uint32Array(BLOCK / 32);
        blocks.set(number, words);
      }
      setBits(words, at % BLOCK, to - at);
      at = to;
    }
  }

  /**
   * Costs by the members and not by the range, which may be that of a file far longer than any
   * memory.
   */
  delete(index: PageIndex, count: number): void {
    const blocks = this.#blocks;
    if (!blocks) return;
    const end = index + count;
    const first = Math.floor(index / BLOCK);
    const last = Math.ceil(end / BLOCK);
    if (last - first <= blocks.size) {
      for (let number = first; number < last; number++) deleteIn(blocks, number, index, end);
    } else {
      for (const number of blocks.keys()) deleteIn(blocks, number, index, end);
    }
    if (blocks.size === 0) this.#blocks = undefined;
  }
}

function deleteIn(blocks: Map<number, Uint32Array>, number: number, index: PageIndex, end: PageIndex): void {
  const words = blocks.get(number);
  if (!words) return;
  const from = Math.max(index - number * BLOCK, 0);
  const to = Math.min(end - number * BLOCK, BLOCK);
  if (from >= to) return;
  clearBits(words, from, to - from);
  if (findBit(words, 0, BLOCK, true) === BLOCK) blocks.delete(number);
}
