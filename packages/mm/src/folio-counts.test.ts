import { AssertionError } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import { FolioRuns, rowOf } from './folio-runs.ts';
import { type PageAllocator } from './page-allocator.ts';
import { MAX_PINS, MAX_REFS } from './page-table-entries.ts';
import { HEAD, PRESERVED, SCRATCH } from './page-table.ts';
import { setup, freeRuns } from './test-allocator.ts';

describe('pins', () => {
  test('a pin is a reference that says do not move', () => {
    const pages = setup();
    const pfns = Uint32Array.from([pages.alloc(0), pages.alloc(2)]);
    for (let i = 0; i < 2; i++) {
      pages.pinRows(rowOf(pfns[0], 1, 0));
      pages.pinRows(rowOf(pfns[1], 1, 2));
    }
    expect([...pfns].map((pfn) => [pages.table.refsOf(pfn), pages.table.pinsOf(pfn)])).toEqual([
      [3, 2],
      [3, 2],
    ]);
    pages.assertConsistent();
    pages.put(pfns[0]);
    expect(() => pages.put(pfns[0])).toThrow(AssertionError); // two references left, both pins
    expect(() => pages.split(pfns[1])).toThrow(AssertionError);
    pages.unpinRows(rowOf(pfns[1], 1, 2));
    pages.unpinRows(rowOf(pfns[1], 1, 2));
    expect(() => pages.unpinRows(rowOf(pfns[1], 1, 2))).toThrow(AssertionError);
    pages.put(pfns[1]);
    pages.assertConsistent();
  });

  test('a pin outlives its owner, and unpinRun then frees', () => {
    const pages = setup();
    const pfn = pages.alloc(2);
    pages.pinRows(rowOf(pfn, 1, 2));
    pages.put(pfn);
    pages.assertConsistent();
    pages.unpinRows(rowOf(pfn, 1, 2));
    expect(freeRuns(pages)).toEqual([[1, 63]]);
    pages.assertConsistent();
  });

  test.for<[what: string, spoil: (pages: PageAllocator, pfn: number) => void]>([
    ['a free frame', (pages, pfn) => pages.put(pfn)],
    ['a folio with as many pins as there can be', (pages, pfn) => setPins(pages, pfn, MAX_PINS)],
  ])('pinRun is all or none: %s', ([, spoil]) => {
    const pages = setup();
    const pfns = Uint32Array.from([pages.alloc(0), pages.alloc(0), pages.alloc(0)]);
    spoil(pages, pfns[2]);
    expect(() => pages.pinRows(rowOf(pfns[0], 3, 0))).toThrow(AssertionError);
    expect([...pfns.subarray(0, 2)].map((pfn) => [pages.table.refsOf(pfn), pages.table.pinsOf(pfn)])).toEqual(
      [
        [1, 0],
        [1, 0],
      ],
    );
    pages.assertConsistent();
  });

  test('pinRows and unpinRows are of all rows, or pinRows of none', () => {
    const pages = setup();
    const runs = new FolioRuns();
    const pfns = [pages.alloc(2), pages.alloc(0), pages.alloc(0)];
    runs.push(0, pfns[0], 1, 2);
    runs.push(4, pfns[1], 1, 0);
    runs.push(9, pfns[2], 1, 0);
    const pins = (): number[] => pfns.map((pfn) => pages.table.pinsOf(pfn));
    pages.pinRows(runs);
    expect(pins()).toEqual([1, 1, 1]);
    pages.unpinRows(runs);
    expect(pins()).toEqual([0, 0, 0]);
    pages.put(pfns[2]);
    expect(() => pages.pinRows(runs)).toThrow(AssertionError);
    expect(pins()).toEqual([0, 0, 0]);
    pages.assertConsistent();
  });

  function setPins(pages: PageAllocator, pfn: number, pins: number): void {
    pages.table.set(pfn, HEAD, 0, pins + 1, pins);
  }
});

