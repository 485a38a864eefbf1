/**
 * Kernel generations in one process, on RAM in the heap: a handover simulated. Free memory is
 * poisoned at every boot.
 */
import type { Pfn } from '@liveupdate/base';
import { boot, bootCold, bootDead, readLiveRecord, type EntryRecord, type Kho } from '@liveupdate/kho';
import { LiveUpdateOrchestrator, type FileHandler, type PreservableFile } from '@liveupdate/luo-core';
import { HeapRam, overlayRam, type Ram } from '@liveupdate/mm';
import { Shmem } from '@liveupdate/shmem';
import { FLB_CALLBACKS, HandlerFault, type CallbackName, type OwnedCallback } from './fault.ts';
import {
  about,
  differences,
  missingIn,
  pictureOf,
  type Difference,
  type MemoryPicture,
} from './memory-picture.ts';
import { neighbourHandler } from './neighbour.ts';
import { scatter } from './scatter.ts';
import type { FileHandlerSuite, KernelParts } from './suite-options.ts';
import { Watch, type Tampering } from './watch.ts';

/**
 * A callback that takes longer is not going to end. Less than the 5 seconds that runners give a
 * whole test: the fault is told before they lose patience.
 */
export const TIME_LIMIT_MS = 2000;

const DEFAULT_RAM = 2 * 2 ** 20;

/** The name of every session here. */
export const SESSION = 'suite';

/** What another kernel can be booted from. */
export interface Handed {
  readonly ram: Ram;
  readonly entry: EntryRecord;
  /** Who marked what is handed over; nothing where that was in another process. */
  readonly marks?: ReadonlyMap<Pfn, OwnedCallback>;
}

export interface KernelOptions<F extends PreservableFile> extends Tampering {
  /** Another handler than the suite's: an older one, or one that is made to fail. */
  readonly handler?: (parts: KernelParts) => FileHandler<F>;
  /** Runs before each callback of the neighbour's handler, and may throw in its place. */
  readonly beforeNeighbour?: (callback: string) => void;
  /** A number: free pages come in an order of that number, and never side by side. */
  readonly scattered?: number;
  /**
   * `false`: the next kernel has not taken over yet. Whoever boots from the same RAM finds the
   * handover whole.
   */
  readonly commits?: boolean;
}

/** A handler under test: one for each kernel. */
export interface WatchedHandler<F extends PreservableFile> {
  readonly handler: FileHandler<F>;
  readonly watch: Watch;
}

/** What a kernel has to have for the suite. */
export interface TestKernelInit<F extends PreservableFile> extends WatchedHandler<F> {
  readonly suite: FileHandlerSuite<F>;
  readonly parts: KernelParts;
  readonly luo: LiveUpdateOrchestrator;
  /** Who marked what the kernel before handed over, where that is known. */
  readonly cameFrom?: ReadonlyMap<Pfn, OwnedCallback> | undefined;
}

/** The handler of one kernel, watched, and tampered with as the options say. */
export function watchedHandler<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  parts: KernelParts,
  options: KernelOptions<F> = {},
): WatchedHandler<F> {
  const given = (options.handler ?? suite.handler)(parts);
  const watch = new Watch(given.compatible, parts.kho);
  return { watch, handler: watch.handler(given, options) };
}

export class TestKernel<F extends PreservableFile> {
  readonly suite: FileHandlerSuite<F>;
  readonly parts: KernelParts;
  readonly luo: LiveUpdateOrchestrator;
  readonly handler: FileHandler<F>;
  readonly watch: Watch;
  readonly cameFrom: ReadonlyMap<Pfn, OwnedCallback>;

  constructor({ suite, parts, luo, handler, watch, cameFrom = new Map() }: TestKernelInit<F>) {
    this.suite = suite;
    this.parts = parts;
    this.luo = luo;
    this.handler = handler;
    this.watch = watch;
    this.cameFrom = cameFrom;
  }

  /** A file that was changed so many times. */
  async file(changes = 0): Promise<F> {
    const { make, change } = this.suite;
    const file = await make(this.parts);
    for (let i = 0; i < changes; i++) await change(file);
    return file;
  }

  async release(file: F): Promise<void> {
    const { release } = this.suite;
    if (release) await release(file);
    else file.put?.();
  }

  /** Whether a file is as one that was made and changed so many times. */
  async isChanged(file: F, changes: number, same = this.suite.same): Promise<boolean> {
    const expected = await this.file(changes);
    try {
      return await same(file, expected);
    } finally {
      await this.release(expected);
    }
  }

  picture(): MemoryPicture {
    return pictureOf(this.parts.kho);
  }

  /** Folios of the previous kernel that had no owner then, and have one now, or are free. */
  takenSince(before: MemoryPicture): Pfn[] {
    const { incoming } = this.picture();
    return [...before.incoming].filter((pfn) => !incoming.has(pfn));
  }

  /** Throws a fault of `callback` where memory is not as it was. */
  checkMemory(before: MemoryPicture, callback: CallbackName, when = ''): void {
    this.#compare(before, callback, when, false);
  }

  /**
   * The same right after unpreserve, where the file is still there and may have got pages that it
   * keeps: holes that were filled.
   */
  checkTakenBack(before: MemoryPicture, callback: CallbackName, when = ''): void {
    this.#compare(before, callback, when, true);
  }

