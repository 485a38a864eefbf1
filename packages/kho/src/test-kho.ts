/** What the tests of this package share: small machines, snapshots of everything that must be as before, failure injection. */
import { KernelError, MAX_ORDER, PAGE_SIZE } from '@liveupdate/base';
import { FREE, HEAD, HeapRam, PageAllocator, PageTable, SCRATCH, STALE, type Ram } from '@liveupdate/mm';
import { expect } from 'vitest';
import { boot, bootCold, type BootOptions } from './boot.ts';
import type { Kho } from './kho.ts';
import { walkRadixTree, type RunVisitor } from './radix-walk.ts';
import { readHandover, type EntryRecord, type ScratchArea } from './read-handover.ts';

export const MiB = 2 ** 20;

/** Matches a KernelError by its code. */
export const withCode = (code: string): unknown => expect.objectContaining({ code });

/** A kernel that booted cold on fresh memory, full of 0xdd unless the boot is told that it is zero. */
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
 * Everything that an operation which fails must leave as it was. Reading it proves that the outgoing handover is valid.
 *
 * Nodes of the outgoing map count as free: as in the kernel, a node that an undone step needed stays in the map, empty, for the next one.
 */
export interface Snapshot {
  readonly flags: Uint8Array;
  readonly orders: Uint8Array;
  readonly refs: Uint32Array;
  readonly pins: Uint16Array;
  readonly free: readonly number[];
  readonly keys: readonly string[];
  readonly subtrees: readonly unknown[];
  readonly entry: EntryRecord;
}

export function snapshot(kho: Kho): Snapshot {
  const { table, freePages, freeScratchPages } = kho.pages;
  const handover = readHandover(kho.ram, kho.entry);
  const flags = table.flags.map((flag) => flag & ~STALE);
  const refs = table.refs.slice();
  const keys: string[] = [];
  let nodes = 0;
  walkRadixTree(kho.ram, handover.preservedMap, keyInto(keys), (pfn) => {
    expect([flags[pfn], refs[pfn], table.orders[pfn], table.pins[pfn]]).toEqual([HEAD, 1, 0, 0]);
    flags[pfn] = FREE;
    refs[pfn] = 0;
    nodes += 1;
  });
  expect(nodes).toBe(kho.mapPages);
  return {
    flags,
    // A free frame keeps the order of whoever had it last, which means nothing.
    orders: table.orders.map((order, pfn) => (kho.pages.isHead(pfn) || kho.isIncoming(pfn) ? order : 0)),
    refs,
    pins: table.pins.slice(),
    free: [freePages + nodes, freeScratchPages],
    keys,
    subtrees: [...handover.subtrees.values()],
    entry: kho.entry,
  };
}

/**
 * Runs an operation with its first, second, third ... allocation failing, until none is hit any more and it succeeds. After each failure
 * everything must be as before.
 *
 * @param prepare a fresh kernel each time, and the operation on it: a node of the map that a failed attempt left would hide the next
 * failure
 * @returns how many allocations could fail
 */
export function failEachAllocation(prepare: () => { kho: Kho; operation: () => void }): number {
  for (let failures = 0; ; failures++) {
    const { kho, operation } = prepare();
    const before = snapshot(kho);
    let left = failures;
    kho.pages.beforeAllocation = () => {
      if (left === 0) throw new KernelError('ENOMEM', 'injected');
      left -= 1;
    };
    try {
      operation();
      return failures;
    } catch (error) {
      expect([failures, String(error)]).toEqual([failures, 'KernelError: ENOMEM: injected']);
    } finally {
      kho.pages.beforeAllocation = undefined;
    }
    expect(snapshot(kho)).toEqual(before);
    kho.pages.assertConsistent();
    operation(); // what failed for want of memory works when there is some
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

/** An allocator over RAM with one scratch area, as a boot makes it, for a test that wants to be the boot. */
export function allocatorFor(ram: Ram, scratch: readonly ScratchArea[]): PageAllocator {
  const table = new PageTable(ram.size);
  for (const { addr, size } of scratch) table.setFlag(SCRATCH, addr / PAGE_SIZE, size / PAGE_SIZE);
  table.reserve(0, 1);
  return new PageAllocator(ram, table);
}

/** Single pages that lie apart, so that each is a run of its own: every second page of what is free. */
export function scatteredPages(pages: PageAllocator, count: number): Uint32Array {
  const all = new Uint32Array(2 * count);
  pages.allocBulk(all, 0, all.length);
  pages.putBulk(all.filter((_, i) => i % 2 === 1));
  return all.filter((_, i) => i % 2 === 0);
}

/** One folio of each order, 0 to 10. */
export function folioOfEachOrder(pages: PageAllocator): Uint32Array {
  return Uint32Array.from({ length: MAX_ORDER + 1 }, (_, order) => pages.alloc(order));
}
