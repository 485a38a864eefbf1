/** What a map offers: to whoever reads it, and to the one who writes it. */
import type { Bytes, Disposing } from '@liveupdate/base';
import type { SharedView } from '@liveupdate/mm';
import type { Compaction } from './compact.ts';
import type { Encoding } from './text.ts';

/** What a key or a value is returned as. */
export type Decoded = string | Uint8Array<ArrayBuffer>;

/** How a map is looked at. */
export interface ReaderOptions<K extends Encoding = 'utf8', V extends Encoding = 'utf8'> {
  /** `'utf8'` (default): keys are returned as strings. `'view'`: as bytes. */
  readonly keyEncoding?: K;
  /** The same for values. */
  readonly valueEncoding?: V;
  /** The clock for keys that expire, in milliseconds since the epoch; default `Date.now`. */
  readonly now?: () => number;
}

/** What is in a map, in figures. */
export interface MapStats {
  /** Keys; expired ones that were not removed yet are counted. */
  readonly size: number;
  /** Keys that expire. */
  readonly expiring: number;
  /** Bytes of the file that the map makes use of. */
  readonly capacity: number;
  /** Bytes in use, and bytes that are free. */
  readonly used: number;
  readonly free: number;
  /** Bytes of the largest free piece: a value may need one. */
  readonly largestFree: number;
  /** Keys that were removed to make room, since the map was made. */
  readonly evicted: number;
}

/** A part of the keys, and where the next part begins. */
export interface ScanResult<Key> {
  /** 0: that was all. */
  readonly cursor: number;
  readonly keys: readonly Key[];
}

/** What comes with a value. */
export interface SetOptions {
  /**
   * When the key expires, in milliseconds since the epoch; `'keep'`: when it did before. Default:
   * never.
   */
  readonly expires?: number | 'keep';
}

/** A map that is only read. */
export interface MapReader<Key extends Decoded = string, Value extends Decoded = string> {
  /**
   * The value of a key, a copy; undefined: there is none, or it has expired. As Node.js's Buffers,
   * short bytes may be a part of a larger `buffer`.
   *
   * @throws KernelError EINVAL, EMSGSIZE: no such key; EMSGSIZE: or a value too long for a string.
   * EBADF: closed. EIO: the map is damaged
   */
  get(key: string | Bytes): Value | undefined;
  /**
   * Calls `use` with the value of a key as it lies in the map, without a copy. The view is good
   * until `use` returns; do not write to it, and do not change the map meanwhile. In a thread that
   * only reads, `use` is called again where the value changed meanwhile.
   *
   * @returns what `use` returned; undefined: no such key
   * @throws KernelError as get
   */
  read<T>(key: string | Bytes, use: (value: Uint8Array<ArrayBuffer>) => T): T | undefined;
  /** Whether there is such a key; to ask is no use of it. @throws KernelError as get */
  has(key: string | Bytes): boolean;
  /**
   * When a key expires: milliseconds since the epoch, Infinity: never; undefined: no such key. To
   * ask is no use of it.
   *
   * @throws KernelError as get
   */
  expiry(key: string | Bytes): number | undefined;
  /** Keys; expired ones that were not removed yet are counted. @throws KernelError EBADF: closed */
  readonly size: number;
  /**
   * A part of the keys: from a cursor on, at least `count` where there are so many. Begin with 0,
   * and go on with what comes back, until that is 0. Whatever changes meanwhile, a key that was
   * there all the time comes exactly once.
   *
   * @throws KernelError EINVAL: no such cursor or count. EBADF: closed. EIO: damaged
   */
  scan(cursor: number, count: number): ScanResult<Key>;
  /** All keys, as scan has them: the map may change meanwhile. */
  keys(): Generator<Key, void>;
  /** All keys with their values; what was deleted meanwhile does not come. It is no use of them. */
  entries(): Generator<[key: Key, value: Value], void>;
  values(): Generator<Value, void>;
  [Symbol.iterator](): Generator<[key: Key, value: Value], void>;
  /** A key at random: of a bucket at random, where each is as likely. Undefined: there is none. */
  randomKey(): Key | undefined;
  /** What the user calls the layout of the values. */
  readonly schema: number;
  /** What the user keeps in the header: a copy of 0 to 1,024 bytes. */
  readonly header: Uint8Array<ArrayBuffer>;
  /** @throws KernelError EBADF: closed */
  readonly stats: MapStats;
}

