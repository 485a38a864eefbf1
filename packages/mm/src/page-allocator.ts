/**
 * The page allocator: a buddy system of orders 0 to 10 over the frames of one RAM (kernel: mm/page_alloc.c).
 *
 * Scratch areas are a zone of their own, as the kernel's CMA memory is: only movable allocations may use them, and only when nothing else is
 * left. Always: a free frame is in exactly one free block; two free buddies of one zone are one block; a folio in use has at least
 * one reference, and at least as many references as pins.
 */
import {
  AssertionError,
  KernelError,
  log2Floor,
  MAX_ORDER,
  PAGE_SIZE,
  pfnToPhys,
  trailingZeros,
  type Pfn,
} from '@liveupdate/base';
import type { FolioRuns } from './folio-runs.ts';
import { FreeSet } from './free-set.ts';
import {
  FREE,
  HEAD,
  INCOMING_HEAD,
  INCOMING_TAIL,
  KIND,
  PRESERVED,
  RESERVED,
  SCRATCH,
  STALE,
  TAIL,
  type PageTable,
} from './page-table.ts';
import { forEachBlock, type Ram } from './ram.ts';

/** Pins that one folio can have. */
const MAX_PINS = 0xffff;

export interface AllocOptions {
  /** The memory is a file's: it may lie in a scratch area, and may be moved. */
  readonly movable?: boolean;
  /** The memory reads as zeros. Costs nothing where it was not used since boot. */
  readonly zero?: boolean;
  /**
   * The memory is taken from the system when it is first written, not now: a hole that may never be written costs nothing. A system that is
   * full then ends the process.
   */
  readonly lazy?: boolean;
}

/** One zone's free blocks by order. */
class Zone {
  readonly blocks: FreeSet[] = [];
  freePages = 0;

  constructor(frames: number) {
    for (let order = 0; order <= MAX_ORDER; order++)
      this.blocks.push(new FreeSet(Math.ceil(frames / (1 << order))));
  }

  /** Takes out a block of exactly `order`, splitting a larger one. -1 where there is none. */
  take(order: number): Pfn {
    for (let from = order; from <= MAX_ORDER; from++) {
      const index = this.blocks[from].first();
      if (index < 0) continue;
      this.blocks[from].remove(index);
      let at = index;
      for (let o = from - 1; o >= order; o--) {
        at *= 2;
        this.blocks[o].add(at + 1);
      }
      this.freePages -= 1 << order;
      return at * (1 << order);
    }
    return -1;
  }

  /** Takes out a block of `order`, or the largest smaller one where there is none. The zone must not be empty. */
  takeNear(order: number): { pfn: Pfn; order: number } {
    const whole = this.take(order);
    if (whole >= 0) return { pfn: whole, order };
    for (let o = order - 1; o >= 0; o--) {
      const index = this.blocks[o].first();
      if (index < 0) continue;
      this.blocks[o].remove(index);
      this.freePages -= 1 << o;
      return { pfn: index * (1 << o), order: o };
    }
    throw new AssertionError('an empty zone was asked for memory');
  }

  /** Puts back one block and joins it with its free buddies. */
  put(pfn: Pfn, order: number): void {
    this.freePages += 1 << order;
    let index = pfn / (1 << order);
    let o = order;
    while (o < MAX_ORDER && this.blocks[o].has(index ^ 1)) {
      this.blocks[o].remove(index ^ 1);
      index >>>= 1;
      o += 1;
    }
    this.blocks[o].add(index);
  }

  /** Puts back `count` frames in a row, as the largest aligned blocks. */
  putRange(pfn: Pfn, count: number): void {
    let at = pfn;
    let left = count;
    while (left > 0) {
      const order = Math.min(at === 0 ? MAX_ORDER : trailingZeros(at), log2Floor(left), MAX_ORDER);
      this.put(at, order);
      at += 1 << order;
      left -= 1 << order;
    }
  }
}

export class PageAllocator {
  readonly ram: Ram;
  readonly table: PageTable;
  /** Called before every allocation; throws to make it fail. For failure injection in tests. */
  beforeAllocation: (() => void) | undefined;
  readonly #normal: Zone;
  readonly #scratch: Zone;

