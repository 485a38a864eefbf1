/**
 * Which memory of a sparse RAM is there: what is taken, what is given back, and what costs nothing.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { rowOf } from './folio-runs.ts';
import { describe, expect, test } from 'vitest';
import { HeapRam } from './heap-ram.ts';
import { PageAllocator } from './page-allocator.ts';
import { PageTable } from './page-table.ts';
import type { RamPiece, SystemMemory } from './ram.ts';
import { CHUNK_FRAMES } from './frame-chunk.ts';
import type { Residency } from './residency.ts';
import { ENOSPC, SparseSystem } from './test-system.ts';

function sparse(frames: number, left = frames): { system: SparseSystem; pages: PageAllocator } {
  const system = new SparseSystem(frames, left);
  const table = new PageTable(system.size);
  table.reserve(0, 1);
  return { system, pages: new PageAllocator(system, table) };
}

/** Single pages in use whose memory was not taken. */
function untouched(pages: PageAllocator, count: number): number {
  const found: number[] = [];
  pages.allocRuns(count, { taken: 'when touched' }, (pfn, length) => {
    for (let i = 0; i < length; i++) found.push(pfn + i);
  });
  found.sort((a, b) => a - b);
  expect(found.at(-1)).toBe(found[0] + count - 1);
  return found[0];
}

describe('where all memory is there', () => {
  const ram = new HeapRam(64 * PAGE_SIZE);
  const { residency } = new PageAllocator(ram, new PageTable(ram.size));

  test('every frame is, and nothing is asked', () => {
    expect([residency.has(0, 64), residency.hasAny(3, 1), residency.pages]).toEqual([true, true, 64]);
    residency.take(0, 64);
    expect(residency.giveBackFree()).toBe(0);
  });

  test('contents are those of the RAM', () => {
    ram.bytes(5, 3).set([1, 2, 3]);
    const target = new Uint8Array(4);
    residency.read(4, target);
    expect([...target]).toEqual([0, 1, 2, 3]);
    residency.zero(6, 1);
    expect([...ram.bytes(5, 3)]).toEqual([1, 0, 3]);
  });
});

test('a page is there once it was taken, and not when it is given back', () => {
  const { system, pages } = sparse(64);
  const { residency } = pages;
  const pfn = untouched(pages, 8);
  expect([residency.has(pfn, 8), residency.hasAny(pfn, 8), system.taken.size]).toEqual([false, false, 0]);
  residency.take(pfn + 2, 3);
  expect([residency.has(pfn + 2, 3), residency.has(pfn, 8), residency.hasAny(pfn, 8)]).toEqual([
    true,
    false,
    true,
  ]);
  residency.take(pfn, 8);
  expect(system.asked).toEqual([
    ['reserve', pfn + 2, 3],
    ['reserve', pfn, 2],
    ['reserve', pfn + 5, 3],
  ]);
  residency.giveBack(pfn + 1, 1);
  expect([residency.has(pfn + 1, 1), residency.has(pfn + 2, 6), system.taken.size]).toEqual([false, true, 7]);
});

test('reading, zeroing and using again what nobody wrote takes nothing', () => {
  const { system, pages } = sparse(256);
  const { residency } = pages;
  const pfn = untouched(pages, 8);
  residency.take(pfn + 3, 1);
  system.bytes((pfn + 3) * PAGE_SIZE, 3).set([7, 8, 9]);
  const target = new Uint8Array(8 * PAGE_SIZE).fill(1);
  residency.read(pfn * PAGE_SIZE, target);
  expect([...target.subarray(3 * PAGE_SIZE, 3 * PAGE_SIZE + 4)]).toEqual([7, 8, 9, 0]);
  expect(target.every((byte, i) => byte === 0 || Math.floor(i / PAGE_SIZE) === 3)).toBe(true);
  residency.zero(pfn * PAGE_SIZE, 8 * PAGE_SIZE);
  expect(system.bytes((pfn + 3) * PAGE_SIZE, 3).every((byte) => byte === 0)).toBe(true);
  expect(system.taken.size).toBe(1);
  pages.putRows(rowOf(pfn, 8, 0));
  pages.allocRuns(200, { zero: true, taken: 'when touched' }, () => undefined);
  expect(system.taken.size).toBe(1);
});

test('what was written and freed is cleared before it is used again, and it alone', () => {
  const { system, pages } = sparse(64);
  const pfn = untouched(pages, 4);
  pages.residency.take(pfn + 1, 1);
  system.bytes((pfn + 1) * PAGE_SIZE, PAGE_SIZE).fill(5);
  pages.putRows(rowOf(pfn, 4, 0));
  pages.allocRuns(60, { zero: true, taken: 'when touched' }, () => undefined);
  expect(system.bytes((pfn + 1) * PAGE_SIZE, PAGE_SIZE).every((byte) => byte === 0)).toBe(true);
  expect([...system.taken]).toEqual([pfn + 1]);
});

