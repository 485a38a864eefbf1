/**
 * A number for each block of a file that is there, by the number of the block. Blocks come in chunks of 2 GiB that exist once used, so a sparse
 * file costs what it holds. A chunk whose blocks are one row, their numbers in step (a file in one piece), is described; any other has an array.
 */

/** Blocks in a chunk. */
const CHUNK = 1024;

interface Chunk {
  /** The number of each of its blocks, 0 where it is not there; undefined while they are one row. */
  numbers: Uint32Array | undefined;
  /** The row: its first block, the number of that, and the block behind it. */
  from: number;
  first: number;
  to: number;
  /** Blocks that are there. */
  count: number;
}

export class BlockIndex {
  /** By how much the numbers of two blocks in a row differ. */
  readonly #step: number;
  readonly #chunks = new Map<number, Chunk>();
  /** Numbers of all chunks in order, while #isSorted. */
  #keys: number[] = [];
  #isSorted = true;
  /** The chunk that was asked for last: most work goes along a file. */
  #lastKey = -1;
  #last: Chunk | undefined;

  constructor(step: number) {
    this.#step = step;
  }

  /** 0 where the block is not there. */
  get(block: number): number {
    const chunk = this.#find(Math.floor(block / CHUNK));
    return chunk ? this.#numberIn(chunk, block % CHUNK) : 0;
  }

  #numberIn({ numbers, from, first, to }: Chunk, i: number): number {
    if (numbers) return numbers[i];
    return i >= from && i < to ? first + (i - from) * this.#step : 0;
  }

  /** 0 takes the block away. */
  set(block: number, value: number): void {
    const key = Math.floor(block / CHUNK);
    const i = block % CHUNK;
    if (value !== 0) {
      const chunk = this.#find(key) ?? this.#add(key);
      if (this.#numberIn(chunk, i) === 0) this.#fillChunk(chunk, i, i + 1, value);
      else this.#open(chunk)[i] = value;
      return;
    }
    const chunk = this.#find(key);
    if (!chunk || this.#numberIn(chunk, i) === 0) return;
    chunk.count -= 1;
    if (chunk.count === 0) this.#drop(key);
    else if (!chunk.numbers && i === chunk.to - 1) chunk.to = i;
    else this.#open(chunk)[i] = 0;
  }

  /** Gives blocks [from, to), as far as they are not there, numbers in step from `value` on. Returns the first that is there. */
  fill(from: number, to: number, value: number): number {
    for (let block = from; block < to;) {
      const key = Math.floor(block / CHUNK);
      const chunk = this.#find(key) ?? this.#add(key);
      const i = block % CHUNK;
      const end = Math.min(CHUNK, i + to - block);
      const filled = this.#fillChunk(chunk, i, end, value + (block - from) * this.#step);
      block += filled - i;
      if (filled < end) return block;
    }
    return to;
  }

  /** Fills [from, to) of a chunk; its first block there that is there already, or `to`. */
  #fillChunk(chunk: Chunk, from: number, to: number, value: number): number {
    const isFirst = chunk.count === 0;
    if (!chunk.numbers && (isFirst || (from === chunk.to && this.#follows(chunk, value)))) {
      if (isFirst) {
        chunk.from = from;
        chunk.first = value;
      }
      chunk.to = to;
      chunk.count += to - from;
      return to;
    }
    const numbers = this.#open(chunk);
    let i = from;
    for (let next = value; i < to && numbers[i] === 0; i++, next += this.#step) numbers[i] = next;
    chunk.count += i - from;
    return i;
  }

  /** Whether this would be the number of the next block of the chunk's row. */
  #follows({ from, first, to }: Chunk, value: number): boolean {
    return value === first + (to - from) * this.#step;
  }

  /** The end of the blocks from `from` on, up to `to`, whose numbers are in step. Block `from` is there. */
  rowEnd(from: number, to: number): number {
    const first = this.get(from);
    for (let block = from; block < to;) {
      const key = Math.floor(block / CHUNK);
      const chunk = this.#find(key);
      if (!chunk) return block;
      const i = block % CHUNK;
      const last = Math.min(CHUNK, i + to - block);
      const expected = first + (block - from) * this.#step;
      let end = i;
      if (chunk.numbers) end = inStep(chunk.numbers, i, last, expected, this.#step);
      else if (this.#numberIn(chunk, i) === expected) end = Math.min(last, chunk.to);
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
      const found = firstThere(chunk, block % CHUNK);
      if (found < CHUNK) return key * CHUNK + found;
    }
    const keys = this.#sorted();
    const after = keys.at(upperBound(keys, key));
    return after === undefined ? Infinity : after * CHUNK + firstThere(this.#chunks.get(after)!, 0);
  }

  #find(key: number): Chunk | undefined {
    if (key !== this.#lastKey) {
      this.#last = this.#chunks.get(key);
      this.#lastKey = key;
    }
    return this.#last;
  }

  #add(key: number): Chunk {
    const chunk: Chunk = { numbers: undefined, from: 0, first: 0, to: 0, count: 0 };
    this.#chunks.set(key, chunk);
    this.#isSorted &&= this.#keys.length === 0 || this.#keys[this.#keys.length - 1] < key;
    if (this.#isSorted) this.#keys.push(key);
    this.#lastKey = key;
    this.#last = chunk;
    return chunk;
  }

  /** The numbers of a chunk, to be changed. */
  #open(chunk: Chunk): Uint32Array {
    if (chunk.numbers) return chunk.numbers;
    const numbers = new Uint32Array(CHUNK);
    for (let i = chunk.from, next = chunk.first; i < chunk.to; i++, next += this.#step) numbers[i] = next;
    chunk.numbers = numbers;
    return numbers;
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

/** The first of these numbers, from `from` up to `to`, that is not what the steps from `first` on make it; `to` where there is none. */
function inStep(numbers: Uint32Array, from: number, to: number, first: number, step: number): number {
  let i = from;
  for (let expected = first; i < to && numbers[i] === expected; i++) expected += step;
  return i;
}

/** The first block of a chunk from `at` on that is there; CHUNK where there is none. */
function firstThere({ numbers, from, to }: Chunk, at: number): number {
  if (!numbers) return at < to ? Math.max(at, from) : CHUNK;
  let i = at;
  while (i < CHUNK && numbers[i] === 0) i += 1;
  return i;
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
