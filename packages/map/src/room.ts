/**
 * Where memory comes from when there is none: more of the file, what has expired, what lies in
 * pieces, and, with `evict`, what was used the longest ago. Nothing here takes longer the more keys
 * there are, but for what a call says of itself.
 */
import { formatSize, KernelError } from '@liveupdate/base';
import { compact } from './compact.ts';
import { expires, expiryOf } from './entry.ts';
import type { EntryWriter } from './entry-writer.ts';
import { heapEndIn } from './format.ts';
import { extend, largestFree } from './heap.ts';
import {
  BUCKET_ENTRIES,
  CHAIN_UNITS,
  FLAG_BITS,
  Header,
  HEAP_START,
  PLACES,
  SEGMENT_UNITS,
  UNIT_BYTES,
} from './abi.ts';
import type { Memory } from './memory.ts';
import { bucketAt, bucketCount, nextInChain, type Table } from './table.ts';

export interface RoomInit {
  readonly memory: Memory;
  readonly table: Table;
  readonly writer: EntryWriter;
  /** Bytes of the map beyond which entries are removed. */
  readonly most: number;
  readonly isExpired: (entry: number) => boolean;
  readonly now: () => number;
}

export class Room {
  readonly #init: RoomInit;
  /** How often memory was moved together for the value that is stored. */
  #gathered = 0;
  /** All keys that expire do so later, as far as is known. */
  #quietUntil = -Infinity;
  /** When the first of the keys expires that a sweep has met. */
  #earliest = Infinity;

  constructor(init: RoomInit) {
    this.#init = init;
  }

  /** Another value is to be stored. */
  beginValue(): void {
    this.#gathered = 0;
  }

