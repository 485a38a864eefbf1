/**
 * Watches the memory of one kernel generation: which callback takes a frame, marks it for the next
 * kernel or gives it back, and what it does to memory that it must not. The allocator and KHO
 * refuse such a call; here the refusal is put in words.
 */
import { PAGE_SIZE, pfnToPhys, type Pfn } from '@liveupdate/base';
import type { Kho } from '@liveupdate/kho';
import { FREE, type FolioRows } from '@liveupdate/mm';
import type { CallbackName, OwnedCallback } from './fault.ts';

/** What a frame that nobody may use any more is filled with. */
const POISON = 0xa5a5_a5a5;

export class MemoryWatch {
  /** The callback that runs; undefined between callbacks. */
  current: OwnedCallback | undefined;
  /** What the callback that runs did that it must not. */
  misuse: string | undefined;
  readonly #kho: Kho;
  readonly #takenIn = new Map<Pfn, OwnedCallback>();
  readonly #markedIn = new Map<Pfn, OwnedCallback>();
  readonly #heldIn = new Map<Pfn, OwnedCallback>();
  readonly #freedIn = new Map<Pfn, OwnedCallback>();
  /** Frames that callbacks gave back, or tried to. */
  readonly #given: (readonly [Pfn, OwnedCallback])[] = [];
  /** Free frames that were filled with poison, and that nobody took since. */
  #poisoned = new Set<Pfn>();

  constructor(kho: Kho) {
    this.#kho = kho;
    this.#watchAllocator();
    this.#watchReferences();
    this.#watchMarks();
    this.#watchGiving();
  }

  /** The callback that took a frame, if one did. */
  takerOf(pfn: Pfn): OwnedCallback | undefined {
    return this.#takenIn.get(pfn);
  }

  /** The callback that marked a frame for the next kernel, if one did. */
  markerOf(pfn: Pfn): OwnedCallback | undefined {
    return this.#markedIn.get(pfn);
  }

  /** The callback that took a reference or a pin of a frame last, if one did. */
  holderOf(pfn: Pfn): OwnedCallback | undefined {
    return this.#heldIn.get(pfn);
  }

  /** Frames that callbacks marked for the next kernel, the last marked last. */
  get marks(): ReadonlyMap<Pfn, OwnedCallback> {
    const { pages } = this.#kho;
    return new Map([...this.#markedIn].filter(([pfn]) => pages.isHead(pfn) && pages.isPreserved(pfn)));
  }

  /** Frames that callbacks freed and that are free still. */
  get freed(): Pfn[] {
    return [...this.#freedIn.keys()].filter((pfn) => this.#isFree(pfn));
  }

  /** Frames that a callback of the handler gave back, or tried to. */
  givenBy(callback: CallbackName): Pfn[] {
    const its = this.#given.filter(([, by]) => by.kind === 'handler' && by.callback === callback);
    return [...new Set(its.map(([pfn]) => pfn))];
  }

  /** Fills all free memory: whoever goes on using it finds that. */
  poisonFree(): void {
    this.#poisoned = new Set();
    const { pages, ram } = this.#kho;
    pages.forEachFreeRun((pfn, count) => {
      for (let at = pfn; at < pfn + count; at++) {
        words(ram.bytes(pfnToPhys(at), PAGE_SIZE)).fill(POISON);
        this.#poisoned.add(at);
      }
    });
  }

  /** Frames that were free all the time since poisonFree, and are written. */
  get writtenWhileFree(): Pfn[] {
    const { ram } = this.#kho;
    return [...this.#poisoned].filter(
      (pfn) => this.#isFree(pfn) && !areAll(words(ram.bytes(pfnToPhys(pfn), PAGE_SIZE)), POISON),
    );
  }

  #watchAllocator(): void {
    const { pages } = this.#kho;
    const alloc = pages.alloc.bind(pages);
    pages.alloc = (order, options) => this.#taken(alloc(order, options), 1 << order);
    const allocRuns = pages.allocRuns.bind(pages);
    pages.allocRuns = (count, options, visit) => {
      allocRuns(count, options, (pfn, length) => {
        for (let i = 0; i < length; i++) this.#taken(pfn + i);
        visit(pfn, length);
      });
    };
    const adopt = pages.adoptIncoming.bind(pages);
    pages.adoptIncoming = (pfn, ...rest) => {
      const isOurs = adopt(pfn, ...rest);
      if (isOurs) this.#taken(pfn);
      return isOurs;
    };
    const adoptRun = pages.adoptIncomingRow.bind(pages);
    pages.adoptIncomingRow = (pfn, count, order) => {
      const areOurs = adoptRun(pfn, count, order);
      if (areOurs) for (let i = 0; i < count; i++) this.#taken(pfn + i * 2 ** order);
      return areOurs;
    };
  }

  #watchReferences(): void {
    const { pages } = this.#kho;
    const get = pages.get.bind(pages);
    pages.get = (pfn) => {
      get(pfn);
      this.#held([pfn]);
    };
    const getRows = pages.getRows.bind(pages);
    pages.getRows = (rows) => {
      getRows(rows);
      this.#held(framesOf(rows));
    };
    const pinRows = pages.pinRows.bind(pages);
    pages.pinRows = (rows) => {
      pinRows(rows);
      this.#held(framesOf(rows));
    };
  }

  #held(frames: Iterable<Pfn>): void {
    for (const pfn of frames) {
      if (this.current) this.#heldIn.set(pfn, this.current);
      else this.#heldIn.delete(pfn);
    }
  }

