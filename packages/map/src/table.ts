/**
 * Finds the entry of a key. Buckets of eleven places, each a line of the processor's cache, grow
 * and shrink one at a time (linear hashing, Litwin 1980): where there are eight keys for each
 * bucket, one is split, and no operation waits for more than that. A bucket that is full goes on in
 * a chained one. Buckets lie in segments of 32 KiB, which a directory leads to.
 *
 * A key whose hash ends in the bits of a bucket is there: level + 1 bits for buckets that were
 * split, and those they were split into, level bits for others.
 */
import { lowestBit } from '@liveupdate/base';
import { damaged } from './damage.ts';
import { keyLengthOf } from './entry.ts';
import { allocate, free } from './heap.ts';
import {
  BUCKET_CHAIN,
  BUCKET_ENTRIES,
  BUCKET_TAGS,
  BUCKET_WORDS,
  CHAIN_AT,
  CHAIN_UNITS,
  DIRECTORY_AT,
  ENTRY_HASH,
  entryUnits,
  Header,
  HEAP_START,
  INTERNAL_KIND,
  KIND_CHAIN,
  KIND_DIRECTORY,
  KIND_SEGMENT,
  KIND_SHIFT,
  LEAST_LEVEL,
  MERGE_LOAD,
  PLACES,
  SEGMENT_BUCKETS,
  SEGMENT_SHIFT,
  SEGMENT_UNITS,
  SPLIT_LOAD,
} from './abi.ts';
import type { Memory } from './memory.ts';

/** A chain that is longer is damage: the hash is keyed. */
const LONGEST_CHAIN = 1000;

/** Number of the bucket of a hash. */
export function bucketOf(words: Int32Array, hash: number): number {
  const level = words[Header.level];
  const bucket = hash & ((1 << level) - 1);
  return bucket < words[Header.split] ? hash & ((2 << level) - 1) : bucket;
}

export function bucketCount(words: Int32Array): number {
  return (1 << words[Header.level]) + words[Header.split];
}

/** Index of the first word of a bucket. @throws KernelError EIO: it is out of the file */
export function bucketAt(words: Int32Array, bucket: number): number {
  const at = placeOf(words, bucket);
  if (!isInside(words, at)) throw damaged('a segment of buckets leads out of the file');
  return at;
}

/** The same of whatever is there: NaN, or out of the file, where that is nonsense. */
export function placeOf(words: Int32Array, bucket: number): number {
  const segment = words[words[Header.directory] * 2 + DIRECTORY_AT + (bucket >>> SEGMENT_SHIFT)];
  return segment * 2 + (bucket & (SEGMENT_BUCKETS - 1)) * BUCKET_WORDS;
}

/** Whether a bucket can lie there. NaN: no. */
export function isInside(words: Int32Array, at: number): boolean {
  return at >= HEAP_START * 2 && at <= words.length - BUCKET_WORDS;
}

/**
 * Index of the first word of the chained bucket, 0 where there is none.
 *
 * @param steps buckets of the chain so far
 * @throws KernelError EIO: it leads out of the file, or in a circle
 */
export function nextInChain(words: Int32Array, at: number, steps: number): number {
  const block = words[at + BUCKET_CHAIN];
  if (block === 0) return 0;
  const next = block * 2 + CHAIN_AT;
  if (steps > LONGEST_CHAIN || !isInside(words, next)) throw damaged('a chain of buckets does not end');
  return next;
}

export class Table {
  readonly #memory: Memory;
  /** Words of an entry before its key. */
  readonly keyAt: number;
  /** What `find` came by: the first bucket of the chain, and the one where the entry is. */
  head = 0;
  bucket = 0;
  /** Its place in that bucket. */
  place = 0;
  /** For `#move`. */
  readonly #hashes = new Int32Array(PLACES);

  constructor(memory: Memory, keyAt: number) {
    this.#memory = memory;
    this.keyAt = keyAt;
  }

  /** @returns index of the entry's first word, 0 where there is none */
  find(hash: number, key: Int32Array, length: number): number {
    const { words } = this.#memory;
    const pattern = Math.imul(hash >>> 24, 0x0101_0101);
    let at = bucketAt(words, bucketOf(words, hash));
    this.head = at;
    for (let steps = 0; ; steps++) {
      for (let tags = 0; tags < 3; tags++) {
        const other = words[at + BUCKET_TAGS + tags] ^ pattern;
        // The highest bit of each byte that is zero; and perhaps of the one above such a byte.
        for (let hits = (other - 0x0101_0101) & ~other & 0x8080_8080; hits !== 0; hits &= hits - 1) {
          const place = 4 * tags + (lowestBit(hits) >>> 3);
          if (place >= PLACES) break;
          const entry = words[at + BUCKET_ENTRIES + place] * 2;
          if (entry !== 0 && this.#isKey(words, entry, hash, key, length)) {
            this.bucket = at;
            this.place = place;
            return entry;
          }
        }
      }
      at = nextInChain(words, at, steps);
      if (at === 0) return 0;
    }
  }

