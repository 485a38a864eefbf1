/**
 * Looking into a map: the whole of it in the thread that writes, and what other threads may do.
 *
 * A thread that only reads looks at two versions before and after: that of the bucket and that of
 * the table's shape. Where one has changed, or is odd, it looks again.
 */
import { checkFunction, checkWhole, KernelError, type Bytes } from '@liveupdate/base';
import { damaged } from './damage.ts';
import {
  bigNumberOf,
  expiryOf,
  isNumber,
  keyLengthOf,
  safeNumberOf,
  valueAt,
  valueLengthOf,
} from './entry.ts';
import { hashOf } from './hash.ts';
import { largestFree } from './heap.ts';
import {
  BUCKET_ENTRIES,
  BUCKET_SEQUENCE,
  ENTRY_HASH,
  ENTRY_WORDS,
  FLAG_BITS,
  HAS_RECENCY,
  Header,
  HEAP_START,
  MOST_KEY_BYTES,
  PLACES,
  RECENCY_WORDS,
  UNIT_BYTES,
  USER_BYTES,
} from './abi.ts';
import type { Decoded, MapReader, MapStats, ReaderOptions, ScanResult } from './map.ts';
import type { Memory } from './memory.ts';
import { Scratch } from './scratch.ts';
import { bucketAt, bucketOf, isInside, nextInChain, placeOf, Table } from './table.ts';
import { decoderOf, type Decode, type Encoding } from './text.ts';

const POSITIONS = 2 ** 32;
/** Bytes that can be the text of a counter. */
const DIGITS = 20;

export class ReadMap<Key extends Decoded, Value extends Decoded> implements MapReader<Key, Value> {
  protected readonly memory: Memory;
  protected readonly table: Table;
  protected readonly key = new Scratch();
  /** Hash of what is in `key`. */
  protected hash = 0;
  protected readonly now: () => number;
  readonly #decodeKey: Decode<Key>;
  readonly #decodeValue: Decode<Value>;
  readonly #hashKey: number;
  readonly #hashKeyHigh: number;
  readonly #digits = new Uint8Array(DIGITS);

  /** @internal Call openMap or openMapReader. */
  constructor(memory: Memory, options: ReaderOptions<Encoding, Encoding>) {
    const { words } = memory;
    this.memory = memory;
    const hasRecency = (words[Header.flags] & HAS_RECENCY) !== 0;
    this.table = new Table(memory, hasRecency ? ENTRY_WORDS + RECENCY_WORDS : ENTRY_WORDS);
    const { now } = options;
    this.now = now === undefined ? Date.now : () => memory.whileBusy(now);
    this.#decodeKey = decoderOf(options.keyEncoding ?? 'utf8', memory) as Decode<Key>;
    this.#decodeValue = decoderOf(options.valueEncoding ?? 'utf8', memory) as Decode<Value>;
    this.#hashKey = words[Header.hashKey];
    this.#hashKeyHigh = words[Header.hashKeyHigh];
  }

  // ---- For the class that writes ----------------------------------------------------------------

  /** @throws KernelError EBADF: the file is not there any more. EBUSY: called by its clock */
  protected checkOpen(): void {
    const { words, isBusy } = this.memory;
    if (words.length === 0) throw new KernelError('EBADF', 'this map is closed, or its file was unmapped');
    if (isBusy) throw new KernelError('EBUSY', 'a clock (now) does not call the map that asks it');
  }

