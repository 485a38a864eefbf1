/**
 * Which pages of a sparse RAM the system has given, and taking them before anything of ours touches
 * one: so a full system is ENOSPC from a call, and never a SIGBUS.
 *
 * Always: a frame without a bit reads as zeros and costs nothing, unless a live view shows holes
 * (then see `look`). A bit is set after the page was taken, and cleared before it is given back.
 * Where all memory is there (`Ram.system` is absent) every frame counts as resident, and nothing is
 * kept here.
 *
 * The bits may lie in RAM themselves, for whoever comes after a kernel that died (see recordIn):
 * what it finds is right, or marked as unsure.
 */
import {
  AssertionError,
  clearBits,
  findBit,
  KernelError,
  PAGE_SIZE,
  pfnToPhys,
  setBits,
  type Pfn,
} from '@liveupdate/base';
import { CHUNK_FRAMES, CHUNK_SHIFT, CHUNK_WORDS, copyOfChunk, ownChunk } from './frame-chunk.ts';
import { FreeSet } from './free-set.ts';
import { FREE, KIND, STALE, type PageTable } from './page-table.ts';
import { checkRam, HUGE_PAGE, type Ram, type RamPiece, type SystemMemory } from './ram.ts';

/**
 * When the memory of what is handed out is taken. `'now'`: before that. `'when touched'`: a hole
 * that may never be written costs nothing. `'by write'`: `Residency.write` takes it; what can be
 * had in huge pages is taken now, because that is quicker.
 */
export type Taking = 'now' | 'when touched' | 'by write';

/** Pages whose memory is taken together at most, but for huge pages. */
const MOST_TOGETHER = 64;
/** Frames in a huge page of the system. */
const HUGE = HUGE_PAGE / PAGE_SIZE;
/**
 * Pages that one call to the system takes: a signal makes it take back and redo at most so much.
 */
const STEP = (256 * 2 ** 20) / PAGE_SIZE;

/**
 * What is recorded beside the bits, in words. How many reasons there are for not trusting them: 0,
 * they are right, but for the frames in doubt, which are written or given back at this moment.
 */
export const UNSURE = 0;
const DOUBT_PFN = 1;
const DOUBT_COUNT = 2;

export class Residency {
  readonly #ram: Ram;
  readonly #table: PageTable;
  /**
   * A bit for each frame, by chunk; a chunk without any is absent, so that RAM of any size costs
   * what is used.
   */
  readonly #chunks: (Uint32Array | undefined)[];
  /**
   * The numbers of chunks that are not absent: of 16 TiB with nothing in them, none is looked at.
   */
  readonly #used: FreeSet;
  /** What was taken by the attempts under way: first frame and number in turn. */
  readonly #taken: number[] = [];
  #attempts = 0;
  /** The system had no memory when it was asked. */
  #isRefused = false;
  /**
   * Pages taken together when one is: twice as many each time, so that who wants thousands seldom
   * asks.
   */
  #together = 1;
  /** Chunks whose bits are not where who comes after a death finds them. */
  readonly #unrecorded: number[] = [];
  /** Whether the memory is another kernel's, so that nothing of it may be taken. */
  #isAnothers = false;
  /** Whether free frames may be another's still. */
  #isConfined = false;
  /** See UNSURE. */
  #record: Uint32Array = new Uint32Array(DOUBT_COUNT + 1);

  constructor(ram: Ram, table: PageTable) {
    checkRam(ram);
    this.#ram = ram;
    this.#table = table;
    const chunks = Math.ceil(table.frames / CHUNK_FRAMES);
    this.#chunks = new Array<undefined>(chunks).fill(undefined);
    this.#used = new FreeSet(chunks);
  }

  // ---- What is there ----------------------------------------------------------------------------

  /** Whether all these frames are there. */
  has(pfn: Pfn, count: number): boolean {
    return !this.#ram.system || this.#end(pfn, pfn + count, true) === pfn + count;
  }

  /** Whether one of these frames is there. */
  hasAny(pfn: Pfn, count: number): boolean {
    return !this.#ram.system || this.#end(pfn, pfn + count, false) < pfn + count;
  }

