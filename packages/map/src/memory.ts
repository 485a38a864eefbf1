/**
 * The words of a map's file, and how a change of many of them is whole: before a word changes, what
 * was in it goes into the journal, and one word that empties the journal ends the change. Whoever
 * finds rows in it, after a death at any instruction or after a failure, puts them back.
 *
 * - What nothing leads to may be written without the journal: the inside of free blocks, and of
 *   those just taken.
 * - In one change all is taken before anything is freed, so that what is freed stays as it was
 *   until the change is done.
 *
 * Threads that read look at a version: it is odd from `begin` to the end of a change, and another
 * one after it. Stores are made in the order in which they are written here; those that begin and
 * end are atomic, so that no compiler moves them.
 */
import { assert } from '@liveupdate/base';
import { JOURNAL_COUNT, JOURNAL_ROWS, JOURNAL_SEQUENCE, MOST_ROWS } from './abi.ts';

/** Rows of the last step of a change, with what follows it. */
const ROWS_TO_END = 64;

export class Memory {
  /** Length 0 when the view is gone. */
  words: Int32Array;
  bytes: Uint8Array;
  /** The block where a compaction goes on: it stays the start of one. 0: from the first. */
  walk = 0;
  /** Whether somebody else's code runs in the middle of a call. */
  isBusy = false;
  #hasFreed = false;

  constructor(bytes: Uint8Array) {
    // A Buffer of Node.js is one, too, and its `slice` is no copy.
    this.bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.words = new Int32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.byteLength / 4));
  }

  /** @param version index of the version word that readers look at */
  begin(version: number): void {
    const { words } = this;
    words[JOURNAL_SEQUENCE] = version;
    Atomics.store(words, version, words[version] | 1);
    Atomics.load(words, version); // so that no later store is seen before it
    this.#hasFreed = false;
  }

  /** Changes a word, once the journal has what was in it. */
  store(at: number, value: number): void {
    const { words } = this;
    const old = words[at];
    if (old === value) return;
    this.#note(words, at, old);
    words[at] = value;
  }

  /** What is in a word comes back if the change fails, however it is written. */
  keep(at: number): void {
    const { words } = this;
    this.#note(words, at, words[at]);
  }

  #note(words: Int32Array, at: number, old: number): void {
    const count = words[JOURNAL_COUNT];
    assert(count < MOST_ROWS, 'a change of a map is larger than its journal');
    const row = JOURNAL_ROWS + 2 * count;
    words[row] = at;
    words[row + 1] = old;
    words[JOURNAL_COUNT] = count + 1;
  }

  /** Whether the journal has no room for more than the end of this change. */
  get isNearlyFull(): boolean {
    return this.words[JOURNAL_COUNT] > MOST_ROWS - ROWS_TO_END;
  }

  /** From here on nothing is taken in this change. */
  noteFreed(): void {
    this.#hasFreed = true;
  }

  checkTaking(): void {
    assert(!this.#hasFreed, 'a change of a map takes memory after it has freed some');
  }

  /** The change has happened. */
  commit(): void {
    Atomics.store(this.words, JOURNAL_COUNT, 0);
    this.#end();
  }

  /** The change has not happened. Also after a death: then it may have to be done once more. */
  rollBack(): void {
    const { words } = this;
    for (let i = words[JOURNAL_COUNT] - 1; i >= 0; i--) {
      const row = JOURNAL_ROWS + 2 * i;
      words[words[row] >>> 0] = words[row + 1];
    }
    Atomics.store(words, JOURNAL_COUNT, 0);
    this.#end();
  }

  #end(): void {
    const { words } = this;
    const version = words[JOURNAL_SEQUENCE] >>> 0;
    if (version === 0) return;
    Atomics.store(words, version, (words[version] | 1) + 1);
    words[JOURNAL_SEQUENCE] = 0;
  }

  /** Calls what does not belong to the map: no call to the map comes out of it. */
  whileBusy<T>(call: () => T): T {
    this.isBusy = true;
    try {
      return call();
    } finally {
      this.isBusy = false;
    }
  }

  /** Whether a change was cut short. */
  get isUnfinished(): boolean {
    return this.words[JOURNAL_COUNT] !== 0 || this.words[JOURNAL_SEQUENCE] !== 0;
  }
}