  /** @throws KernelError EINVAL: neither text nor bytes. EMSGSIZE: too long */
  protected putKey(key: string | Bytes): void {
    this.key.put(key, 'key', MOST_KEY_BYTES);
    const { words, length } = this.key;
    this.hash = hashOf(words, length, this.#hashKey, this.#hashKeyHigh);
  }

  /** Index of the entry of a key that is made use of, 0 where there is none that is live. */
  protected lookUp(key: string | Bytes): number {
    return this.lookAt(key);
  }

  /** The same where it is no use. */
  protected lookAt(key: string | Bytes): number {
    this.checkOpen();
    this.putKey(key);
    return this.liveEntry();
  }

  protected liveEntry(): number {
    const entry = this.table.find(this.hash, this.key.words, this.key.length);
    return entry !== 0 && this.isExpired(entry) ? 0 : entry;
  }

  protected isExpired(entry: number): boolean {
    const expiry = expiryOf(this.memory.words, entry, this.table.keyAt);
    return expiry !== Infinity && expiry <= this.now();
  }

  /** Begins a look at the place of the map that is in `hash`. */
  protected look(): void {
    this.checkOpen();
  }

  /** Whether nothing changed since `look`. */
  protected get isWhole(): boolean {
    return true;
  }

  /** From here on there is nothing that may have changed, until the next look. */
  protected forget(): void {
    // the thread that writes knows what it changes
  }

  /** Calls `work` until nothing changed meanwhile. What it throws before it looks is thrown. */
  protected steady<T>(work: () => T): T {
    for (;;) {
      this.forget();
      try {
        const result = work();
        if (this.isWhole) return result;
      } catch (error) {
        if (this.isWhole) throw error;
      }
    }
  }

  // ---- One key ----------------------------------------------------------------------------------

  get(key: string | Bytes): Value | undefined {
    const entry = this.lookUp(key);
    return entry === 0 ? undefined : this.valueOf(entry);
  }

  read<T>(key: string | Bytes, use: (value: Uint8Array<ArrayBuffer>) => T): T | undefined {
    checkFunction(use, 'what reads a value');
    return this.steady(() => {
      const entry = this.lookUp(key);
      return entry === 0 ? undefined : use(this.bytesOf(entry));
    });
  }

  has(key: string | Bytes): boolean {
    return this.steady(() => this.lookAt(key) !== 0);
  }

  expiry(key: string | Bytes): number | undefined {
    return this.steady(() => {
      const entry = this.lookAt(key);
      return entry === 0 ? undefined : expiryOf(this.memory.words, entry, this.table.keyAt);
    });
  }

  protected valueOf(entry: number): Value {
    const { words } = this.memory;
    if (isNumber(words, entry)) return this.#textOf(entry);
    const at = this.#valueAt(entry) * 4;
    return this.#decodeValue(at, at + valueLengthOf(words, entry));
  }

  /** A counter reads as its decimal text. */
  #textOf(entry: number): Value {
    const bytes = this.bytesOf(entry);
    return this.#decodeValue(0, bytes.length, bytes);
  }

  /** The value as it lies there; of a counter, its text. */
  protected bytesOf(entry: number): Uint8Array<ArrayBuffer> {
    const { words, bytes } = this.memory;
    if (isNumber(words, entry)) {
      const at = valueAt(words, entry, this.table.keyAt);
      const text = String(safeNumberOf(words, at) ?? bigNumberOf(words, at));
      for (let i = 0; i < text.length; i++) this.#digits[i] = text.charCodeAt(i);
      return this.#digits.subarray(0, text.length);
    }
    const from = this.#valueAt(entry) * 4;
    return (bytes as Uint8Array<ArrayBuffer>).subarray(from, from + valueLengthOf(words, entry));
  }