describe('split', () => {
  test('makes single pages, each with the references of the folio', () => {
    const pages = setup({ scratch: [32, 32] });
    const pfn = pages.alloc(5, { movable: true });
    pages.get(pfn);
    pages.split(pfn);
    const { refs, flags } = pages.table.snapshot();
    expect([...refs.subarray(pfn, pfn + 32)]).toEqual(Array(32).fill(2));
    expect([...flags.subarray(pfn, pfn + 32)]).toEqual(Array(32).fill(HEAD | SCRATCH));
    pages.assertConsistent();
    for (let i = 0; i < 32; i++) {
      pages.put(pfn + i);
      pages.put(pfn + i);
    }
    expect(pages.freeScratchPages).toBe(32);
    pages.assertConsistent();
  });

  test('of a single page changes nothing', () => {
    const pages = setup();
    const pfn = pages.alloc(0);
    pages.split(pfn);
    expect([pages.orderOf(pfn), pages.table.refsOf(pfn)]).toEqual([0, 1]);
  });

  test('of a preserved folio is a bug: the map names it as one', () => {
    const pages = setup();
    const pfn = pages.alloc(2);
    pages.table.setFlag(PRESERVED, pfn, 1);
    expect(() => pages.split(pfn)).toThrow(AssertionError);
    expect(pages.orderOf(pfn)).toBe(2);
    pages.assertConsistent();
  });
});

describe('putBulk', () => {
  test('frees singles in rows, folios, scratch pages and shared pages of one list alike', () => {
    const pages = setup({ frames: 256, scratch: [64, 8] });
    const singles = new Uint32Array(20);
    pages.allocBulk(singles, 0, 20);
    const big = pages.alloc(3);
    const shared = pages.alloc(0);
    pages.get(shared);
    const rest = new Uint32Array(pages.freePages);
    pages.allocBulk(rest, 0, rest.length);
    const scratch = Uint32Array.from({ length: 8 }, () => pages.alloc(0, { movable: true }));
    const list = [
      ...singles.subarray(10),
      big,
      shared,
      ...scratch.toReversed(),
      ...singles.subarray(0, 10),
      ...rest,
    ];
    pages.putBulk(Uint32Array.from(list));
    pages.assertConsistent();
    expect(pages.table.refsOf(shared)).toBe(1);
    expect([pages.freePages, pages.freeScratchPages]).toEqual([256 - 1 - 8 - 1, 8]);
    pages.put(shared);
    expect(freeRuns(pages)).toEqual([[1, 255]]);
  });

  test('a run ends where scratch begins', () => {
    const pages = setup({ scratch: [16, 48] });
    const all = new Uint32Array(63);
    pages.allocBulk(all, 0, 63, { movable: true });
    pages.putBulk(all.sort());
    expect([pages.freePages, pages.freeScratchPages]).toEqual([15, 48]);
    pages.assertConsistent();
  });

  test('a page named twice is a bug', () => {
    const pages = setup();
    const pfn = pages.alloc(0);
    expect(() => pages.putBulk(Uint32Array.from([pfn, pfn]))).toThrow(AssertionError);
    pages.assertConsistent();
  });
});

