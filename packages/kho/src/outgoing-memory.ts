/**
 * Memory that this kernel hands to the next: folios in use that are named in the map of preserved
 * pages (kernel: kho_preserve_folio and its kin).
 *
 * Always: a preserved frame is in use, outside scratch, in the map once. Work is done per run of
 * folios side by side, and a run costs a look at its flags and orders, a stretch of bits in the
 * map, and one fill.
 */
import {
  AssertionError,
  checkInstance,
  checkWhole,
  KernelError,
  log2Ceil,
  MAX_ORDER,
  PAGE_SIZE,
  pagesFor,
  type Pfn,
  pfnToPhys,
  type PhysAddr,
  physToPfn,
  shown,
} from '@liveupdate/base';
import {
  HEAD,
  KIND,
  PRESERVED,
  RamWords,
  FolioRuns,
  inARow,
  type FolioRows,
  type PageAllocator,
} from '@liveupdate/mm';
import { addressOf, IncomingMemory } from './incoming-memory.ts';
import { forEachPageRun } from './page-run.ts';
import type { PreservedBlock } from './preserved-block.ts';
import { RadixTree, type KeyWatcher } from './radix-tree.ts';
import type { PreservedFolio } from './read-handover.ts';
import { forEachUnpreserved } from './unpreserved.ts';

/** All bits of a frame's flags. */
const ALL = 0xff;

export class OutgoingMemory extends IncomingMemory {
  readonly #map: RadixTree;
  #hasEnded = false;
  /** RAM as words, to write records in. */
  readonly words: RamWords;

  /** @throws KernelError ENOMEM: no page for the root of the map */
  constructor(pages: PageAllocator) {
    super(pages);
    this.words = new RamWords(pages.ram);
    this.#map = new RadixTree(pages);
  }

  /**
   * The memory is another's now, or nobody's: what would preserve something, or take it back, is
   * EBADF from here on.
   */
  end(): void {
    this.#hasEnded = true;
  }

  #checkLive(): void {
    if (this.#hasEnded) throw new KernelError('EBADF', 'this kernel generation has ended');
  }

  /** Whoever is told of keys from now on. */
  protected watchKeys(watcher: KeyWatcher | undefined): void {
    this.#map.watcher = watcher;
  }

  /**
   * Puts folios of the previous kernel that are not finished into the map of this one, as they were
   * in its own. Those that are preserved again are there already.
   *
   * @returns takes them out again
   * @throws KernelError ENOMEM: no page for the map; nothing is changed
   */
  protected carryOn(rows: FolioRows): () => void {
    const { table } = this.pages;
    const done = new FolioRuns();
    const takeBack = (): void => {
      for (let i = 0; i < done.length; i++) this.#map.deleteRun(done.pfns[i], done.counts[i], done.orders[i]);
    };
    try {
      for (let i = 0; i < rows.length; i++) {
        const order = rows.orders[i];
        forEachUnpreserved(table, rows.pfns[i], rows.counts[i], order, (pfn, count) => {
          this.#map.addRun(pfn, count, order);
          done.pushRow(pfn, count, order);
        });
      }
      return takeBack;
    } catch (error) {
      takeBack();
      throw error;
    }
  }

  /**
   * Hands a page of this kernel's own over, or takes it back. Whoever watches keys is not told: a
   * kernel that dies leaves nothing in it.
   *
   * @throws KernelError ENOMEM: no page for the map; nothing is changed
   */
  protected markOwn(pa: PhysAddr, isHandedOver: boolean): void {
    const pfn = physToPfn(pa);
    const { watcher } = this.#map;
    this.#map.watcher = undefined;
    try {
      if (isHandedOver) this.#map.addRun(pfn, 1, 0);
      else this.#map.deleteRun(pfn, 1, 0);
    } finally {
      this.#map.watcher = watcher;
    }
    this.pages.table.markFolios(isHandedOver ? HEAD | PRESERVED : HEAD, pfn, 1, 0);
  }

  /** pa of the root of the map of preserved pages. */
  protected get mapRoot(): PhysAddr {
    return this.#map.root;
  }

  /** Pages that the outgoing map takes. */
  get mapPages(): number {
    return this.#map.nodePages();
  }

