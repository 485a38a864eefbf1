/** How memory is taken from the system: before it is handed out, ahead of need, and together where many pages are wanted. */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { HeapRam } from './heap-ram.ts';
import { PageAllocator } from './page-allocator.ts';
import { FREE, KIND, PageTable } from './page-table.ts';

const FRAMES = 4096;

/** A RAM of a system that has only so many pages, and says which ones it was asked for. */
class MeteredRam extends HeapRam {
  readonly taken = new Set<number>();
  readonly asked: { how: 'reserve' | 'populate'; pages: number }[] = [];
  left = FRAMES;
  /** Looks at every frame that is asked for. */
  watch: (pfn: number) => void = () => undefined;

  reserve(pa: number, length: number): void {
    this.#take('reserve', pa, length);
  }

  populate(pa: number, length: number): void {
    this.#take('populate', pa, length);
  }

  #take(how: 'reserve' | 'populate', pa: number, length: number): void {
    this.asked.push({ how, pages: length / PAGE_SIZE });
    for (let pfn = pa / PAGE_SIZE; pfn < (pa + length) / PAGE_SIZE; pfn++) {
      this.watch(pfn);
      if (this.taken.has(pfn)) continue;
      if (this.left === 0) throw new KernelError('ENOSPC', 'the system is full');
      this.left -= 1;
      this.taken.add(pfn);
    }
  }
}

function metered(): { ram: MeteredRam; pages: PageAllocator } {
  const ram = new MeteredRam(FRAMES * PAGE_SIZE);
  const table = new PageTable(ram.size);
  table.reserve(0, 1);
  return { ram, pages: new PageAllocator(ram, table) };
}

test('the more pages are wanted, the fewer times the system is asked; each is taken before it is handed out', () => {
  const { ram, pages } = metered();
  ram.watch = (pfn) => {
    expect(pages.table.flagsOf(pfn) & KIND).toBe(FREE);
  };
  for (let i = 0; i < 1000; i++) expect(ram.taken.has(pages.alloc(0))).toBe(true);
  expect(ram.asked[0].pages).toBe(1);
  expect(Math.max(...ram.asked.map((asked) => asked.pages))).toBe(64);
  expect(ram.asked.length).toBeLessThan(1000 / 64 + 12);
  expect(ram.taken.size).toBeLessThan(1000 + 64);
});

test('freed and wanted again, nothing is asked; between what is in use, only what is free is taken', () => {
  const { ram, pages } = metered();
  const all = Array.from({ length: 500 }, () => pages.alloc(0));
  for (const pfn of all) if (pfn % 3 === 0) pages.put(pfn);
  const before = ram.asked.length;
  for (let i = 0; i < 100; i++) pages.alloc(0);
  expect(ram.asked.length).toBe(before);
  ram.watch = (pfn) => {
    expect(pages.table.flagsOf(pfn) & KIND).toBe(FREE);
  };
  for (let i = 0; i < 500; i++) expect(ram.taken.has(pages.alloc(i % 3))).toBe(true);
  pages.assertConsistent();
});

test('a system that is nearly full gives what is wanted to the last page, then ENOSPC, and the page stays free', () => {
  const { ram, pages } = metered();
  for (let i = 0; i < 100; i++) pages.alloc(0);
  const known = ram.taken.size - 100; // taken and free
  ram.left = 5;
  for (let i = 0; i < known + 5; i++) expect(ram.taken.has(pages.alloc(0))).toBe(true);
  const free = pages.freePages;
  expect(() => pages.alloc(0)).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
  expect(pages.freePages).toBe(free);
  pages.assertConsistent();
  ram.left = 1;
  expect(ram.taken.has(pages.alloc(0))).toBe(true);
});

test('what is prepared is what is handed out next', () => {
  const { ram, pages } = metered();
  for (let i = 0; i < 10; i++) pages.alloc(0);
  pages.prepare(64);
  const before = ram.asked.length;
  for (let i = 0; i < 64; i++) pages.alloc(0);
  expect(ram.asked.length).toBe(before);
  pages.assertConsistent();
});

test('where the system has nothing, preparing does nothing', () => {
  const { ram, pages } = metered();
  ram.left = 0;
  pages.prepare(64);
  expect([ram.taken.size, pages.freePages]).toEqual([0, FRAMES - 1]);
  ram.left = FRAMES;
  expect(ram.taken.has(pages.alloc(3))).toBe(true);
});
