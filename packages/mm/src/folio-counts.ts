/**
 * Who holds a folio in use: its references and its pins, one folio at a time or many (kernel:
 * page_ref, gup).
 *
 * Always: a folio in use has at least one reference, and at least as many references as pins; the
 * last reference frees it. The loops run over typed arrays, and work on folios side by side is done
 * per run where it can be.
 */
import { AssertionError, type Pfn } from '@liveupdate/base';
import { inARow, type FolioRows } from './folio-runs.ts';
import { MAX_PINS, MAX_REFS, type Held } from './page-table-entries.ts';
import { HEAD, KIND, PRESERVED, SCRATCH, STALE, type PageTable } from './page-table.ts';

const ANYHOW: Held = { leastRefs: 0, mostRefs: MAX_REFS, leastPins: 0, mostPins: MAX_PINS, leastBeside: 0 };
/** By its owner and nobody else. */
const SOLELY: Held = { ...ANYHOW, leastRefs: 1, mostRefs: 1, mostPins: 0 };
/** So that a reference can go that is no pin, without freeing the folio. */
const SHARED: Held = { ...ANYHOW, leastRefs: 2, leastBeside: 1 };
/** So that a reference more can be counted. */
const REFERABLE: Held = { ...ANYHOW, mostRefs: MAX_REFS - 1 };
/** So that a pin more can be counted. */
const PINNABLE: Held = { ...REFERABLE, mostPins: MAX_PINS - 1 };
const PINNED: Held = { ...ANYHOW, leastPins: 1 };
/** So that a pin can go without freeing the folio. */
const PINNED_AND_OWNED: Held = { ...PINNED, leastRefs: 2 };

export abstract class FolioCounts {
  readonly table: PageTable;

  constructor(table: PageTable) {
    this.table = table;
  }

  /**
   * Makes the frames of folios free that lost their last reference. Changes nothing where it
   * throws.
   */
  protected abstract release(pfn: Pfn, count: number): void;

  /** Adds a reference to a folio in use. */
  get(pfn: Pfn): void {
    this.#checkHead(pfn);
    this.#count(REFERABLE, pfn, 1, this.orderOf(pfn), 0);
  }

  /** Adds a reference to every folio in use of these rows. All or none. */
  getRows(rows: FolioRows): void {
    this.#countRows(rows, REFERABLE, 0);
  }

  /** Drops a reference; the last one frees the folio. */
  put(pfn: Pfn): void {
    this.#checkHead(pfn);
    if (this.table.refsOf(pfn) <= this.table.pinsOf(pfn))
      throw new AssertionError(`the last reference of frame ${pfn} is dropped while it is pinned`);
    this.#drop(pfn, 0);
  }

  /**
   * Drops a reference of each folio `pfns[from .. from + count - 1]`; single pages in a row are
   * freed as one run.
   */
  putBulk(pfns: Uint32Array, from = 0, count = pfns.length - from): void {
    const { table } = this;
    const end = from + count;
    let at = from;
    while (at < end) {
      const first = pfns[at];
      // Exactly: heads of one zone, not preserved; single pages with one reference and no pin.
      const row = inARow(pfns, at, end, 1);
      const zone = first < table.frames ? table.flagsOf(first) & SCRATCH : 0;
      const heads = table.foliosAlike(~STALE & 0xff, HEAD | zone, 0, first, row);
      const run = table.foliosHeld(SOLELY, first, heads, 0);
      if (run > 0) this.release(first, run);
      else this.put(first);
      at += Math.max(1, run);
    }
  }

  /** Drops a reference of every folio of these rows; the last one of each frees it. */
  putRows({ length, pfns, counts, orders }: FolioRows): void {
    for (let i = 0; i < length; i++) this.#putRow(pfns[i], counts[i], orders[i]);
  }

