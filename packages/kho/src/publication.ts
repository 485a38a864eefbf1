/**
 * Publication: what this kernel has preserved is what the next owner of the RAM finds, should this
 * one die at any instruction.
 *
 * A change is made ready first: the keys that it adds and removes go into a log, whoever keeps
 * records marks what is theirs with the number of the change. Then one aligned word takes that
 * number: from then on the change has happened. What is left, keys out of the log into the map and
 * marks off, is done by whoever comes first: this kernel, or the one that reads the record. Where
 * the word was not written, nothing has happened.
 *
 * Stores are made in the order in which they are written here. Processors keep that for whoever
 * looks after the process has ended; the word is written by `Atomics.store`, so that no compiler
 * moves it either.
 */
import {
  clearBits,
  findBit,
  KernelError,
  pfnToPhys,
  physToPfn,
  setBits,
  StructView,
  type Pfn,
  type PhysAddr,
} from '@liveupdate/base';
import { FolioRuns, type PageAllocator } from '@liveupdate/mm';
import { RADIX_LEAF_BITS, ScratchSer } from './abi.ts';
import {
  LEAF_PAGE,
  LIVE_MAGIC,
  LIVE_VERSION,
  LiveHeaderSer,
  LOG_ROWS_INSIDE,
  MOST_SCRATCH_INSIDE,
  nextChange,
  SCRATCH_AT,
  SCRATCH_PAGE,
} from './live-layout.ts';
import { LiveLog } from './live-log.ts';
import { LivePages, type RecordPage } from './live-pages.ts';
import { beginResidency, LiveResidency } from './live-residency.ts';
import { NetKeys } from './net-keys.ts';
import { forEachLeafPart, leafOfOrder, radixBit } from './radix-key.ts';
import { forEachLiveRun, pagesOfKind, readLiveLeaves, wordsOf, type LiveRecord } from './read-live-record.ts';
import type { KeyWatcher } from './radix-tree.ts';
import type { ScratchArea } from './scratch.ts';
import { forEachUnpreserved } from './unpreserved.ts';

const PUBLISHED = LiveHeaderSer.published.at / 4;

const NOTHING = new FolioRuns();

export interface PublicationInit {
  readonly scratch: readonly ScratchArea[];
  readonly kexecCount: number;
}

/** What is published in one step. */
class Change {
  readonly keys = new NetKeys();
  /** Folios of the previous kernel that are finished. */
  arrived: FolioRuns[] = [];

  clear(): void {
    this.keys.clear();
    if (this.arrived.length > 0) this.arrived = []; // to set a length costs more than to look
  }

  /** Another change, which came later, is part of this one. */
  add({ keys, arrived }: Change): void {
    const { added, removed } = keys.rows();
    for (let i = 0; i < removed.length; i++)
      this.keys.remove(removed.pfns[i], removed.counts[i], removed.orders[i]);
    for (let i = 0; i < added.length; i++) this.keys.add(added.pfns[i], added.counts[i], added.orders[i]);
    this.arrived.push(...arrived);
  }
}

export class Publication implements KeyWatcher {
  /** Where the record begins. */
  readonly pa: PhysAddr;
  /** What was there when this kernel booted; undefined in a RAM that is new. */
  readonly found: LiveRecord | undefined;
  /**
   * Called before the first change is published: this kernel must be the owner of the RAM by then.
   */
  beforeFirst: (() => void) | undefined;
  /** Called when a change was published: marks with its number can be carried out. */
  whenPublished: (() => void) | undefined;
  /** Runs work when the event loop has turned; undefined: at once. */
  afterTurn: ((work: () => void) => void) | undefined;
  readonly #pages: PageAllocator;
  readonly #header: Uint32Array;
  readonly #word: Int32Array;
  #published: number;
  /** The pages of the record itself. */
  readonly #own: LivePages;
  readonly #leaves: (Uint32Array | undefined)[][] = [];
  /**
   * The same as they will be, where the predecessor logged keys and nobody has carried that out.
   */
  #comingLeaves: (Uint32Array | undefined)[][] | undefined;
  readonly #log: LiveLog;
  readonly #residency: LiveResidency;
  /** Whether what the predecessor logged is carried out. */
  #isSettled: boolean;
  #isOwner: boolean;
  #hasEnded = false;
  readonly #notedNumbers: ((header: StructView) => void)[] = [];

