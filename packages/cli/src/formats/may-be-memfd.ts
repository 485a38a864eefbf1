/** Recognises the records of in-memory files in pages that nothing leads to any more. */
import { HUGE_ORDER, PAGE_SIZE, pagesFor } from '@liveupdate/base';

/** Where a version of the record has what, as offsets in bytes. */
export interface MemfdOffsets {
  readonly size: number;
  /** u32, 0 until now; only where there is one. */
  readonly flags?: number;
  readonly folioCount: number;
  /** The array of its folios: u64 address of the first chunk, u32 pages. */
  readonly folios: number;
  /** Bytes of the record: the rest of its page is zeros. */
  readonly end: number;
}

/** An array in huge pages may be larger than its records by less than one of them. */
const HUGE_PAGES = 2 ** HUGE_ORDER;
/** Bytes of a folio's record. */
const FOLIO = 16;

/**
 * Whether a page can be one that begins with a record of a file that has folios, and has nothing
 * else in it. Little else looks like one.
 *
 * @param ramSize bytes of RAM
 */
export function mayBeMemfd(page: Uint8Array, at: MemfdOffsets, ramSize: number): boolean {
  const words = new DataView(page.buffer, page.byteOffset, PAGE_SIZE);
  const low = (field: number): number => words.getUint32(field, true);
  const high = (field: number): number => words.getUint32(field + 4, true);
  // The cheapest first: nearly all pages are something else.
  if (low(at.folios) % PAGE_SIZE !== 0 || high(at.folioCount) !== 0) return false;
  const folios = low(at.folioCount);
  const arrayPages = low(at.folios + 8);
  const needed = Math.ceil((folios * FOLIO) / PAGE_SIZE);
  if (folios === 0 || arrayPages < needed || arrayPages >= needed + HUGE_PAGES) return false;
  const array = low(at.folios) + high(at.folios) * 2 ** 32;
  if (array === 0 || array >= ramSize || high(at.size) >= 2 ** 13) return false;
  if (at.flags !== undefined && low(at.flags) !== 0) return false;
  for (let i = at.end; i < PAGE_SIZE; i++) if (page[i] !== 0) return false;
  return pagesFor(low(at.size) + high(at.size) * 2 ** 32) >= folios;
}