describe('a system that is full', () => {
  test('gets back what a failed call took of it', () => {
    const { system, pages } = sparse(64, 3);
    const pfn = untouched(pages, 8);
    expect(() => {
      pages.residency.attempt(() => {
        pages.residency.take(pfn, 1);
        pages.residency.write((pfn + 1) * PAGE_SIZE, new Uint8Array(PAGE_SIZE).fill(1));
        pages.residency.take(pfn + 2, 6);
      });
    }).toThrow(ENOSPC);
    expect([system.taken.size, pages.residency.hasAny(pfn, 8)]).toEqual([0, false]);
    system.left = 8;
    pages.residency.take(pfn, 8);
    expect(system.bytes(pfn * PAGE_SIZE, 8 * PAGE_SIZE).every((byte) => byte === 0)).toBe(true);
  });

  test('gets back what is free here, before a call fails', () => {
    const { system, pages } = sparse(64, 8);
    const freed = untouched(pages, 8);
    pages.residency.take(freed, 8);
    const wanted = untouched(pages, 8);
    pages.putRows(rowOf(freed, 8, 0));
    expect(system.left).toBe(0);
    pages.residency.take(wanted, 8);
    expect([pages.residency.has(wanted, 8), pages.residency.hasAny(freed, 8)]).toEqual([true, false]);
  });

  test('gets back what was undone after a call failed, where nothing was free before', () => {
    const { system, pages } = sparse(64, 2);
    const taken = pages.alloc(0);
    expect(() => pages.allocBulk(new Uint32Array(8), 0, 8)).toThrow(ENOSPC);
    pages.put(taken); // as an undo does
    expect(pages.residency.relieve()).toBe(1);
    expect(system.taken.size).toBe(0);
  });

  test('is not asked twice where nothing is free here', () => {
    const { pages } = sparse(64, 2);
    const pfn = untouched(pages, 8);
    let tries = 0;
    expect(() => {
      pages.residency.attempt(() => {
        tries += 1;
        pages.residency.take(pfn, 8);
      });
    }).toThrow(ENOSPC);
    expect(tries).toBe(1);
  });

  test('gets nothing back for a failure of another kind', () => {
    const { system, pages } = sparse(64);
    const kept = pages.alloc(0);
    pages.put(kept);
    expect(() => {
      pages.residency.attempt(() => {
        throw new KernelError('EPERM', 'for another reason');
      });
    }).toThrow(expect.objectContaining({ code: 'EPERM' }));
    expect(system.taken.has(kept)).toBe(true);
  });

  test('an attempt within another is undone alone', () => {
    const { system, pages } = sparse(64, 4);
    const pfn = untouched(pages, 8);
    pages.residency.attempt(() => {
      pages.residency.take(pfn, 2);
      expect(() => {
        pages.residency.take(pfn + 2, 6);
      }).toThrow(ENOSPC);
      pages.residency.take(pfn + 2, 1);
    });
    expect([...system.taken].sort((a, b) => a - b)).toEqual([pfn, pfn + 1, pfn + 2]);
  });
});

test('what is free is given back, but for what is kept', () => {
  const { system, pages } = sparse(256);
  const pfn = untouched(pages, 32);
  pages.residency.take(pfn, 32);
  pages.putRows(rowOf(pfn + 5, 22, 0));
  expect(pages.residency.giveBackFree(8)).toBe(14);
  expect([system.taken.size, pages.residency.has(pfn, 5), pages.residency.has(pfn + 27, 5)]).toEqual([
    18,
    true,
    true,
  ]);
  expect(pages.residency.giveBackFree()).toBe(8);
  expect(system.taken.size).toBe(10);
});

test('what a view of holes stored is known after a look', () => {
  const { system, pages } = sparse(64);
  const pfn = untouched(pages, 8);
  system.touch(pfn + 4);
  expect(pages.residency.has(pfn + 4, 1)).toBe(false);
  pages.residency.look(pfn, 8);
  expect([pages.residency.has(pfn + 4, 1), pages.residency.hasAny(pfn, 4)]).toEqual([true, false]);
});

test('a system that cannot tell counts as all there', () => {
  const { system, pages } = sparse(64);
  system.dataPieces = (): RamPiece[] => {
    throw new KernelError('EINVAL', 'hugetlbfs');
  };
  pages.residency.look(8, 8);
  expect(pages.residency.has(8, 8)).toBe(true);
});

test('costs what is used, and goes over to another generation', () => {
  const frames = 3 * CHUNK_FRAMES;
  const memory: Pick<SystemMemory, 'reserve'> = { reserve: () => undefined };
  const system = Object.assign(new SparseSystem(16), { size: frames * PAGE_SIZE }, memory);
  const { residency } = new PageAllocator(system, new PageTable(system.size));
  residency.note(CHUNK_FRAMES - 2, 4);
  residency.note(3 * CHUNK_FRAMES - 1, 1);
  const chunks: [number, Uint32Array][] = [];
  residency.forEachChunk((number, bits) => chunks.push([number, bits]));
  expect(chunks.map(([number]) => number)).toEqual([0, 1, 2]);
  const next = new PageAllocator(system, new PageTable(system.size)).residency;
  for (const [number, bits] of chunks) next.load(number, bits);
  expect([next.has(CHUNK_FRAMES - 2, 4), next.hasAny(0, CHUNK_FRAMES - 2), next.pages]).toEqual([
    true,
    false,
    5,
  ]);
});

test('memory that is all there is one chunk for all who know of it, and each gives back its own', () => {
  const memory: Pick<SystemMemory, 'reserve'> = { reserve: () => undefined };
  const system = Object.assign(new SparseSystem(16), { size: 2 * CHUNK_FRAMES * PAGE_SIZE }, memory);
  const known = (): Residency => new PageAllocator(system, new PageTable(system.size)).residency;
  const all = new Uint32Array(CHUNK_FRAMES / 32).fill(0xffff_ffff);
  const [first, second, third] = [known(), known(), known()];
  for (const residency of [first, second]) {
    residency.load(0, all);
    residency.load(1, all);
  }
  first.giveBack(7, 1);
  first.load(1, new Uint32Array(CHUNK_FRAMES / 32));
  third.load(0, all);
  expect([first, second, third].map(({ pages }) => pages)).toEqual([
    CHUNK_FRAMES - 1,
    2 * CHUNK_FRAMES,
    CHUNK_FRAMES,
  ]);
  expect([first.has(7, 1), first.has(8, 8)]).toEqual([false, true]);
});
