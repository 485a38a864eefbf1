/**
 * Memory is refused to the allocator and to vmalloc, each time that they ask for it: everything
 * stays as it was.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { HeapRam } from './heap-ram.ts';
import { PageAllocator } from './page-allocator.ts';
import { PageTable, SCRATCH, STALE } from './page-table.ts';
import { refusingSystem } from './test-system.ts';
import { vmalloc } from './vmalloc.ts';

const FRAMES = 2048;

/** An allocator whose free memory lies in blocks of all sizes, some of it in scratch. */
function fragmented(): PageAllocator {
  const ram = new HeapRam(FRAMES * PAGE_SIZE);
  const table = new PageTable(ram.size);
  table.reserve(0, 1);
  table.setFlag(SCRATCH, 1024, 64);
  const pages = new PageAllocator(ram, table);
  const all = new Uint32Array(300);
  pages.allocBulk(all, 0, all.length);
  pages.putBulk(all.filter((_, i) => i % 3 !== 0 || i > 200));
  return pages;
}

/**
 * What a failure must leave: every frame, and the counts. Which blocks are free follows from it
 * (assertConsistent).
 */
function stateOf({ table, freePages, freeScratchPages }: PageAllocator): unknown {
  const { flags, refs, pins } = table.snapshot();
  const known = flags.map((flag) => flag & ~STALE);
  return [freePages, freeScratchPages, ...[known, refs, pins].map((array) => array.join())];
}

test.for<[what: string, asks: number, operation: (pages: PageAllocator) => unknown]>([
  ['alloc', 2, (pages) => pages.alloc(5, { zero: true })],
  ['alloc of movable memory', 2, (pages) => pages.alloc(0, { movable: true })],
  ['allocBulk over many blocks', 4, (pages) => pages.allocBulk(new Uint32Array(1100), 0, 1100)],
  [
    'allocBulk that ends in scratch',
    20,
    (pages) => {
      const count = pages.freePages + 40;
      pages.allocBulk(new Uint32Array(count), 0, count, { movable: true });
    },
  ],
  ['vmalloc', 4, (pages) => vmalloc(pages, 900 * PAGE_SIZE)],
  ['vmalloc in pieces of 8 pages', 40, (pages) => vmalloc(pages, 170 * PAGE_SIZE, 3)],
  ['vmalloc in pieces of 2 MiB', 4, (pages) => vmalloc(pages, 2 ** 22, 9)],
])('%s', ([, asks, operation]) => {
  for (let n = 0; ; n++) {
    const pages = fragmented();
    const before = stateOf(pages);
    let left = n;
    const refuse = (): void => {
      if (left-- === 0) throw new KernelError('ENOSPC', 'injected');
    };
    pages.beforeAllocation = refuse;
    refusingSystem(pages, refuse);
    try {
      operation(pages);
      expect(n).toBeGreaterThanOrEqual(asks);
      return;
    } catch (error) {
      expect(String(error)).toBe('KernelError: ENOSPC: injected');
    }
    expect(stateOf(pages)).toEqual(before);
    pages.assertConsistent();
  }
});

test.for<[what: string, operation: (pages: PageAllocator) => unknown]>([
  ['more pages than are free', (pages) => pages.allocBulk(new Uint32Array(FRAMES), 0, FRAMES)],
  ['more bytes than there are', (pages) => vmalloc(pages, 2 ** 40)],
  ['more pieces of 4 MiB than there are', (pages) => vmalloc(pages, 2 ** 23, 10)],
])('%s: ENOMEM', ([, operation]) => {
  const pages = fragmented();
  const before = stateOf(pages);
  expect(() => operation(pages)).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
  expect(stateOf(pages)).toEqual(before);
  pages.assertConsistent();
});
