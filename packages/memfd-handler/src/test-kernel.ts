/**
 * What the tests of this package share: kernels with memfds on one RAM, one after the other;
 * snapshots and codes.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import {
  boot,
  bootCold,
  readFdt,
  walkRadixTree,
  type BootOptions,
  type EntryRecord,
  type Kho,
} from '@liveupdate/kho';
import { LiveUpdateOrchestrator, type FileHandler } from '@liveupdate/luo-core';
import { FREE, HEAD, HeapRam, KIND, STALE, type Ram } from '@liveupdate/mm';
import { Shmem, type ShmemFile, type ShmemOptions } from '@liveupdate/shmem';
import { memfdHandler } from './memfd-handler.ts';

export interface TestKernel {
  readonly kho: Kho;
  readonly shmem: Shmem;
  readonly handler: FileHandler<ShmemFile>;
  readonly luo: LiveUpdateOrchestrator;
}

export type MountOptions = Omit<ShmemOptions, 'pages'>;

export function start(kho: Kho, mount: MountOptions = {}): TestKernel {
  const shmem = new Shmem({ ...mount, pages: kho.pages });
  const handler = memfdHandler({ kho, shmem });
  return { kho, shmem, handler, luo: new LiveUpdateOrchestrator({ kho, handlers: [handler] }) };
}

/** A first kernel, whose free memory holds old bytes. */
export function coldKernel(
  mount: MountOptions = {},
  size = 16 * 2 ** 20,
  options: BootOptions = {},
): TestKernel {
  return start(bootCold(new HeapRam(size), { freeMemory: 'poison', ...options }), mount);
}

/**
 * The kernel after one that handed over: on the same RAM, with everything that was not preserved
 * overwritten.
 */
export function nextKernel(
  { kho }: { kho: { ram: Ram; entry: EntryRecord } },
  mount: MountOptions = {},
): TestKernel {
  const next = start(boot(kho.ram, kho.entry, { freeMemory: 'poison' }), mount);
  next.kho.commit();
  return next;
}

/** Pages of the previous kernel that stay out of use for a generation: KHO's kexec metadata. */
export const METADATA = 1;

/**
 * The code with which `work` fails, now or as a promise; 'ok' where it does not. Anything but a
 * KernelError passes through.
 */
export async function outcome(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'ok';
  } catch (error) {
    if (error instanceof KernelError) return error.code;
    throw error;
  }
}

/** `length` bytes that follow from `seed` and are never 0. */
export function pattern(length: number, seed = 1): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = 1 + ((i * 7 + seed * 31 + (i >> 8) + (i >> 12) * 5) % 255);
  return bytes;
}

/** All bytes of a file. */
export function contents(file: ShmemFile): Uint8Array {
  const bytes = new Uint8Array(file.size);
  file.pread(bytes, 0);
  return bytes;
}

/** Orders of the folios of a file in file order; a hole of n pages is -n. */
export function layoutOf({ inode }: ShmemFile): number[] {
  const layout: number[] = [];
  const { pages: folios } = inode.shmem;
  inode.cache.forEachRun(0, Math.ceil(inode.size / PAGE_SIZE), (_, count, pfn) => {
    if (pfn === 0) layout.push(-count);
    else for (let at = pfn; at < pfn + count; at += 1 << folios.orderOf(at)) layout.push(folios.orderOf(at));
  });
  return layout;
}

/**
 * Everything that an undone failure must leave as it was: each frame that is not free, the map of
 * preserved pages, what is counted.
 */
export function snapshot({ kho, shmem }: TestKernel): string {
  const { ram, entry, pages } = kho;
  const { table, freePages, freeScratchPages } = pages;
  let text = `used ${shmem.used}, free ${freePages} + ${freeScratchPages}\n`;
  for (let pfn = 0; pfn < table.frames; pfn++) {
    const flags = table.flagsOf(pfn) & ~STALE; // whether old content is known does not matter to anybody
    if ((flags & KIND) === FREE) continue;
    text += `${pfn}: ${flags}`;
    if ((flags & KIND) === HEAD)
      text += ` order ${table.orderOf(pfn)} refs ${table.refsOf(pfn)} pins ${table.pinsOf(pfn)}`;
    text += '\n';
  }
  const map = readFdt(ram.bytes(entry.fdtAddr, entry.fdtSize)).properties.get('preserved-memory-map');
  walkRadixTree(
    ram,
    Number(new DataView((map ?? new Uint8Array(8)).slice().buffer).getBigUint64(0, true)),
    (pfn, count, order) => {
      text += `preserved ${pfn} + ${count} of order ${order}\n`;
    },
  );
  return text;
}

/**
 * Runs `work` with the nth allocation failing, for n = 1, 2, ... until it gets by without that
 * failure.
 *
 * @param failed called after each run that met the failure
 * @returns how many did
 */
export async function failEachAllocation(
  { kho: { pages } }: TestKernel,
  work: () => unknown,
  failed: (outcome: string) => unknown,
): Promise<number> {
  for (let n = 1; ; n++) {
    let calls = 0;
    pages.beforeAllocation = () => {
      calls += 1;
      if (calls === n) throw new KernelError('ENOMEM', `allocation ${n} fails for the test`);
    };
    const result = await outcome(work);
    pages.beforeAllocation = undefined;
    if (calls < n) return n - 1;
    await failed(result);
  }
}