describe('runs of folios', () => {
  test.for([0, 2])('of order %i: references, pins and the end', (order) => {
    const pages = setup();
    const first = pages.alloc(5);
    const step = 1 << order;
    carve(pages, first, 5, order);
    const heads = Array.from({ length: 32 >> order }, (_, i) => first + i * step);
    const counts = (): number[] => [pages.table.refsOf(heads[0]), pages.table.pinsOf(heads.at(-1)!)];
    pages.getRows(rowOf(first, heads.length, order));
    expect(counts()).toEqual([2, 0]);
    pages.pinRows(rowOf(first, heads.length, order));
    expect(counts()).toEqual([3, 1]);
    pages.assertConsistent();
    pages.unpinRows(rowOf(first, heads.length, order));
    expect(counts()).toEqual([2, 0]);
    pages.putRows(rowOf(first, heads.length, order));
    expect(counts()).toEqual([1, 0]);
    pages.assertConsistent();
    pages.get(heads[1]);
    pages.putRows(rowOf(first, heads.length, order));
    expect(heads.filter((pfn) => pages.isHead(pfn))).toEqual([heads[1]]);
    pages.assertConsistent();
    pages.put(heads[1]);
    expect(freeRuns(pages)).toEqual([[1, 63]]);
    pages.assertConsistent();
  });

  test('a run that begins outside scratch and ends in it is freed into both', () => {
    const pages = setup({ scratch: [16, 48] });
    const all = new Uint32Array(63);
    pages.allocBulk(all, 0, 63, { movable: true });
    pages.putRows(rowOf(1, 63, 0));
    expect([pages.freePages, pages.freeScratchPages]).toEqual([15, 48]);
    expect(pages.isScratch(20)).toBe(true);
    pages.assertConsistent();
  });

  test('a run with a preserved folio in it is not freed at all', () => {
    const pages = setup();
    const all = new Uint32Array(8);
    pages.allocBulk(all, 0, 8);
    pages.table.setFlag(PRESERVED, all[5], 1);
    expect(() => pages.putRows(rowOf(all[4], 4, 0))).toThrow(AssertionError);
    expect([4, 5, 6, 7].map((i) => pages.table.refsOf(all[i]))).toEqual([1, 1, 1, 1]);
    pages.assertConsistent();
  });

  test.for<[what: string, use: (pages: PageAllocator, first: number) => void]>([
    ['getRun of another order', (pages, first) => pages.getRows(rowOf(first, 2, 0))],
    ['getRun that leaves the folios', (pages, first) => pages.getRows(rowOf(first, 9, 2))],
    ['putRun of another order', (pages, first) => pages.putRows(rowOf(first, 1, 3))],
    ['putRun of a tail', (pages, first) => pages.putRows(rowOf(first + 1, 1, 2))],
    ['putRun outside RAM', (pages) => pages.putRows(rowOf(64, 1, 0))],
    ['pinRun that leaves the folios', (pages, first) => pages.pinRows(rowOf(first, 9, 2))],
    ['unpinRun of what is not pinned', (pages, first) => pages.unpinRows(rowOf(first, 8, 2))],
    [
      'getRun of one with as many references as there can be',
      (pages, first) => {
        pages.table.set(first + 28, HEAD, 2, MAX_REFS, MAX_PINS);
        pages.getRows(rowOf(first, 8, 2));
      },
    ],
    [
      'pinRun of one with as many references as there can be',
      (pages, first) => {
        pages.table.set(first + 28, HEAD, 2, MAX_REFS);
        pages.pinRows(rowOf(first, 8, 2));
      },
    ],
    [
      'pinRun of one with as many pins as there can be',
      (pages, first) => {
        pages.table.set(first + 28, HEAD, 2, MAX_PINS + 1, MAX_PINS);
        pages.pinRows(rowOf(first, 8, 2));
      },
    ],
  ])('%s is a bug, and changes nothing', ([, use]) => {
    const pages = setup();
    const first = pages.alloc(5);
    carve(pages, first, 5, 2);
    expect(() => use(pages, first)).toThrow(AssertionError);
    expect([pages.table.refsOf(first), pages.table.pinsOf(first)]).toEqual([1, 0]);
    pages.assertConsistent();
  });

  test('unpinRun past the last that is pinned is a bug, and those before it stay pinned', () => {
    const pages = setup();
    const first = pages.alloc(5);
    carve(pages, first, 5, 2);
    pages.pinRows(rowOf(first, 3, 2));
    expect(() => {
      pages.unpinRows(rowOf(first, 8, 2));
    }).toThrow(AssertionError);
    const heads = [0, 4, 8, 12].map((i) => first + i);
    expect(heads.map((pfn) => pages.table.pinsOf(pfn))).toEqual([1, 1, 1, 0]);
    expect(heads.map((pfn) => pages.table.refsOf(pfn))).toEqual([2, 2, 2, 1]);
    pages.assertConsistent();
  });

  /** Makes a folio into smaller ones, as if they had been allocated side by side. */
  function carve(pages: PageAllocator, pfn: number, from: number, to: number): void {
    pages.split(pfn);
    pages.table.setFolios(pfn, 1 << (from - to), to, HEAD, 1);
    pages.assertConsistent();
  }
});
