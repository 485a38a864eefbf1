/**
 * A number for each block of a file that is there, by the number of the block. Blocks come in
 * chunks of 2 GiB that exist once used, so a sparse file costs what it holds. A chunk whose blocks
 * are one row, their numbers in step (a file in one piece), is described; any other has an array.
 */

import { NumberRow } from './number-row.ts';

/** Blocks in a chunk. */
const CHUNK = 1024;

export class BlockIndex {
  /** By how much the numbers of two blocks in a row differ. */
  readonly #step: number;
  readonly #chunks = new Map<number, NumberRow>();
  /** Numbers of all chunks in order, while #isSorted. */
  #keys: number[] = [];
  #isSorted = true;
  /** The chunk that was asked for last: most work goes along a file. */
  #lastKey = -1;
  #last: NumberRow | undefined;

  constructor(step: number) {
    this.#step = step;
  }

  /** 0 where the block is not there. */
  get(block: number): number {
    return this.#find(Math.floor(block / CHUNK))?.get(block % CHUNK) ?? 0;
  }

  /** 0 takes the block away. */
  set(block: number, value: number): void {
    const key = Math.floor(block / CHUNK);
    const i = block % CHUNK;
    const chunk = this.#find(key);
    if (value === 0) {
      chunk?.clear(i, i + 1);
      if (chunk?.count === 0) this.#drop(key);
    } else if (chunk && chunk.get(i) !== 0) {
      chunk.replace(i, value);
    } else {
      (chunk ?? this.#add(key)).fill(i, i + 1, value);
    }
  }

  /**
   * Gives blocks [from, to), as far as they are not there, numbers in step from `value` on. Returns
   * the first that is there.
   */
  fill(from: number, to: number, value: number): number {
    for (let block = from; block < to;) {
      const key = Math.floor(block / CHUNK);
      const chunk = this.#find(key) ?? this.#add(key);
      const i = block % CHUNK;
      const end = Math.min(CHUNK, i + to - block);
      const filled = chunk.fill(i, end, value + (block - from) * this.#step);
      block += filled - i;
      if (filled < end) return block;
    }
    return to;
  }

  /**
   * The end of the blocks from `from` on, up to `to`, whose numbers are in step. Block `from` is
   * there.
   */
  rowEnd(from: number, to: number): number {
    const first = this.get(from);
    for (let block = from; block < to;) {
      const chunk = this.#find(Math.floor(block / CHUNK));
      if (!chunk) return block;
      const i = block % CHUNK;
      const last = Math.min(CHUNK, i + to - block);
      const end = chunk.runEnd(i, last, first + (block - from) * this.#step);
      block += end - i;
      if (end < last) return block;
    }
    return to;
  }

  /** The first block from this one on that is there; Infinity where there is none. */
  next(block: number): number {
    const key = Math.floor(block / CHUNK);
    const chunk = this.#find(key);
    if (chunk) {
      const found = chunk.nextThere(block % CHUNK);
      if (found < CHUNK) return key * CHUNK + found;
    }
    const keys = this.#sorted();
    const after = keys.at(upperBound(keys, key));
    return after === undefined ? Infinity : after * CHUNK + this.#chunks.get(after)!.nextThere(0);
  }

  #find(key: number): NumberRow | undefined {
    if (key !== this.#lastKey) {
      this.#last = this.#chunks.get(key);
      this.#lastKey = key;
    }
    return this.#last;
  }

  #add(key: number): NumberRow {
    const chunk = new NumberRow(CHUNK, this.#step);
    this.#chunks.set(key, chunk);
    this.#isSorted &&= this.#keys.length === 0 || this.#keys[this.#keys.length - 1] < key;
    if (this.#isSorted) this.#keys.push(key);
    this.#lastKey = key;
    this.#last = chunk;
    return chunk;
  }

  #drop(key: number): void {
    this.#chunks.delete(key);
    this.#lastKey = -1;
    this.#last = undefined;
    if (this.#isSorted) this.#keys.splice(upperBound(this.#keys, key) - 1, 1);
  }

  #sorted(): readonly number[] {
    if (!this.#isSorted) {
      this.#keys = [...this.#chunks.keys()].sort((a, b) => a - b);
      this.#isSorted = true;
    }
    return this.#keys;
  }
}

/** Place of the first of these ascending numbers that is larger than `than`. */
function upperBound(numbers: readonly number[], than: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numbers[middle] <= than) low = middle + 1;
    else high = middle;
  }
  return low;
}