  /** Makes room in the map for a folio. False where there is no memory for that. */
  protected prepareMap({ pfn, order }: PreservedFolio): boolean {
    try {
      this.#map.prepare(pfn, order);
      return true;
    } catch (error) {
      if (error instanceof KernelError) return false;
      throw error;
    }
  }

  /**
   * Hands a folio in use to the next kernel. It stays in use here, at its place, until it is
   * unpreserved.
   *
   * @throws KernelError EINVAL: not the head of a folio in use, or in a scratch area. EEXIST:
   * preserved already. ENOMEM, ENOSPC: no page for the map, or for what is published of it. EBUSY,
   * while a handler's callback runs: part of another folio that a session of the previous kernel
   * has.
   */
  preserveFolio(pfn: Pfn): void {
    checkWhole(pfn, 'a frame');
    this.#preserveRow(pfn, 1, this.#checkPreservable(pfn));
  }

  /** Takes a folio back. It must be preserved. */
  unpreserveFolio(pfn: Pfn): void {
    this.#unpreserveRow(pfn, 1, this.#checkPreserved(pfn));
  }

  /**
   * Hands the folios of these rows over. All or none.
   *
   * @throws KernelError as preserveFolio. EINVAL also: no rows, or folios of another order
   */
  preserveRows(rows: FolioRows): void {
    if (!(rows instanceof FolioRuns)) checkRows(rows); // those of a file are rows, and are thousands
    const { length, pfns, counts, orders } = rows;
    let done = 0;
    try {
      for (; done < length; done++) this.#preserveRow(pfns[done], counts[done], orders[done]);
    } catch (error) {
      while (--done >= 0) this.#unpreserveRow(pfns[done], counts[done], orders[done]);
      throw error;
    }
  }

  /** Takes the folios of these rows back. All must be preserved. */
  unpreserveRows({ length, pfns, counts, orders }: FolioRows): void {
    for (let i = length - 1; i >= 0; i--) this.#unpreserveRow(pfns[i], counts[i], orders[i]);
  }

