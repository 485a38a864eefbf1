/** Where the parts of an entry are. An entry is known by the index of its first word. */
import {
  ENTRY_EXPIRES,
  ENTRY_IS_NUMBER,
  ENTRY_KEY,
  ENTRY_VALUE_LENGTH,
  EXPIRY_WORDS,
  KEY_LENGTH_MASK,
} from './abi.ts';

const TWO_32 = 2 ** 32;

export function keyLengthOf(words: Int32Array, entry: number): number {
  return words[entry + ENTRY_KEY] & KEY_LENGTH_MASK;
}

export function valueLengthOf(words: Int32Array, entry: number): number {
  return words[entry + ENTRY_VALUE_LENGTH];
}

export function isNumber(words: Int32Array, entry: number): boolean {
  return (words[entry + ENTRY_KEY] & ENTRY_IS_NUMBER) !== 0;
}

export function expires(words: Int32Array, entry: number): boolean {
  return (words[entry + ENTRY_KEY] & ENTRY_EXPIRES) !== 0;
}

/** Index of the word where the value begins. @param keyAt words of an entry before its key */
export function valueAt(words: Int32Array, entry: number, keyAt: number): number {
  const key = words[entry + ENTRY_KEY];
  const at = entry + keyAt + (((key & KEY_LENGTH_MASK) + 3) >>> 2);
  return (key & ENTRY_EXPIRES) === 0 ? at : at + EXPIRY_WORDS;
}

/** Milliseconds since the epoch; Infinity: never. */
export function expiryOf(words: Int32Array, entry: number, keyAt: number): number {
  if (!expires(words, entry)) return Infinity;
  const at = valueAt(words, entry, keyAt) - EXPIRY_WORDS;
  return words[at + 1] * TWO_32 + (words[at] >>> 0);
}

/** The number of a counter, where it is safe; else undefined. */
export function safeNumberOf(words: Int32Array, at: number): number | undefined {
  const number = words[at + 1] * TWO_32 + (words[at] >>> 0);
  return Number.isSafeInteger(number) ? number : undefined;
}

export function bigNumberOf(words: Int32Array, at: number): bigint {
  return (BigInt(words[at + 1]) << 32n) | BigInt(words[at] >>> 0);
}

export function lowWord(number: number): number {
  return number | 0;
}

export function highWord(number: number): number {
  return Math.floor(number / TWO_32) | 0;
}
