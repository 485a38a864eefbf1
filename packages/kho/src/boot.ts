/**
 * Boot of one kernel generation on a RAM: cold, or from what the previous one handed over. Nothing
 * in RAM is written before the handover was read and found good.
 */
import {
  byteLength,
  checkFlag,
  checkInstance,
  checkList,
  checkObject,
  checkOneOf,
  checkText,
  KernelError,
  PAGE_SIZE,
  pfnToPhys,
  physToPfn,
} from '@liveupdate/base';
import {
  checkRam,
  checkRamSize,
  forEachBlock,
  memoryOf,
  PageAllocator,
  PageTable,
  SCRATCH,
  type Ram,
} from '@liveupdate/mm';
import { MAX_RELEASE } from './abi.ts';
import { Kho } from './kho.ts';
import { beginResidency, loadLiveResidency } from './live-residency.ts';
import { loadResidency } from './residency-record.ts';
import { readHandover, type EntryRecord, type Handover } from './read-handover.ts';
import { readDeadKernel, reserveLivePages, type LiveRecord } from './read-live-record.ts';
import { checkScratch, chooseScratch, type ScratchArea } from './scratch.ts';

/** What a boot does with the memory that nobody preserved. */
export type FreeMemory =
  /** Gives it back to the system: it reads as zeros. */
  | 'discard'
  /** It is known to be zero already: a new RAM. */
  | 'zero'
  /** Leaves it as it is; it is cleared when it is handed out. */
  | 'keep'
  /**
   * Fills it with POISON, so that nobody leans on it by accident. For tests: it touches all of RAM.
   */
  | 'poison';

/** The byte that fills free memory in checking mode. */
export const POISON = 0x6b;

export interface BootOptions {
  /** Default `'discard'`. */
  readonly freeMemory?: FreeMemory;
  /** Name of this kernel for the next one; at most 64 bytes. */
  readonly release?: string;
  /** Where the next kernel may boot; chosen by size where absent. Only for a cold boot. */
  readonly scratch?: readonly ScratchArea[];
  /**
   * Whether what is preserved is published for whoever comes after this kernel, should it die. Only
   * for a cold boot: later ones go on with the live record that they are given. Default false.
   */
  readonly publish?: boolean;
  /**
   * The only free memory that this kernel uses until it takes over, where the one before may come
   * back to all other: first frame and number in turn, ascending. Memory that nobody preserved is
   * kept then, whatever freeMemory says. Not for a cold boot.
   */
  readonly confinedTo?: readonly number[];
}

/**
 * @throws KernelError EINVAL: an option of a wrong kind. Others than these are somebody else's: a
 * kernel has more
 */
function checkBootOptions(options: BootOptions): void {
  checkObject(options, 'options of a boot');
  const { freeMemory, release, scratch, publish, confinedTo } = options;
  if (confinedTo !== undefined) checkList(confinedTo, 'the memory that a boot is confined to');
  if (publish !== undefined) checkFlag(publish, 'publish');
  if (freeMemory !== undefined)
    checkOneOf(freeMemory, 'what becomes of free memory', ['discard', 'zero', 'keep', 'poison']);
  if (release !== undefined && byteLength(checkText(release, 'a release')) > MAX_RELEASE)
    throw new KernelError('EINVAL', `a release has ${MAX_RELEASE} bytes at most`);
  if (scratch !== undefined && !Array.isArray(scratch))
    throw new KernelError('EINVAL', 'scratch is a list of areas');
}

/**
 * Pages that the smallest RAM needs: with fewer, what the first kernel hands over leaves no room
 * for the second.
 */
export const LEAST_RAM_PAGES = 32;

/**
 * A first boot: all memory is free but page 0 and scratch.
 *
 * @throws KernelError EINVAL: no RAM, or too small, scratch areas that cannot be (see
 * checkScratch), or a release that is too long. ENOMEM: scratch leaves no page for this kernel.
 */
