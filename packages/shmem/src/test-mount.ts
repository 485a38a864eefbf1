/**
 * What the tests of this package share: mounts on small RAMs, codes of failures, snapshots of every
 * frame.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import {
  FREE,
  HEAD,
  HeapRam,
  KIND,
  overlayRam,
  PageAllocator,
  PageTable,
  SCRATCH,
  SparseRam,
  STALE,
  type Ram,
} from '@liveupdate/mm';
import type { ShmemFile } from './shmem-file.ts';
import type { ShmemOptions } from './mount.ts';
import { Shmem } from './shmem.ts';

/** RAMs that every behaviour must hold on: one in one piece, one in blocks over another. */
export const RAMS: readonly { name: string; make: (size: number) => Ram }[] = [
  { name: 'HeapRam', make: (size) => new HeapRam(size) },
  { name: 'an overlay over SparseRam', make: (size) => overlayRam(new SparseRam(size)) },
];

export interface MountOptions extends Omit<ShmemOptions, 'pages'> {
  readonly ram?: Ram;
  /** First frame and number of frames of a scratch area. */
  readonly scratch?: readonly [number, number];
}

/** A mount on RAM whose free memory holds old bytes, as after a boot that keeps it. */
export function mount({ ram = new HeapRam(16 * 2 ** 20), scratch, ...options }: MountOptions = {}): Shmem {
  for (let pa = 0; pa < ram.size; pa += PAGE_SIZE) ram.bytes(pa, PAGE_SIZE).fill(0xa5);
  const table = new PageTable(ram.size);
  if (scratch) table.setFlag(SCRATCH, ...scratch);
  table.reserve(0, 1);
  table.markStale();
  return new Shmem({ ...options, pages: new PageAllocator(ram, table) });
}

/**
 * The code with which `work` fails; 'ok' where it does not. Anything but a KernelError is a bug and
 * passes through.
 */
export function outcome(work: () => unknown): string {
  try {
    work();
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
  const pages = Math.ceil(inode.size / PAGE_SIZE);
  inode.cache.forEachRun(0, pages, (_, count, pfn) => {
    if (pfn === 0) layout.push(-count);
    else for (let at = pfn; at < pfn + count; at += 1 << folios.orderOf(at)) layout.push(folios.orderOf(at));
  });
  return layout;
}

/**
 * Everything that an undone failure must leave as it was: each frame that is not free, what is
 * free, what is counted.
 */
export function snapshot(shmem: Shmem): string {
  const { table, freePages, freeScratchPages } = shmem.pages;
  let text = `used ${shmem.used}, free ${freePages} + ${freeScratchPages}\n`;
  for (let pfn = 0; pfn < table.frames; pfn++) {
    const flags = table.flagsOf(pfn) & ~STALE; // whether old content is known does not matter to anybody
    if ((flags & KIND) === FREE) continue;
    text += `${pfn}: ${flags}`;
    if ((flags & KIND) === HEAD)
      text += ` order ${table.orderOf(pfn)} refs ${table.refsOf(pfn)} pins ${table.pinsOf(pfn)}`;
    text += '\n';
  }
  return text;
}

/**
 * Runs `work` with the nth allocation failing, for n = 1, 2, ... until it gets by without that
 * failure.
 *
 * @param sticky the allocations after it fail too
 * @param failed called after each run that met the failure
 * @returns how many did
 */
export function failEachAllocation(
  shmem: Shmem,
  sticky: boolean,
  work: () => void,
  failed: (outcome: string) => void,
): number {
  for (let n = 1; ; n++) {
    let calls = 0;
    shmem.pages.beforeAllocation = () => {
      calls += 1;
      if (calls === n || (sticky && calls > n))
        throw new KernelError('ENOMEM', `allocation ${calls} fails for the test`);
    };
    const result = outcome(work);
    shmem.pages.beforeAllocation = undefined;
    if (calls < n) return n - 1;
    failed(result);
  }
}