  /** @param table frames that are neither reserved nor incoming become free memory */
  constructor(ram: Ram, table: PageTable) {
    this.ram = ram;
    this.table = table;
    this.#normal = new Zone(table.frames);
    this.#scratch = new Zone(table.frames);
    forEachFreeRun(table, (pfn, count) => {
      this.#zoneOf(pfn).putRange(pfn, count);
    });
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
   * @throws KernelError ENOMEM: no free block of this order. ENOSPC: the system has no memory for it.
   */
  alloc(order: number, options: AllocOptions = {}): Pfn {
    if (!(order >= 0 && order <= MAX_ORDER)) throw new AssertionError(`no folio of order ${order}`);
    this.beforeAllocation?.();
    let pfn = this.#normal.take(order);
    if (pfn < 0 && options.movable) pfn = this.#scratch.take(order);
    if (pfn < 0) throw this.#outOfMemory(1 << order);
    if (!options.lazy) this.#reserve(pfn, order);
    if (options.zero) this.#clear(pfn, 1 << order);
    this.#own(pfn, order);
    return pfn;
  }

  /**
   * `count` folios of order 0, in as few runs as the free memory allows, written to `out` from index `at` on. All or none.
   *
   * @throws KernelError ENOMEM: fewer free frames than `count`. ENOSPC: the system has no memory for them.
   */
  allocBulk(out: Uint32Array, at: number, count: number, options: AllocOptions = {}): void {
    this.beforeAllocation?.();
    const available = this.#normal.freePages + (options.movable ? this.#scratch.freePages : 0);
    if (available < count) throw this.#outOfMemory(count);
    let to = at;
    let left = count;
    while (left > 0) {
      const zone = this.#normal.freePages > 0 ? this.#normal : this.#scratch;
      const block = zone.takeNear(Math.min(MAX_ORDER, log2Floor(left)));
      const taken = 1 << block.order;
      try {
        if (!options.lazy) this.#reserve(block.pfn, block.order);
      } catch (error) {
        this.putBulk(out, at, to - at);
        throw error;
      }
      if (options.zero) this.#clear(block.pfn, taken);
      this.#ownSingles(block.pfn, taken);
      for (let i = 0; i < taken; i++) out[to + i] = block.pfn + i;
      to += taken;
      left -= taken;
    }
  }

  /** Adds a reference to a folio in use. */
  get(pfn: Pfn): void {
    this.#checkHead(pfn);
    this.table.refs[pfn] += 1;
  }

  /** Adds a reference to `count` folios in use side by side. */
  getRun(pfn: Pfn, count: number, order: number): void {
    this.#checkHeads(pfn, count, order);
    const { refs } = this.table;
    const step = 1 << order;
    for (let i = 0, at = pfn; i < count; i++, at += step) refs[at] += 1;
  }

  /** Drops a reference; the last one frees the folio. */
  put(pfn: Pfn): void {
    this.#checkHead(pfn);
    const { refs, pins } = this.table;
    if (refs[pfn] <= pins[pfn])
      throw new AssertionError(`the last reference of frame ${pfn} is dropped while it is pinned`);
    if (refs[pfn] === 1) this.#release(pfn, 1 << this.table.orders[pfn]);
    refs[pfn] -= 1;
  }

  /** Drops a reference of each folio `pfns[from .. from + count - 1]`; single pages in a row are freed as one run. */
  putBulk(pfns: Uint32Array, from = 0, count = pfns.length - from): void {
    const { flags, refs, pins, orders } = this.table;
    const end = from + count;
    let at = from;
    while (at < end) {
      const first = pfns[at];
      const zone = flags[first] & SCRATCH;
      let run = 0;
      while (at + run < end) {
        const pfn = first + run;
        // Exactly: a head, of this zone, not preserved; a single page with one reference and no pin.
        if (
          pfns[at + run] !== pfn ||
          flags[pfn] !== (HEAD | zone) ||
          refs[pfn] !== 1 ||
          orders[pfn] !== 0 ||
          pins[pfn] !== 0
        )
          break;
        run += 1;
      }
      if (run > 0) {
        this.#release(first, run);
        refs.fill(0, first, first + run);
      } else {
        this.put(first);
        run = 1;
      }
      at += run;
    }
  }

  /** Drops a reference of `count` folios side by side; the last one of each frees it. */
  putRun(pfn: Pfn, count: number, order: number): void {
    const { refs, pins } = this.table;
    const step = 1 << order;
    this.#checkHeads(pfn, count, order);
    for (let i = 0, at = pfn; i < count; i++, at += step) {
      if (refs[at] === 1 && pins[at] === 0) continue;
      // Somebody else holds one of them: folio by folio.
      for (let f = 0; f < count; f++) this.put(pfn + f * step);
      return;
    }
    this.#release(pfn, count * step);
    if (order === 0) refs.fill(0, pfn, pfn + count);
    else for (let i = 0, at = pfn; i < count; i++, at += step) refs[at] = 0;
  }

  /** Drops a reference of every folio of these runs. */
  putRuns({ length, pfns, counts, orders }: FolioRuns): void {
    for (let i = 0; i < length; i++) this.putRun(pfns[i], counts[i], orders[i]);
  }

  /** Pins `count` folios in use side by side: each keeps a reference more and may not be moved. All or none. */
  pinRun(pfn: Pfn, count: number, order: number): void {
    const { flags, orders, refs, pins } = this.table;
    const step = 1 << order;
    for (let i = 0, at = pfn; i < count; i++, at += step) {
      if ((flags[at] & KIND) !== HEAD || orders[at] !== order || pins[at] === MAX_PINS) {
        this.unpinRun(pfn, i, order);
        throw new AssertionError(
          `frame ${at} (${this.table.kindName(at)}) cannot be pinned as a folio of order ${order}`,
        );
      }
      refs[at] += 1;
      pins[at] += 1;
    }
  }

  /** Takes back a pin of each folio, with its reference; where the owner has let go of a folio already, that frees it. */
  unpinRun(pfn: Pfn, count: number, order: number): void {
    const { flags, orders, refs, pins } = this.table;
    const step = 1 << order;
    for (let i = 0, at = pfn; i < count; i++, at += step) {
      if ((flags[at] & KIND) !== HEAD || orders[at] !== order || pins[at] === 0) {
        throw new AssertionError(
          `frame ${at} (${this.table.kindName(at)}) is not pinned as a folio of order ${order}`,
        );
      }
    }
    for (let i = 0, at = pfn; i < count; i++, at += step) {
      if (refs[at] === 1) {
        this.#unpin(at);
      } else {
        pins[at] -= 1;
        refs[at] -= 1;
      }
    }
  }

  /** Adds a reference to each of these folios in use. */
  getBulk(pfns: Uint32Array): void {
    const { flags, refs } = this.table;
    for (let i = 0; i < pfns.length; i++) {
      const pfn = pfns[i];
      if ((flags[pfn] & KIND) !== HEAD) throw this.#notInUse(pfn);
      refs[pfn] += 1;
    }
  }

  /** Pins folios in use: each keeps a reference more and may not be moved. All or none. */
  pinBulk(pfns: Uint32Array): void {
    const { flags, refs, pins } = this.table;
    for (let i = 0; i < pfns.length; i++) {
      const pfn = pfns[i];
      if ((flags[pfn] & KIND) !== HEAD || pins[pfn] === MAX_PINS) {
        this.unpinBulk(pfns.subarray(0, i));
        if (pins[pfn] !== MAX_PINS) throw this.#notInUse(pfn);
        throw new AssertionError(`frame ${pfn} is pinned ${MAX_PINS} times`);
      }
      refs[pfn] += 1;
      pins[pfn] += 1;
    }
  }

  /** Takes back a pin of each folio, as unpinRun. */
  unpinBulk(pfns: Uint32Array): void {
    const { flags, pins } = this.table;
    for (let i = 0; i < pfns.length; i++) {
      const pfn = pfns[i];
      if ((flags[pfn] & KIND) !== HEAD) throw this.#notInUse(pfn);
      if (pins[pfn] === 0) throw new AssertionError(`frame ${pfn} is not pinned`);
      this.#unpin(pfn);
    }
  }

  /** Turns a folio in use into folios of order 0, each with its references. Pinned and preserved folios cannot be split. */
  split(pfn: Pfn): void {
    this.#checkHead(pfn);
    const { orders, refs, pins, flags } = this.table;
    if (pins[pfn] !== 0) throw new AssertionError(`frame ${pfn} is pinned and cannot be split`);
    if ((flags[pfn] & PRESERVED) !== 0)
      throw new AssertionError(`frame ${pfn} is preserved as one folio and cannot be split`);
    const end = pfn + (1 << orders[pfn]);
    refs.fill(refs[pfn], pfn, end);
    orders.fill(0, pfn, end);
    pins.fill(0, pfn, end);
    flags.fill((flags[pfn] & SCRATCH) | HEAD, pfn, end);
  }

  /** Whether `pfn` is the first frame of a folio in use. */
  isHead(pfn: Pfn): boolean {
    return pfn < this.table.frames && (this.table.flags[pfn] & KIND) === HEAD;
  }

  /** Whether a frame is marked for the next kernel. */
  isPreserved(pfn: Pfn): boolean {
    return (this.table.flags[pfn] & PRESERVED) !== 0;
  }

  /** Whether a frame lies in a scratch area. */
  isScratch(pfn: Pfn): boolean {
    return (this.table.flags[pfn] & SCRATCH) !== 0;
  }

  /** Order of the folio whose first frame is `pfn`. */
  orderOf(pfn: Pfn): number {
    return this.table.orders[pfn];
  }

  /** A live view of a folio's memory. */
  folioBytes(pfn: Pfn): Uint8Array {
    return this.ram.bytes(pfnToPhys(pfn), PAGE_SIZE << this.table.orders[pfn]);
  }

  /**
   * Makes a preserved folio of the previous kernel one in use, with one reference.
   *
   * @param order the order that the caller expects; omitted: as preserved
   * @returns whether it was such a folio; nothing is changed where it was not
   */
  adoptIncoming(pfn: Pfn, order?: number): boolean {
    const { table } = this;
    if (pfn >= table.frames || (table.flags[pfn] & KIND) !== INCOMING_HEAD) return false;
    if (order !== undefined && table.orders[pfn] !== order) return false;
    this.#own(pfn, table.orders[pfn]);
    return true;
  }

  /** Adopts `count` preserved folios side by side. All or none; false where they are not such folios. */
  adoptIncomingRun(pfn: Pfn, count: number, order: number): boolean {
    const { flags, orders, frames } = this.table;
    const step = 1 << order;
    if (pfn + count * step > frames) return false;
    for (let i = 0, at = pfn; i < count; i++, at += step) {
      if ((flags[at] & KIND) !== INCOMING_HEAD || orders[at] !== order) return false;
    }
    if (order === 0) this.#ownSingles(pfn, count);
    else for (let i = 0, at = pfn; i < count; i++, at += step) this.#own(at, order);
    return true;
  }

  /** Makes a reserved frame free memory. */
  releaseReserved(pfn: Pfn): void {
    if ((this.table.flags[pfn] & KIND) !== RESERVED)
      throw new AssertionError(`frame ${pfn} is ${this.table.kindName(pfn)}, not reserved`);
    this.#release(pfn, 1);
  }

  /** Calls `visit` for each run of free frames, in ascending order. */
  forEachFreeRun(visit: (pfn: Pfn, count: number) => void): void {
    forEachFreeRun(this.table, visit);
  }

  /** Notes that all free memory was given back to the system: it reads as zeros. */
  markFreeClean(): void {
    const { flags } = this.table;
    this.forEachFreeRun((pfn, count) => flags.fill(flags[pfn] & ~STALE, pfn, pfn + count));
  }

  /**
   * Proves that no frame is lost and none is owned twice.
   *
   * @throws AssertionError naming the first frame whose state contradicts itself
   */
  assertConsistent(): void {
    const covered = new Uint8Array(this.table.frames);
    this.#assertZone(this.#normal, covered);
    this.#assertZone(this.#scratch, covered);
    let pfn = 0;
    while (pfn < this.table.frames) pfn += this.#assertFrame(pfn, covered);
  }

  // Texts are made where a check fails, not as arguments of assert(): these loops run once per frame.

  #assertZone(zone: Zone, covered: Uint8Array): void {
    let pages = 0;
    for (let order = 0; order <= MAX_ORDER; order++) {
      const blocks = zone.blocks[order];
      let count = 0;
      for (let i = blocks.first(); i >= 0; i = blocks.next(i + 1)) {
        const pfn = i * (1 << order);
        if (order < MAX_ORDER && blocks.has(i ^ 1))
          throw new AssertionError(`frames ${pfn} and its buddy are free apart, order ${order}`);
        for (let f = pfn; f < pfn + (1 << order); f++) this.#assertFree(f, zone, covered);
        count += 1;
      }
      if (count !== blocks.count)
        throw new AssertionError(`order ${order} counts ${blocks.count} free blocks and has ${count}`);
      pages += count << order;
    }
    if (pages !== zone.freePages)
      throw new AssertionError(`a zone counts ${zone.freePages} free frames and has ${pages}`);
  }

