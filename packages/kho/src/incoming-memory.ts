/**
 * Memory that the previous kernel handed over: it has no owner until it is restored, once (kernel:
 * kho_restore_folio and its kin).
 *
 * Always: what cannot be restored is refused before anything is changed.
 */
import {
  checkWhole,
  KernelError,
  MAX_ORDER,
  PAGE_SIZE,
  type Pfn,
  pfnToPhys,
  type PhysAddr,
  physToPfn,
  shown,
} from '@liveupdate/base';
import { INCOMING_HEAD, KIND, type FolioRows, type PageAllocator, type Ram } from '@liveupdate/mm';
import { forEachPageRun } from './page-run.ts';
import { PreservedBlock } from './preserved-block.ts';

export class IncomingMemory {
  readonly pages: PageAllocator;

  constructor(pages: PageAllocator) {
    this.pages = pages;
  }

  /** RAM as the packages see it: its windows are theirs, and are not given away. */
  get ram(): Ram {
    return this.pages.ram;
  }

  /** Whether a folio of the previous kernel begins here that nobody restored yet. */
  isIncoming(pfn: Pfn): boolean {
    const { table } = this.pages;
    return table.has(pfn) && table.kindOf(pfn) === INCOMING_HEAD;
  }

  /**
   * Makes a folio of the previous kernel one of ours, with one reference. Once only.
   *
   * @throws KernelError ENOENT: not preserved, a tail page, or restored already; nothing is changed
   */
  restoreFolio(pfn: Pfn): void {
    if (!this.isIncoming(pfn) || this.pages.orderOf(pfn) > MAX_ORDER || !this.pages.adoptIncoming(pfn))
      throw this.#notIncoming(pfn);
  }

  /**
   * Restores folios, row by row, until one row cannot be: none of its folios is restored then.
   *
   * @returns how many rows were restored; less than `rows.length` where row number `result` has a
   * folio that cannot be
   */
  restoreRows({ length, pfns, counts, orders }: FolioRows): number {
    for (let i = 0; i < length; i++) {
      if (orders[i] > MAX_ORDER || !this.pages.adoptIncomingRow(pfns[i], counts[i], orders[i])) return i;
    }
    return length;
  }

  /**
   * Restores the folios `pfns[from .. from + count - 1]`, run by run, until one cannot be.
   *
   * @param order the order that they must have; omitted: any
   * @returns how many were restored; less than `count` where `pfns[from + result]` is no folio to
   * restore
   */
  restoreFolios(pfns: Uint32Array, from = 0, count = pfns.length - from, order?: number): number {
    const { table } = this.pages;
    const end = from + count;
    let at = from;
    while (at < end) {
      const first = pfns[at];
      let row = 1;
      while (at + row < end && pfns[at + row] === first + row) row += 1;
      const run = (order ?? 0) === 0 ? table.foliosAlike(KIND, INCOMING_HEAD, 0, first, row) : 0;
      if (run > 0) {
        this.pages.adoptIncomingRow(first, run, 0);
        at += run;
      } else if (table.orderOf(first) <= MAX_ORDER && this.pages.adoptIncoming(first, order)) {
        at += 1;
      } else {
        return at - from;
      }
    }
    return count;
  }

  /**
   * @internal Takes back the restoring of the first `count` of these folios of one order, which
   * nobody has used: they wait for an owner again.
   */
  unrestoreFolios(pfns: Uint32Array, count: number, order: number): void {
    for (let i = 0; i < count; i++) this.pages.table.claimIncoming(pfns[i], order);
  }

  /**
   * Restores `count` pages that were preserved by preservePages, as single pages with one reference
   * each.
   *
   * @throws KernelError ENOENT: not such pages; nothing is changed
   */
  restorePages(pfn: Pfn, count: number): void {
    checkWhole(pfn, 'a frame');
    checkWhole(count, 'a number of pages');
    const { table } = this.pages;
    forEachPageRun(pfn, count, (first, order) => {
      if (!this.isIncoming(first) || table.orderOf(first) !== order) throw this.#notIncoming(first);
    });
    forEachPageRun(pfn, count, (first) => {
      this.pages.adoptIncoming(first);
      this.pages.split(first);
    });
  }

  /**
   * A block of memory by the number that a handler keeps: one of ours, or one that the previous
   * kernel handed over. Its bytes are a buffer of their own: whatever detaches it, the memory
   * stays.
   *
   * @throws KernelError EINVAL: no folio begins at this address
   */
  at(data: bigint | PhysAddr): PreservedBlock {
    return this.block(this.#blockOf(data));
  }

  /**
   * The same over a window that others use too: for packages that neither give it away nor detach
   * it.
   *
   * @throws KernelError EINVAL: as at
   */
  recordAt(data: bigint | PhysAddr): PreservedBlock {
    return this.record(this.#blockOf(data));
  }

  #blockOf(data: bigint | PhysAddr): Pfn {
    const pa = addressOf(data);
    const pfn = physToPfn(pa);
    const { table } = this.pages;
    const known = pa > 0 && pa % PAGE_SIZE === 0 && (this.isIncoming(pfn) || this.pages.isHead(pfn));
    if (!known || table.orderOf(pfn) > MAX_ORDER)
      throw new KernelError('EINVAL', `no preserved block begins at 0x${pa.toString(16)}`);
    return pfn;
  }

  /**
   * Frees a block that the previous kernel handed over.
   *
   * @throws KernelError ENOENT: no such block, or restored already
   */
  restoreFree(data: bigint | PhysAddr): void {
    const pfn = addressOf(data) / PAGE_SIZE; // a fraction where no page begins: no folio does
    this.restoreFolio(pfn);
    this.pages.put(pfn);
  }

  protected block(pfn: Pfn): PreservedBlock {
    return new PreservedBlock(pfnToPhys(pfn), this.pages.folioBytes(pfn));
  }

  protected record(pfn: Pfn): PreservedBlock {
    return new PreservedBlock(pfnToPhys(pfn), this.pages.folioWindow(pfn));
  }

  #notIncoming(pfn: Pfn): KernelError {
    return new KernelError(
      'ENOENT',
      `frame ${pfn} is ${this.pages.table.kindName(pfn)}: no preserved folio begins there that is not restored yet`,
    );
  }
}

/**
 * The number that a handler keeps, as an address.
 *
 * @throws KernelError EINVAL: neither a number nor a bigint
 */
export function addressOf(data: bigint | PhysAddr): number {
  if (typeof data === 'bigint' || typeof data === 'number') return Number(data);
  throw new KernelError('EINVAL', `${shown(data)} is no address of a block`);
}
