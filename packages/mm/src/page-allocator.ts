/**
 * The page allocator: a buddy system of orders 0 to 10 over the frames of one RAM (kernel:
 * mm/page_alloc.c).
 *
 * Scratch areas are a zone of their own, as the kernel's CMA memory is: only movable allocations
 * may use them, and only when nothing else is left. Always: a free frame is in exactly one free
 * block; two free buddies of one zone are one block; a folio in use has at least one reference, and
 * at least as many references as pins.
 */
import {
  AssertionError,
  checkFunction,
  checkInstance,
  checkList,
  checkWhole,
  KernelError,
  log2Floor,
  MAX_ORDER,
  PAGE_SIZE,
  pfnToPhys,
  type Pfn,
  isBranded,
  type Branded,
} from '@liveupdate/base';
import { assertWhole } from './allocator-check.ts';
import { FolioCounts } from './folio-counts.ts';
import type { FolioRuns } from './folio-runs.ts';
import { FrameSet } from './frame-set.ts';
import {
  FREE,
  HEAD,
  INCOMING_HEAD,
  KIND,
  PRESERVED,
  RESERVED,
  SCRATCH,
  STALE,
  PageTable,
} from './page-table.ts';
import { forEachBlock, noOrder, type Ram } from './ram.ts';
import { Residency, type Taking } from './residency.ts';
import { Zone } from './zone.ts';
import { COPY } from './package-copy.ts';

export interface AllocOptions {
  /** The memory is a file's: it may lie in a scratch area, and may be moved. */
  readonly movable?: boolean;
  /** The memory reads as zeros. Costs nothing where it was not used since boot. */
  readonly zero?: boolean;
  /** Default `'now'`. */
  readonly taken?: Taking;
  /** Smaller folios would do as well: what is held back (see holdFreed) is not asked for. */
  readonly optional?: boolean;
}

/** What is held back: see holdFreed. */
interface Held {
  pages: number;
  /** The first frame and the number of each run in turn. */
  readonly runs: number[];
  readonly whenShort: (() => void) | undefined;
  readonly beside: number;
}

const BRAND: Branded = { className: 'PageAllocator', copy: COPY };

export class PageAllocator extends FolioCounts {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to objects of other copies too. */
  static override [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  readonly ram: Ram;
  /** Which memory is there, and how it is taken from the system. */
  readonly residency: Residency;
  /** Called before every allocation; throws to make it fail. For failure injection in tests. */
  beforeAllocation: (() => void) | undefined;
  /** Called where there is too little memory, before that is an error: it may make some free. */
  whenShort: (() => void) | undefined;
  readonly #normal: Zone;
  readonly #scratch: Zone;
  /** Freed frames that are not handed out again. Undefined: they are handed out. */
  #held: Held | undefined;
  /** Until releaseHeld; else they are held back for pauses alone. */
  #isHolding = false;
  /** How many wait until frames that are freed meanwhile may be handed out: see pauseFreeing. */
  #pauses = 0;
  /** Frames that keep their content, freed or not: see keep. */
  readonly #kept = new FrameSet();
  /** Those of them that were freed. */
  #keptFree = 0;
  /** Is told of folios of the previous kernel that are adopted. */
  #adopted: FolioRuns | undefined;
  /** Free frames that may be another's still: first frame and number in turn. See confinedTo. */
  #outside: number[] = [];

  /**
   * @param table frames that are neither reserved nor incoming become free memory
   * @param confinedTo the only free frames that are handed out until `releaseHeld`, first frame and
   * number in turn, ascending: the previous kernel may come back to all others
   * @throws KernelError EINVAL: no RAM, no table, or no such frames
   */
  constructor(ram: Ram, table: PageTable, confinedTo?: readonly number[]) {
    super(checkInstance(table, 'a table of pages', PageTable));
    this.ram = ram;
    this.#normal = new Zone(table.frames);
    this.#scratch = new Zone(table.frames);
    this.residency = new Residency(ram, table);
    if (confinedTo !== undefined) this.#confine(confinedTo);
    else
      table.forEachFreeRun((pfn, count) => {
        this.#zoneOf(pfn).putRange(pfn, count);
      });
  }

  #confine(runs: readonly number[]): void {
    checkRuns(runs, this.table.frames);
    this.residency.confine(true);
    let next = 0;
    this.table.forEachFreeRun((pfn, count) => {
      const end = pfn + count;
      for (let at = pfn; at < end;) {
        while (next < runs.length && runs[next] + runs[next + 1] <= at) next += 2;
        const first = next < runs.length ? Math.min(end, runs[next]) : end;
        if (first > at) {
          this.#outside.push(at, first - at);
          at = first;
        } else {
          const to = Math.min(end, runs[next] + runs[next + 1]);
          this.#zoneOf(at).putRange(at, to - at);
          at = to;
        }
      }
    });
  }

