/**
 * FLBs in the live record: a page of them for each kernel whose files hold some. A file's slot says
 * which page, and which of its lines; how many files hold one is counted by whoever reads.
 */
import { KernelError, StructView } from '@liveupdate/base';
import type { Publication } from '@liveupdate/kho';
import { LuoFlbSer, MAX_FLBS } from './abi.ts';
import { FLBS_PAGE } from './live-layout.ts';

export class FlbsPages {
  readonly #publication: Publication;
  #words: Uint32Array | undefined;
  /** Number of this kernel's page, counted from 1; 0: it has none yet. */
  #page = 0;
  readonly #places = new Map<string, number>();

  constructor(publication: Publication) {
    this.#publication = publication;
  }

  get page(): number {
    return this.#page;
  }

  /**
   * A place in the page of this kernel for an FLB.
   *
   * @throws KernelError ENOMEM, ENOSPC: no page for FLBs, or no place
   */
  reserve(compatible: string): number {
    this.#open();
    const place = this.#places.get(compatible) ?? this.#places.size;
    if (place >= MAX_FLBS) throw new KernelError('ENOSPC', `a kernel publishes ${MAX_FLBS} FLBs at most`);
    this.#places.set(compatible, place);
    return place;
  }

  /** Writes what an FLB's preserve gave. No file that counts holds it yet. */
  write(place: number, compatible: string, data: bigint): void {
    const words = this.#open();
    const at = words.byteOffset + place * LuoFlbSer.SIZE;
    const entry = new StructView(new Uint8Array(words.buffer, at, LuoFlbSer.SIZE));
    entry.setString(LuoFlbSer.name, compatible);
    entry.setU64(LuoFlbSer.data, data);
  }

  #open(): Uint32Array {
    if (!this.#words) {
      const taken = new Set(this.#publication.pagesOf(FLBS_PAGE).map((page) => page.place));
      let place = 0;
      while (taken.has(place)) place += 1;
      this.#words = this.#publication.addPage(FLBS_PAGE, place).words;
      this.#page = place + 1;
    }
    return this.#words;
  }

  /** Pages of other kernels that no file holds any of any more are used for something else. */
  keepOnly(pages: ReadonlySet<number>): void {
    for (const { place, pfn } of this.#publication.pagesOf(FLBS_PAGE))
      if (place + 1 !== this.#page && !pages.has(place + 1)) this.#publication.dropPage(pfn);
  }
}
