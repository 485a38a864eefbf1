/**
 * A number for each block of a file that is there, by the number of the block: arrays of 1,024 that exist once used, so a sparse file costs
 * what it holds, and looking along blocks in a row is a loop over an array.
 */

/** Blocks in an array. */
const CHUNK = 1024;

export class BlockIndex {
  /** Each array has its count of blocks behind them. */
  readonly #chunks = new Map<number, Uint32Array>();
  /** Numbers of all chunks in order, while #isSorted. */
  #keys: number[] = [];
  #isSorted = true;
  /** The chunk that was asked for last: most work goes along a file. */
  #lastKey = -1;
  #last: Uint32Array | undefined;

  /** 0 where the block is not there. */
  get(block: number): number {
    return this.#find(Math.floor(block / CHUNK))?.[block % CHUNK] ?? 0;
  }

  /** 0 takes the block away. */
  set(block: number, value: number): void {
    const key = Math.floor(block / CHUNK);
    const chunk = this.#find(key) ?? (value === 0 ? undefined : this.#add(key));
    if (!chunk) return;
    const before = chunk[block % CHUNK];
    chunk[block % CHUNK] = value;
    chunk[CHUNK] += Number(value !== 0) - Number(before !== 0);
    if (chunk[CHUNK] === 0) this.#drop(key);
  }

  /** Gives blocks [from, to), as far as they are not there, numbers that go up by `step`. Returns the first that is there. */
  fill(from: number, to: number, value: number, step: number): number {
    let next = value;
    for (let block = from; block < to;) {
      const key = Math.floor(block / CHUNK);
      const chunk = this.#find(key) ?? this.#add(key);
      let i = block % CHUNK;
      for (const end = Math.min(CHUNK, i + to - block); i < end && chunk[i] === 0; i++, next += step)
        chunk[i] = next;
      const filled = key * CHUNK + i - block;
      chunk[CHUNK] += filled;
      block += filled;
      if (i < CHUNK) return block;
    }
    return to;
  }

  /** The end of the blocks from `from` on, up to `to`, whose numbers go up by `step`. Block `from` is there. */
  rowEnd(from: number, to: number, step: number): number {
    let expected = this.get(from);
    for (let block = from; block < to;) {
      const key = Math.floor(block / CHUNK);
      const chunk = this.#find(key);
      if (!chunk) return block;
      let i = block % CHUNK;
      for (const end = Math.min(CHUNK, i + to - block); i < end && chunk[i] === expected; i++)
        expected += step;
      block = key * CHUNK + i;
      if (i < CHUNK) return block;
    }
    return to;
  }

  /** The first block from this one on that is there; Infinity where there is none. */
  next(block: number): number {
    const key = Math.floor(block / CHUNK);
    const chunk = this.#find(key);
    if (chunk) for (let i = block % CHUNK; i < CHUNK; i++) if (chunk[i] !== 0) return key * CHUNK + i;
    const keys = this.#sorted();
    const after = keys.at(upperBound(keys, key));
    if (after === undefined) return Infinity;
    const first = this.#chunks.get(after)!.findIndex((value) => value !== 0);
    return after * CHUNK + first;
  }

  #find(key: number): Uint32Array | undefined {
    if (key !== this.#lastKey) {
      this.#last = this.#chunks.get(key);
      this.#lastKey = key;
    }
    return this.#last;
  }

  #add(key: number): Uint32Array {
    const chunk = new Uint32Array(CHUNK + 1);
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
    if (this.#isSorted && this.#keys[this.#keys.length - 1] === key) this.#keys.pop();
    else this.#isSorted = false;
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
