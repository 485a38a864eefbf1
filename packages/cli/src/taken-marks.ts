/**
 * Which of the pages that a kernel was handed it has taken since. Linux notes in the `struct page`
 * of each of them that it was handed over, and of which order; when somebody takes the page, the
 * note goes. On x86-64 a `struct page` has 64 bytes, and those of 128 MiB lie side by side in 2 MiB
 * of memory: where such a region has notes for just those pages that the memory map of the handover
 * names, it is about that part of memory.
 *
 * Another kernel may note it elsewhere. Then nothing is found, and nothing is claimed.
 */
import type { Pfn } from '@liveupdate/base';
import { INCOMING_HEAD, KIND, type PageTable } from '@liveupdate/mm';

/** Of a `struct page` in words: the order, and the word that says 'handed over'. */
const ORDER_WORD = 10;
const MAGIC_WORD = 11;
const MAGIC = 0x4b48_4f50;
const MOST_ORDER = 10;
/** Bytes of a `struct page`. */
const STRUCT_PAGE = 64;
const REGION = 2 * 2 ** 20;
/** Pages that a region is about. */
const SECTION = REGION / STRUCT_PAGE;
const SECTION_WORDS = SECTION / 32;
/** Regions that are kept, at most: of 512 GiB of RAM. */
const MAX_REGIONS = 4096;

export type Taken = 'no' | 'yes' | 'unknown';

export class TakenMarks {
  /** A bit for each page of a region, by the address of the region. */
  readonly #regions = new Map<number, Uint32Array>();

  /** Looks at the cache line that begins at word `at` of a block. */
  look(words: Uint32Array, at: number, pa: number): void {
    if (words[at + MAGIC_WORD] !== MAGIC || words[at + ORDER_WORD] > MOST_ORDER) return;
    const address = pa + at * 4;
    const region = Math.floor(address / REGION) * REGION;
    let bits = this.#regions.get(region);
    if (!bits) {
      if (this.#regions.size === MAX_REGIONS) return;
      this.#regions.set(region, (bits = new Uint32Array(SECTION_WORDS)));
    }
    const i = (address - region) / STRUCT_PAGE;
    bits[i >>> 5] |= 1 << (i & 31);
  }

  /**
   * What the marks say of the folios that a handover preserved.
   *
   * @param structure frames of its own, which may be preserved too
   */
  read(table: PageTable, structure: Uint32Array): (pfn: Pfn) => Taken {
    const sections = headsOf(table);
    for (const pfn of structure) addTo(sections, pfn);
    const marked = new Map<number, Uint32Array>();
    const doubtful = new Set<number>();
    for (const bits of this.#regions.values()) {
      const fitting = [...sections].filter(([, heads]) => isWithin(bits, heads)).map(([section]) => section);
      if (fitting.length === 1 && !marked.has(fitting[0])) marked.set(fitting[0], bits);
      else for (const section of fitting) doubtful.add(section);
    }
    return (pfn) => {
      const section = Math.floor(pfn / SECTION);
      const bits = marked.get(section);
      if (marked.size === 0 || (!bits && doubtful.has(section))) return 'unknown';
      if (!bits) return 'yes';
      return (bits[(pfn % SECTION) >>> 5] & (1 << (pfn & 31))) === 0 ? 'yes' : 'no';
    };
  }
}

/** The first pages of all preserved folios as bits, by section. */
function headsOf(table: PageTable): Map<number, Uint32Array> {
  const sections = new Map<number, Uint32Array>();
  forEachHeads(table, (pfn, end) => {
    for (let at = pfn; at < end; at++) addTo(sections, at);
  });
  return sections;
}

function addTo(sections: Map<number, Uint32Array>, pfn: Pfn): void {
  const section = Math.floor(pfn / SECTION);
  let bits = sections.get(section);
  if (!bits) sections.set(section, (bits = new Uint32Array(SECTION_WORDS)));
  bits[(pfn % SECTION) >>> 5] |= 1 << (pfn & 31);
}

/** Calls `visit` with each run of frames that are first pages of preserved folios. */
export function forEachHeads(table: PageTable, visit: (pfn: Pfn, end: Pfn) => void): void {
  const { frames } = table;
  for (let pfn = 0; pfn < frames;) {
    const kind = table.flagsOf(pfn) & KIND;
    const end = table.flagsEnd(KIND, kind, pfn, frames);
    if (kind === INCOMING_HEAD) visit(pfn, end);
    pfn = end;
  }
}

function isWithin(bits: Uint32Array, heads: Uint32Array): boolean {
  for (let i = 0; i < SECTION_WORDS; i++) if ((bits[i] & ~heads[i]) !== 0) return false;
  return true;
}
