/**
 * Watches one kernel generation: which callback of the handler runs, which frames it takes and
 * gives back, and what it does to memory that it must not. The allocator and KHO refuse such a
 * call; here the refusal is put in words.
 */
import { AssertionError, KernelError, PAGE_SIZE, pfnToPhys, type Pfn } from '@liveupdate/base';
import type { Kho } from '@liveupdate/kho';
import type { FileHandler, PreservableFile } from '@liveupdate/luo-core';
import { FREE, type FolioRows } from '@liveupdate/mm';
import { CALLBACKS, HandlerFault, textOf, type CallbackName } from './fault.ts';

/** What is done to a handler on purpose. */
export interface Tampering {
  /** Runs before each callback, and may throw in its place. */
  readonly before?: ((callback: CallbackName) => void) | undefined;
  /** Runs after each callback that did what it was to do. */
  readonly after?: ((callback: CallbackName) => void) | undefined;
  /** Gives the handler another number in the next kernel than it gave in this one. */
  readonly data?: ((data: bigint) => bigint) | undefined;
  /**
   * What it reads is damaged: to be refused by KHO is no fault then, and what it frees twice may be
   * what a record names twice.
   */
  readonly isDamaged?: boolean;
}

const IN_NEXT_KERNEL: ReadonlySet<CallbackName> = new Set(['retrieve', 'canFinish', 'finish']);

export class Watch {
  readonly compatible: string;
  /** The faults of all callbacks, also those that LUO does not pass on. */
  readonly faults: HandlerFault[] = [];
  /** How often each callback ran. */
  readonly calls = new Map<CallbackName, number>();
  readonly #kho: Kho;
  #callback: CallbackName | undefined;
  readonly #takenIn = new Map<Pfn, CallbackName>();
  readonly #freedIn = new Map<Pfn, CallbackName>();
  #misuse: string | undefined;
  #isDamaged = false;

  constructor(compatible: string, kho: Kho) {
    this.compatible = compatible;
    this.#kho = kho;
    this.#watchAllocator();
    this.#watchKho();
  }

  /** The callback that took a frame, if one did. */
  readonly ownerOf = (pfn: Pfn): CallbackName | undefined => this.#takenIn.get(pfn);

  /** The fault of a callback that ended, for a test to throw. */
  fault(callback: CallbackName, rule: string, cause?: unknown): HandlerFault {
    return new HandlerFault(this.compatible, callback, rule, { cause });
  }

  /** Throws the first fault that was noted. */
  check(): void {
    if (this.faults.length > 0) throw this.faults[0];
  }

  /** The handler, with its callbacks watched. */
  handler<F extends PreservableFile>(
    handler: FileHandler<F>,
    { before, after, data, isDamaged = false }: Tampering = {},
  ): FileHandler<F> {
    this.#isDamaged = isDamaged;
    const watched: Record<string, unknown> = { ...handler, compatible: handler.compatible };
    if (handler.alsoReads) watched.alsoReads = handler.alsoReads;
    for (const name of CALLBACKS) {
      const given: unknown = Reflect.get(handler, name);
      if (typeof given !== 'function') continue;
      watched[name] = (...args: unknown[]): unknown => {
        before?.(name);
        const passed =
          data && IN_NEXT_KERNEL.has(name) ? args.map((context) => withData(context, data)) : args;
        return this.#during(name, () => Reflect.apply(given, handler, passed) as unknown, after);
      };
    }
    return watched as unknown as FileHandler<F>;
  }

  #during(name: CallbackName, work: () => unknown, after?: (callback: CallbackName) => void): unknown {
    this.calls.set(name, (this.calls.get(name) ?? 0) + 1);
    this.#callback = name;
    this.#misuse = undefined;
    let result: unknown;
    try {
      result = work();
    } catch (error) {
      throw this.#ended(name, error);
    }
    if (!(result instanceof Promise)) {
      this.#callback = undefined;
      after?.(name);
      return result;
    }
    return result.then(
      (value: unknown) => {
        this.#callback = undefined;
        after?.(name);
        return value;
      },
      (error: unknown) => {
        throw this.#ended(name, error);
      },
    );
  }

  /** What a callback threw, as a fault where it is one. */
  #ended(name: CallbackName, error: unknown): unknown {
    this.#callback = undefined;
    const misuse = this.#isDamaged && error instanceof KernelError ? undefined : this.#misuse;
    const rule =
      misuse ??
      (error instanceof AssertionError
        ? `misuses memory: ${error.message.replace(/^liveupdate bug: /, '')}`
        : undefined);
    if (rule === undefined) return error;
    const fault = this.fault(name, rule, error);
    this.faults.push(fault);
    return fault;
  }

  #watchAllocator(): void {
    const { pages } = this.#kho;
    const alloc = pages.alloc.bind(pages);
    pages.alloc = (...args) => this.#taken(alloc(...args));
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
  }

  #watchKho(): void {
    const kho = this.#kho;
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

  #taken(pfn: Pfn): Pfn {
    if (this.#callback) this.#takenIn.set(pfn, this.#callback);
    else this.#takenIn.delete(pfn);
    this.#freedIn.delete(pfn);
    return pfn;
  }

  /** A call that gives frames back, or would take up again what was given back. */
  #giving(frames: Iterable<Pfn>, call: () => void): void {
    const callback = this.#callback;
    try {
      call();
    } catch (error) {
      for (const pfn of frames) {
        const freedIn = this.#freedIn.get(pfn);
        if (callback && freedIn && this.#isFree(pfn)) {
          const place = `0x${pfnToPhys(pfn).toString(16)} + ${PAGE_SIZE} bytes`;
          this.#misuse = `frees a page twice: ${place} was freed by ${freedIn}() already`;
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

/** The first frame of each folio. */
function framesOf({ length, pfns, counts, orders }: FolioRows): Pfn[] {
  const frames: Pfn[] = [];
  for (let i = 0; i < length; i++)
    for (let f = 0; f < counts[i]; f++) frames.push(pfns[i] + f * 2 ** orders[i]);
  return frames;
}

function withData(context: unknown, data: (data: bigint) => bigint): unknown {
  const given = context as { readonly data: bigint };
  return { ...given, data: data(given.data) };
}

/**
 * What a callback of the handler did on the way to an error that it passed on; the error itself
 * where it is no fault.
 */
export function asFault(watch: Watch, callback: CallbackName, error: unknown): unknown {
  if (error instanceof HandlerFault) return error;
  return watch.fault(callback, `throws where nothing is wrong: ${textOf(error)}`, error);
}