  /**
   * The same of what is marked for the next kernel alone: a file that changes takes pages and gives
   * some back.
   */
  checkMarks(before: MemoryPicture, callback: CallbackName, when: string): void {
    this.watch.check();
    const { used } = before;
    const found = differences(before, { ...this.picture(), used }, this.watch.memory);
    if (found.length > 0) throw this.faultOf(found, callback, when);
  }

  /**
   * Throws a fault where more is in use or preserved than before: not the same pages, where a file
   * was recorded anew.
   */
  checkNotMore(before: MemoryPicture, callback: CallbackName, when: string): void {
    this.watch.check();
    const after = this.picture();
    const { memory } = this.watch;
    for (const [state, was, is, ownerOf] of [
      ['preserved', before.preserved, after.preserved, (pfn: Pfn) => memory.markerOf(pfn)],
      ['in use', before.used, after.used, (pfn: Pfn) => memory.takerOf(pfn)],
    ] as const) {
      const more = is.size - was.size;
      if (more <= 0) continue;
      const rule = `leaves ${more} more ${state} each time${when}`;
      const found = about(missingIn(was, is), ownerOf, (what, _, by) =>
        by ? `${rule}: ${what}, of ${by}()` : `${rule}: ${what}`,
      );
      throw this.faultOf(found, callback);
    }
  }

  #compare(before: MemoryPicture, callback: CallbackName, when: string, mayGrow: boolean): void {
    this.watch.check();
    const found = differences(before, this.picture(), this.watch.memory, mayGrow);
    if (found.length > 0) throw this.faultOf(found, callback, when);
  }

  /**
   * What was found, as a fault of whom the first of it belongs to.
   *
   * @param callback the handler's, or the FLB's where it has one of that name
   */
  faultOf(found: readonly Difference[], callback: CallbackName, when = ''): HandlerFault {
    const nameOf = (by?: OwnedCallback) => (by?.kind === 'FLB' ? by.compatible : undefined);
    const [{ by }] = found;
    const rules = found.filter((each) => nameOf(each.by) === nameOf(by)).map(({ rule }) => rule);
    const rule = rules.join('; ') + when;
    if (by?.kind !== 'FLB') return this.watch.fault(callback, rule);
    return new HandlerFault(
      { ...by, callback: FLB_CALLBACKS.includes(callback) ? callback : by.callback },
      rule,
    );
  }

  /**
   * Makes everything ready for the next kernel. What this one changes later, that one does not see.
   */
  async handOver(): Promise<Handed> {
    await this.luo.reboot();
    this.watch.check();
    return { ram: this.parts.ram, entry: this.parts.kho.entry, marks: this.watch.memory.marks };
  }
}

function start<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  kho: Kho,
  options: KernelOptions<F> = {},
  cameFrom?: ReadonlyMap<Pfn, OwnedCallback>,
): TestKernel<F> {
  const { ram, pages } = kho;
  if (options.scattered !== undefined) scatter(pages, options.scattered);
  const parts = { ram, pages, kho, shmem: new Shmem({ pages }) };
  const { handler, watch } = watchedHandler(suite, parts, options);
  const handlers = [handler, neighbourHandler(options.beforeNeighbour)];
  return new TestKernel({
    suite,
    parts,
    luo: new LiveUpdateOrchestrator({ kho, handlers, callbackTimeLimit: suite.timeLimit ?? TIME_LIMIT_MS }),
    handler,
    watch,
    cameFrom,
  });
}

export function firstKernel<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  options?: KernelOptions<F>,
): TestKernel<F> {
  return start(suite, bootCold(new HeapRam(suite.ramSize ?? DEFAULT_RAM), { freeMemory: 'poison' }), options);
}

/** What a kernel that died leaves: memory, and where its live record begins. */
export interface Dead {
  readonly ram: HeapRam;
  readonly live: number;
}

/** A first kernel that publishes what it preserves, for whoever comes after it should it die. */
export function publishingKernel<F extends PreservableFile>(suite: FileHandlerSuite<F>): TestKernel<F> {
  const ram = new HeapRam(suite.ramSize ?? DEFAULT_RAM);
  return start(suite, bootCold(ram, { freeMemory: 'poison', publish: true }));
}

/** The kernel after one that died, on a copy of the RAM. */
export function deadKernel<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  { ram, live }: Dead,
): TestKernel<F> {
  const copy = new HeapRam(ram.size);
  copy.bytes(0, ram.size).set(ram.bytes(0, ram.size));
  const kho = bootDead(copy, readLiveRecord(copy, live), { freeMemory: 'poison' });
  const kernel = start(suite, kho);
  kho.commit();
  return kernel;
}

/**
 * The kernel after one that handed over, on a copy of the RAM: as many as wanted can be booted from
 * one handover.
 */
export function nextKernel<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  { ram, entry, marks }: Handed,
  options: KernelOptions<F> = {},
): TestKernel<F> {
  const kho = boot(overlayRam(ram), entry, { freeMemory: 'poison' });
  if (options.commits === false) kho.pages.holdFreed();
  const kernel = start(suite, kho, options, marks);
  if (options.commits !== false) kho.commit();
  return kernel;
}