  /** @throws KernelError EIO: the value does not end in its block */
  #valueAt(entry: number): number {
    const { words } = this.memory;
    const at = valueAt(words, entry, this.table.keyAt);
    const end = entry + (words[entry] >>> FLAG_BITS) * 2;
    const length = valueLengthOf(words, entry);
    if (length < 0 || at * 4 + length > end * 4 || end > words.length)
      throw damaged('a value is longer than its memory');
    return at;
  }

  // ---- All keys ---------------------------------------------------------------------------------

  get size(): number {
    this.checkOpen();
    return this.memory.words[Header.keys];
  }

  scan(cursor: number, count: number): ScanResult<Key> {
    checkWhole(cursor, 'a cursor', { max: POSITIONS - 1 });
    checkWhole(count, 'a number of keys', { min: 1 });
    this.checkOpen();
    const keys: Key[] = [];
    let position = cursor;
    while (position < POSITIONS && keys.length < count)
      position = this.#bucketAt(position, keys, (entry) => this.keyOf(entry));
    return { cursor: position === POSITIONS ? 0 : position, keys };
  }

  /**
   * A place in the map is the hash of a key with its bits in reverse: a bucket's keys are an
   * interval then, and splitting a bucket divides it. So a place stays where it is, whatever
   * happens to the buckets.
   *
   * @param into gets what `what` gives for the entries of the bucket from `position` on
   * @returns the position after them
   */
  #bucketAt<T>(position: number, into: T[], what: (entry: number) => T): number {
    const before = into.length;
    const hash = reversed(position);
    return this.steady(() => {
      into.length = before;
      this.hash = hash;
      this.look();
      const { words } = this.memory;
      const bucket = bucketOf(words, hash);
      const end = intervalEnd(words, bucket);
      for (let at = bucketAt(words, bucket), steps = 0; at !== 0; at = nextInChain(words, at, ++steps)) {
        for (let place = 0; place < PLACES; place++) {
          const entry = words[at + BUCKET_ENTRIES + place] * 2;
          if (entry === 0) continue;
          if (entry < HEAP_START * 2 || entry >= words.length)
            throw damaged('a bucket leads out of the file');
          if (reversed(words[entry + ENTRY_HASH]) < position || this.isExpired(entry)) continue;
          into.push(what(entry));
        }
      }
      return end;
    });
  }

  protected keyOf(entry: number): Key {
    const from = this.#keyAt(entry) * 4;
    return this.#decodeKey(from, from + keyLengthOf(this.memory.words, entry));
  }

  /** @throws KernelError EIO: the key does not end in the file */
  #keyAt(entry: number): number {
    const { words } = this.memory;
    const at = entry + this.table.keyAt;
    if (at * 4 + keyLengthOf(words, entry) > words.length * 4) throw damaged('a key leads out of the file');
    return at;
  }

  *keys(): Generator<Key, void> {
    const found: Key[] = [];
    for (let position = 0; position < POSITIONS;) {
      found.length = 0;
      position = this.#bucketAt(position, found, (entry) => this.keyOf(entry));
      yield* found;
    }
  }

  *entries(): Generator<[key: Key, value: Value], void> {
    const { bytes } = this.memory;
    const found: Uint8Array[] = [];
    for (let position = 0; position < POSITIONS;) {
      found.length = 0;
      position = this.#bucketAt(position, found, (entry) => {
        const at = this.#keyAt(entry) * 4;
        return bytes.slice(at, at + keyLengthOf(this.memory.words, entry));
      });
      for (const key of found) {
        const pair = this.steady((): [Key, Value] | undefined => {
          const entry = this.lookAt(key);
          return entry === 0 ? undefined : [this.keyOf(entry), this.valueOf(entry)];
        });
        if (pair) yield pair;
      }
    }
  }

  *values(): Generator<Value, void> {
    for (const [, value] of this.entries()) yield value;
  }

  [Symbol.iterator](): Generator<[key: Key, value: Value], void> {
    return this.entries();
  }

  randomKey(): Key | undefined {
    const found: Key[] = [];
    const keyOf = (entry: number): Key => this.keyOf(entry);
    for (let i = 0; i < RANDOM_TRIES && found.length === 0 && this.size > 0; i++) {
      const bucket = bucketOf(this.memory.words, Math.floor(Math.random() * POSITIONS) | 0);
      this.#bucketAt(reversed(bucket), found, keyOf);
    }
    for (let position = 0; position < POSITIONS && found.length === 0;)
      position = this.#bucketAt(position, found, keyOf);
    return found[Math.floor(Math.random() * found.length)];
  }

  // ---- The map itself ---------------------------------------------------------------------------

  get schema(): number {
    this.checkOpen();
    return this.memory.words[Header.schema];
  }

  get header(): Uint8Array<ArrayBuffer> {
    return this.steady(() => {
      this.look();
      const { words, bytes } = this.memory;
      const length = Math.min(USER_BYTES, words[Header.userLength]);
      return new Uint8Array(bytes.subarray(Header.user * 4, Header.user * 4 + length));
    });
  }

  get stats(): MapStats {
    this.checkOpen();
    const { words } = this.memory;
    const capacity = words[Header.heapEnd] * UNIT_BYTES;
    const used = (HEAP_START + words[Header.used]) * UNIT_BYTES;
    return {
      size: words[Header.keys],
      expiring: words[Header.expiring],
      capacity,
      used,
      free: capacity - used,
      largestFree: largestFree(words) * UNIT_BYTES,
      evicted: words[Header.evicted] >>> 0,
    };
  }
}

