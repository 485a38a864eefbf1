/**
 * Sparse RAMs for tests: a system that has only so many pages, knows which were taken, and was
 * asked for what; and one that refuses when it is told to. For tests of this workspace only: it is
 * not published.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { expect } from 'vitest';
import { HeapRam } from './heap-ram.ts';
import type { PageAllocator } from './page-allocator.ts';
import { FREE } from './page-table.ts';
import type { Ram, RamPiece, SystemMemory } from './ram.ts';

export const ENOSPC: unknown = expect.objectContaining({ code: 'ENOSPC' });

export class SparseSystem extends HeapRam implements SystemMemory {
  readonly system = this;
  readonly taken = new Set<number>();
  /** How, from which frame on, how many. */
  readonly asked: [string, number, number][] = [];
  left: number;

  constructor(frames: number, left = frames) {
    super(frames * PAGE_SIZE);
    this.left = left;
  }

  /** What a store through a mapping does. */
  touch(pfn: number): void {
    if (this.taken.has(pfn)) return;
    if (this.left === 0) throw new KernelError('ENOSPC', 'the system is full');
    this.left -= 1;
    this.taken.add(pfn);
  }

  reserve(pa: number, length: number): void {
    const first = pa / PAGE_SIZE;
    const count = length / PAGE_SIZE;
    this.asked.push(['reserve', first, count]);
    const missing = Array.from({ length: count }, (_, i) => first + i).filter((pfn) => !this.taken.has(pfn));
    if (missing.length > this.left) throw new KernelError('ENOSPC', 'the system is full');
    for (const pfn of missing) this.touch(pfn);
  }

  populate(pa: number, length: number): void {
    for (let pfn = pa / PAGE_SIZE; pfn < (pa + length) / PAGE_SIZE; pfn++) this.touch(pfn);
  }

  populateHuge(): boolean {
    return false;
  }

  read(pa: number, target: Uint8Array): void {
    target.set(this.bytes(pa, target.length));
  }

  write(pa: number, bytes: Uint8Array): void {
    const end = Math.ceil((pa + bytes.length) / PAGE_SIZE);
    for (let pfn = Math.floor(pa / PAGE_SIZE); pfn < end; pfn++) this.touch(pfn);
    this.bytes(pa, bytes.length).set(bytes);
  }

  dataPieces(pa: number, length: number): RamPiece[] {
    const found = [...this.taken].filter((pfn) => pfn * PAGE_SIZE >= pa && pfn * PAGE_SIZE < pa + length);
    return found.sort((a, b) => a - b).map((pfn) => ({ pa: pfn * PAGE_SIZE, length: PAGE_SIZE }));
  }

  override discard(pa: number, length: number): void {
    super.discard(pa, length);
    for (let pfn = pa / PAGE_SIZE; pfn < (pa + length) / PAGE_SIZE; pfn++)
      if (this.taken.delete(pfn)) this.left += 1;
  }
}

/**
 * Puts a system under a RAM whose memory is all there, which asks `refuse` whenever memory is
 * taken. What is in use counts as taken, and what is free as given back.
 */
export function refusingSystem({ ram, table, residency }: PageAllocator, refuse: () => void): void {
  const system: SystemMemory = {
    reserve: refuse,
    populate: () => {
      throw new KernelError('EOPNOTSUPP', 'page by page only');
    },
    populateHuge: () => false,
    read: (pa, target) => {
      target.set(ram.bytes(pa, target.length));
    },
    write: (pa, bytes) => {
      refuse();
      ram.bytes(pa, bytes.length).set(bytes);
    },
    dataPieces: (pa, length) => [{ pa, length }],
  };
  Object.assign(ram, { system });
  for (let pfn = 0; pfn < table.frames; pfn++) {
    if (table.kindOf(pfn) === FREE) residency.giveBack(pfn, 1);
    else residency.note(pfn, 1);
  }
}

/** Takes it away again. */
export function removeSystem(ram: Ram): void {
  Reflect.deleteProperty(ram, 'system');
}
