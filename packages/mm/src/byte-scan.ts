/**
 * Looking through a byte array for the end of a stretch that is all alike, four bytes at a time:
 * what makes work on a run of page frames cost a fraction of a nanosecond a frame.
 */

/**
 * Index of the first byte in [from, end) that differs from `value` in the bits of `mask`; `end`
 * where there is none.
 *
 * @param words the same memory, four bytes a word; it begins where `bytes` does
 */
export function firstOther(
  bytes: Uint8Array,
  words: Int32Array,
  from: number,
  end: number,
  mask: number,
  value: number,
): number {
  let at = from;
  while (at < end && (at & 3) !== 0) {
    if ((bytes[at] & mask) !== value) return at;
    at += 1;
  }
  const wordMask = Math.imul(mask, 0x0101_0101);
  const alike = Math.imul(value, 0x0101_0101);
  const lastWord = end >>> 2;
  let word = at >>> 2;
  while (word < lastWord && (words[word] & wordMask) === alike) word += 1;
  if (at < word * 4) at = word * 4;
  while (at < end && (bytes[at] & mask) === value) at += 1;
  return at;
}