/** The map in a thread that does not write it. */
export class ForeignReader<Key extends Decoded, Value extends Decoded> extends ReadMap<Key, Value> {
  #shape = 0;
  #bucket = 0;
  #version = 0;
  readonly #fence = new Int32Array(1);
  readonly #isLive: () => boolean;

  constructor(memory: Memory, options: ReaderOptions<Encoding, Encoding>, isLive: () => boolean) {
    super(memory, options);
    this.#isLive = isLive;
  }

  override get(key: string | Bytes): Value | undefined {
    return this.steady(() => super.get(key));
  }

  protected override checkOpen(): void {
    super.checkOpen();
    if (!this.#isLive()) throw new KernelError('EBADF', 'the map was closed by the thread that writes it');
  }

  protected override liveEntry(): number {
    this.look();
    return super.liveEntry();
  }

  protected override look(): void {
    const { words } = this.memory;
    let end = 0;
    for (let looks = 1; ; looks++) {
      this.forget();
      this.checkOpen();
      if (looks % LOOKS_A_CLOCK === 0) {
        if (end !== 0 && performance.now() > end) throw damaged('a change of it does not end');
        end ||= performance.now() + LONGEST_CHANGE;
      }
      this.#shape = Atomics.load(words, Header.shape);
      const at = placeOf(words, bucketOf(words, this.hash));
      if ((this.#shape & 1) !== 0) continue;
      if (!isInside(words, at)) {
        if (Atomics.load(words, Header.shape) === this.#shape) throw damaged('its buckets lie elsewhere');
        continue;
      }
      this.#bucket = at + BUCKET_SEQUENCE;
      this.#version = Atomics.load(words, this.#bucket);
      if ((this.#version & 1) === 0) return;
    }
  }

  protected override forget(): void {
    this.#bucket = 0;
  }

  protected override get isWhole(): boolean {
    const { words } = this.memory;
    // Nothing was looked at, or the view is gone: so it was before that.
    if (this.#bucket === 0 || words.length === 0) return true;
    Atomics.store(this.#fence, 0, 0); // so that what was loaded until here is not loaded later
    return (
      Atomics.load(words, this.#bucket) === this.#version && Atomics.load(words, Header.shape) === this.#shape
    );
  }
}

/** Milliseconds. A change takes microseconds, one of a value of 1 GiB a second. */
const LONGEST_CHANGE = 10_000;
/** Looks at a version between two at the clock. */
const LOOKS_A_CLOCK = 2 ** 16;

/** Buckets that are tried before all are gone through; there are 512 for a single key. */
const RANDOM_TRIES = 10_000;

/** The bits of a hash in reverse order, as a number from 0 to 2^32 - 1. */
function reversed(bits: number): number {
  let x = ((bits >>> 1) & 0x5555_5555) | ((bits & 0x5555_5555) << 1);
  x = ((x >>> 2) & 0x3333_3333) | ((x & 0x3333_3333) << 2);
  x = ((x >>> 4) & 0x0f0f_0f0f) | ((x & 0x0f0f_0f0f) << 4);
  x = ((x >>> 8) & 0x00ff_00ff) | ((x & 0x00ff_00ff) << 8);
  return ((x >>> 16) | (x << 16)) >>> 0;
}

/** Where the interval of a bucket ends: it has 2^32 / 2^(bits of its number) places. */
function intervalEnd(words: Int32Array, bucket: number): number {
  const level = words[Header.level];
  const isSplit = bucket < words[Header.split] || bucket >= 1 << level;
  return reversed(bucket) + 2 ** (32 - level - (isSplit ? 1 : 0));
}
