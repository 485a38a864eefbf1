/**
 * Which memory of a sparse RAM is there, in the live record: the bits that `Residency` of mm keeps
 * lie in pages of it, so that whoever comes next need not ask the system for all of RAM.
 */
import { KernelError, physToPfn, type PhysAddr } from '@liveupdate/base';
import { CHUNK_FRAMES, type PageAllocator } from '@liveupdate/mm';
import { LiveHeaderSer, RESIDENCY_PAGE } from './live-layout.ts';
import type { LivePages } from './live-pages.ts';
import { pagesOfKind, wordsOf, type LiveRecord } from './read-live-record.ts';

export class LiveResidency {
  readonly #pages: PageAllocator;
  readonly #own: LivePages;
  /** Pages of bits, by number of the chunk. */
  readonly #bits: (Uint32Array | undefined)[] = [];
  /** Whether what is recorded is this kernel's. */
  #isTrusted = false;

  constructor(pages: PageAllocator, own: LivePages, found: LiveRecord | undefined) {
    this.#pages = pages;
    this.#own = own;
    if (!found) return;
    for (const { pfn, place } of pagesOfKind(found, RESIDENCY_PAGE))
      this.#bits[place] = wordsOf(pages.ram, pfn);
  }

  /**
   * The memory of the record is another's; should that one not want it, this kernel goes on with
   * `resume`.
   */
  suspend(): void {
    this.#pages.residency.endRecord();
  }

  resume(pa: PhysAddr): void {
    beginResidency(this.#pages, pa);
    this.#isTrusted = false;
    this.record();
  }

  /** Whether something is known that is not recorded. */
  get isDue(): boolean {
    return this.#pages.residency.hasUnrecorded;
  }

  /**
   * What is known is recorded from now on where it is not yet. Where there is no memory for that,
   * whoever comes next asks the system.
   *
   * @returns whether all is recorded
   */
  record(): boolean {
    const { residency } = this.#pages;
    for (let number = residency.unrecorded; number !== undefined; number = residency.unrecorded) {
      try {
        residency.record(number, (this.#bits[number] ??= this.#own.add(RESIDENCY_PAGE, number).words));
      } catch (error) {
        if (error instanceof KernelError) return false;
        throw error;
      }
    }
    if (!this.#isTrusted) {
      this.#isTrusted = true;
      this.#bits.forEach((words, number) => {
        if (!residency.hasAny(number * CHUNK_FRAMES, CHUNK_FRAMES)) words?.fill(0);
      });
      residency.trust();
    }
    return residency.isSure;
  }
}

/**
 * From now on the live record at `pa` says what of residency cannot be trusted: all, until this
 * kernel owns it.
 */
export function beginResidency({ ram, residency }: PageAllocator, pa: PhysAddr): void {
  residency.recordIn(wordsOf(ram, physToPfn(pa)).subarray(LiveHeaderSer.unsure.at / 4));
}

/**
 * Takes over what the last owner of a RAM had recorded.
 *
 * @returns whether that can be trusted
 */
export function loadLiveResidency({ ram, residency, table }: PageAllocator, record: LiveRecord): boolean {
  if (!record.doubt) return false;
  for (const { pfn, place } of pagesOfKind(record, RESIDENCY_PAGE))
    if (place * CHUNK_FRAMES < table.frames) residency.load(place, wordsOf(ram, pfn));
  if (record.doubt.count > 0) residency.look(record.doubt.pfn, record.doubt.count);
  return true;
}
