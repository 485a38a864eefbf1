/**
 * A set of small whole numbers that finds its lowest member in a few steps: a bitmap with a summary
 * bitmap above it, and so on up to one word. The free blocks of one order are such a set, so that
 * memory is handed out from low addresses up, in runs.
 *
 * Always: a summary bit is set exactly where the word below it is not 0.
 */
import { lowestBit, setBits } from '@liveupdate/base';

/** Of at most 2^32 members. */
const MOST_MEMBERS = 2 ** 32;
const MOST_LEVELS = 7;

export class FreeSet {
  readonly #levels: Uint32Array[] = [];
  #count = 0;

  /**
   * @param length members are 0 to length - 1
   * @param memory `bytesFor(length)` zeros from byte `at` on, for the bitmaps
   */
  constructor(length: number, memory = new ArrayBuffer(FreeSet.bytesFor(length)), at = 0) {
    let end = at;
    let words = length;
    do {
      words = Math.max(1, Math.ceil(words / 32));
      this.#levels.push(new Uint32Array(memory, end, words));
      end += words * 4;
    } while (words > 1);
  }

  /** Bytes that the bitmaps of a set take at most. */
  static bytesFor(length: number): number {
    return (Math.ceil(length / 31) + MOST_LEVELS) * 4;
  }

  /** Number of members. */
  get count(): number {
    return this.#count;
  }

  has(i: number): boolean {
    return (this.#levels[0][i >>> 5] & (1 << (i & 31))) !== 0;
  }

  /** Adds a member that is not in the set. */
  add(i: number): void {
    this.#count += 1;
    let at = i;
    for (const words of this.#levels) {
      const word = at >>> 5;
      const before = words[word];
      words[word] = before | (1 << (at & 31));
      if (before !== 0) return;
      at = word;
    }
  }

  /** Adds members side by side that are not in the set. */
  addRange(from: number, count: number): void {
    this.#count += count;
    let first = from;
    let last = from + count - 1;
    for (let level = 0; level < this.#levels.length; level++) {
      setBits(this.#levels[level], first, last - first + 1);
      first >>>= 5;
      last >>>= 5;
    }
  }

  /** Removes a member that is in the set. */
  remove(i: number): void {
    this.#count -= 1;
    let at = i;
    for (const words of this.#levels) {
      const word = at >>> 5;
      const after = words[word] & ~(1 << (at & 31));
      words[word] = after;
      if (after !== 0) return;
      at = word;
    }
  }

  /** The lowest member, -1 where there is none. */
  first(): number {
    if (this.#count === 0) return -1;
    return this.#firstBelow(0, this.#levels.length);
  }

  /**
   * The lowest member at or above `from`, -1 where there is none. What is empty in between is
   * passed by the summaries.
   */
  next(from: number): number {
    let at = from;
    for (let level = 0; level < this.#levels.length && at < MOST_MEMBERS; level++) {
      const words = this.#levels[level];
      const word = at >>> 5;
      if (word >= words.length) return -1;
      const bits = words[word] & (-1 << (at & 31));
      if (bits !== 0) return this.#firstBelow(word * 32 + lowestBit(bits), level);
      at = word + 1;
    }
    return -1;
  }

  /** The lowest member under bit `at` of a level. */
  #firstBelow(at: number, level: number): number {
    let found = at;
    for (let below = level - 1; below >= 0; below--)
      found = found * 32 + lowestBit(this.#levels[below][found]);
    return found;
  }
}