export function bootCold(ram: Ram, options: BootOptions = {}): Kho {
  checkRam(ram);
  checkBootOptions(options);
  if (options.confinedTo !== undefined)
    throw new KernelError('EINVAL', 'a cold boot has all memory: nobody was here before (confinedTo)');
  checkRamSize(
    memoryOf(ram).reduce((sum, { length }) => sum + length, 0),
    LEAST_RAM_PAGES,
  );
  const table = new PageTable(ram.size, memoryOf(ram));
  const scratch = options.scratch ?? chooseScratch(ram);
  checkScratch(scratch, ram);
  for (const area of scratch) table.setFlag(SCRATCH, physToPfn(area.addr), physToPfn(area.size));
  table.reserve(0, 1);
  return start(ram, table, scratch, undefined, options, options.publish ? 'new' : undefined);
}

/**
 * A boot from a handover that readHandover found good. What was preserved waits to be restored; all
 * else is free.
 *
 * @throws KernelError ENOMEM: preserved memory leaves no page for this kernel. EINVAL: a release
 * that is too long, or what is no RAM or no handover.
 * @param live the live record of the RAM, which this kernel goes on with
 */
export function bootHandover(
  ram: Ram,
  handover: Handover,
  options: BootOptions = {},
  live?: LiveRecord,
): Kho {
  checkRam(ram);
  checkObject(handover, 'a handover');
  checkInstance(handover.table, 'the table of a handover', PageTable);
  checkBootOptions(options);
  if (live) reserveLivePages(handover.table, live);
  return start(ram, handover.table, handover.scratch, handover, options, live);
}

/**
 * A boot after a kernel that died: what it had published waits to be restored, as what was handed
 * over does; all else is free.
 *
 * @param live its live record
 * @throws KernelError ENOMEM: published memory leaves no page for this kernel. EINVAL: the record
 * contradicts itself, a release that is too long, or what is no RAM.
 */
export function bootDead(ram: Ram, live: LiveRecord, options: BootOptions = {}): Kho {
  checkRam(ram);
  checkBootOptions(options);
  const handover = readDeadKernel(ram, live);
  return start(ram, handover.table, handover.scratch, handover, options, live);
}

/** Reads a handover and boots from it. For the errors see readHandover and bootHandover. */
export function boot(ram: Ram, entry: EntryRecord, options: BootOptions = {}): Kho {
  checkBootOptions(options);
  return bootHandover(ram, readHandover(ram, entry), options);
}

function start(
  ram: Ram,
  table: PageTable,
  scratch: readonly ScratchArea[],
  incoming: Handover | undefined,
  { freeMemory: wanted = 'discard', release = 'liveupdate', confinedTo }: BootOptions,
  live?: LiveRecord | 'new',
): Kho {
  const freeMemory = confinedTo ? undefined : wanted;
  if (freeMemory === 'keep' || freeMemory === 'poison') table.markStale();
  const pages = new PageAllocator(ram, table, confinedTo);
  const { residency } = pages;
  if (typeof live === 'object') beginResidency(pages, live.pa);
  const residencyFrames = incoming && loadResidency(pages, incoming);
  const isKnown = incoming
    ? residencyFrames !== undefined || (typeof live === 'object' && loadLiveResidency(pages, live))
    : freeMemory !== 'keep';
  if (ram.system && !isKnown)
    for (const { pa, length } of memoryOf(ram)) residency.look(physToPfn(pa), physToPfn(length));
  if (confinedTo) {
    residency.markFreeStale(); // what is not there reads as zeros
  } else if (freeMemory === 'discard') {
    pages.forEachFreeRun((pfn, count) => {
      residency.giveBack(pfn, count);
    });
  } else if (freeMemory === 'poison') {
    pages.forEachFreeRun((pfn, count) => {
      residency.take(pfn, count);
      forEachBlock(pfnToPhys(pfn), count * PAGE_SIZE, (pa, length) => ram.bytes(pa, length).fill(POISON));
    });
  }
  return new Kho({ pages, scratch, incoming, residencyFrames, release, live });
}