  /** Frames that are free and not handed out yet: see the constructor. */
  get outsidePages(): number {
    let pages = 0;
    for (let i = 1; i < this.#outside.length; i += 2) pages += this.#outside[i];
    return pages;
  }

  /** Free frames outside scratch. */
  get freePages(): number {
    return this.#normal.freePages;
  }

  /** Free frames in scratch areas. */
  get freeScratchPages(): number {
    return this.#scratch.freePages;
  }

  /**
   * A folio with one reference.
   *
   * @throws KernelError ENOMEM: no free block of this order. ENOSPC: the system has no memory for
   * it. EINVAL: no such order.
   */
  alloc(order: number, options: AllocOptions = {}): Pfn {
    if (!(Number.isInteger(order) && order >= 0 && order <= MAX_ORDER)) throw noOrder(order);
    this.beforeAllocation?.();
    let pfn = this.#take(order, options);
    if (pfn < 0 && !options.optional && this.#getHeldBack(1 << order, options))
      pfn = this.#take(order, options);
    if (pfn < 0) throw this.#outOfMemory(1 << order);
    this.#makeReady(pfn, order, options);
    this.#own(pfn, 1, order);
    return pfn;
  }

  /**
   * `count` folios of order 0, in as few runs as the free memory allows, written to `out` from
   * index `at` on. All or none.
   *
   * @throws KernelError ENOMEM: fewer free frames than `count`. ENOSPC: the system has no memory
   * for them. EINVAL: no number of pages, or none that `out` has room for from there on.
   */
  allocBulk(out: Uint32Array, at: number, count: number, options: AllocOptions = {}): void {
    checkInstance(out, 'a list of frames', Uint32Array);
    checkWhole(at, 'an index');
    checkWhole(count, 'a number of pages', { max: Math.max(0, out.length - at) });
    let to = at;
    try {
      this.allocRuns(count, options, (pfn, length) => {
        for (let i = 0; i < length; i++) out[to + i] = pfn + i;
        to += length;
      });
    } catch (error) {
      this.putBulk(out, at, to - at);
      throw error;
    }
  }

  /**
   * The same, told run by run. What was told before a failure is the caller's to give back.
   *
   * @throws KernelError as allocBulk
   */
  allocRuns(count: number, options: AllocOptions, visit: (pfn: Pfn, length: number) => void): void {
    checkWhole(count, 'a number of pages');
    this.beforeAllocation?.();
    if (!this.hasFree(count, options)) throw this.#outOfMemory(count);
    let left = count;
    while (left > 0) {
      const zone = this.#normal.freePages > 0 ? this.#normal : this.#scratch;
      const { pfn, order } = zone.takeNear(Math.min(MAX_ORDER, log2Floor(left)));
      const taken = 1 << order;
      this.#makeReady(pfn, order, options);
      this.#own(pfn, taken, 0);
      visit(pfn, taken);
      left -= taken;
    }
  }

  /**
   * Takes the memory of so many free pages from the system, of those that are handed out next: for
   * when nobody waits, so that who asks for them does not wait for that.
   *
   * @returns whether the system had it; false also where fewer pages are free
   */
  prepare(count: number): boolean {
    checkWhole(count, 'a number of pages');
    let left = count;
    for (let order = 0; order <= MAX_ORDER && left > 0; order++) {
      const blocks = this.#normal.blocks[order];
      for (let i = blocks.first(); i >= 0 && left > 0; i = blocks.next(i + 1)) {
        const pages = Math.min(left, 1 << order);
        if (!this.residency.takeAhead(i * (1 << order), pages)) return false;
        left -= pages;
      }
    }
    return left === 0;
  }

  /**
   * From now on, memory that is freed is not handed out again and keeps its content: whoever led
   * here may come back to it. Such frames are reserved.
   *
   * @param whenShort called where there is too little memory otherwise, and enough with what it
   * makes free; may call releaseHeld
   * @param beside pages that it makes free beside those
   */
  holdFreed(whenShort?: () => void, beside = 0): void {
    if (whenShort !== undefined) checkFunction(whenShort, 'what makes memory free');
    checkWhole(beside, 'a number of pages');
    if (this.#isHolding) return;
    this.#isHolding = true;
    this.#held = { pages: 0, runs: [], ...this.#held, whenShort, beside };
  }

  /**
   * Frames that were held back are free memory, and none is held back any more, but for who paused
   * freeing.
   */
  releaseHeld(): void {
    this.#isHolding = false;
    const outside = this.#outside.splice(0);
    for (let i = 0; i < outside.length; i += 2) this.#zoneOf(outside[i]).putRange(outside[i], outside[i + 1]);
    if (outside.length > 0) this.residency.confine(false);
    this.#letHeldOut();
  }

  /**
   * Memory that is freed from now on is held back until the function that this gives is called: for
   * a step that may turn out not to have happened. Pauses may overlap.
   */
  pauseFreeing(): () => void {
    this.#held ??= { pages: 0, runs: [], whenShort: undefined, beside: 0 };
    this.#pauses += 1;
    let hasEnded = false;
    return () => {
      if (hasEnded) return;
      hasEnded = true;
      this.#pauses -= 1;
      this.#letHeldOut();
    };
  }

  #letHeldOut(): void {
    const held = this.#held;
    if (!held || this.#isHolding) return;
    this.#held = this.#pauses > 0 ? { ...held, whenShort: undefined, beside: 0 } : undefined;
    if (this.#held) return;
    for (let i = 0; i < held.runs.length; i += 2) this.release(held.runs[i], held.runs[i + 1]);
  }

  /**
   * Frames that shall stay as they are whatever becomes of their folios: those of the previous
   * kernel that nobody has finished. Freed, they are reserved until they are let go.
   */
  keep(pfn: Pfn, count: number): void {
    this.#kept.add(pfn, count);
  }

  /**
   * Frames that are kept no longer; those of them that were freed meanwhile, or that nobody took
   * over, are free memory now.
   */
  letGo(pfn: Pfn, count: number): void {
    this.#kept.forEachRun(pfn, pfn + count, (first, length) => {
      this.#kept.delete(first, length);
      const end = first + length;
      for (let at = first; at < end;) at = this.#releaseAlike(at, end);
    });
  }

  /**
   * Frees frames that were kept, from `pfn` on as far as they are alike, where nobody has them.
   *
   * @returns the frame behind those that were looked at
   */
  #releaseAlike(pfn: Pfn, end: Pfn): Pfn {
    const { table } = this;
    const kind = table.kindOf(pfn);
    if (kind === RESERVED) {
      const to = table.flagsEnd(KIND, RESERVED, pfn, end);
      this.release(pfn, to - pfn);
      this.#keptFree -= to - pfn;
      return to;
    }
    const order = kind === HEAD || kind === INCOMING_HEAD ? table.orderOf(pfn) : 0;
    const step = 2 ** order;
    const alike = Math.max(1, table.foliosAlike(KIND, kind, order, pfn, Math.ceil((end - pfn) / step)));
    if (kind === INCOMING_HEAD) this.release(pfn, alike * step);
    return pfn + alike * step;
  }

  /** Whether frames are kept. */
  get keepsAny(): boolean {
    return !this.#kept.isEmpty;
  }

  /** Whether one of these frames is kept. */
  isKept(pfn: Pfn, count: number): boolean {
    return !this.#kept.isEmpty && this.#kept.find(true, pfn, pfn + count) < pfn + count;
  }

  /** The first frame of [pfn, end) that is kept and the first is not, or the reverse; or `end`. */
  keptEnd(pfn: Pfn, end: Pfn): Pfn {
    return this.#kept.find(!this.#kept.has(pfn), pfn, end);
  }

  /**
   * From now on rows of folios of the previous kernel are added here as they are adopted;
   * undefined: to no list.
   *
   * @returns the list before
   */
  noteAdopted(rows: FolioRuns | undefined): FolioRuns | undefined {
    const before = this.#adopted;
    this.#adopted = rows;
    return before;
  }

  /** Freed frames that are held back. */
  get heldPages(): number {
    return this.#held?.pages ?? 0;
  }

  /**
   * Whether so many frames are free. What is held back only until it is wanted becomes free for
   * that.
   *
   * @throws KernelError EINVAL: no number of pages
   */
  hasFree(count: number, options: AllocOptions = {}): boolean {
    checkWhole(count, 'a number of pages', { min: Number.MIN_SAFE_INTEGER }); // fewer than before: always free
    const isFree = (): boolean => this.#freeFor(options) >= count;
    return isFree() || (this.#getHeldBack(count, options) && isFree());
  }

  #freeFor({ movable = false }: AllocOptions): number {
    return this.#normal.freePages + (movable ? this.#scratch.freePages : 0);
  }

  /** A block from where these options allow; -1 where there is none. */
  #take(order: number, { movable = false }: AllocOptions): Pfn {
    const pfn = this.#normal.take(order);
    return pfn < 0 && movable ? this.#scratch.take(order) : pfn;
  }

