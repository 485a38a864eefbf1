/**
 * One kernel generation: the subsystems over one RAM. Nothing is global; two can live in one
 * process.
 */
import {
  checkFunction,
  checkList,
  checkObject,
  checkOptions,
  checkWhole,
  KernelError,
} from '@liveupdate/base';
import {
  bootCold,
  bootDead,
  bootHandover,
  readHandover,
  readLiveRecord,
  type BootOptions,
  type EntryRecord,
  type Handover,
  type Kho,
  type LiveRecord,
} from '@liveupdate/kho';
import {
  LiveUpdateOrchestrator,
  missingHandlers,
  type FdStore,
  type FileHandler,
} from '@liveupdate/luo-core';
import { memfdHandler } from '@liveupdate/memfd-handler';
import { checkRam, type PageAllocator, type Ram } from '@liveupdate/mm';
import { Shmem, type HugePolicy } from '@liveupdate/shmem';

/** What handlers are made from. */
export interface KernelParts {
  readonly ram: Ram;
  readonly pages: PageAllocator;
  readonly kho: Kho;
  readonly shmem: Shmem;
  /**
   * Carries descriptors into the next generation. A machine has one; a kernel that was booted
   * without has what `bootKernel` was given.
   */
  readonly fds: FdStore | undefined;
}

/** Makes the handlers of one generation. */
export type HandlerFactory = (parts: KernelParts) => readonly FileHandler[];

export interface KernelOptions extends BootOptions {
  /** Default: the memfd handler alone. */
  readonly handlers?: HandlerFactory;
  /** Which files get large folios; default those that ask. */
  readonly huge?: HugePolicy;
  /**
   * Milliseconds that the promise of one callback of a handler may take; default: any time. Then it
   * fails with ETIMEDOUT.
   */
  readonly callbackTimeLimit?: number;
}

export interface Kernel extends KernelParts {
  readonly luo: LiveUpdateOrchestrator;
  /** From now on this generation is the owner: what led to it is freed. Called by Machine. */
  commit(): void;
  /**
   * Does ahead what the next to preserve a file would wait for: for when nobody waits. Called by
   * Machine.
   */
  prepare(): void;
  /**
   * This generation is over: calls on its files and sessions are EBADF from now on. Called by
   * Machine.
   */
  end(): void;
}

/** All of them: one that is misspelt would do nothing. */
export const KERNEL_OPTIONS: readonly (keyof KernelOptions)[] = [
  'handlers',
  'huge',
  'callbackTimeLimit',
  'freeMemory',
  'release',
  'scratch',
  'publish',
  'confinedTo',
];

export const memfdOnly: HandlerFactory = ({ kho, shmem }) => [memfdHandler({ kho, shmem })];

/** What the generation before left. */
export interface LeftKernel {
  /** Its handover; undefined where it died. */
  readonly entry?: EntryRecord | undefined;
  /** Where its live record begins; undefined where it had none. */
  readonly live?: number | undefined;
  /** The last change in that that counts; default: as it says itself. */
  readonly liveChange?: number | undefined;
}

/**
 * Boots a kernel generation: cold without an entry record, from the handover that it names with
 * one. Until `commit()` the handover is whole: a refused boot leaves it to the right program.
 *
 * @throws KernelError EINVAL, EFAULT, EOVERFLOW: a damaged handover. ENOENT: no handler for a file
 * in it. ENOMEM: RAM is too small. EINVAL also: no RAM, an option of a wrong kind or that does not
 * exist, or handlers that are none.
 *
 * @param fds what handlers may leave descriptors in
 */
export function bootKernel(
  ram: Ram,
  left: EntryRecord | LeftKernel | undefined,
  options: KernelOptions = {},
  fds?: FdStore,
): Kernel {
  checkRam(ram);
  checkOptions(options, 'a kernel', KERNEL_OPTIONS);
  const { handlers: makeHandlers = memfdOnly, huge = 'advise' } = options;
  checkFunction(makeHandlers, 'what makes the handlers');
  const own = ram.inner ?? ram; // windows that no handler and no program gets
  const { entry, live: at, liveChange } = whatIsLeft(left);
  const live = at === undefined ? undefined : readLiveRecord(own, at, liveChange);
  const handover = entry === undefined ? undefined : readHandover(own, entry);
  const kho = bootKho(own, handover, live, options);
  const { pages } = kho;
  const shmem = new Shmem({ pages, huge });
  const parts = { ram, pages, kho, shmem, fds };
  const handlers = checkList(makeHandlers(parts), 'a list of handlers');
  const came = live ?? handover;
  const missing = came ? missingHandlers(own, came, handlers) : [];
  if (missing.length > 0) {
    const known = handlers.map((handler) => handler.compatible).join(', ') || 'none';
    throw new KernelError(
      'ENOENT',
      `what was left has files of '${missing.join("', '")}' and no handler for them (handlers: ${known}). RAM is unchanged: start the program that has it`,
    );
  }
  const { callbackTimeLimit } = options;
  const limit = callbackTimeLimit === undefined ? {} : { callbackTimeLimit };
  const luo = new LiveUpdateOrchestrator({ kho, handlers, ...limit });
  return {
    ...parts,
    luo,
    commit: () => {
      kho.commit();
    },
    prepare: () => {
      kho.prepare();
    },
    end: () => {
      shmem.end();
      luo.end();
      kho.end();
    },
  };
}

/** @throws KernelError EINVAL: nothing that a boot could begin from */
function whatIsLeft(left: EntryRecord | LeftKernel | undefined): LeftKernel {
  if (left === undefined) return {};
  checkObject(left, 'what the kernel before left');
  const { entry, live } = left as LeftKernel;
  if (entry === undefined && live === undefined) return { entry: left as EntryRecord };
  if (live !== undefined) checkWhole(live, 'the address of a live record');
  return left as LeftKernel;
}

function bootKho(
  ram: Ram,
  handover: Handover | undefined,
  live: LiveRecord | undefined,
  options: KernelOptions,
): Kho {
  if (handover) return bootHandover(ram, handover, options, live);
  return live ? bootDead(ram, live, options) : bootCold(ram, options);
}