/** A map that is written. */
export interface StoredMap<Key extends Decoded = string, Value extends Decoded = string>
  extends MapReader<Key, Value>, Disposing {
  /**
   * Gives a key a value. When it returns, whoever opens the file next finds it, whatever happens to
   * this process.
   *
   * @throws KernelError ENOSPC: the map is full, or has no piece that is large enough. EINVAL: no
   * text or bytes, or no such moment. EMSGSIZE: the key has more than 65,535 bytes, or the value 1
   * GiB. EBADF: closed. EIO: damaged. After each of them the key is as it was
   */
  set(key: string | Bytes, value: string | Bytes, options?: SetOptions): void;
  /**
   * Adds to a number, in place, and returns what it is then. A key that is not there counts from 0;
   * text that is a whole number becomes a counter, which reads as its text. When the key expires
   * does not change.
   *
   * @param by a whole number; with a bigint the result is one, and may have 64 bits
   * @throws KernelError EINVAL: the value is no whole number, or `by` is none. ERANGE: the result
   * has more than 64 bits with its sign, or is beyond 2^53 and `by` is no bigint. Others as set.
   * After each of them the value is as it was
   */
  increment(key: string | Bytes, by?: number): number;
  increment(key: string | Bytes, by: bigint): bigint;
  /**
   * Removes a key. @returns whether it was there
   *
   * @throws KernelError EINVAL, EMSGSIZE, EBADF, EIO: as get
   */
  delete(key: string | Bytes): boolean;
  /**
   * Changes when a key expires; Infinity: never. A moment that has passed removes the key.
   *
   * @returns whether there was such a key
   * @throws KernelError EINVAL: no such moment. Others as set
   */
  expireAt(key: string | Bytes, moment: number): boolean;
  /** Removes all keys, at once. What is in the header stays. @throws KernelError EBADF: closed */
  clear(): void;
  /**
   * Looks for keys that have expired, and removes them; those that are met by other calls are
   * removed there. Call it now and then, with as much as there is time for.
   *
   * @param most keys that are looked at, about; where the search stopped it goes on next time
   * @returns how many were removed
   * @throws KernelError EINVAL: no such number. EBADF: closed
   */
  sweep(most: number): number;
  /**
   * Moves entries towards the start of the file, so that free memory becomes one piece: large
   * values find room, and a file can be made smaller. Each move is a change of its own.
   *
   * @param milliseconds after which it stops; the next call goes on from there
   * @throws KernelError EINVAL: no such number. EBADF: closed. EIO: damaged
   */
  compact(milliseconds: number): Compaction;
  /**
   * The map for threads that only read: send it by `postMessage`, open it by `openSharedView` of
   * `@liveupdate/linux`, and give that to openMapReader.
   *
   * @throws KernelError EOPNOTSUPP: this memory cannot be shared. EBADF: closed
   */
  share(): SharedView;
  /** Looks at all of the map: time for each key. @throws KernelError EIO: damaged. EBADF: closed */
  verify(): void;
  /** Ends it. A mapping that the map made is taken down; one that was given stays. */
  close(): void;
  /**
   * What the user keeps in the header: a copy of 0 to 1,024 bytes. It is set whole, as a value is.
   *
   * @throws KernelError EINVAL: more than 1,024 bytes. EBADF: closed
   */
  get header(): Uint8Array<ArrayBuffer>;
  set header(bytes: Uint8Array);
  /**
   * What the user calls the layout of the values.
   *
   * @throws KernelError EINVAL: no whole number. EBADF: closed
   */
  schema: number;
}
