/** An address that was read, for a message: 64-bit fields beyond 2^53 are read as NaN. */
export function shownAddress(pa: number): string {
  return Number.isNaN(pa) ? 'an address beyond 2^53' : `0x${pa.toString(16)}`;
}