  #watchMarks(): void {
    const kho = this.#kho;
    const preserveFolio = kho.preserveFolio.bind(kho);
    kho.preserveFolio = (pfn) => {
      preserveFolio(pfn);
      this.#marked([pfn]);
    };
    const preserveRows = kho.preserveRows.bind(kho);
    kho.preserveRows = (rows) => {
      preserveRows(rows);
      this.#marked(framesOf(rows));
    };
    const preserveFolios = kho.preserveFolios.bind(kho);
    kho.preserveFolios = (...args) => {
      const [pfns, from = 0, count = pfns.length - from] = args;
      preserveFolios(...args);
      this.#marked(pfns.subarray(from, from + count));
    };
    const preservePages = kho.preservePages.bind(kho);
    kho.preservePages = (pfn, count) => {
      preservePages(pfn, count);
      this.#marked(Array.from({ length: count }, (_, i) => pfn + i));
    };
    const allocPreservePages = kho.allocPreservePages.bind(kho);
    kho.allocPreservePages = (count) => {
      const pfns = allocPreservePages(count);
      this.#marked(pfns);
      return pfns;
    };
  }

  #watchGiving(): void {
    const kho = this.#kho;
    const { pages } = kho;
    const put = pages.put.bind(pages);
    pages.put = (pfn) => {
      this.#giving([pfn], () => put(pfn));
    };
    const putRows = pages.putRows.bind(pages);
    pages.putRows = (rows) => {
      this.#giving(framesOf(rows), () => putRows(rows));
    };
    const putBulk = pages.putBulk.bind(pages);
    pages.putBulk = (...args) => {
      const [pfns, from = 0, count = pfns.length - from] = args;
      this.#giving(pfns.slice(from, from + count), () => putBulk(...args));
    };
    const unpreserveFolio = kho.unpreserveFolio.bind(kho);
    kho.unpreserveFolio = (pfn) => {
      this.#giving([pfn], () => unpreserveFolio(pfn));
    };
    const unpreserveRows = kho.unpreserveRows.bind(kho);
    kho.unpreserveRows = (rows) => {
      this.#giving(framesOf(rows), () => unpreserveRows(rows));
    };
    const restoreFolio = kho.restoreFolio.bind(kho);
    kho.restoreFolio = (pfn) => {
      this.#giving([pfn], () => restoreFolio(pfn));
    };
  }

  #taken(pfn: Pfn, pages = 1): Pfn {
    if (this.current) this.#takenIn.set(pfn, this.current);
    else this.#takenIn.delete(pfn);
    this.#freedIn.delete(pfn);
    for (let i = 0; i < pages; i++) this.#poisoned.delete(pfn + i);
    return pfn;
  }

  #marked(frames: Iterable<Pfn>): void {
    for (const pfn of frames) {
      this.#markedIn.delete(pfn);
      if (this.current) this.#markedIn.set(pfn, this.current);
    }
  }

  /** A call that gives frames back, or would take up again what was given back. */
  #giving(frames: Iterable<Pfn>, call: () => void): void {
    const callback = this.current;
    if (callback) for (const pfn of frames) this.#given.push([pfn, callback]);
    try {
      call();
    } catch (error) {
      for (const pfn of frames) {
        const freedIn = this.#freedIn.get(pfn);
        if (callback && freedIn && this.#isFree(pfn)) {
          const place = `0x${pfnToPhys(pfn).toString(16)} + ${PAGE_SIZE} bytes`;
          this.misuse = `frees a page twice: ${place} was freed by ${freedIn.callback}() already`;
        }
      }
      throw error;
    }
    if (callback) for (const pfn of frames) if (this.#isFree(pfn)) this.#freedIn.set(pfn, callback);
  }

  #isFree(pfn: Pfn): boolean {
    const { table } = this.#kho.pages;
    return pfn < table.frames && table.kindOf(pfn) === FREE;
  }
}

function words({ buffer, byteOffset, byteLength }: Uint8Array): Uint32Array {
  return new Uint32Array(buffer, byteOffset, byteLength / 4);
}

function areAll(words: Uint32Array, value: number): boolean {
  for (let i = 0; i < words.length; i++) if (words[i] !== value) return false;
  return true;
}

/** The first frame of each folio. */
function framesOf({ length, pfns, counts, orders }: FolioRows): Pfn[] {
  const frames: Pfn[] = [];
  for (let i = 0; i < length; i++)
    for (let f = 0; f < counts[i]; f++) frames.push(pfns[i] + f * 2 ** orders[i]);
  return frames;
}
