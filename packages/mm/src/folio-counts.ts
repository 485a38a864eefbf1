/**
 * Who holds a folio in use: its references and its pins, one folio at a time or many (kernel: page_ref, gup).
 *
 * Always: a folio in use has at least one reference, and at least as many references as pins; the last reference frees it. The loops run
 * over typed arrays, and work on folios side by side is done per run where it can be.
 */
import { AssertionError, type Pfn } from '@liveupdate/base';
import type { FolioRuns } from './folio-runs.ts';
import { HEAD, KIND, PRESERVED, SCRATCH, STALE, type PageTable } from './page-table.ts';

/** Pins that one folio can have. */
const MAX_PINS = 0xffff;

export abstract class FolioCounts {
  readonly table: PageTable;

  constructor(table: PageTable) {
    this.table = table;
  }

  /** Makes the frames of folios free that lost their last reference. Changes nothing where it throws. */
  protected abstract release(pfn: Pfn, count: number): void;

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
    if (refs[pfn] === 1) this.release(pfn, 1 << this.table.orders[pfn]);
    refs[pfn] -= 1;
  }

  /** Drops a reference of each folio `pfns[from .. from + count - 1]`; single pages in a row are freed as one run. */
  putBulk(pfns: Uint32Array, from = 0, count = pfns.length - from): void {
    const { table } = this;
    const end = from + count;
    let at = from;
    while (at < end) {
      const first = pfns[at];
      // Exactly: heads of one zone, not preserved; single pages with one reference and no pin.
      const row = inARow(pfns, at, end);
      const heads = table.foliosAlike(~STALE & 0xff, HEAD | (table.flags[first] & SCRATCH), 0, first, row);
      const run = solelyHeld(table.refs, table.pins, first, heads, 1);
      if (run > 0) {
        this.release(first, run);
        table.refs.fill(0, first, first + run);
      } else {
        this.put(first);
      }
      at += Math.max(1, run);
    }
  }

  /** Drops a reference of `count` folios side by side; the last one of each frees it. */
  putRun(pfn: Pfn, count: number, order: number): void {
    const { refs, pins } = this.table;
    const step = 1 << order;
    this.#checkHeads(pfn, count, order);
    if (solelyHeld(refs, pins, pfn, count, step) < count) {
      // Somebody else holds one of them: folio by folio.
      for (let f = 0; f < count; f++) this.put(pfn + f * step);
      return;
    }
    this.release(pfn, count * step);
    if (order === 0) refs.fill(0, pfn, pfn + count);
    else for (let i = 0, at = pfn; i < count; i++, at += step) refs[at] = 0;
  }

  /** Drops a reference of every folio of these runs. */
  putRuns({ length, pfns, counts, orders }: FolioRuns): void {
    for (let i = 0; i < length; i++) this.putRun(pfns[i], counts[i], orders[i]);
  }

  /** Pins `count` folios in use side by side: each keeps a reference more and may not be moved. All or none. */
  pinRun(pfn: Pfn, count: number, order: number): void {
    const { refs, pins } = this.table;
    const step = 1 << order;
    this.#checkHeads(pfn, count, order);
    if (order === 0 && pins[pfn] < MAX_PINS && heldAlike(refs, pins, pfn, count)) {
      refs.fill(refs[pfn] + 1, pfn, pfn + count);
      pins.fill(pins[pfn] + 1, pfn, pfn + count);
      return;
    }
    for (let i = 0, at = pfn; i < count; i++, at += step) {
      if (pins[at] === MAX_PINS) {
        this.unpinRun(pfn, i, order);
        throw new AssertionError(`frame ${at} is pinned ${MAX_PINS} times`);
      }
      refs[at] += 1;
      pins[at] += 1;
    }
  }

  /** Takes back a pin of each folio, with its reference; where the owner has let go of a folio already, that frees it. */
  unpinRun(pfn: Pfn, count: number, order: number): void {
    const { refs, pins } = this.table;
    const step = 1 << order;
    this.#checkHeads(pfn, count, order);
    if (order === 0 && pins[pfn] > 0 && refs[pfn] > 1 && heldAlike(refs, pins, pfn, count)) {
      refs.fill(refs[pfn] - 1, pfn, pfn + count);
      pins.fill(pins[pfn] - 1, pfn, pfn + count);
      return;
    }
    for (let i = 0, at = pfn; i < count; i++, at += step)
      if (pins[at] === 0) throw new AssertionError(`frame ${at} is not pinned`);
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

  #unpin(pfn: Pfn): void {
    const { refs, pins, orders } = this.table;
    if (refs[pfn] === 1) this.release(pfn, 1 << orders[pfn]);
    refs[pfn] -= 1;
    pins[pfn] -= 1;
  }

  #checkHead(pfn: Pfn): void {
    if (!this.isHead(pfn)) throw this.#notInUse(pfn);
  }

  /** Throws unless `count` folios of this order lie side by side in use. */
  #checkHeads(pfn: Pfn, count: number, order: number): void {
    const alike = this.table.foliosAlike(KIND, HEAD, order, pfn, count);
    if (alike === count) return;
    const at = pfn + alike * (1 << order);
    this.#checkHead(at);
    throw new AssertionError(`folio ${at} is of order ${this.table.orders[at]}, not ${order}`);
  }

  #notInUse(pfn: Pfn): AssertionError {
    return new AssertionError(`frame ${pfn} is ${this.table.kindName(pfn)}, not a folio in use`);
  }
}

/** How many frames in a row the list names from index `at` on. */
function inARow(pfns: Uint32Array, at: number, end: number): number {
  const base = pfns[at] - at;
  let to = at + 1;
  while (to < end && pfns[to] === base + to) to += 1;
  return to - at;
}

/** How many of `count` folios side by side, `step` frames apart, have one reference and no pin. */
function solelyHeld(refs: Uint32Array, pins: Uint16Array, pfn: Pfn, count: number, step: number): number {
  let folios = 0;
  for (let at = pfn; folios < count && refs[at] === 1 && pins[at] === 0; at += step) folios += 1;
  return folios;
}

/** Whether `count` single pages side by side are all held as the first of them is, as those of one file are. */
function heldAlike(refs: Uint32Array, pins: Uint16Array, pfn: Pfn, count: number): boolean {
  const [references, held] = [refs[pfn], pins[pfn]];
  let at = pfn;
  for (const end = pfn + count; at < end && refs[at] === references && pins[at] === held;) at += 1;
  return at === pfn + count;
}
