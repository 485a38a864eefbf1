/**
 * Kernel generations in one process, on RAM in the heap: a handover simulated. Free memory is
 * poisoned at every boot.
 */
import { boot, bootCold, type EntryRecord, type Kho } from '@liveupdate/kho';
import { LiveUpdateOrchestrator, type FileHandler, type PreservableFile } from '@liveupdate/luo-core';
import { HeapRam, overlayRam, type Ram } from '@liveupdate/mm';
import { Shmem } from '@liveupdate/shmem';
import type { CallbackName } from './fault.ts';
import { differences, pictureOf, type MemoryPicture } from './memory-picture.ts';
import { neighbourHandler } from './neighbour.ts';
import type { FileHandlerSuite, KernelParts } from './suite-options.ts';
import { Watch, type Tampering } from './watch.ts';

/** A callback that takes longer is not going to end. */
const TIME_LIMIT_MS = 10_000;

const DEFAULT_RAM = 2 * 2 ** 20;

/** The name of every session here. */
export const SESSION = 'suite';

/** What another kernel can be booted from. */
export interface Handed {
  readonly ram: Ram;
  readonly entry: EntryRecord;
}

export interface KernelOptions<F extends PreservableFile> extends Tampering {
  /** Another handler than the suite's: an older one, or one that is made to fail. */
  readonly handler?: (parts: KernelParts) => FileHandler<F>;
  /** Runs before each callback of the neighbour's handler, and may throw in its place. */
  readonly beforeNeighbour?: (callback: string) => void;
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

  constructor({ suite, parts, luo, handler, watch }: TestKernelInit<F>) {
    this.suite = suite;
    this.parts = parts;
    this.luo = luo;
    this.handler = handler;
    this.watch = watch;
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
   * Throws a fault where more is in use or preserved than before: not the same pages, where a file
   * was recorded anew.
   */
  checkNotMore(before: MemoryPicture, callback: CallbackName, when: string): void {
    this.watch.check();
    const after = this.picture();
    for (const [state, more] of [
      ['preserved', after.preserved.size - before.preserved.size],
      ['in use', after.used.size - before.used.size],
    ] as const) {
      const pages = `${more} page${more === 1 ? '' : 's'}`;
      if (more > 0) throw this.watch.fault(callback, `leaves ${pages} more ${state} each time${when}`);
    }
  }

  #compare(before: MemoryPicture, callback: CallbackName, when: string, mayGrow: boolean): void {
    this.watch.check();
    const found = differences(before, this.picture(), this.watch.ownerOf, mayGrow);
    if (found.length > 0) throw this.watch.fault(callback, found.join('; ') + when);
  }

  /**
   * Makes everything ready for the next kernel. What this one changes later, that one does not see.
   */
  async handOver(): Promise<Handed> {
    await this.luo.reboot();
    this.watch.check();
    return { ram: this.parts.ram, entry: this.parts.kho.entry };
  }
}

function start<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  kho: Kho,
  options: KernelOptions<F> = {},
): TestKernel<F> {
  const { ram, pages } = kho;
  const parts = { ram, pages, kho, shmem: new Shmem({ pages }) };
  const { handler, watch } = watchedHandler(suite, parts, options);
  const handlers = [handler, neighbourHandler(options.beforeNeighbour)];
  return new TestKernel({
    suite,
    parts,
    luo: new LiveUpdateOrchestrator({ kho, handlers, callbackTimeLimit: suite.timeLimit ?? TIME_LIMIT_MS }),
    handler,
    watch,
  });
}

export function firstKernel<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  options?: KernelOptions<F>,
): TestKernel<F> {
  return start(suite, bootCold(new HeapRam(suite.ramSize ?? DEFAULT_RAM), { freeMemory: 'poison' }), options);
}

/**
 * The kernel after one that handed over, on a copy of the RAM: as many as wanted can be booted from
 * one handover.
 */
export function nextKernel<F extends PreservableFile>(
  suite: FileHandlerSuite<F>,
  { ram, entry }: Handed,
  options?: KernelOptions<F>,
): TestKernel<F> {
  const kernel = start(suite, boot(overlayRam(ram), entry, { freeMemory: 'poison' }), options);
  kernel.parts.kho.commit();
  return kernel;
}
