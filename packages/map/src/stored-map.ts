/**
 * A map that is written: for one writer at a time.
 *
 * Always: each call is one change of the journal, or several that each leave a whole map (removing
 * what expired or what was used the longest ago, splitting a bucket). Whoever opens the file after
 * a death at any instruction finds each key with its old or its new value.
 */
import {
  bytesOf,
  checkOptions,
  checkWhole,
  DISPOSE,
  formatSize,
  KernelError,
  type Bytes,
} from '@liveupdate/base';
import type { SharedView } from '@liveupdate/mm';
import { compact, type Compaction } from './compact.ts';
import {
  bigNumberOf,
  expires,
  expiryOf,
  highWord,
  isNumber,
  keyLengthOf,
  lowWord,
  safeNumberOf,
  valueAt,
  valueLengthOf,
} from './entry.ts';
import { clear, heapEndIn } from './format.ts';
import { allocate, extend, free, largestFree } from './heap.ts';
import {
  BUCKET_ENTRIES,
  CHAIN_UNITS,
  ENTRY_EXPIRES,
  ENTRY_HASH,
  ENTRY_IS_NUMBER,
  ENTRY_KEY,
  ENTRY_VALUE_LENGTH,
  entryUnits,
  EXPIRY_WORDS,
  FLAG_BITS,
  HAS_RECENCY,
  Header,
  HEAP_START,
  IS_ENTRY,
  LEAST_UNITS,
  PLACES,
  SEGMENT_UNITS,
  UNIT_BYTES,
  USER_BYTES,
} from './abi.ts';
import type { Decoded, ReaderOptions, SetOptions, StoredMap } from './map.ts';
import type { Memory } from './memory.ts';
import { ReadMap } from './reader.ts';
import { addNewest, makeNewest, takeOut, takePlaceOf } from './recency.ts';
import { Scratch } from './scratch.ts';
import { bucketAt, bucketCount, bucketOf, nextInChain } from './table.ts';
import type { Encoding } from './text.ts';
import { checkWholeMap } from './verify.ts';

/** Where the bytes of a map are, for the map itself. */
export interface Ground {
  readonly share: () => SharedView;
  readonly close: () => void;
  /** Bytes of the map beyond which entries are removed. */
  readonly most: number;
}

/** A value of up to so many words is overwritten where it lies: the journal has what was there. */
const MOST_IN_PLACE = 64;
const MOST_INT64 = 2n ** 63n - 1n;
const LEAST_INT64 = -(2n ** 63n);
/** The latest moment that a Date can be. */
const MOST_MOMENT = 8.64e15;
const INTEGER = /^(?:0|-?[1-9]\d{0,18})$/;
/** Blocks that a compaction goes over between two looks at the clock. */
const STEPS_A_LOOK = 16;