  /** Checks one frame of a free block. */
  #assertFree(pfn: Pfn, zone: Zone, covered: Uint8Array): void {
    const { table } = this;
    if (pfn >= table.frames || (table.flags[pfn] & KIND) !== FREE)
      throw new AssertionError(`frame ${pfn} is in a free block and ${table.kindName(pfn)}`);
    if (this.#zoneOf(pfn) !== zone)
      throw new AssertionError(`frame ${pfn} is in the free blocks of the wrong zone`);
    if (covered[pfn] !== 0) throw new AssertionError(`frame ${pfn} is in two free blocks`);
    covered[pfn] = 1;
  }

  /** Checks the block or folio that begins at `pfn`; its length in frames. */
  #assertFrame(pfn: Pfn, covered: Uint8Array): number {
    const { flags, orders, refs, pins, frames } = this.table;
    const kind = flags[pfn] & KIND;
    if (kind === RESERVED) return 1;
    if (kind === FREE) {
      if (covered[pfn] !== 1) throw new AssertionError(`frame ${pfn} is free and in no free block`);
      if (refs[pfn] !== 0 || pins[pfn] !== 0) throw new AssertionError(`free frame ${pfn} has references`);
      return 1;
    }
    if (kind !== HEAD && kind !== INCOMING_HEAD)
      throw new AssertionError(`frame ${pfn} is ${this.table.kindName(pfn)} of no folio`);
    const pages = 2 ** orders[pfn];
    if (pfn % pages !== 0 || pfn + pages > frames)
      throw new AssertionError(`folio ${pfn} of order ${orders[pfn]} is not aligned or leaves RAM`);
    if (kind === HEAD) this.#assertInUse(pfn);
    else if ((flags[pfn] & PRESERVED) !== 0 || refs[pfn] !== 0 || pins[pfn] !== 0)
      throw new AssertionError(`incoming frame ${pfn} has an owner`);
    const tail = kind === HEAD ? TAIL : INCOMING_TAIL;
    for (let f = pfn + 1; f < pfn + pages; f++) {
      if ((flags[f] & KIND) !== tail)
        throw new AssertionError(`frame ${f} in folio ${pfn} is ${this.table.kindName(f)}`);
      if (((flags[f] ^ flags[pfn]) & SCRATCH) !== 0)
        throw new AssertionError(`folio ${pfn} lies partly in a scratch area`);
      if (refs[f] !== 0 || pins[f] !== 0) throw new AssertionError(`tail frame ${f} has references`);
    }
    return pages;
  }

  #assertInUse(pfn: Pfn): void {
    const { flags, orders, refs, pins } = this.table;
    if (orders[pfn] > MAX_ORDER) throw new AssertionError(`folio ${pfn} has order ${orders[pfn]}`);
    if ((flags[pfn] & PRESERVED) !== 0 && (flags[pfn] & SCRATCH) !== 0)
      throw new AssertionError(`frame ${pfn} lies in a scratch area and is preserved`);
    if (refs[pfn] === 0 || refs[pfn] < pins[pfn])
      throw new AssertionError(`folio ${pfn} has ${refs[pfn]} references, ${pins[pfn]} pins`);
  }

  #unpin(pfn: Pfn): void {
    const { refs, pins, orders } = this.table;
    if (refs[pfn] === 1) this.#release(pfn, 1 << orders[pfn]);
    refs[pfn] -= 1;
    pins[pfn] -= 1;
  }

  /** Takes the memory of a block that was just taken out from the system, or puts the block back. */
  #reserve(pfn: Pfn, order: number): void {
    try {
      this.ram.reserve?.(pfnToPhys(pfn), PAGE_SIZE << order);
    } catch (error) {
      this.#zoneOf(pfn).put(pfn, order);
      throw error;
    }
  }

  #zoneOf(pfn: Pfn): Zone {
    return (this.table.flags[pfn] & SCRATCH) === 0 ? this.#normal : this.#scratch;
  }

  #checkHead(pfn: Pfn): void {
    if (!this.isHead(pfn)) throw this.#notInUse(pfn);
  }

  /** Throws unless `count` folios of this order lie side by side in use. */
  #checkHeads(pfn: Pfn, count: number, order: number): void {
    const { flags, orders } = this.table;
    const step = 1 << order;
    for (let i = 0, at = pfn; i < count; i++, at += step) {
      if ((flags[at] & KIND) !== HEAD) throw this.#notInUse(at);
      if (orders[at] !== order)
        throw new AssertionError(`folio ${at} is of order ${orders[at]}, not ${order}`);
    }
  }

  #notInUse(pfn: Pfn): AssertionError {
    return new AssertionError(`frame ${pfn} is ${this.table.kindName(pfn)}, not a folio in use`);
  }

  #own(pfn: Pfn, order: number): void {
    const { flags, orders, refs, pins } = this.table;
    const zone = flags[pfn] & SCRATCH;
    if (order > 0) flags.fill(zone | TAIL, pfn + 1, pfn + (1 << order));
    flags[pfn] = zone | HEAD;
    orders[pfn] = order;
    refs[pfn] = 1;
    pins[pfn] = 0;
  }

  #ownSingles(pfn: Pfn, count: number): void {
    const { flags, orders, refs, pins } = this.table;
    flags.fill((flags[pfn] & SCRATCH) | HEAD, pfn, pfn + count);
    orders.fill(0, pfn, pfn + count);
    refs.fill(1, pfn, pfn + count);
    pins.fill(0, pfn, pfn + count);
  }

  /** Makes frames free, of both zones where they lie across a border of scratch. Changes nothing where it throws. */
  #release(pfn: Pfn, count: number): void {
    const { flags } = this.table;
    if (!this.table.allHave(PRESERVED, false, pfn, count))
      throw new AssertionError(`frame ${pfn} (${count} pages) is freed while it is preserved`);
    const end = pfn + count;
    let at = pfn;
    while (at < end) {
      const inScratch = flags[at] & SCRATCH;
      let to = at + 1;
      while (to < end && (flags[to] & SCRATCH) === inScratch) to += 1;
      const zone = this.#zoneOf(at);
      flags.fill(inScratch | STALE | FREE, at, to);
      zone.putRange(at, to - at);
      at = to;
    }
  }

  /** Clears those frames whose content is unknown, run by run. */
  #clear(pfn: Pfn, count: number): void {
    const { flags } = this.table;
    const end = pfn + count;
    let at = pfn;
    while (at < end) {
      if ((flags[at] & STALE) === 0) {
        at += 1;
        continue;
      }
      let to = at + 1;
      while (to < end && (flags[to] & STALE) !== 0) to += 1;
      forEachBlock(pfnToPhys(at), (to - at) * PAGE_SIZE, (pa, length) => this.ram.bytes(pa, length).fill(0));
      at = to;
    }
  }

  #outOfMemory(pages: number): KernelError {
    return new KernelError(
      'ENOMEM',
      `${pages} page(s) wanted, ${this.freePages} free (and ${this.freeScratchPages} in scratch): make RAM larger or free files`,
    );
  }
}

/** Calls `visit` for each run of free frames of one zone, in ascending order. */
function forEachFreeRun(table: PageTable, visit: (pfn: Pfn, count: number) => void): void {
  const { flags, frames } = table;
  const words = new Uint32Array(flags.buffer, flags.byteOffset, flags.length >>> 2);
  let at = 0;
  while (at < frames) {
    const flag = flags[at];
    const start = at;
    const alike = Math.imul(flag, 0x0101_0101) >>> 0;
    at += 1;
    while (at < frames && flags[at] === flag) {
      if ((at & 3) === 0) {
        let word = at >>> 2;
        while (word < words.length && words[word] === alike) word += 1;
        if (word > at >>> 2) {
          at = Math.min(frames, word * 4);
          continue;
        }
      }
      at += 1;
    }
    if ((flag & KIND) === FREE) visit(start, at - start);
  }
}
