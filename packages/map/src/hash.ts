/**
 * HalfSipHash-1-3 of 32 bits, with a key of 64 bits (Aumasson and Bernstein): made for hash tables
 * and short keys, of operations that a processor does on 32 bits. Linux uses it for its own tables
 * (hsiphash). Who does not know the key cannot make keys that meet in one bucket.
 */

/**
 * @param words the bytes that are hashed, filled up with zeros to a whole word
 * @param length bytes
 * @returns a signed integer
 */
export function hashOf(words: Int32Array, length: number, low: number, high: number): number {
  let a = low;
  let b = high;
  let c = low ^ 0x6c79_6765;
  let d = high ^ 0x7465_6462;
  const whole = length >>> 2;
  const last = (length << 24) | ((length & 3) === 0 ? 0 : words[whole]);
  // A round for each word, the last of which has the length, and three rounds of nothing.
  for (let i = 0; i < whole + 4; i++) {
    const word = i < whole ? words[i] : i === whole ? last : 0;
    if (i === whole + 1) c ^= 0xff;
    d ^= word;
    a = (a + b) | 0;
    b = ((b << 5) | (b >>> 27)) ^ a;
    a = (a << 16) | (a >>> 16);
    c = (c + d) | 0;
    d = ((d << 8) | (d >>> 24)) ^ c;
    a = (a + d) | 0;
    d = ((d << 7) | (d >>> 25)) ^ a;
    c = (c + b) | 0;
    b = ((b << 13) | (b >>> 19)) ^ c;
    c = (c << 16) | (c >>> 16);
    a ^= word;
  }
  return b ^ d;
}
