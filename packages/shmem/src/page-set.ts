/**
 * A set of pages of a file, for what few of them have: a bitmap per 2 MiB, which exists while it has members.
 *
 * Always: no bitmap is empty.
 */
import { clearBits, findBit, setBits, type PageIndex } from '@liveupdate/base';

/** Pages that one bitmap stands for. */
const BLOCK = 512;

export class PageSet {
  readonly #blocks = new Map<number, Uint32Array>();

  get isEmpty(): boolean {
    return this.#blocks.size === 0;
  }

  has(index: PageIndex): boolean {
    const words = this.#blocks.get(Math.floor(index / BLOCK));
    const bit = index % BLOCK;
    return words !== undefined && (words[bit >>> 5] & (1 << (bit & 31))) !== 0;
  }

  add(index: PageIndex, count: number): void {
    for (let at = index, end = index + count; at < end;) {
      const number = Math.floor(at / BLOCK);
      const to = Math.min(end, (number + 1) * BLOCK);
      let words = this.#blocks.get(number);
      if (!words) {
        words = new Uint32Array(BLOCK / 32);
        this.#blocks.set(number, words);
      }
      setBits(words, at % BLOCK, to - at);
      at = to;
    }
  }

  delete(index: PageIndex, count: number): void {
    if (this.isEmpty) return;
    for (let at = index, end = index + count; at < end;) {
      const number = Math.floor(at / BLOCK);
      const to = Math.min(end, (number + 1) * BLOCK);
      const words = this.#blocks.get(number);
      if (words) {
        clearBits(words, at % BLOCK, to - at);
        if (findBit(words, 0, BLOCK, true) === BLOCK) this.#blocks.delete(number);
      }
      at = to;
    }
  }
}