  #isKey(words: Int32Array, entry: number, hash: number, key: Int32Array, length: number): boolean {
    if (entry >= words.length || entry < HEAP_START * 2) throw damaged('a bucket leads out of the file');
    if (words[entry + ENTRY_HASH] !== hash || keyLengthOf(words, entry) !== length) return false;
    const at = entry + this.keyAt;
    const count = (length + 3) >>> 2;
    for (let i = 0; i < count; i++) if (words[at + i] !== key[i]) return false;
    return true;
  }

  /** Sets `bucket` and `place` to where an entry is that is known. */
  locate(entry: number): void {
    const { words } = this.#memory;
    const reference = entry / 2;
    this.head = bucketAt(words, bucketOf(words, words[entry + ENTRY_HASH]));
    for (let at = this.head, steps = 0; at !== 0; at = nextInChain(words, at, ++steps)) {
      for (let place = 0; place < PLACES; place++) {
        if (words[at + BUCKET_ENTRIES + place] !== reference) continue;
        this.bucket = at;
        this.place = place;
        return;
      }
    }
    throw damaged('an entry is in no bucket');
  }

  /** Puts an entry where `find` or `locate` found another one. */
  replace(entry: number): void {
    this.#memory.store(this.bucket + BUCKET_ENTRIES + this.place, entry / 2);
  }

  /**
   * Puts an entry into the chain of buckets at `head`, in a change that is under way.
   *
   * @param number of that bucket
   * @returns whether there was room
   */
  insert(head: number, number: number, reference: number, hash: number): boolean {
    const memory = this.#memory;
    const { words } = memory;
    let at = head;
    for (let steps = 0; ; steps++) {
      for (let place = 0; place < PLACES; place++) {
        if (words[at + BUCKET_ENTRIES + place] !== 0) continue;
        this.#putTag(at, place, hash);
        memory.store(at + BUCKET_ENTRIES + place, reference);
        return true;
      }
      const next = nextInChain(words, at, steps);
      if (next === 0) break;
      at = next;
    }
    const block = this.#newChain(number);
    if (block === 0) return false;
    const chained = block * 2 + CHAIN_AT;
    words[chained + BUCKET_TAGS] = hash >>> 24;
    words[chained + BUCKET_ENTRIES] = reference;
    memory.store(at + BUCKET_CHAIN, block);
    return true;
  }

  #putTag(at: number, place: number, hash: number): void {
    const { words } = this.#memory;
    const word = at + BUCKET_TAGS + (place >>> 2);
    const shift = (place & 3) * 8;
    this.#memory.store(word, (words[word] & ~(0xff << shift)) | ((hash >>> 24) << shift));
  }

  /** An empty bucket that nothing leads to. @returns 0: no memory */
  #newChain(number: number): number {
    const { words } = this.#memory;
    const block = allocate(this.#memory, CHAIN_UNITS, 0);
    if (block === 0) return 0;
    words[block * 2 + INTERNAL_KIND] = (KIND_CHAIN << KIND_SHIFT) | number;
    words.fill(0, block * 2 + CHAIN_AT, block * 2 + CHAIN_AT + BUCKET_WORDS);
    return block;
  }

  /** Takes out what `find` or `locate` found. A chained bucket that becomes empty goes too. */
  remove(): void {
    const memory = this.#memory;
    const { words } = memory;
    memory.store(this.bucket + BUCKET_ENTRIES + this.place, 0);
    if (this.bucket === this.head) return;
    for (let place = 0; place < PLACES; place++)
      if (words[this.bucket + BUCKET_ENTRIES + place] !== 0) return;
    let before = this.head;
    for (let steps = 0; ; steps++) {
      const next = nextInChain(words, before, steps);
      if (next === this.bucket) break;
      if (next === 0) throw damaged('a chained bucket belongs to nobody');
      before = next;
    }
    const block = words[before + BUCKET_CHAIN];
    memory.store(before + BUCKET_CHAIN, words[this.bucket + BUCKET_CHAIN]);
    free(memory, block);
  }

  // ---- Growing and shrinking --------------------------------------------------------------------

  /**
   * Splits buckets, two at most, while there are too many keys for them.
   *
   * @returns whether there was memory for it
   */
  grow(): boolean {
    const { words } = this.#memory;
    for (let i = 0; i < 2; i++) {
      if (words[Header.keys] <= bucketCount(words) * SPLIT_LOAD) return true;
      if (!this.#split()) return false;
    }
    return true;
  }

  /** Merges buckets, two at most, while there are too few. */
  shrink(): void {
    const { words } = this.#memory;
    for (let i = 0; i < 2; i++) {
      if (words[Header.keys] >= bucketCount(words) * MERGE_LOAD || words[Header.level] < LEAST_LEVEL) return;
      if (words[Header.level] === LEAST_LEVEL && words[Header.split] === 0) return;
      if (!this.#merge()) return;
    }
  }

  /** @returns whether there was memory for it */
  #split(): boolean {
    const memory = this.#memory;
    const { words } = memory;
    const level = words[Header.level];
    const number = words[Header.split];
    const fresh = (1 << level) + number;
    if (!this.#hasSegment(fresh >>> SEGMENT_SHIFT) && !this.#addSegment(fresh >>> SEGMENT_SHIFT))
      return false;
    const from = bucketAt(words, number);
    const to = bucketAt(words, fresh);
    memory.begin(Header.shape);
    try {
      words.fill(0, to + BUCKET_CHAIN, to + BUCKET_WORDS);
      if (!this.#move(from, to, level, fresh)) {
        memory.rollBack();
        return false;
      }
      this.#freeEmptyChains(from);
      const isLast = number + 1 === 1 << level;
      if (isLast) memory.store(Header.level, level + 1);
      memory.store(Header.split, isLast ? 0 : number + 1);
      memory.commit();
      return true;
    } catch (error) {
      memory.rollBack();
      throw error;
    }
  }

  /**
   * Moves the entries whose hash has a bit into a bucket that nothing leads to yet.
   *
   * @returns whether there was memory for its chain, and the journal has room for all of them
   */
  #move(from: number, to: number, bit: number, number: number): boolean {
    const memory = this.#memory;
    const { words } = memory;
    const hashes = this.#hashes;
    let filled = 0;
    for (let at = from, steps = 0; at !== 0; at = nextInChain(words, at, ++steps)) {
      // All are loaded before any is looked at: so the processor waits for them once, together.
      for (let place = 0; place < PLACES; place++)
        hashes[place] = words[words[at + BUCKET_ENTRIES + place] * 2 + ENTRY_HASH];
      for (let place = 0; place < PLACES; place++) {
        const reference = words[at + BUCKET_ENTRIES + place];
        if (reference === 0 || ((hashes[place] >>> bit) & 1) === 0) continue;
        if (memory.isNearlyFull) return false;
        memory.store(at + BUCKET_ENTRIES + place, 0);
        if (filled < PLACES) {
          words[to + BUCKET_TAGS + (filled >>> 2)] |= (hashes[place] >>> 24) << ((filled & 3) * 8);
          words[to + BUCKET_ENTRIES + filled] = reference;
          filled += 1;
        } else if (!this.insert(to, number, reference, hashes[place])) {
          return false;
        }
      }
    }
    return true;
  }

  #freeEmptyChains(head: number): void {
    const memory = this.#memory;
    const { words } = memory;
    let before = head;
    let at = nextInChain(words, head, 0);
    for (let steps = 1; at !== 0; steps++) {
      let isEmpty = true;
      for (let place = 0; place < PLACES; place++) isEmpty &&= words[at + BUCKET_ENTRIES + place] === 0;
      const next = nextInChain(words, at, steps);
      if (isEmpty && !memory.isNearlyFull) {
        const block = words[before + BUCKET_CHAIN];
        memory.store(before + BUCKET_CHAIN, words[at + BUCKET_CHAIN]);
        free(memory, block);
      } else {
        before = at;
      }
      at = next;
    }
  }

  /** The last bucket goes back into the one it was split from. */
  #merge(): boolean {
    const memory = this.#memory;
    const { words } = memory;
    const level = words[Header.split] === 0 ? words[Header.level] - 1 : words[Header.level];
    const last = bucketCount(words) - 1;
    const number = last - (1 << level);
    const from = bucketAt(words, last);
    const to = bucketAt(words, number);
    memory.begin(Header.shape);
    try {
      if (!this.#takeIn(from, to, number) || !this.#freeChain(from)) {
        memory.rollBack();
        return false;
      }
      if ((last & (SEGMENT_BUCKETS - 1)) === 0) this.#dropSegment(last >>> SEGMENT_SHIFT);
      memory.store(Header.level, level);
      memory.store(Header.split, number);
      memory.commit();
      return true;
    } catch (error) {
      memory.rollBack();
      throw error;
    }
  }

  /** @returns whether there was memory, and room in the journal, for all that a bucket has */
  #takeIn(from: number, to: number, number: number): boolean {
    const memory = this.#memory;
    const { words } = memory;
    for (let at = from, steps = 0; at !== 0; at = nextInChain(words, at, ++steps)) {
      for (let place = 0; place < PLACES; place++) {
        const reference = words[at + BUCKET_ENTRIES + place];
        if (reference === 0) continue;
        if (memory.isNearlyFull) return false;
        if (!this.insert(to, number, reference, words[reference * 2 + ENTRY_HASH])) return false;
      }
    }
    return true;
  }

  /** @returns whether the journal has room for it */
  #freeChain(head: number): boolean {
    const memory = this.#memory;
    const { words } = memory;
    for (let block = words[head + BUCKET_CHAIN]; block !== 0;) {
      if (memory.isNearlyFull) return false;
      const next = words[block * 2 + CHAIN_AT + BUCKET_CHAIN];
      free(memory, block);
      block = next;
    }
    return true;
  }

  // ---- Segments and their directory -------------------------------------------------------------

  #hasSegment(segment: number): boolean {
    const { words } = this.#memory;
    if (segment >= words[Header.directoryRoom]) return false;
    return words[words[Header.directory] * 2 + DIRECTORY_AT + segment] !== 0;
  }

  #addSegment(segment: number): boolean {
    const memory = this.#memory;
    const { words } = memory;
    if (segment >= words[Header.directoryRoom] && !this.#growDirectory()) return false;
    memory.begin(Header.nobody);
    try {
      const block = newSegment(memory, segment);
      if (block === 0) {
        memory.rollBack();
        return false;
      }
      memory.store(words[Header.directory] * 2 + DIRECTORY_AT + segment, block);
      memory.commit();
      return true;
    } catch (error) {
      memory.rollBack();
      throw error;
    }
  }

  /** Called in a change. */
  #dropSegment(segment: number): void {
    const memory = this.#memory;
    const { words } = memory;
    const at = words[Header.directory] * 2 + DIRECTORY_AT + segment;
    free(memory, segmentBlock(words, words[at]));
    memory.store(at, 0);
  }

  #growDirectory(): boolean {
    const memory = this.#memory;
    const { words } = memory;
    memory.begin(Header.shape);
    try {
      const room = words[Header.directoryRoom];
      const old = words[Header.directory];
      const block = newDirectory(memory, 2 * room);
      if (block === 0) {
        memory.rollBack();
        return false;
      }
      const from = old * 2 + DIRECTORY_AT;
      words.set(words.subarray(from, from + room), block * 2 + DIRECTORY_AT);
      memory.store(Header.directory, block);
      memory.store(Header.directoryRoom, 2 * room);
      free(memory, old);
      memory.commit();
      return true;
    } catch (error) {
      memory.rollBack();
      throw error;
    }
  }
}