  #putRow(pfn: Pfn, count: number, order: number): void {
    this.#checkHeads(pfn, count, order);
    const step = 1 << order;
    for (let done = 0, at = pfn; done < count; at = pfn + done * step) {
      const solely = this.table.foliosHeld(SOLELY, at, count - done, order);
      if (solely > 0) this.release(at, solely * step);
      const shared = solely > 0 ? 0 : this.table.addCounts(SHARED, at, count - done, order, -1, 0);
      if (solely + shared === 0) this.put(at); // which says what is wrong
      done += Math.max(1, solely + shared);
    }
  }

  /**
   * Pins every folio in use of these rows: each keeps a reference more and may not be moved. All or
   * none.
   */
  pinRows(rows: FolioRows): void {
    this.#countRows(rows, PINNABLE, 1);
  }

  /**
   * Takes back a pin of every folio of these rows, with its reference; where the owner has let go
   * of a folio already, that frees it.
   */
  unpinRows({ length, pfns, counts, orders }: FolioRows): void {
    for (let i = 0; i < length; i++) this.#unpinRow(pfns[i], counts[i], orders[i]);
  }

  #unpinRow(pfn: Pfn, count: number, order: number): void {
    const { table } = this;
    const step = 1 << order;
    this.#checkHeads(pfn, count, order);
    const owned = table.addCounts(PINNED_AND_OWNED, pfn, count, order, -1, -1);
    const others = pfn + owned * step;
    const pinned = owned + table.foliosHeld(PINNED, others, count - owned, order);
    if (pinned < count) {
      table.addCounts(ANYHOW, pfn, owned, order, 1, 1);
      throw new AssertionError(`frame ${pfn + pinned * step} is not pinned`);
    }
    for (let f = owned, at = others; f < count; f++, at += step) this.#drop(at, 1);
  }

  /**
   * Turns a folio in use into folios of order 0, each with its references. Pinned and preserved
   * folios cannot be split.
   */
  split(pfn: Pfn): void {
    this.#checkHead(pfn);
    const { table } = this;
    const flags = table.flagsOf(pfn);
    if (table.pinsOf(pfn) !== 0) throw new AssertionError(`frame ${pfn} is pinned and cannot be split`);
    if ((flags & PRESERVED) !== 0)
      throw new AssertionError(`frame ${pfn} is preserved as one folio and cannot be split`);
    table.setFolios(pfn, 1 << table.orderOf(pfn), 0, (flags & SCRATCH) | HEAD, table.refsOf(pfn));
  }

  /** Whether `pfn` is the first frame of a folio in use. */
  isHead(pfn: Pfn): boolean {
    return this.table.has(pfn) && this.table.kindOf(pfn) === HEAD;
  }

  /** Whether a frame is marked for the next kernel. */
  isPreserved(pfn: Pfn): boolean {
    return (this.table.flagsOf(pfn) & PRESERVED) !== 0;
  }

  /** Whether a frame lies in a scratch area. */
  isScratch(pfn: Pfn): boolean {
    return (this.table.flagsOf(pfn) & SCRATCH) !== 0;
  }

  /** Order of the folio whose first frame is `pfn`. */
  orderOf(pfn: Pfn): number {
    return this.table.orderOf(pfn);
  }

  /** Adds a reference, with so many pins, to every folio of these rows. All or none. */
  #countRows({ length, pfns, counts, orders }: FolioRows, can: Held, pins: number): void {
    let done = 0;
    try {
      for (; done < length; done++) {
        this.#checkHeads(pfns[done], counts[done], orders[done]);
        this.#count(can, pfns[done], counts[done], orders[done], pins);
      }
    } catch (error) {
      while (--done >= 0) this.table.addCounts(ANYHOW, pfns[done], counts[done], orders[done], -1, -pins);
      throw error;
    }
  }

  /**
   * Adds a reference, with so many pins, to each of `count` folios that can have one more. All or
   * none.
   */
  #count(can: Held, pfn: Pfn, count: number, order: number, pins: number): void {
    const done = this.table.addCounts(can, pfn, count, order, 1, pins);
    if (done === count) return;
    this.table.addCounts(ANYHOW, pfn, done, order, -1, -pins);
    const at = pfn + done * (1 << order);
    throw new AssertionError(
      `frame ${at} has ${this.table.refsOf(at)} references and ${this.table.pinsOf(at)} pins: no more can be counted`,
    );
  }

  /** Drops a reference, with so many pins. */
  #drop(pfn: Pfn, pins: number): void {
    const order = this.orderOf(pfn);
    if (this.table.refsOf(pfn) === 1) this.release(pfn, 1 << order);
    else this.table.addCounts(ANYHOW, pfn, 1, order, -1, -pins);
  }

  #checkHead(pfn: Pfn): void {
    if (this.isHead(pfn)) return;
    throw new AssertionError(`frame ${pfn} is ${this.table.kindName(pfn)}, not a folio in use`);
  }

  /** Throws unless `count` folios of this order lie side by side in use. */
  #checkHeads(pfn: Pfn, count: number, order: number): void {
    const alike = this.table.foliosAlike(KIND, HEAD, order, pfn, count);
    if (alike === count) return;
    const at = pfn + alike * (1 << order);
    this.#checkHead(at);
    throw new AssertionError(`folio ${at} is of order ${this.orderOf(at)}, not ${order}`);
  }
}
