/**
 * The keys and values of the cache: the map, what clients watch of it, and what is counted.
 *
 * Always: what a method has stored is stored when it returns, and whoever watches the key knows.
 */
import { codeOf } from '@liveupdate/base';
import type { StoredMap } from '@liveupdate/map';
import type { Watches } from './watches.ts';

/** Keys and values are bytes. */
export type CacheMap = StoredMap<Uint8Array<ArrayBuffer>, Uint8Array<ArrayBuffer>>;

/** Milliseconds since the epoch; Infinity: never; `'keep'`: as it was. */
export type Expires = number | 'keep';

export class Store {
  readonly map: CacheMap;
  readonly watches: Watches;
  readonly now: () => number;
  hits = 0;
  misses = 0;
  /** Keys that were removed since their time had come. */
  expired = 0;

  constructor(map: CacheMap, watches: Watches, now: () => number = Date.now) {
    this.map = map;
    this.watches = watches;
    this.now = now;
  }

  /** A copy of a value. */
  get(key: Uint8Array): Uint8Array | undefined {
    const value = this.map.get(key);
    this.#count(value !== undefined);
    return value;
  }

  /** Calls `use` with a value, which is good until it returns. Whether there is one. */
  read(key: Uint8Array, use: (value: Uint8Array) => void): boolean {
    let isThere = false;
    this.map.read(key, (value) => {
      isThere = true;
      use(value);
    });
    this.#count(isThere);
    return isThere;
  }

  has(key: Uint8Array): boolean {
    return this.map.has(key);
  }

  /** Milliseconds since the epoch; Infinity: never; undefined: there is no such key. */
  expiry(key: Uint8Array): number | undefined {
    return this.map.expiry(key);
  }

  /**
   * One that is over already is as if it was stored and gone.
   *
   * @throws KernelError ENOSPC: there is no room. EMSGSIZE: the key is too long
   */
  set(key: Uint8Array, value: Uint8Array, expires: Expires = Infinity): void {
    if (expires === Infinity) this.map.set(key, value);
    else if (expires === 'keep' || expires > this.now()) this.map.set(key, value, { expires });
    else this.map.delete(key);
    this.watches.changed(key);
  }

  /** Whether it was there. */
  delete(key: Uint8Array): boolean {
    const wasThere = this.map.delete(key);
    if (wasThere) this.watches.changed(key);
    return wasThere;
  }

  /** @throws KernelError EINVAL: the value is no integer. ERANGE: beyond 64 bits. ENOSPC */
  increment(key: Uint8Array, by: bigint): number | bigint {
    const value = this.#increment(key, by);
    this.watches.changed(key);
    return value;
  }

  /** A number where that is exact, for it takes less. */
  #increment(key: Uint8Array, by: bigint): number | bigint {
    const number = Number(by);
    if (!Number.isSafeInteger(number)) return this.map.increment(key, by);
    try {
      return this.map.increment(key, number);
    } catch (error) {
      if (codeOf(error) !== 'ERANGE') throw error;
      return this.map.increment(key, by);
    }
  }

  /** Whether there is such a key. */
  expireAt(key: Uint8Array, expires: number): boolean {
    const isThere = this.map.expireAt(key, expires);
    if (isThere) this.watches.changed(key);
    return isThere;
  }

  clear(): void {
    this.watches.cleared((key) => this.map.has(key));
    this.map.clear();
  }

  /** Removes what is over, among so many keys, and returns how many that were. */
  sweep(most: number): number {
    const removed = this.map.sweep(most);
    this.expired += removed;
    return removed;
  }

  resetStatistics(): void {
    this.hits = 0;
    this.misses = 0;
    this.expired = 0;
  }

  #count(isThere: boolean): void {
    if (isThere) this.hits += 1;
    else this.misses += 1;
  }
}
