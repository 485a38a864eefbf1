/**
 * What the tests of this package share: small machines, snapshots of everything that must be as
 * before, failure injection.
 */
import { KernelError, MAX_ORDER, PAGE_SIZE } from '@liveupdate/base';
import { FREE, HEAD, HeapRam, PageAllocator, PageTable, SCRATCH, STALE, type Ram } from '@liveupdate/mm';
import { refusingSystem, removeSystem } from '@liveupdate/mm/test-system';
import { expect } from 'vitest';
import { boot, bootCold, type BootOptions } from './boot.ts';
import type { Kho } from './kho.ts';
import { walkRadixTree, type RunVisitor } from './radix-walk.ts';
import { readHandover, type EntryRecord } from './read-handover.ts';
import type { ScratchArea } from './scratch.ts';

export const MiB = 2 ** 20;

/** Matches a KernelError by its code. */
export const withCode = (code: string): unknown => expect.objectContaining({ code });

/**
 * A kernel that booted cold on fresh memory, full of 0xdd unless the boot is told that it is zero.
 */
export function coldKho(bytes = 4 * MiB, options: BootOptions = {}): Kho {
  const ram = new HeapRam(bytes);
  if (options.freeMemory !== 'zero') ram.bytes(0, bytes).fill(0xdd);
  return bootCold(ram, options);
}

/** The kernel after this one. */
export function nextKho(kho: Kho, options: BootOptions = {}): Kho {
  return boot(kho.ram, kho.entry, options);
}

/** Keys of a preserved memory map, as `first frame x count, order`, in the order of the walk. */
export function keysOf(ram: Ram, root: number): string[] {
  const keys: string[] = [];
  walkRadixTree(ram, root, keyInto(keys));
  return keys;
}

function keyInto(keys: string[]): RunVisitor {
  return (pfn, count, order) => keys.push(`${pfn} x${count}, order ${order}`);
}

/**
 * Everything that an operation which fails must leave as it was. Reading it proves that the
 * outgoing handover is valid.
 *
 * Nodes of the outgoing map count as free: as in the kernel, a node that an undone step needed
 * stays in the map, empty, for the next one.
 */
export interface Snapshot {
  /**
   * Of every frame, byte by byte as characters: texts are compared a thousand times faster than
   * arrays.
   */
  readonly flags: string;
  readonly orders: string;
  readonly refs: string;
  readonly pins: string;
  readonly free: readonly number[];
  readonly keys: readonly string[];
  readonly subtrees: readonly unknown[];
  readonly entry: EntryRecord;
}

const latin1 = new TextDecoder('latin1');

function textOf({ buffer, byteOffset, byteLength }: Uint32Array): string {
  return latin1.decode(new Uint8Array(buffer, byteOffset, byteLength));
}

export function snapshot(kho: Kho): Snapshot {
  const { table, freePages, freeScratchPages } = kho.pages;
  const handover = readHandover(kho.ram, kho.entry);
  const { flags: all, refs, orders, pins } = table.snapshot();
  const flags = all.map((flag) => flag & ~STALE);
  const keys: string[] = [];
  let nodes = 0;
  walkRadixTree(kho.ram, handover.preservedMap, keyInto(keys), (pfn) => {
    const isNode =
      flags[pfn] === HEAD && refs[pfn] === 1 && table.orderOf(pfn) === 0 && table.pinsOf(pfn) === 0;
    if (!isNode)
      expect.fail(`node ${pfn} of the map is ${table.kindName(pfn)}, with ${refs[pfn]} references`);
    flags[pfn] = FREE;
    refs[pfn] = 0;
    nodes += 1;
  });
  expect(nodes).toBe(kho.mapPages);
  return {
    flags: textOf(flags),
    // A free frame keeps the order of whoever had it last, which means nothing.
    orders: textOf(orders.map((order, pfn) => (kho.pages.isHead(pfn) || kho.isIncoming(pfn) ? order : 0))),
    refs: textOf(refs),
    pins: textOf(pins),
    free: [freePages + nodes, freeScratchPages],
    keys,
    subtrees: [...handover.subtrees.values()],
    entry: kho.entry,
  };
}