/** @returns reference to its buckets, all empty; 0: no memory */
export function newSegment(memory: Memory, segment: number): number {
  const block = allocate(memory, SEGMENT_UNITS, 0);
  if (block === 0) return 0;
  const { words } = memory;
  words[block * 2 + INTERNAL_KIND] = (KIND_SEGMENT << KIND_SHIFT) | segment;
  const at = segmentStart(block);
  words[at - 1] = block;
  words.fill(0, at, at + SEGMENT_BUCKETS * BUCKET_WORDS);
  return at / 2;
}

/** Index of the first bucket's first word: the next multiple of a bucket's size. */
export function segmentStart(block: number): number {
  return Math.ceil((block * 2 + INTERNAL_KIND + 2) / BUCKET_WORDS) * BUCKET_WORDS;
}

/** The block of a segment, by the reference to its buckets. */
export function segmentBlock(words: Int32Array, reference: number): number {
  return words[reference * 2 - 1];
}

/** @returns its block, empty; 0: no memory */
export function newDirectory(memory: Memory, room: number): number {
  const block = allocate(memory, entryUnits(DIRECTORY_AT + room), 0);
  if (block === 0) return 0;
  const { words } = memory;
  words[block * 2 + INTERNAL_KIND] = KIND_DIRECTORY << KIND_SHIFT;
  words.fill(0, block * 2 + DIRECTORY_AT, block * 2 + DIRECTORY_AT + room);
  return block;
}
