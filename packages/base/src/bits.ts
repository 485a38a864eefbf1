/** Bit arithmetic on u32 words and on whole numbers above 32 bits. */

/** Index of the lowest set bit of a non-zero u32. */
export function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word);
}

/** floor(log2(n)) of a whole number from 1 to 2^53. */
export function log2Floor(n: number): number {
  const high = Math.floor(n / 0x1_0000_0000);
  return high > 0 ? 63 - Math.clz32(high) : 31 - Math.clz32(n >>> 0);
}

/** ceil(log2(n)) of a whole number from 1 to 2^53. */
export function log2Ceil(n: number): number {
  return n <= 1 ? 0 : log2Floor(n - 1) + 1;
}

/** Trailing zero bits of a whole number from 1 to 2^53. */
export function trailingZeros(n: number): number {
  const low = n >>> 0;
  return low === 0 ? 32 + lowestBit(Math.floor(n / 0x1_0000_0000)) : lowestBit(low);
}

/** Set bits of a u32. */
export function popCount(word: number): number {
  let n = word - ((word >>> 1) & 0x5555_5555);
  n = (n & 0x3333_3333) + ((n >>> 2) & 0x3333_3333);
  return Math.imul((n + (n >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}

/** Sets `count` bits from bit `from` on. */
export function setBits(words: Uint32Array, from: number, count: number): void {
  applyBits(words, from, count, true);
}

/** Clears `count` bits from bit `from` on. */
export function clearBits(words: Uint32Array, from: number, count: number): void {
  applyBits(words, from, count, false);
}

function applyBits(words: Uint32Array, from: number, count: number, on: boolean): void {
  if (count <= 0) return;
  const last = from + count - 1;
  const firstWord = Math.floor(from / 32);
  const lastWord = Math.floor(last / 32);
  const head = -1 << (from & 31);
  const tail = -1 >>> (31 - (last & 31));
  if (firstWord === lastWord) {
    applyMask(words, firstWord, head & tail, on);
    return;
  }
  applyMask(words, firstWord, head, on);
  words.fill(on ? 0xffff_ffff : 0, firstWord + 1, lastWord);
  applyMask(words, lastWord, tail, on);
}

function applyMask(words: Uint32Array, at: number, mask: number, on: boolean): void {
  words[at] = on ? words[at] | mask : words[at] & ~mask;
}

/** First bit at or after `from` that equals `on`, at most `end`; `end` where there is none. */
export function findBit(words: Uint32Array, from: number, end: number, on: boolean): number {
  if (from >= end) return end;
  const flip = on ? 0 : -1;
  let at = Math.floor(from / 32);
  let word = (words[at] ^ flip) & (-1 << (from & 31));
  const lastWord = Math.floor((end - 1) / 32);
  while (word === 0) {
    at += 1;
    if (at > lastWord) return end;
    word = words[at] ^ flip;
  }
  return Math.min(end, at * 32 + lowestBit(word));
}