/**
 * Runs an operation with its first, second, third ... allocation failing, until none is hit any
 * more and it succeeds. After each failure everything must be as before. Each allocation can fail
 * twice: no free frame (ENOMEM), and no memory of the system behind it (ENOSPC).
 *
 * @param prepare a fresh kernel each time, and the operation on it: a node of the map that a failed
 * attempt left would hide the next failure
 * @returns how often it could fail
 */
export function failEachAllocation(prepare: () => { kho: Kho; operation: () => void }): number {
  for (let failures = 0; ; failures++) {
    const { kho, operation } = prepare();
    const before = snapshot(kho);
    const code = withFailure(kho, failures, operation);
    if (code === undefined) return failures;
    expect(snapshot(kho)).toEqual(before);
    kho.pages.assertConsistent();
    operation(); // what failed for want of memory works when there is some
  }
}

/**
 * The code that an operation ends with when memory is refused the `n`th time that it asks;
 * undefined where it asks less often.
 */
export function withFailure(
  { pages, ram }: { pages: PageAllocator; ram: Ram },
  n: number,
  operation: () => void,
): string | undefined {
  let left = n;
  const refuse = (code: 'ENOMEM' | 'ENOSPC') => (): void => {
    if (left-- === 0) throw new KernelError(code, 'injected');
  };
  pages.beforeAllocation = refuse('ENOMEM');
  refusingSystem(pages, refuse('ENOSPC'));
  try {
    operation();
    expect(left).toBeGreaterThanOrEqual(0); // a failure that nobody heard of
    return undefined;
  } catch (error) {
    if (!(error instanceof KernelError && error.message.endsWith('injected'))) throw error;
    return error.code;
  } finally {
    pages.beforeAllocation = undefined;
    removeSystem(ram);
  }
}

/** Whether all bytes are this one: `every` with a function is too slow for megabytes. */
export function allAre(bytes: Uint8Array, value: number): boolean {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2);
  const pattern = Math.imul(value, 0x0101_0101) >>> 0;
  for (let i = 0; i < words.length; i++) if (words[i] !== pattern) return false;
  for (let i = words.length * 4; i < bytes.length; i++) if (bytes[i] !== value) return false;
  return true;
}

/**
 * An allocator over RAM with one scratch area, as a boot makes it, for a test that wants to be the
 * boot.
 */
export function allocatorFor(ram: Ram, scratch: readonly ScratchArea[]): PageAllocator {
  const table = new PageTable(ram.size);
  for (const { addr, size } of scratch) table.setFlag(SCRATCH, addr / PAGE_SIZE, size / PAGE_SIZE);
  table.reserve(0, 1);
  return new PageAllocator(ram, table);
}

/**
 * Single pages that lie apart, so that each is a run of its own: every second page of what is free.
 */
export function scatteredPages(pages: PageAllocator, count: number): Uint32Array {
  const all = new Uint32Array(2 * count);
  pages.allocBulk(all, 0, all.length);
  pages.putBulk(all.filter((_, i) => i % 2 === 1));
  return all.filter((_, i) => i % 2 === 0);
}

/** `count` pages of order 0 in a row from an even frame on, each beginning with its number. */
export function rowOfPages(kho: Kho, count: number, align = 8): number {
  const all = new Uint32Array(count + align);
  kho.pages.allocBulk(all, 0, all.length);
  all.sort();
  const first = all.find((pfn, i) => pfn % align === 0 && all[i + count - 1] === pfn + count - 1)!;
  kho.pages.putBulk(all.filter((pfn) => pfn < first || pfn >= first + count));
  for (let i = 0; i < count; i++) kho.pages.folioBytes(first + i).fill(i + 1);
  return first;
}

/** One folio of each order, 0 to 10. */
export function folioOfEachOrder(pages: PageAllocator): Uint32Array {
  return Uint32Array.from({ length: MAX_ORDER + 1 }, (_, order) => pages.alloc(order));
}
