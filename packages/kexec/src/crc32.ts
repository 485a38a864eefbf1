/**
 * CRC-32 as zlib and Ethernet have it. Our own, because node:zlib takes 4 ms to load, in each
 * generation while nobody is served, and the boot page has 124 bytes to sum.
 */

/** The polynomial, lowest bit first. */
const POLYNOMIAL = 0xedb8_8320;

/**
 * What four bits leave behind: a table of all eight would take longer to make than a boot page to
 * sum.
 */
const NIBBLES = Int32Array.from({ length: 16 }, (_, nibble) => {
  let crc = nibble;
  for (let bit = 0; bit < 4; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ POLYNOMIAL;
  return crc;
});

export function crc32(bytes: Uint8Array): number {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    crc = (crc >>> 4) ^ NIBBLES[crc & 15];
    crc = (crc >>> 4) ^ NIBBLES[crc & 15];
  }
  return ~crc >>> 0;
}