  /** Asks for what is held back, where it could make so many pages free. Whether it is free now. */
  #getHeldBack(count: number, options: AllocOptions): boolean {
    const free = this.#freeFor(options);
    const held = this.#held;
    const more = (held?.whenShort ? held.pages + held.beside + this.outsidePages : 0) + this.#keptFree;
    if (free + more < count) return false;
    this.whenShort?.();
    if (this.#freeFor(options) < count) this.#held?.whenShort?.();
    return this.#freeFor(options) > free;
  }

  /**
   * A live view of a folio's memory, over a buffer of its own where RAM can map one: whatever
   * detaches it, the memory stays.
   */
  folioBytes(pfn: Pfn): Uint8Array {
    const { ram } = this;
    const [pa, length] = [pfnToPhys(pfn), PAGE_SIZE << this.table.orderOf(pfn)];
    return ram.ownBytes?.(pa, length) ?? ram.bytes(pa, length);
  }

  /**
   * The same over a window that others use too: for packages that neither give it away nor detach
   * it.
   */
  folioWindow(pfn: Pfn): Uint8Array {
    return this.ram.bytes(pfnToPhys(pfn), PAGE_SIZE << this.table.orderOf(pfn));
  }

  /**
   * Makes a preserved folio of the previous kernel one in use, with one reference.
   *
   * @param order the order that the caller expects; omitted: as preserved
   * @returns whether it was such a folio; nothing is changed where it was not
   */
  adoptIncoming(pfn: Pfn, order?: number): boolean {
    const { table } = this;
    if (!table.has(pfn) || table.kindOf(pfn) !== INCOMING_HEAD) return false;
    return this.adoptIncomingRow(pfn, 1, order ?? table.orderOf(pfn));
  }