  #preserveRow(pfn: Pfn, count: number, order: number): void {
    this.#checkLive();
    const { table } = this.pages;
    const alike = table.foliosAlike(ALL, HEAD, order, pfn, count);
    if (alike < count) {
      const other = pfn + alike * (1 << order);
      const is = this.#checkPreservable(other);
      throw new KernelError('EINVAL', `folio ${other} is of order ${is}, not ${order}`);
    }
    this.#map.addRun(pfn, count, order);
    this.pages.table.markFolios(HEAD | PRESERVED, pfn, count, order);
  }

  #unpreserveRow(pfn: Pfn, count: number, order: number): void {
    this.#checkLive();
    if (this.pages.table.foliosAlike(ALL, HEAD | PRESERVED, order, pfn, count) < count)
      throw new AssertionError(`folios ${pfn} (${count} of order ${order}) are not all preserved`);
    this.#map.deleteRun(pfn, count, order);
    this.pages.table.markFolios(HEAD, pfn, count, order);
  }

  /**
   * Hands the folios `pfns[from .. from + count - 1]` over, run by run. All or none.
   *
   * @throws KernelError as preserveFolio
   */
  preserveFolios(pfns: Uint32Array, from = 0, count = pfns.length - from): void {
    const { table } = this.pages;
    checkList(pfns, from, count);
    this.#checkLive();
    const end = from + count;
    let at = from;
    try {
      while (at < end) {
        const singles = table.markSingles(HEAD, HEAD | PRESERVED, pfns, at, end);
        if (singles > 0) this.#orMark(HEAD, pfns, at, singles, () => this.#map.addSingles(pfns, at, singles));
        at += singles;
        if (at === end) return;
        const first = pfns[at];
        const order = this.#checkPreservable(first);
        const row = inARow(pfns, at, end, 1 << order);
        // Up to the first that is another folio: it begins the next run, or is refused there.
        const run = row === 1 ? 1 : table.foliosAlike(ALL, HEAD, order, first, row);
        this.#map.addRun(first, run, order);
        this.pages.table.markFolios(HEAD | PRESERVED, first, run, order);
        at += run;
      }
    } catch (error) {
      this.unpreserveFolios(pfns, from, at - from);
      throw error;
    }
  }

  /**
   * Changes the map for pages that are marked already; where that fails, they get their mark from
   * before.
   */
  #orMark(before: number, pfns: Uint32Array, from: number, count: number, change: () => void): void {
    try {
      change();
    } catch (error) {
      for (let at = from; at < from + count; at++) this.pages.table.markFolios(before, pfns[at], 1, 0);
      throw error;
    }
  }

  /** Takes the folios `pfns[from .. from + count - 1]` back. All must be preserved. */
  unpreserveFolios(pfns: Uint32Array, from = 0, count = pfns.length - from): void {
    this.#checkLive();
    const { table } = this.pages;
    const end = from + count;
    let at = from;
    while (at < end) {
      const singles = table.markSingles(HEAD | PRESERVED, HEAD, pfns, at, end);
      if (singles > 0)
        this.#orMark(HEAD | PRESERVED, pfns, at, singles, () => this.#map.deleteSingles(pfns, at, singles));
      at += singles;
      if (at === end) return;
      const first = pfns[at];
      const order = this.#checkPreserved(first);
      const row = inARow(pfns, at, end, 1 << order);
      const run = row === 1 ? 1 : table.foliosAlike(ALL, HEAD | PRESERVED, order, first, row);
      this.#map.deleteRun(first, run, order);
      this.pages.table.markFolios(HEAD, first, run, order);
      at += run;
    }
  }

  /**
   * Hands `count` pages of order 0 in a row over, in aligned power-of-two runs, one key each. All
   * or none.
   *
   * @throws KernelError as preserveFolio
   */
  preservePages(pfn: Pfn, count: number): void {
    checkWhole(pfn, 'a frame');
    checkWhole(count, 'a number of pages');
    this.#checkLive();
    const alike = this.pages.table.foliosAlike(ALL, HEAD, 0, pfn, count);
    if (alike < count) {
      this.#checkPreservable(pfn + alike);
      throw new KernelError('EINVAL', `frame ${pfn + alike} is not a page of order 0`);
    }
    let done = 0;
    try {
      forEachPageRun(pfn, count, (first, order) => {
        this.#map.addRun(first, 1, order);
        done += 2 ** order;
      });
    } catch (error) {
      this.#deleteRuns(pfn, done);
      throw error;
    }
    this.pages.table.setFlag(PRESERVED, pfn, count);
  }

  /** Takes pages back that preservePages was called for, with the same numbers. */
  unpreservePages(pfn: Pfn, count: number): void {
    this.#checkLive();
    if (!this.pages.table.allHave(PRESERVED, true, pfn, count))
      throw new AssertionError(`pages ${pfn} + ${count} are not all preserved`);
    this.#deleteRuns(pfn, count);
    this.pages.table.clearFlag(PRESERVED, pfn, count);
  }

  /** The keys of pages in a row. */
  #deleteRuns(pfn: Pfn, count: number): void {
    forEachPageRun(pfn, count, (first, order) => {
      this.#map.deleteRun(first, 1, order);
    });
  }

  /**
   * A zeroed, physically contiguous, preserved block of at least `size` bytes: the next power of
   * two in pages. Its bytes are a buffer of their own.
   *
   * @throws KernelError EINVAL: size is 0. E2BIG: above 4 MiB (order 10). ENOMEM, ENOSPC: no
   * memory; nothing is kept.
   */
  allocPreserve(size: number): PreservedBlock {
    return this.block(this.#allocPreserved(size));
  }

  /**
   * The same over a window that others use too: for packages that neither give it away nor detach
   * it.
   *
   * @throws KernelError as allocPreserve
   */
  allocRecord(size: number): PreservedBlock {
    return this.record(this.#allocPreserved(size));
  }

  #allocPreserved(size: number): Pfn {
    this.#checkLive();
    if (!(typeof size === 'number' && size > 0))
      throw new KernelError('EINVAL', `a preserved block of ${shown(size)} bytes`);
    const order = log2Ceil(pagesFor(size));
    if (order > MAX_ORDER)
      throw new KernelError('E2BIG', `${size} bytes do not fit in one folio of 4 MiB: use vmalloc memory`);
    const pfn = this.pages.alloc(order, { zero: true });
    try {
      this.preserveFolio(pfn);
    } catch (error) {
      this.pages.put(pfn);
      throw error;
    }
    return pfn;
  }

  /**
   * Preserved single pages whose content is unknown: for records that are written up to where their
   * readers stop, so that nobody pays for zeros behind that.
   *
   * @returns their frames, side by side as far as the free memory allows
   * @throws KernelError ENOMEM, ENOSPC: no memory; nothing is kept
   */
  allocPreservePages(count: number): Uint32Array {
    checkWhole(count, 'a number of pages', { max: this.pages.table.frames });
    this.#checkLive();
    const pfns = new Uint32Array(count);
    this.pages.allocBulk(pfns, 0, count);
    let at = 0;
    try {
      // They are what was just made: pages in use of order 0, that need not be looked at.
      for (let row = 0; at < count; at += row) {
        row = inARow(pfns, at, count, 1);
        this.#map.addRun(pfns[at], row, 0);
        this.pages.table.markFolios(HEAD | PRESERVED, pfns[at], row, 0);
      }
    } catch (error) {
      this.unpreserveFolios(pfns, 0, at);
      this.pages.putBulk(pfns);
      throw error;
    }
    return pfns;
  }

  /** Takes back what allocPreservePages gave, and frees it. */
  unpreserveFreePages(pfns: Uint32Array): void {
    this.unpreserveFolios(pfns);
    this.pages.putBulk(pfns);
  }

  /** Takes back what allocPreserve gave, and frees it. */
  unpreserveFree(data: bigint | PhysAddr): void {
    this.#checkLive();
    const pfn = addressOf(data) / PAGE_SIZE;
    this.unpreserveFolio(pfn);
    this.pages.put(pfn);
  }

  /**
   * Whether [pa, pa + size) lies in folios that are all preserved; it may begin in the midst of one
   * page, not in a tail.
   */
  protected isPreservedRange(pa: PhysAddr, size: number): boolean {
    if (!(Number.isSafeInteger(pa) && Number.isSafeInteger(size) && size > 0)) return false;
    let pfn = physToPfn(pa);
    while (pfnToPhys(pfn) < pa + size) {
      if (!this.pages.isHead(pfn) || !this.pages.isPreserved(pfn)) return false;
      pfn += 1 << this.pages.orderOf(pfn);
    }
    return true;
  }

  /** The order of a folio that may be preserved. */
  #checkPreservable(pfn: Pfn): number {
    const { table } = this.pages;
    const flags = table.has(pfn) ? table.flagsOf(pfn) : 0;
    if (flags === HEAD) return table.orderOf(pfn);
    if ((flags & KIND) !== HEAD)
      throw new KernelError('EINVAL', `frame ${shown(pfn)} is ${table.kindName(pfn)}, not a folio in use`);
    if ((flags & PRESERVED) !== 0) throw new KernelError('EEXIST', `frame ${pfn} is preserved already`);
    throw new KernelError(
      'EINVAL',
      `frame ${pfn} lies in a scratch area, which the next kernel overwrites: move it first`,
    );
  }

  #checkPreserved(pfn: Pfn): number {
    if (!this.pages.isHead(pfn) || !this.pages.isPreserved(pfn))
      throw new AssertionError(`frame ${pfn} is not preserved`);
    return this.pages.orderOf(pfn);
  }
}

/** @throws KernelError EINVAL: no list of frames, or no part of it */
function checkList(pfns: Uint32Array, from: number, count: number): void {
  checkInstance(pfns, 'a list of frames', Uint32Array);
  checkWhole(from, 'a place in a list', { max: pfns.length });
  checkWhole(count, 'a number of frames', { max: pfns.length - from });
}

/** @throws KernelError EINVAL: no rows of folios */
function checkRows({ length, pfns, counts, orders }: FolioRows): void {
  checkInstance(pfns, 'the first frames of rows', Uint32Array);
  checkInstance(counts, 'the counts of rows', Uint32Array);
  checkInstance(orders, 'the orders of rows', Uint16Array);
  checkWhole(length, 'a number of rows', { max: Math.min(pfns.length, counts.length, orders.length) });
}