  /** A key expires at a moment. */
  noteExpiry(moment: number): void {
    if (moment < this.#quietUntil) this.#quietUntil = moment;
  }

  isOverFull(units: number): boolean {
    return (HEAP_START + this.#init.memory.words[Header.used] + units) * UNIT_BYTES > this.#init.most;
  }

  /**
   * Whether others go for an entry: where it is certain to find room then, also if the one that it
   * replaces lies in the middle. That is half of what all of them can have.
   *
   * @param replaced units of that one
   */
  isWorthOthers(units: number, replaced: number): boolean {
    const { words } = this.#init.memory;
    const all = Math.min(words[Header.heapEnd], this.#init.most / UNIT_BYTES);
    const directory = words[words[Header.directory] * 2] >>> FLAG_BITS;
    return 2 * units + replaced <= all - HEAP_START - SEGMENT_UNITS - directory;
  }

  /**
   * Removes what was used the longest ago while there is more than `maxBytes`; where there is much
   * more, as it was larger before, a part at each call.
   */
  trim(units: number): void {
    const { words } = this.#init.memory;
    const end = words[Header.used] - TRIMMED * (units + SEGMENT_UNITS);
    while (this.isOverFull(0) && words[Header.used] > end && this.#evict(words[Header.newest] * 2));
  }

  /**
   * @param old the entry that is replaced: it stays
   * @returns whether there may be room now
   */
  makeRoom(units: number, old: number): boolean {
    const { memory } = this.#init;
    const { words } = memory;
    const end = heapEndIn(words);
    const before = words[Header.heapEnd];
    if (end > before) {
      memory.begin(Header.nobody);
      extend(memory, end);
      memory.commit();
      if (words[Header.heapEnd] > before) return true;
    }
    if (this.#removeExpired()) return true;
    // A key that is new may need a bucket, too.
    const piece = units + (old === 0 ? CHAIN_UNITS : 0);
    const all = before - HEAP_START;
    const left = all - words[Header.used];
    const isWorth = this.#init.writer.hasRecency
      ? left > 2 * piece && left > all / MOST_SCATTERED
      : left > piece;
    const replaced = old === 0 ? 0 : words[old] >>> FLAG_BITS;
    if (isWorth && this.#gather(piece, MOST_GATHERED)) return true;
    if (!this.#init.writer.hasRecency || !this.isWorthOthers(units, replaced)) return false;
    if (this.#evict(this.#spared())) return true;
    return left > piece && this.#gather(piece, MOST_GATHERED + 1);
  }

  /** The entry that is replaced, wherever it was moved: it is not the one that goes. */
  #spared(): number {
    const { table, writer } = this.#init;
    const entry = table.find(writer.hash, writer.key.words, writer.key.length);
    if (entry !== 0) writer.use(entry);
    return entry;
  }

  /**
   * Removes some of what has expired. All is looked at, if need be, where nothing else can make
   * room: and then not again before the first of them expires.
   *
   * @returns whether there was any
   */
  #removeExpired(): boolean {
    const { words } = this.#init.memory;
    if (words[Header.expiring] === 0) return false;
    if (this.#init.writer.hasRecency) return this.sweep(LOOKED_AT) > 0;
    if (this.#init.now() < this.#quietUntil) return false;
    this.#earliest = Infinity;
    for (let left = bucketCount(words) * AVERAGE_LOAD; left > 0; left -= SWEPT)
      if (this.sweep(SWEPT) > 0) return true;
    this.#quietUntil = this.#earliest;
    return false;
  }

  /**
   * A map with many more keys than buckets is slow, and one with no piece for more buckets stays
   * so: memory is moved together for them, a little at each call.
   */
  makeRoomToGrow(): void {
    const { memory, table } = this.#init;
    const { words } = memory;
    if (words[Header.keys] < bucketCount(words) * CROWDED) return;
    if (this.#init.writer.hasRecency) this.#freeForSegment();
    const all = words[Header.heapEnd] - HEAP_START;
    if (all - words[Header.used] < SEGMENT_UNITS + all / LEFT_TO_GROW) return;
    let steps = 0;
    compact(memory, table, () => ++steps > STEPS_TO_GROW || largestFree(words) >= SEGMENT_UNITS);
  }

  /** What was used the longest ago makes way for buckets. */
  #freeForSegment(): void {
    const { words } = this.#init.memory;
    const enough = words[Header.heapEnd] - 2 * SEGMENT_UNITS - words[Header.heapEnd] / LEFT_TO_GROW;
    for (let i = 0; i < GONE_TO_GROW && HEAP_START + words[Header.used] > enough; i++)
      if (!this.#evict(words[Header.newest] * 2)) return;
  }

  /**
   * Removes the entry that was used the longest ago.
   *
   * @param spared an entry that stays
   * @returns whether there was one
   */
  #evict(spared: number): boolean {
    const { memory, table } = this.#init;
    const { words } = memory;
    const oldest = words[Header.oldest] * 2;
    if (oldest === 0 || oldest === spared) return false;
    const isExpired = this.#init.isExpired(oldest);
    table.locate(oldest);
    if (!isExpired) words[Header.evicted] += 1;
    this.#init.writer.remove(oldest);
    return true;
  }

  /**
   * Moves entries together until there is a free piece of a size, once through the map at most.
   *
   * @param most times that it may be done for one value
   * @returns whether there is one now, and was not before
   */
  #gather(units: number, most: number): boolean {
    const { memory, table } = this.#init;
    const isThere = (): boolean => largestFree(memory.words) >= units;
    if (isThere() || this.#gathered >= most) return false;
    this.#gathered += 1;
    const wasPartWay = memory.walk !== 0;
    compact(memory, table, isThere);
    if (wasPartWay && !isThere()) compact(memory, table, isThere);
    return isThere();
  }

  full(units: number): KernelError {
    const { words } = this.#init.memory;
    const capacity = words[Header.heapEnd] * UNIT_BYTES;
    const left = capacity - (HEAP_START + words[Header.used]) * UNIT_BYTES;
    if (this.#init.writer.hasRecency)
      return new KernelError(
        'ENOSPC',
        `${units * UNIT_BYTES} bytes are more than half of what this map may have (maxBytes, or its file): others do not go for it`,
      );
    return new KernelError(
      'ENOSPC',
      left > units * UNIT_BYTES
        ? `the map has ${formatSize(left)} free, and no piece of ${units * UNIT_BYTES} bytes`
        : `the map is full (${formatSize(capacity)}): delete keys, open it with evict: 'lru', or give its file more bytes`,
    );
  }

  sweep(most: number): number {
    const { words } = this.#init.memory;
    let removed = 0;
    let looked = 0;
    // Removing may merge buckets: there are no more of them than at the start.
    for (let left = bucketCount(words); left > 0 && looked < most && words[Header.expiring] > 0; left--) {
      const bucket = (words[Header.sweepAt] >>> 0) % bucketCount(words);
      for (let entry = this.#expiredIn(bucket); entry !== 0; entry = this.#expiredIn(bucket)) {
        this.#init.writer.remove(entry);
        removed += 1;
        if (bucket >= bucketCount(words)) break;
      }
      words[Header.sweepAt] = bucket + 1;
      looked += AVERAGE_LOAD;
    }
    return removed;
  }

  /** An expired entry of a bucket, located; 0: none. */
  #expiredIn(bucket: number): number {
    const { memory, table } = this.#init;
    const { words } = memory;
    const head = bucketAt(words, bucket);
    for (let at = head, steps = 0; at !== 0; at = nextInChain(words, at, ++steps)) {
      for (let place = 0; place < PLACES; place++) {
        const entry = words[at + BUCKET_ENTRIES + place] * 2;
        if (entry === 0 || !expires(words, entry)) continue;
        if (!this.#init.isExpired(entry)) {
          this.#earliest = Math.min(this.#earliest, expiryOf(words, entry, table.keyAt));
          continue;
        }
        table.head = head;
        table.bucket = at;
        table.place = place;
        return entry;
      }
    }
    return 0;
  }
}

/** With `evict`, memory is gathered when one of so many parts of it is free, in pieces. */
const MOST_SCATTERED = 8;
/** Keys in a bucket, about. */
const AVERAGE_LOAD = 8;
/** Keys for each bucket from which on memory is moved for more buckets. */
const CROWDED = 12;
/** Of a call that moves memory for buckets: blocks that it moves, and entries that may go. */
const STEPS_TO_GROW = 64;
const GONE_TO_GROW = 8;
/** So much of a map is left in pieces. */
const LEFT_TO_GROW = 64;
/** A call makes room by removing so many times what it stores, and a segment of buckets. */
const TRIMMED = 4;
/** Keys that a call looks at for expired ones, before it removes others. */
const LOOKED_AT = 128;
/** Keys between two looks whether there is one. */
const SWEPT = 1024;
/** Memory is gathered so many times for one value. */
const MOST_GATHERED = 2;