  /**
   * Adopts `count` preserved folios side by side. All or none; false where they are not such
   * folios.
   */
  adoptIncomingRow(pfn: Pfn, count: number, order: number): boolean {
    const { table } = this;
    if (table.foliosAlike(KIND, INCOMING_HEAD, order, pfn, count) < count) return false;
    table.setFolios(pfn, count, order, HEAD, 1); // no frame handed over lies in scratch
    this.#adopted?.pushRow(pfn, count, order);
    return true;
  }

  /** Makes reserved frames free memory, and gives that back to the system. */
  releaseReserved(pfn: Pfn, count: number): void {
    const end = this.table.flagsEnd(KIND, RESERVED, pfn, pfn + count);
    if (end < pfn + count)
      throw new AssertionError(`frame ${end} is ${this.table.kindName(end)}, not reserved`);
    this.release(pfn, count);
    this.residency.giveBack(pfn, count);
  }

  /** Calls `visit` for each run of free frames, in ascending order. */
  forEachFreeRun(visit: (pfn: Pfn, count: number) => void): void {
    this.table.forEachFreeRun(visit);
  }

  /** Notes that all free memory was given back to the system: it reads as zeros. */
  markFreeClean(): void {
    this.forEachFreeRun((pfn, count) => {
      this.table.clearFlag(STALE, pfn, count);
    });
  }