  // The change that is being made.
  #notes = 0;
  #change = new Change();
  #resume: (() => void) | undefined;
  /** Changes that are published when this kernel is the owner. */
  #deferred: Change | undefined;

  private constructor(pages: PageAllocator, pa: PhysAddr, published: number, found: LiveRecord | undefined) {
    this.#pages = pages;
    this.pa = pa;
    this.found = found;
    this.#published = published;
    this.#isSettled = found === undefined;
    this.#isOwner = found === undefined;
    this.#own = new LivePages(pages, pa, found);
    this.#log = new LiveLog(pages.ram, this.#own, pa, found);
    this.#residency = new LiveResidency(pages, this.#own, found);
    this.#header = wordsOf(pages.ram, physToPfn(pa));
    this.#word = new Int32Array(this.#header.buffer, this.#header.byteOffset, this.#header.length);
  }

  /**
   * The record of a RAM that is new.
   *
   * @throws KernelError ENOMEM, ENOSPC: no page for it
   */
  static create(pages: PageAllocator, { scratch, kexecCount }: PublicationInit): Publication {
    const pa = pfnToPhys(pages.alloc(0, { zero: true }));
    const header = new StructView(pages.ram.bytes(pa, LiveHeaderSer.SIZE));
    const made = new Publication(pages, pa, 1, undefined);
    const areas =
      scratch.length > MOST_SCRATCH_INSIDE ? pfnToPhys(made.#own.add(SCRATCH_PAGE, 0).pfn) : pa + SCRATCH_AT;
    for (const [i, { addr, size }] of scratch.entries()) {
      const ser = new StructView(pages.ram.bytes(areas + i * ScratchSer.SIZE, ScratchSer.SIZE));
      ser.setU64(ScratchSer.addr, addr);
      ser.setU64(ScratchSer.size, size);
    }
    header.setU32(LiveHeaderSer.scratchAreas, scratch.length);
    header.setU32(LiveHeaderSer.kexecCount, kexecCount);
    header.setU32(LiveHeaderSer.published, 1);
    header.setU32(LiveHeaderSer.version, LIVE_VERSION);
    header.setString(LiveHeaderSer.magic, LIVE_MAGIC);
    beginResidency(pages, pa);
    made.recordResidency();
    return made;
  }

  /**
   * Goes on with the record that a boot found. Nothing is written before `settle`. All memory that
   * is published is kept as it is, until who asked for it has finished.
   *
   * @param published all of it, first frame and number in turn, where that was read already
   */
  static resume(pages: PageAllocator, record: LiveRecord, published?: readonly number[]): Publication {
    const made = new Publication(pages, record.pa, record.published, record);
    const { ram } = pages;
    for (const { pfn, order, place } of pagesOfKind(record, LEAF_PAGE))
      made.#leavesOf(order)[place] = wordsOf(ram, pfn);
    const leaves = published && record.log.length === 0 ? [] : readLiveLeaves(ram, record);
    if (published) for (let i = 0; i < published.length; i += 2) pages.keep(published[i], published[i + 1]);
    else
      forEachLiveRun(leaves, (pfn, count, order) => {
        pages.keep(pfn, count * 2 ** order);
      });
    if (record.log.length > 0) {
      made.#comingLeaves = [];
      for (const { order, place, words } of leaves) (made.#comingLeaves[order] ??= [])[place] = words;
    }
    return made;
  }

  /** Pages of RAM that the record takes. */
  get pageCount(): number {
    return this.#own.count;
  }

  /** Number of the change that is made ready: marks with it count when it is published. */
  get next(): number {
    return nextChange(this.#published);
  }

  /** Number of the last change that was published. */
  get published(): number {
    return this.#published;
  }

  /** Numbers that who recovers goes on with: written when this kernel owns the RAM. */
  noteKexec(kexecCount: number): void {
    this.#whenOwner((header) => {
      header.setU32(LiveHeaderSer.kexecCount, kexecCount);
    });
  }

  noteUpdate(liveupdateNumber: bigint): void {
    this.#whenOwner((header) => {
      header.setU64(LiveHeaderSer.liveupdateNumber, liveupdateNumber);
    });
  }

  #whenOwner(write: (header: StructView) => void): void {
    if (this.#isOwner) write(new StructView(bytesOfWords(this.#header)));
    else this.#notedNumbers.push(write);
  }

  // ---- Pages ------------------------------------------------------------------------------------

  /**
   * A page of zeros, part of the record from now on.
   *
   * @param kind what it is for
   * @param place which of its kind
   * @throws KernelError ENOMEM, ENOSPC: no page; nothing is changed
   */
  addPage(kind: number, place: number): RecordPage {
    return this.#own.add(kind, place);
  }

  /** The pages of one kind. */
  pagesOf(kind: number): RecordPage[] {
    return this.#own.ofKind(kind);
  }

  /** A page is for nothing any more, and is used for whatever is needed next. */
  dropPage(pfn: Pfn): void {
    this.#own.drop(pfn);
  }

  // ---- A change ---------------------------------------------------------------------------------

  /** Keys that come and go from now on are part of the change that is being made. */
  startNoting(): void {
    this.#notes += 1;
  }

  /** The inverse. Both may be nested. */
  stopNoting(): void {
    this.#notes -= 1;
  }

  /**
   * @internal These keys are part of the change, and it can be published with them: nothing of it
   * can fail then.
   *
   * @throws KernelError ENOMEM, ENOSPC: no page for the map or the log. EBUSY: memory of it is part
   * of a folio that a session of the previous kernel still names.
   */
  adding(pfn: Pfn, count: number, order: number): void {
    if (this.#notes === 0) return;
    if (this.#pages.keepsAny) this.#checkNotInside(pfn, count, order);
    const leaves = this.#leavesOf(order);
    const first = leafOfOrder(pfn, order);
    const last = count === 1 ? first : leafOfOrder(pfn + (count - 1) * 2 ** order, order);
    for (let place = first; place <= last; place++)
      leaves[place] ??= this.#own.add(LEAF_PAGE, place, order).words;
    const { keys } = this.#change;
    const rows = keys.mostRows + (this.#deferred?.keys.mostRows ?? 0) + 1 + last - first;
    if (rows > LOG_ROWS_INSIDE) this.#log.makeRoom(rows);
    keys.add(pfn, count, order);
  }

  /** @internal What is freed stays as it is until the change is published. */
  deleted(pfn: Pfn, count: number, order: number): void {
    if (this.#notes === 0) return;
    this.#resume ??= this.#pages.pauseFreeing();
    this.#change.keys.remove(pfn, count, order);
  }

  /**
   * The folios of the previous kernel that these rows name are part of the change: their keys go,
   * but for those that are preserved again, and what was freed of them is free memory.
   */
  dropArrived(rows: FolioRuns): void {
    this.#change.arrived.push(rows);
  }

  /** The same of all folios of the previous kernel: nothing that it left is unfinished any more. */
  dropAllArrived(): void {
    this.#change.arrived.push(this.arrivedRows());
  }

  /** All folios of the previous kernel that nobody has finished. */
  arrivedRows(): FolioRuns {
    const rows = new FolioRuns();
    (this.#comingLeaves ?? this.#leaves).forEach((leaves, order) => {
      leaves.forEach((words, place) => {
        if (words)
          forEachLiveRun([{ order, place, words }], (pfn, count) => {
            this.#eachKept(pfn, count, order, (first, kept) => {
              rows.pushRow(first, kept, order);
            });
          });
      });
    });
    return rows;
  }

  /** Whether no change is being made: what is published now is nobody's half. */
  get isClean(): boolean {
    const { keys, arrived } = this.#change;
    return keys.mostRows + arrived.length === 0;
  }

  /** Runs `work` when the event loop has turned. */
  soon(work: () => void): void {
    if (this.afterTurn) this.afterTurn(work);
    else work();
  }

  /** The change is not made: what it noted is forgotten, and was undone by whoever made it. */
  abandon(): void {
    const { removed } = this.#change.keys.rows();
    // Published memory that a callback let go of before it failed stays as the record has it.
    for (let i = 0; i < removed.length; i++)
      this.#pages.keep(removed.pfns[i], removed.counts[i] * 2 ** removed.orders[i]);
    this.#forget();
  }

  /**
   * The one word: the change that was made ready has happened.
   */
  publish(): void {
    if (this.#hasEnded) return;
    if (this.#deferred) {
      this.#deferred.add(this.#change);
      this.#forget();
      return;
    }
    this.beforeFirst?.();
    if (this.#residency.isDue) this.recordResidency();
    this.#publish();
  }

  /** Publishes what `work` changes, and nothing of the change that is being made. */
  apart(work: () => void): void {
    const [change, resume] = [this.#change, this.#resume];
    this.#change = new Change();
    this.#resume = undefined;
    try {
      work();
      this.publish();
    } finally {
      this.#change = change;
      this.#resume = resume;
    }
  }

  #publish(): void {
    const { keys, arrived } = this.#change;
    const { added, removed } = keys.rows();
    const gone = this.#removable(removed, arrived);
    const next = this.next;
    const isLogged = this.#logOrApply(added, gone, next);
    Atomics.store(this.#word, PUBLISHED, next);
    this.#published = next;
    this.#apply(added, true);
    this.#apply(gone, false);
    if (isLogged) this.#log.clear();
    this.whenPublished?.();
    for (const rows of arrived) this.#letGo(rows);
    this.#forget();
  }

  #forget(): void {
    this.#change.clear();
    const resume = this.#resume;
    this.#resume = undefined;
    resume?.();
  }

  // ---- Ownership --------------------------------------------------------------------------------

  /**
   * From now on changes are collected: what this kernel does counts only where it hands over (see
   * seal).
   */
  defer(): void {
    this.#deferred ??= new Change();
  }

  /**
   * What the predecessor published and did not carry out is carried out, and the word says what a
   * handover may have said in its place: before the page of that is written over. Whoever reads the
   * record finds the same before and after it. A second call does nothing.
   */
  settle(): void {
    if (this.#isSettled || !this.found) return;
    this.#isSettled = true;
    this.#comingLeaves = undefined;
    Atomics.store(this.#word, PUBLISHED, this.#published);
    for (const { pfn, count, order, isRemoved } of this.found.log) {
      const rows = new FolioRuns();
      rows.pushRow(pfn, count, order);
      this.#apply(rows, !isRemoved);
    }
    this.#log.clear();
  }

  /** This kernel owns the RAM: numbers that it noted are those to go on with. */
  takeOver(): void {
    this.settle();
    this.#isOwner = true;
    for (const write of this.#notedNumbers.splice(0)) this.#whenOwner(write);
    this.recordResidency();
  }

  /** Records which memory is there: see LiveResidency. False also where this is no owner. */
  recordResidency(): boolean {
    return this.#isOwner && this.#residency.record();
  }

  /**
   * The last change before a handover, whose page says which one counts: so what was deferred is
   * published together with the handover, and only if that comes about.
   *
   * @returns its number
   * @throws KernelError ENOMEM, ENOSPC: no page for the log; nothing is changed
   */
  seal(): number {
    const deferred = this.#deferred;
    if (!deferred) return this.#published;
    this.settle();
    const { added, removed } = deferred.keys.rows();
    const gone = this.#removable(removed, deferred.arrived);
    this.#log.makeRoom(added.length + gone.length);
    if (added.length + gone.length > 0) this.#log.write(added, gone, this.next);
    return this.next;
  }

  /**
   * The next kernel takes the record over while this one waits: it writes nothing there until
   * `resume`.
   */
  suspend(): void {
    this.#residency.suspend();
  }

  /** It did not, and this kernel goes on. */
  resume(): void {
    this.#residency.resume(this.pa);
  }

  /** The handover does not come about. */
  unseal(): void {
    if (this.#deferred) this.#log.clear();
  }

  /** The memory is another's now, or nobody's: nothing is written any more. */
  end(): void {
    this.#hasEnded = true;
    this.#pages.residency.endRecord();
  }

  // ---- Keys -------------------------------------------------------------------------------------

  #leavesOf(order: number): (Uint32Array | undefined)[] {
    return (this.#leaves[order] ??= []);
  }

  /** Whether all these keys are published. */
  #hasAll(pfn: Pfn, count: number, order: number): boolean {
    let hasAll = true;
    forEachLeafPart(pfn, count, order, (place, bit, bits) => {
      const words = (this.#comingLeaves ?? this.#leaves).at(order)?.[place];
      hasAll &&= words !== undefined && findBit(words, bit, bit + bits, false) === bit + bits;
    });
    return hasAll;
  }

  #checkNotInside(pfn: Pfn, count: number, order: number): void {
    if (!this.#pages.isKept(pfn, count * 2 ** order) || this.#hasAll(pfn, count, order)) return;
    for (let i = 0, at = pfn; i < count; i++, at += 2 ** order) {
      if (!this.#pages.isKept(at, 2 ** order) || this.#hasAll(at, 1, order)) continue;
      throw new KernelError(
        'EBUSY',
        `frame ${at} is part of another folio in what the previous kernel left: finish its session first`,
      );
    }
  }

  /** Of keys that were removed, those that nobody else names: the previous kernel's stay. */
  #removable(removed: FolioRuns, arrived: readonly FolioRuns[]): FolioRuns {
    if (arrived.length === 0 && !this.#pages.keepsAny) return removed;
    const gone = new FolioRuns();
    for (let i = 0; i < removed.length; i++) {
      const [pfn, count, order] = [removed.pfns[i], removed.counts[i], removed.orders[i]];
      if (!this.#pages.isKept(pfn, count * 2 ** order)) gone.pushRow(pfn, count, order);
      else this.#eachKept(pfn, count, order, undefined, (first, free) => gone.pushRow(first, free, order));
    }
    for (const rows of arrived) {
      for (let i = 0; i < rows.length; i++)
        forEachUnpreserved(
          this.#pages.table,
          rows.pfns[i],
          rows.counts[i],
          rows.orders[i],
          (first, count) => {
            gone.pushRow(first, count, rows.orders[i]);
          },
        );
    }
    return gone;
  }

  /** Calls a function with the rows of these folios that are kept, another with the others. */
  #eachKept(
    pfn: Pfn,
    count: number,
    order: number,
    kept?: (pfn: Pfn, count: number) => void,
    others?: (pfn: Pfn, count: number) => void,
  ): void {
    const step = 2 ** order;
    const end = pfn + count * step;
    for (let i = 0; i < count;) {
      const at = pfn + i * step;
      const isKept = this.#pages.isKept(at, step);
      const n = Math.max(1, Math.floor((this.#pages.keptEnd(at, end) - at) / step));
      (isKept ? kept : others)?.(at, n);
      i += n;
    }
  }

  #letGo(rows: FolioRuns): void {
    for (let i = 0; i < rows.length; i++)
      this.#pages.letGo(rows.pfns[i], rows.counts[i] * 2 ** rows.orders[i]);
  }

  #apply(rows: FolioRuns, isAdded: boolean): void {
    for (let i = 0; i < rows.length; i++) {
      const order = rows.orders[i];
      const leaves = this.#leavesOf(order);
      // Most rows lie within one leaf: nothing is made for them.
      const bit = radixBit(rows.pfns[i], order);
      const count = rows.counts[i];
      const words = leaves[leafOfOrder(rows.pfns[i], order)];
      if (bit + count <= RADIX_LEAF_BITS) {
        if (words) (isAdded ? setBits : clearBits)(words, bit, count);
        continue;
      }
      forEachLeafPart(rows.pfns[i], count, order, (place, first, bits) => {
        const part = leaves[place];
        if (part) (isAdded ? setBits : clearBits)(part, first, bits);
      });
    }
  }

  /**
   * Writes the keys of a change into the log. Where memory is so short that they have no room
   * there, those that come are in the map at once, and those that go are last: a kernel that dies
   * in between leaves keys of nobody, which go when all that it left is finished.
   *
   * @returns whether anything is in the log
   */
  #logOrApply(added: FolioRuns, gone: FolioRuns, change: number): boolean {
    const count = added.length + gone.length;
    if (count === 0) return false;
    if (this.#log.hasRoom(count)) {
      this.#log.write(added, gone, change);
    } else if (this.#log.hasRoom(added.length)) {
      this.#log.write(added, NOTHING, change);
    } else {
      this.#apply(added, true);
      return false;
    }
    return true;
  }
}

function bytesOfWords(words: Uint32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
}