export class WrittenMap<Key extends Decoded, Value extends Decoded>
  extends ReadMap<Key, Value>
  implements StoredMap<Key, Value>
{
  readonly #ground: Ground;
  readonly #hasRecency: boolean;
  readonly #value = new Scratch();
  /** A counter's number, for `#write`. */
  #low = 0;
  #high = 0;
  /** How often memory was moved together for the value that is stored. */
  #gathered = 0;
  /** All keys that expire do so later, as far as is known. */
  #quietUntil = -Infinity;
  /** When the first of the keys expires that a sweep has met. */
  #earliest = Infinity;

  /** @internal Call openMap. */
  constructor(memory: Memory, options: ReaderOptions<Encoding, Encoding>, ground: Ground) {
    super(memory, options);
    this.#ground = ground;
    this.#hasRecency = (memory.words[Header.flags] & HAS_RECENCY) !== 0;
  }

  /** What has expired is removed where it is met; what is looked at was used. */
  protected override lookUp(key: string | Bytes): number {
    this.checkOpen();
    this.putKey(key);
    const entry = this.table.find(this.hash, this.key.words, this.key.length);
    if (entry === 0) return 0;
    if (this.isExpired(entry)) {
      this.#remove(entry);
      return 0;
    }
    if (this.#hasRecency) this.#use(entry);
    return entry;
  }

  /** An entry was used now. */
  #use(entry: number): void {
    const { memory } = this;
    if (memory.words[Header.newest] === entry / 2) return;
    memory.begin(Header.nobody);
    makeNewest(memory, entry);
    memory.commit();
  }

  // ---- Writing ----------------------------------------------------------------------------------

  set(key: string | Bytes, value: string | Bytes, options?: SetOptions): void {
    this.checkOpen();
    const expiry = options === undefined ? Infinity : checkExpires(options);
    this.putKey(key);
    try {
      this.#value.put(value, 'value', MOST_VALUE_BYTES);
      this.#put(expiry, 0);
    } finally {
      this.#value.shrink();
    }
  }

  increment(key: string | Bytes, by?: number): number;
  increment(key: string | Bytes, by: bigint): bigint;
  increment(key: string | Bytes, by: number | bigint = 1): number | bigint {
    if (typeof by !== 'bigint') checkWhole(by, 'what is added', { min: Number.MIN_SAFE_INTEGER });
    const entry = this.lookUp(key);
    const { words } = this.memory;
    const isCounter = entry !== 0 && isNumber(words, entry);
    const at = isCounter ? valueAt(words, entry, this.table.keyAt) : 0;
    const safe = isCounter ? safeNumberOf(words, at) : entry === 0 ? 0 : undefined;
    if (typeof by === 'number' && safe !== undefined) {
      const sum = safe + by;
      if (!Number.isSafeInteger(sum)) throw beyond('2^53');
      this.#low = lowWord(sum);
      this.#high = highWord(sum);
      this.#putNumber(entry, isCounter, at);
      return sum;
    }
    const before =
      safe !== undefined ? BigInt(safe) : isCounter ? bigNumberOf(words, at) : this.#integerOf(entry);
    const sum = before + BigInt(by);
    if (sum > MOST_INT64 || sum < LEAST_INT64) throw beyond('64 bits');
    const result = Number(sum);
    if (typeof by === 'number' && !Number.isSafeInteger(result)) throw beyond('2^53');
    this.#low = Number(BigInt.asIntN(32, sum));
    this.#high = Number(sum >> 32n);
    this.#putNumber(entry, isCounter, at);
    return typeof by === 'bigint' ? sum : result;
  }

  #putNumber(entry: number, isCounter: boolean, at: number): void {
    if (!isCounter) {
      // When it expires was seen together with its value; between the two looks it may expire.
      const expiry = entry === 0 ? Infinity : expiryOf(this.memory.words, entry, this.table.keyAt);
      this.#put(expiry, ENTRY_IS_NUMBER);
      return;
    }
    const { memory } = this;
    memory.begin(this.table.head);
    memory.store(at, this.#low);
    memory.store(at + 1, this.#high);
    memory.commit();
  }

  /** @throws KernelError EINVAL: the value is no whole number */
  #integerOf(entry: number): bigint {
    const { words } = this.memory;
    if (valueLengthOf(words, entry) <= 20) {
      const text = String.fromCharCode(...this.bytesOf(entry));
      if (INTEGER.test(text)) {
        const number = BigInt(text);
        if (number <= MOST_INT64 && number >= LEAST_INT64) return number;
      }
    }
    throw new KernelError('EINVAL', 'the value of this key is no whole number of 64 bits');
  }

  delete(key: string | Bytes): boolean {
    this.checkOpen();
    this.putKey(key);
    const entry = this.table.find(this.hash, this.key.words, this.key.length);
    if (entry === 0) return false;
    const wasThere = !this.isExpired(entry);
    this.#remove(entry);
    return wasThere;
  }

  expireAt(key: string | Bytes, moment: number): boolean {
    const expiry = checkMoment(moment);
    const entry = this.lookUp(key);
    if (entry === 0) return false;
    if (expiry <= this.now()) {
      this.#remove(entry);
      return true;
    }
    const { memory, table } = this;
    const { words } = memory;
    if (expires(words, entry) === (expiry !== Infinity)) {
      if (expiry === Infinity) return true;
      memory.begin(table.head);
      this.#storeExpiry(valueAt(words, entry, table.keyAt) - EXPIRY_WORDS, expiry);
      memory.commit();
      return true;
    }
    if (isNumber(words, entry)) {
      const at = valueAt(words, entry, table.keyAt);
      this.#low = words[at];
      this.#high = words[at + 1];
      this.#put(expiry, ENTRY_IS_NUMBER);
    } else {
      try {
        this.#value.put(this.bytesOf(entry), 'value', MOST_VALUE_BYTES);
        this.#put(expiry, 0);
      } finally {
        this.#value.shrink();
      }
    }
    return true;
  }

  #storeExpiry(at: number, expiry: number): void {
    if (expiry < this.#quietUntil) this.#quietUntil = expiry;
    this.memory.store(at, lowWord(expiry));
    this.memory.store(at + 1, highWord(expiry));
  }

  clear(): void {
    this.checkOpen();
    clear(this.memory);
  }

  override set header(bytes: Uint8Array) {
    this.checkOpen();
    const given = bytesOf(bytes);
    if (given.length > USER_BYTES)
      throw new KernelError(
        'EINVAL',
        `a header has at most ${USER_BYTES} bytes, and this one ${given.length}`,
      );
    this.#value.put(given, 'value', USER_BYTES);
    const { memory } = this;
    const { words, length } = this.#value;
    memory.begin(Header.shape);
    for (let i = 0; i < length; i += 4) memory.store(Header.user + i / 4, words[i / 4]);
    memory.store(Header.userLength, length);
    memory.commit();
  }

  override get header(): Uint8Array<ArrayBuffer> {
    return super.header;
  }

  override set schema(schema: number) {
    checkWhole(schema, 'a schema', { max: 2 ** 31 - 1 });
    this.checkOpen();
    this.memory.words[Header.schema] = schema;
  }

  override get schema(): number {
    return super.schema;
  }

  // ---- One change -------------------------------------------------------------------------------

  /** Stores what is in `key` and in `#value`, or the counter in `#low` and `#high`. */
  #put(expiry: number | 'keep', kind: number): void {
    const { memory, table, key } = this;
    const isCounter = kind === ENTRY_IS_NUMBER;
    const valueWords = isCounter ? 2 : (this.#value.length + 3) >>> 2;
    const keyWords = (key.length + 3) >>> 2;
    this.#gathered = 0;
    for (;;) {
      const { words } = memory;
      const old = table.find(this.hash, key.words, key.length);
      if (old !== 0 && this.isExpired(old)) {
        this.#remove(old);
        continue;
      }
      const kept = expiry === 'keep' ? (old === 0 ? Infinity : expiryOf(words, old, table.keyAt)) : expiry;
      const flags = kind | (kept === Infinity ? 0 : ENTRY_EXPIRES);
      const units = entryUnits(table.keyAt + keyWords + (kept === Infinity ? 0 : EXPIRY_WORDS) + valueWords);
      if (units >= MOST_UNITS)
        throw new KernelError(
          'EMSGSIZE',
          `a value has less than 1 GiB, and this one ${this.#value.length} bytes`,
        );
      const before = old === 0 ? 0 : words[old] >>> FLAG_BITS;
      const spare = before - units;
      if (spare >= 0 && spare < LEAST_UNITS && valueWords <= MOST_IN_PLACE && flagsOf(words, old) === flags) {
        this.#overwrite(old, kept, valueWords, isCounter);
        break;
      }
      if (this.#hasRecency && this.#isOverFull(units - before) && !this.#isWorthOthers(units, before))
        throw this.#full(units);
      if (this.#write(old, units, flags, kept)) {
        if (kept < this.#quietUntil) this.#quietUntil = kept;
        if (!table.grow()) this.#makeRoomToGrow();
        if (this.#hasRecency) this.#trim(units);
        break;
      }
      if (!this.#makeRoom(units, old)) throw this.#full(units);
    }
  }

  #isOverFull(units: number): boolean {
    return (HEAP_START + this.memory.words[Header.used] + units) * UNIT_BYTES > this.#ground.most;
  }

  /**
   * Whether others go for an entry: where it is certain to find room then, also if the one that it
   * replaces lies in the middle. That is half of what all of them can have.
   *
   * @param replaced units of that one
   */
  #isWorthOthers(units: number, replaced: number): boolean {
    const { words } = this.memory;
    const all = Math.min(words[Header.heapEnd], this.#ground.most / UNIT_BYTES);
    const directory = words[words[Header.directory] * 2] >>> FLAG_BITS;
    return 2 * units + replaced <= all - HEAP_START - SEGMENT_UNITS - directory;
  }

  /**
   * Removes what was used the longest ago while there is more than `maxBytes`; where there is much
   * more, as it was larger before, a part at each call.
   */
  #trim(units: number): void {
    const { words } = this.memory;
    const end = words[Header.used] - TRIMMED * (units + SEGMENT_UNITS);
    while (this.#isOverFull(0) && words[Header.used] > end && this.#evict(words[Header.newest] * 2));
  }

  /** Of an entry that has the same place for all its parts. */
  #overwrite(entry: number, expiry: number, valueWords: number, isCounter: boolean): void {
    const { memory, table } = this;
    const { words } = memory;
    const at = valueAt(words, entry, table.keyAt);
    memory.begin(table.head);
    if (isCounter) {
      memory.store(at, this.#low);
      memory.store(at + 1, this.#high);
    } else {
      const value = this.#value.words;
      for (let i = 0; i < valueWords; i++) memory.store(at + i, value[i]);
      memory.store(entry + ENTRY_VALUE_LENGTH, this.#value.length);
    }
    if (expiry !== Infinity) this.#storeExpiry(at - EXPIRY_WORDS, expiry);
    if (this.#hasRecency) makeNewest(memory, entry);
    memory.commit();
  }

  /**
   * Writes a new entry, and puts it where the old one was, or where there is room.
   *
   * @returns false: no memory for it, and nothing has changed
   */
  #write(old: number, units: number, flags: number, expiry: number): boolean {
    const { memory, table } = this;
    const { words } = memory;
    memory.begin(table.head);
    try {
      const block = allocate(memory, units, IS_ENTRY);
      const entry = block * 2;
      if (block === 0 || !this.#link(old, entry)) {
        memory.rollBack();
        return false;
      }
      this.#fill(entry, flags, expiry);
      const more = (flags & ENTRY_EXPIRES) === 0 ? 0 : 1;
      const less = old !== 0 && expires(words, old) ? 1 : 0;
      memory.store(Header.expiring, words[Header.expiring] + more - less);
      if (old !== 0) free(memory, old / 2);
      memory.commit();
      return true;
    } catch (error) {
      memory.rollBack();
      throw error;
    }
  }

  /** @returns false: no memory for a bucket */
  #link(old: number, entry: number): boolean {
    const { memory, table } = this;
    const { words } = memory;
    if (old !== 0) {
      table.replace(entry);
      if (!this.#hasRecency) return true;
      takePlaceOf(memory, old, entry);
      makeNewest(memory, entry);
      return true;
    }
    if (!table.insert(table.head, bucketOf(words, this.hash), entry / 2, this.hash)) return false;
    memory.store(Header.keys, words[Header.keys] + 1);
    if (this.#hasRecency) addNewest(memory, entry);
    return true;
  }

  /** All words of a new entry but its first, and those of the list. */
  #fill(entry: number, flags: number, expiry: number): void {
    const { words, bytes } = this.memory;
    const { key } = this;
    words[entry + ENTRY_HASH] = this.hash;
    words[entry + ENTRY_KEY] = key.length | flags;
    const keyWords = (key.length + 3) >>> 2;
    let at = entry + this.table.keyAt;
    for (let i = 0; i < keyWords; i++) words[at + i] = key.words[i];
    at += keyWords;
    if (expiry !== Infinity) {
      words[at] = lowWord(expiry);
      words[at + 1] = highWord(expiry);
      at += EXPIRY_WORDS;
    }
    if ((flags & ENTRY_IS_NUMBER) !== 0) {
      words[entry + ENTRY_VALUE_LENGTH] = 8;
      words[at] = this.#low;
      words[at + 1] = this.#high;
      return;
    }
    const { length } = this.#value;
    words[entry + ENTRY_VALUE_LENGTH] = length;
    const valueWords = (length + 3) >>> 2;
    const value = this.#value.words;
    if (valueWords <= MOST_IN_PLACE) for (let i = 0; i < valueWords; i++) words[at + i] = value[i];
    else bytes.set(this.#value.bytes.subarray(0, length), at * 4);
  }

  /** Takes an entry out that `find` or `locate` found. */
  #remove(entry: number): void {
    const { memory, table } = this;
    const { words } = memory;
    memory.begin(table.head);
    try {
      if (this.#hasRecency) takeOut(memory, entry);
      memory.store(Header.keys, words[Header.keys] - 1);
      if (expires(words, entry)) memory.store(Header.expiring, words[Header.expiring] - 1);
      table.remove();
      free(memory, entry / 2);
      memory.commit();
    } catch (error) {
      memory.rollBack();
      throw error;
    }
    table.shrink();
  }

  // ---- Making room ------------------------------------------------------------------------------

  /**
   * @param old the entry that is replaced: it stays
   * @returns whether there may be room now
   */
  #makeRoom(units: number, old: number): boolean {
    const { memory } = this;
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
    const isWorth = this.#hasRecency ? left > 2 * piece && left > all / MOST_SCATTERED : left > piece;
    const replaced = old === 0 ? 0 : words[old] >>> FLAG_BITS;
    if (isWorth && this.#gather(piece, MOST_GATHERED)) return true;
    if (!this.#hasRecency || !this.#isWorthOthers(units, replaced)) return false;
    if (this.#evict(this.#spared())) return true;
    return left > piece && this.#gather(piece, MOST_GATHERED + 1);
  }

  /** The entry that is replaced, wherever it was moved: it is not the one that goes. */
  #spared(): number {
    const entry = this.table.find(this.hash, this.key.words, this.key.length);
    if (entry !== 0) this.#use(entry);
    return entry;
  }

  /**
   * Removes some of what has expired. All is looked at, if need be, where nothing else can make
   * room: and then not again before the first of them expires.
   *
   * @returns whether there was any
   */
  #removeExpired(): boolean {
    const { words } = this.memory;
    if (words[Header.expiring] === 0) return false;
    if (this.#hasRecency) return this.sweep(LOOKED_AT) > 0;
    if (this.now() < this.#quietUntil) return false;
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
  #makeRoomToGrow(): void {
    const { memory, table } = this;
    const { words } = memory;
    if (words[Header.keys] < bucketCount(words) * CROWDED) return;
    if (this.#hasRecency) this.#freeForSegment();
    const all = words[Header.heapEnd] - HEAP_START;
    if (all - words[Header.used] < SEGMENT_UNITS + all / LEFT_TO_GROW) return;
    let steps = 0;
    compact(memory, table, () => ++steps > STEPS_TO_GROW || largestFree(words) >= SEGMENT_UNITS);
  }

  /** What was used the longest ago makes way for buckets. */
  #freeForSegment(): void {
    const { words } = this.memory;
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
    const { memory, table } = this;
    const { words } = memory;
    const oldest = words[Header.oldest] * 2;
    if (oldest === 0 || oldest === spared) return false;
    const isExpired = this.isExpired(oldest);
    table.locate(oldest);
    if (!isExpired) words[Header.evicted] += 1;
    this.#remove(oldest);
    return true;
  }

  /**
   * Moves entries together until there is a free piece of a size, once through the map at most.
   *
   * @param most times that it may be done for one value
   * @returns whether there is one now, and was not before
   */
  #gather(units: number, most: number): boolean {
    const { memory, table } = this;
    const isThere = (): boolean => largestFree(memory.words) >= units;
    if (isThere() || this.#gathered >= most) return false;
    this.#gathered += 1;
    const wasPartWay = memory.walk !== 0;
    compact(memory, table, isThere);
    if (wasPartWay && !isThere()) compact(memory, table, isThere);
    return isThere();
  }

  #full(units: number): KernelError {
    const { free: left, capacity } = this.stats;
    return new KernelError(
      'ENOSPC',
      left > units * UNIT_BYTES
        ? `the map has ${formatSize(left)} free, and no piece of ${units * UNIT_BYTES} bytes`
        : `the map is full (${formatSize(capacity)}): delete keys, open it with evict: 'lru', or give its file more bytes`,
    );
  }

  sweep(most: number): number {
    checkWhole(most, 'a number of keys', { min: 1 });
    this.checkOpen();
    const { words } = this.memory;
    let removed = 0;
    let looked = 0;
    // Removing may merge buckets: there are no more of them than at the start.
    for (let left = bucketCount(words); left > 0 && looked < most && words[Header.expiring] > 0; left--) {
      const bucket = (words[Header.sweepAt] >>> 0) % bucketCount(words);
      for (let entry = this.#expiredIn(bucket); entry !== 0; entry = this.#expiredIn(bucket)) {
        this.#remove(entry);
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
    const { memory, table } = this;
    const { words } = memory;
    const head = bucketAt(words, bucket);
    for (let at = head, steps = 0; at !== 0; at = nextInChain(words, at, ++steps)) {
      for (let place = 0; place < PLACES; place++) {
        const entry = words[at + BUCKET_ENTRIES + place] * 2;
        if (entry === 0 || !expires(words, entry)) continue;
        if (!this.isExpired(entry)) {
          this.#earliest = Math.min(this.#earliest, expiryOf(words, entry, this.table.keyAt));
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

  compact(milliseconds: number): Compaction {
    if (typeof milliseconds !== 'number' || !(milliseconds > 0))
      throw new KernelError('EINVAL', 'a compaction is given milliseconds, more than 0');
    this.checkOpen();
    const end = performance.now() + milliseconds;
    let steps = 0;
    const isOver = (): boolean => (++steps & (STEPS_A_LOOK - 1)) === 0 && performance.now() >= end;
    return compact(this.memory, this.table, isOver);
  }

  // ---- The map itself ---------------------------------------------------------------------------

  share(): SharedView {
    this.checkOpen();
    return this.#ground.share();
  }

  verify(): void {
    this.checkOpen();
    checkWholeMap(this.memory, this.table.keyAt);
  }

  close(): void {
    if (this.memory.isBusy) this.checkOpen();
    this.memory.words = new Int32Array(0);
    this.memory.bytes = new Uint8Array(0);
    this.#ground.close();
  }

  [DISPOSE](): void {
    this.close();
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
const MOST_UNITS = 2 ** 27 - 1;
const MOST_VALUE_BYTES = 2 ** 30 - 1;

function flagsOf(words: Int32Array, entry: number): number {
  return words[entry + ENTRY_KEY] - keyLengthOf(words, entry);
}

function beyond(what: string): KernelError {
  return new KernelError('ERANGE', `the sum is beyond ${what}`);
}

function checkExpires(options: SetOptions): number | 'keep' {
  checkOptions(options, 'set', ['expires']);
  const { expires = Infinity } = options;
  return expires === 'keep' ? expires : checkMoment(expires);
}

/** @throws KernelError EINVAL: no moment */
function checkMoment(moment: number): number {
  if (moment === Infinity) return moment;
  return checkWhole(moment, 'a moment, in milliseconds since the epoch', { max: MOST_MOMENT });
}
