/**
 * Changes of one entry, each whole: written anew, overwritten where it lies, removed, used. What is
 * written is in the fields: a key with its hash, and a value or a number.
 */
import { expires, highWord, lowWord, valueAt } from './entry.ts';
import { allocate, free } from './heap.ts';
import {
  ENTRY_EXPIRES,
  ENTRY_HASH,
  ENTRY_IS_NUMBER,
  ENTRY_KEY,
  ENTRY_VALUE_LENGTH,
  EXPIRY_WORDS,
  HAS_RECENCY,
  Header,
  IS_ENTRY,
} from './abi.ts';
import type { Memory } from './memory.ts';
import { addNewest, makeNewest, takeOut, takePlaceOf } from './recency.ts';
import { Scratch } from './scratch.ts';
import { bucketOf, type Table } from './table.ts';

/** A value of up to so many words is overwritten where it lies: the journal has what was there. */
export const MOST_IN_PLACE = 64;
/** And up to so many where there is no other memory: 4,000 bytes. */
export const MOST_JOURNALED = 1000;

export class EntryWriter {
  readonly #memory: Memory;
  readonly #table: Table;
  readonly hasRecency: boolean;
  readonly key: Scratch;
  hash = 0;
  readonly value = new Scratch();
  /** A counter's number. */
  low = 0;
  high = 0;

  constructor(memory: Memory, table: Table, key: Scratch) {
    this.#memory = memory;
    this.#table = table;
    this.key = key;
    this.hasRecency = (memory.words[Header.flags] & HAS_RECENCY) !== 0;
  }

  /** An entry was used now. */
  use(entry: number): void {
    const memory = this.#memory;
    if (memory.words[Header.newest] === entry / 2) return;
    memory.begin(Header.nobody);
    makeNewest(memory, entry);
    memory.commit();
  }

  storeExpiry(at: number, expiry: number): void {
    this.#memory.store(at, lowWord(expiry));
    this.#memory.store(at + 1, highWord(expiry));
  }

  /** Of an entry that has the same place for all its parts. */
  overwrite(entry: number, expiry: number, valueWords: number, isCounter: boolean): void {
    const memory = this.#memory;
    const table = this.#table;
    const { words } = memory;
    const at = valueAt(words, entry, table.keyAt);
    memory.begin(table.head);
    if (isCounter) {
      memory.store(at, this.low);
      memory.store(at + 1, this.high);
    } else {
      const value = this.value.words;
      for (let i = 0; i < valueWords; i++) memory.store(at + i, value[i]);
      memory.store(entry + ENTRY_VALUE_LENGTH, this.value.length);
    }
    if (expiry !== Infinity) this.storeExpiry(at - EXPIRY_WORDS, expiry);
    if (this.hasRecency) makeNewest(memory, entry);
    memory.commit();
  }

  /**
   * Writes a new entry, and puts it where the old one was, or where there is room.
   *
   * @returns false: no memory for it, and nothing has changed
   */
  write(old: number, units: number, flags: number, expiry: number): boolean {
    const memory = this.#memory;
    const table = this.#table;
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
    const memory = this.#memory;
    const table = this.#table;
    const { words } = memory;
    if (old !== 0) {
      table.replace(entry);
      if (!this.hasRecency) return true;
      takePlaceOf(memory, old, entry);
      makeNewest(memory, entry);
      return true;
    }
    if (!table.insert(table.head, bucketOf(words, this.hash), entry / 2, this.hash)) return false;
    memory.store(Header.keys, words[Header.keys] + 1);
    if (this.hasRecency) addNewest(memory, entry);
    return true;
  }

  /** All words of a new entry but its first, and those of the list. */
  #fill(entry: number, flags: number, expiry: number): void {
    const { words, bytes } = this.#memory;
    const { key } = this;
    words[entry + ENTRY_HASH] = this.hash;
    words[entry + ENTRY_KEY] = key.length | flags;
    const keyWords = (key.length + 3) >>> 2;
    let at = entry + this.#table.keyAt;
    for (let i = 0; i < keyWords; i++) words[at + i] = key.words[i];
    at += keyWords;
    if (expiry !== Infinity) {
      words[at] = lowWord(expiry);
      words[at + 1] = highWord(expiry);
      at += EXPIRY_WORDS;
    }
    if ((flags & ENTRY_IS_NUMBER) !== 0) {
      words[entry + ENTRY_VALUE_LENGTH] = 8;
      words[at] = this.low;
      words[at + 1] = this.high;
      return;
    }
    const { length } = this.value;
    words[entry + ENTRY_VALUE_LENGTH] = length;
    const valueWords = (length + 3) >>> 2;
    const value = this.value.words;
    if (valueWords <= MOST_IN_PLACE) for (let i = 0; i < valueWords; i++) words[at + i] = value[i];
    else bytes.set(this.value.bytes.subarray(0, length), at * 4);
  }

  /** Takes an entry out that `find` or `locate` found. */
  remove(entry: number): void {
    const memory = this.#memory;
    const table = this.#table;
    const { words } = memory;
    memory.begin(table.head);
    try {
      if (this.hasRecency) takeOut(memory, entry);
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
}
