/**
 * CRC-32 as zlib and Ethernet have it. Our own, because node:zlib takes 4 ms to load, in each generation while nobody is served, and the
 * boot page has 124 bytes to sum.
 */

/** The polynomial, lowest bit first. */
const POLYNOMIAL = 0xedb8_8320;

export function crc32(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ POLYNOMIAL;
  }
  return ~crc >>> 0;
}