  /** Pages that are there. */
  get pages(): number {
    if (!this.#ram.system) return this.#table.frames;
    let pages = 0;
    this.#eachResident(0, this.#table.frames, (_, count) => (pages += count));
    return pages;
  }

  /** Calls `visit` with the bits of each 32,768 frames among which one is there. */
  forEachChunk(visit: (number: number, bits: Uint32Array) => void): void {
    for (let number = this.#used.first(); number >= 0; number = this.#used.next(number + 1)) {
      const bits = this.#chunks[number];
      if (bits && findBit(bits, 0, CHUNK_FRAMES, true) < CHUNK_FRAMES) visit(number, bits);
    }
  }

  // ---- For whoever comes after a death ----------------------------------------------------------

  /**
   * From now on three words say here what of the bits cannot be trusted: how many reasons there are
   * for none of it, and the first of the frames in doubt and their number. Until `trust` there is a
   * reason.
   */
  recordIn(words: Uint32Array): void {
    this.#isAnothers = false;
    words[UNSURE] = this.#record[UNSURE] + 1;
    words[DOUBT_COUNT] = 0;
    this.#record = words;
  }

  /** What is recorded is what is known here. */
  trust(): void {
    this.#record[UNSURE] -= 1;
  }

  /**
   * Nothing is recorded from now on, and so nothing is taken: the memory is another's, or nobody's,
   * and what had no bit would be zeros for that one. Where it does not want it, `recordIn` and
   * `record` begin anew.
   */
  endRecord(): void {
    this.#isAnothers = true;
    const record = new Uint32Array(DOUBT_COUNT + 1);
    record[UNSURE] = this.#record[UNSURE];
    this.#record = record;
    const elsewhere = new Set(this.#unrecorded);
    for (let number = this.#used.first(); number >= 0; number = this.#used.next(number + 1)) {
      const bits = this.#chunks[number];
      if (!bits || elsewhere.has(number)) continue;
      this.#chunks[number] = copyOfChunk(bits);
      this.#unrecorded.push(number);
      record[UNSURE] += 1;
    }
  }

  /** Whether the bits of a chunk lie nowhere yet. */
  get hasUnrecorded(): boolean {
    return this.#unrecorded.length > 0;
  }

  /** A chunk whose bits lie nowhere yet; undefined where there is none. */
  get unrecorded(): number | undefined {
    return this.#unrecorded.at(-1);
  }

  /** Whether who comes after this kernel can trust the bits. */
  get isSure(): boolean {
    return this.#record[UNSURE] === 0;
  }

  /** The bits of a chunk are in these words from now on. */
  record(number: number, words: Uint32Array): void {
    const at = this.#unrecorded.indexOf(number);
    const bits = this.#chunks[number];
    if (at < 0 || !bits) throw new AssertionError(`chunk ${number} is recorded, or is not there`);
    words.set(bits);
    this.#chunks[number] = words;
    this.#unrecorded.splice(at, 1);
    this.#record[UNSURE] -= 1;
  }

  /** A view shows holes, and what is stored to it has no bit: until `viewEnded`. */
  viewBegan(): void {
    this.#record[UNSURE] += 1;
  }

  viewEnded(): void {
    this.#record[UNSURE] -= 1;
  }

  /** These frames are written or given back now, and their bits may say something else. */
  #doubt(pfn: Pfn, count: number): void {
    this.#record[DOUBT_PFN] = pfn;
    this.#record[DOUBT_COUNT] = count;
  }

  /**
   * Whether free frames may be another kernel's still: then none is taken ahead or given back. See
   * PageAllocator.
   */
  confine(isConfined: boolean): void {
    this.#isConfined = isConfined;
  }

  // ---- What is known ----------------------------------------------------------------------------

  /** Takes over what another generation knew of these frames. */
  load(number: number, bits: Uint32Array): void {
    const known = this.#chunks[number];
    if (known) (this.#chunks[number] = ownChunk(known)).set(bits);
    else this.#add(number, copyOfChunk(bits));
  }

  /** Notes that these frames are there, as somebody knows who wrote them. */
  note(pfn: Pfn, count: number): void {
    this.#mark(pfn, count);
  }

  /**
   * Asks the system which of these frames were written: what a view of holes stored is known from
   * then on.
   */
  look(pfn: Pfn, count: number): void {
    for (const { pa, length } of this.#dataPieces(pfnToPhys(pfn), count * PAGE_SIZE)) {
      const first = Math.floor(pa / PAGE_SIZE);
      this.#mark(first, Math.ceil((pa + length) / PAGE_SIZE) - first);
    }
  }

  // ---- Taking and giving back -------------------------------------------------------------------

  /**
   * Does `work`; where that throws, what it took from the system is given back. The frames must
   * read as zeros then, as before: free, or holes of files. Where the system is full, all that is
   * free here is given back to it, and the work, which must have undone what it did, is tried once
   * more.
   */
  attempt<T>(work: () => T): T {
    if (this.#attempts > 0) return this.#once(work);
    try {
      return this.#once(work);
    } catch (error) {
      if (this.relieve() === 0) throw error;
    }
    return this.#once(work);
  }

  /**
   * Gives all that is free back to the system, where that has refused memory since the last time.
   *
   * @returns how many pages
   */
  relieve(): number {
    if (!this.#isRefused) return 0;
    const pages = this.giveBackFree();
    if (pages > 0) this.#isRefused = false; // else who undoes what failed may come with some
    return pages;
  }

  /** Calls the system, and notes whether it had no memory. */
  #ask(call: () => void): void {
    try {
      call();
    } catch (error) {
      this.#isRefused ||= isFull(error);
      throw error;
    }
  }

  #checkOurs(): void {
    if (this.#isAnothers)
      throw new KernelError('EBUSY', 'this memory is handed over: nothing of it is taken any more');
  }

  #once<T>(work: () => T): T {
    this.#checkOurs();
    const from = this.#taken.length;
    this.#attempts += 1;
    try {
      return work();
    } catch (error) {
      this.#record[UNSURE] += 1;
      this.#takeBack(from);
      this.#record[UNSURE] -= 1;
      throw error;
    } finally {
      this.#attempts -= 1;
      if (this.#attempts === 0) this.#taken.length = 0;
    }
  }

  /**
   * Takes the memory of frames in use that is not there.
   *
   * @throws KernelError ENOSPC, ENOMEM: the system has not so much; nothing is taken
   */
  take(pfn: Pfn, count: number): void {
    const { system } = this.#ram;
    if (!system || this.has(pfn, count)) return;
    this.attempt(() => {
      this.#eachMissing(pfn, pfn + count, (first, missing) => {
        for (let at = first, left = missing; left > 0;) {
          const pages = Math.min(left, STEP);
          this.#expect(at, pages);
          const pa = pfnToPhys(at);
          this.#ask(() => {
            system.reserve(pa, pages * PAGE_SIZE);
          });
          this.#mark(at, pages);
          at += pages;
          left -= pages;
        }
      });
    });
  }

  /**
   * Takes the memory of a block that was just taken out of the free memory, and where many are
   * wanted that of free frames behind it.
   *
   * @throws KernelError ENOSPC, ENOMEM: as take
   */
  takeBlock(pfn: Pfn, count: number, taken: Taking): void {
    if (taken === 'when touched' || !this.#ram.system || this.has(pfn, count)) return;
    this.#checkOurs();
    const end = pfn + count;
    if (this.#isConfined) {
      if (taken === 'now') this.take(pfn, count);
      return;
    }
    const together = this.#together;
    this.#together = Math.min(Math.max(2 * together, count), MOST_TOGETHER);
    if (this.#takeHuge(pfn, end, together) || taken === 'by write') return;
    if (!this.#takeTogether(pfn, end, together)) this.take(pfn, count);
  }

  /** Takes the memory of free frames for when it is wanted. Whether the system had it. */
  takeAhead(pfn: Pfn, count: number): boolean {
    const { system } = this.#ram;
    this.#together = 1;
    if (!system) return true;
    try {
      this.#once(() => {
        this.#populate(system, pfn, count);
      });
      return true;
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      this.#isRefused ||= isFull(error);
      return false;
    }
  }

  /** Gives the memory of frames back: they read as zeros. */
  giveBack(pfn: Pfn, count: number): void {
    this.#doubt(pfn, count);
    this.#unmark(pfn, count);
    this.#ram.discard(pfnToPhys(pfn), count * PAGE_SIZE);
    this.#record[DOUBT_COUNT] = 0;
  }

  /**
   * Gives the memory of all that is free back, as far as it is there.
   *
   * @param keep so many pages of it stay
   * @returns how many pages were given back
   */
  giveBackFree(keep = 0): number {
    if (!this.#ram.system || this.#isConfined) return 0;
    let pages = -keep;
    this.#eachFreeResident((first, count) => {
      const kept = Math.min(count, Math.max(0, -pages));
      if (count > kept) this.giveBack(first + kept, count - kept);
      pages += count;
    });
    return Math.max(0, pages);
  }

  /** Notes of free frames that are there that their content is unknown. */
  markFreeStale(): void {
    this.#eachFreeResident((first, count) => {
      this.#table.setFlag(STALE, first, count);
    });
  }

  /** Calls `visit` with each run of free frames that are there. */
  #eachFreeResident(visit: (pfn: Pfn, count: number) => void): void {
    this.#table.forEachFreeRun((pfn, count) => {
      this.#eachResident(pfn, pfn + count, visit);
    });
  }

  // ---- Contents ---------------------------------------------------------------------------------

  /**
   * Calls `visit` with the parts of a byte range that are there, and those that are not, in order.
   */
  eachPart(pa: number, length: number, visit: (pa: number, length: number, isThere: boolean) => void): void {
    const end = pa + length;
    const lastFrame = Math.ceil(end / PAGE_SIZE);
    if (!this.#ram.system) {
      if (length > 0) visit(pa, length, true);
      return;
    }
    for (let at = pa; at < end;) {
      const pfn = Math.floor(at / PAGE_SIZE);
      const isThere = this.#isThere(pfn);
      const to = Math.min(end, pfnToPhys(this.#end(pfn, lastFrame, isThere)));
      visit(at, to - at, isThere);
      at = to;
    }
  }

  /**
   * Copies bytes out of frames. What is not there is read by the system, which takes nothing for
   * it.
   */
  read(pa: number, target: Uint8Array): void {
    const { system } = this.#ram;
    this.eachPart(pa, target.length, (at, length, isThere) => {
      const part = target.subarray(at - pa, at - pa + length);
      if (isThere || !system) part.set(this.#ram.bytes(at, length));
      else system.read(at, part);
    });
  }

  /**
   * Copies bytes into frames in use that are not there.
   *
   * @throws KernelError ENOSPC, ENOMEM: the system has not so much; nothing is taken or written
   */
  write(pa: number, bytes: Uint8Array): void {
    const { system } = this.#ram;
    const first = Math.floor(pa / PAGE_SIZE);
    const count = Math.ceil((pa + bytes.length) / PAGE_SIZE) - first;
    this.attempt(() => {
      this.#expect(first, count);
      this.#doubt(first, count);
      this.#ask(() => system?.write(pa, bytes));
      this.#mark(first, count);
      this.#record[DOUBT_COUNT] = 0;
    });
  }

  /** Makes bytes zeros. What is not there is zeros already. */
  zero(pa: number, length: number): void {
    this.eachPart(pa, length, (at, bytes, isThere) => {
      if (isThere) this.#ram.bytes(at, bytes).fill(0);
    });
  }

  // ---- Inside -----------------------------------------------------------------------------------

  /** Where the system does not know (hugetlbfs), all of it counts as there. */
  #dataPieces(pa: number, length: number): readonly RamPiece[] {
    try {
      return this.#ram.system?.dataPieces(pa, length) ?? [];
    } catch (error) {
      if (error instanceof KernelError && error.code === 'EINVAL') return [{ pa, length }];
      throw error;
    }
  }

  #isThere(pfn: Pfn): boolean {
    const bits = this.#chunks[pfn >>> CHUNK_SHIFT];
    return bits !== undefined && (bits[(pfn & (CHUNK_FRAMES - 1)) >>> 5] & (1 << (pfn & 31))) !== 0;
  }

  /** First frame in [pfn, end) that is not as said; `end` where all are. */
  #end(pfn: Pfn, end: Pfn, isThere: boolean): Pfn {
    for (let at = pfn; at < end;) {
      const base = at - (at & (CHUNK_FRAMES - 1));
      const to = Math.min(end, base + CHUNK_FRAMES);
      const bits = this.#chunks[at >>> CHUNK_SHIFT];
      if (bits) {
        const found = base + findBit(bits, at - base, to - base, !isThere);
        if (found < to) return found;
        at = to;
      } else {
        if (isThere) return at;
        const next = this.#used.next(at >>> CHUNK_SHIFT);
        if (next < 0) return end;
        at = next * CHUNK_FRAMES;
      }
    }
    return end;
  }

  #eachMissing(pfn: Pfn, end: Pfn, visit: (pfn: Pfn, count: number) => void): void {
    for (let at = this.#end(pfn, end, true); at < end;) {
      const to = this.#end(at, end, false);
      visit(at, to - at);
      at = this.#end(to, end, true);
    }
  }

  #eachResident(pfn: Pfn, end: Pfn, visit: (pfn: Pfn, count: number) => void): void {
    for (let at = this.#end(pfn, end, false); at < end;) {
      const to = this.#end(at, end, true);
      visit(at, to - at);
      at = this.#end(to, end, false);
    }
  }

  #mark(pfn: Pfn, count: number): void {
    for (let at = pfn, end = pfn + count; at < end;) {
      const base = at - (at & (CHUNK_FRAMES - 1));
      const to = Math.min(end, base + CHUNK_FRAMES);
      setBits(this.#open(at >>> CHUNK_SHIFT), at - base, to - at);
      at = to;
    }
  }

  #unmark(pfn: Pfn, count: number): void {
    for (let at = pfn, end = pfn + count; at < end;) {
      const base = at - (at & (CHUNK_FRAMES - 1));
      const to = Math.min(end, base + CHUNK_FRAMES);
      const number = at >>> CHUNK_SHIFT;
      const bits = this.#chunks[number];
      if (bits) clearBits((this.#chunks[number] = ownChunk(bits)), at - base, to - at);
      at = to;
    }
  }

  /** The bits of a chunk, to be set. */
  #open(number: number): Uint32Array {
    return this.#chunks[number] ?? this.#add(number, new Uint32Array(CHUNK_WORDS));
  }

  #add(number: number, bits: Uint32Array): Uint32Array {
    this.#chunks[number] = bits;
    this.#used.add(number);
    this.#unrecorded.push(number);
    this.#record[UNSURE] += 1;
    return bits;
  }

  /**
   * Notes those of these frames that are not there: the system may have given some when it fails.
   */
  #expect(pfn: Pfn, count: number): void {
    if (this.#attempts === 0) return;
    this.#eachMissing(pfn, pfn + count, (first, missing) => this.#taken.push(first, missing));
  }

  #takeBack(from: number): void {
    for (let i = from; i < this.#taken.length; i += 2) this.giveBack(this.#taken[i], this.#taken[i + 1]);
    this.#taken.length = from;
  }

  #populate(system: SystemMemory, pfn: Pfn, count: number): void {
    this.#expect(pfn, count);
    system.populate(pfnToPhys(pfn), count * PAGE_SIZE);
    this.#mark(pfn, count);
  }

  /**
   * Takes the memory of those huge pages that a block lies in, where half of one is wanted now, or
   * many pages were wanted lately. Only of those that nobody used since boot: in others is memory
   * that would have to be copied. Whether all of the block's memory is there now.
   */
  #takeHuge(pfn: Pfn, end: Pfn, together: number): boolean {
    const { system } = this.#ram;
    const table = this.#table;
    if (!system) return true;
    for (let at = pfn - (pfn % HUGE); at < end; at += HUGE) {
      const to = at + HUGE;
      const wanted = Math.min(end, to) - Math.max(pfn, at);
      if (wanted < HUGE / 2 && together < MOST_TOGETHER) continue;
      if (to > table.frames || table.flagsEnd(KIND | STALE, FREE, at, to) < to) continue;
      if (this.#end(at, to, false) < to) continue;
      this.#expect(at, HUGE);
      if (!system.populateHuge(pfnToPhys(at), true)) return false;
      this.#mark(at, HUGE);
    }
    return this.has(pfn, end - pfn);
  }

  /**
   * Takes the memory of a small block together with that of the free frames behind it. Whether that
   * went well.
   */
  #takeTogether(pfn: Pfn, end: Pfn, together: number): boolean {
    const { system } = this.#ram;
    const most = Math.min(pfn + together, this.#table.frames);
    if (!system || most <= end) return false;
    try {
      this.#once(() => {
        this.#populate(system, pfn, this.#table.flagsEnd(KIND, FREE, pfn, most) - pfn);
      });
      return true;
    } catch (error) {
      this.#together = 1;
      if (error instanceof KernelError) return false; // perhaps there is as much as is wanted
      throw error;
    }
  }
}

/** Whether the system has no more memory. */
function isFull(error: unknown): boolean {
  return error instanceof KernelError && (error.code === 'ENOSPC' || error.code === 'ENOMEM');
}