  /**
   * Proves that no frame is lost and none is owned twice.
   *
   * @throws AssertionError naming the first frame whose state contradicts itself
   */
  assertConsistent(): void {
    assertWhole(this.table, this.#normal, this.#scratch, this.#outside);
  }

  /**
   * Clears a block that was just taken out and takes its memory, as the options want it; or puts it
   * back.
   */
  #makeReady(pfn: Pfn, order: number, { taken = 'now', zero = false }: AllocOptions): void {
    try {
      if (zero) this.#clear(pfn, 1 << order); // before: what is taken now is zeros
      this.residency.takeBlock(pfn, 1 << order, taken);
    } catch (error) {
      this.#zoneOf(pfn).put(pfn, order);
      throw error;
    }
  }

  #zoneOf(pfn: Pfn): Zone {
    return (this.table.flagsOf(pfn) & SCRATCH) === 0 ? this.#normal : this.#scratch;
  }

  /** Makes a block that was just taken out `count` folios with one reference each. */
  #own(pfn: Pfn, count: number, order: number): void {
    this.table.setFolios(pfn, count, order, (this.table.flagsOf(pfn) & SCRATCH) | HEAD, 1);
  }

  /** Of both zones where the frames lie across a border of scratch. */
  protected override release(pfn: Pfn, count: number): void {
    const { table } = this;
    if (!table.allHave(PRESERVED, false, pfn, count))
      throw new AssertionError(`frame ${pfn} (${count} pages) is freed while it is preserved`);
    const end = pfn + count;
    for (let at = pfn; at < end;) {
      const isKept = this.#kept.has(at);
      const to = this.#kept.isEmpty ? end : this.#kept.find(!isKept, at, end);
      if (isKept) {
        table.setFolios(at, to - at, 0, RESERVED, 0);
        this.#keptFree += to - at;
      } else {
        this.#free(at, to);
      }
      at = to;
    }
  }

  /** Makes frames free memory, or holds them back. */
  #free(from: Pfn, end: Pfn): void {
    const { table } = this;
    let at = from;
    while (at < end) {
      const inScratch = table.flagsOf(at) & SCRATCH;
      const to = table.flagsEnd(SCRATCH, inScratch, at, end);
      if (this.#held === undefined) {
        table.setFolios(at, to - at, 0, inScratch | STALE | FREE, 0);
        this.#zoneOf(at).putRange(at, to - at);
      } else {
        table.setFolios(at, to - at, 0, inScratch | RESERVED, 0);
        this.#held.runs.push(at, to - at);
        this.#held.pages += to - at;
      }
      at = to;
    }
  }

  /** Clears those frames whose content is unknown, run by run. */
  #clear(pfn: Pfn, count: number): void {
    const { table } = this;
    const end = pfn + count;
    let at = table.flagsEnd(STALE, 0, pfn, end);
    while (at < end) {
      const to = table.flagsEnd(STALE, STALE, at, end);
      forEachBlock(pfnToPhys(at), (to - at) * PAGE_SIZE, (pa, length) => {
        this.residency.zero(pa, length);
      });
      at = table.flagsEnd(STALE, 0, to, end);
    }
  }

  #outOfMemory(pages: number): KernelError {
    return new KernelError(
      'ENOMEM',
      `${pages} page(s) wanted, ${this.freePages} free (and ${this.freeScratchPages} in scratch): make RAM larger or free files`,
    );
  }
}

/** @throws KernelError EINVAL: no frames of this RAM, or not in ascending order */
function checkRuns(runs: readonly number[], frames: number): void {
  checkList(runs, 'a list of runs of frames');
  let least = 0;
  for (let i = 0; i < runs.length; i += 2) {
    checkWhole(runs[i], 'a frame', { min: least, max: frames });
    checkWhole(runs[i + 1], 'a number of frames', { max: frames - runs[i] });
    least = runs[i] + runs[i + 1];
  }
}
