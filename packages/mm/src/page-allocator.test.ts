import { AssertionError, MAX_ORDER, PAGE_SIZE } from '@liveupdate/base';
import { rowOf } from './folio-runs.ts';
import { describe, expect, test } from 'vitest';
import { HeapRam } from './heap-ram.ts';
import { PageAllocator } from './page-allocator.ts';
import { FREE, PageTable, PRESERVED, SCRATCH, STALE, TAIL } from './page-table.ts';
import { ENOMEM, setup, freeRuns, isZero } from './test-allocator.ts';
import { vmalloc } from './vmalloc.ts';

describe('alloc and put', () => {
  test.for(Array.from({ length: MAX_ORDER + 1 }, (_, order) => order))(
    'a folio of order %i is aligned, whole, and comes back',
    (order) => {
      const pages = setup({ frames: 4096 });
      const free = pages.freePages;
      const pfn = pages.alloc(order);
      const count = 2 ** order;
      expect(pfn % count).toBe(0);
      expect([pages.isHead(pfn), pages.orderOf(pfn), pages.table.refsOf(pfn)]).toEqual([true, order, 1]);
      expect(pages.table.allHave(TAIL, true, pfn + 1, count - 1)).toBe(true);
      expect(pages.folioBytes(pfn)).toHaveLength(PAGE_SIZE * count);
      expect(pages.freePages).toBe(free - count);
      pages.assertConsistent();
      pages.put(pfn);
      expect(pages.freePages).toBe(free);
      pages.assertConsistent();
    },
  );

  test('page 0 is never handed out, every other page is, from low addresses up', () => {
    const pages = setup();
    const all = Array.from({ length: 63 }, () => pages.alloc(0));
    expect(new Set(all)).toEqual(new Set(Array.from({ length: 63 }, (_, i) => i + 1)));
    expect(() => pages.alloc(0)).toThrow(ENOMEM);
    pages.assertConsistent();
    for (const pfn of all) pages.put(pfn);
    expect(freeRuns(pages)).toEqual([[1, 63]]);
    pages.assertConsistent();
  });

  test('free buddies become one block again, whatever the order of freeing', () => {
    const pages = setup({ frames: 1024 });
    const all = Array.from({ length: 1023 }, () => pages.alloc(0));
    all.sort((a, b) => ((a * 389) % 1024) - ((b * 389) % 1024));
    for (const pfn of all) pages.put(pfn);
    pages.assertConsistent();
    expect(pages.alloc(9)).toBe(512);
  });

  test('what does not fit is ENOMEM, though single pages are free', () => {
    const pages = setup();
    const all = Array.from({ length: 63 }, () => pages.alloc(0));
    for (const pfn of all) if (pfn % 2 === 1) pages.put(pfn);
    expect(pages.freePages).toBe(32);
    expect(() => pages.alloc(1)).toThrow(ENOMEM);
    pages.assertConsistent();
  });

  test('a reference more keeps a folio', () => {
    const pages = setup();
    const pfn = pages.alloc(1);
    pages.get(pfn);
    pages.put(pfn);
    expect(pages.isHead(pfn)).toBe(true);
    pages.put(pfn);
    expect(pages.isHead(pfn)).toBe(false);
    expect(freeRuns(pages)).toEqual([[1, 63]]);
  });

  test('RAM that ends inside a block of the largest order', () => {
    const pages = setup({ frames: 1024 + 7 });
    const seen = new Set<number>();
    for (let i = 0; i < 1030; i++) seen.add(pages.alloc(0));
    expect(seen.has(1030)).toBe(true);
    expect(() => pages.alloc(0)).toThrow(ENOMEM);
    for (const pfn of seen) pages.put(pfn);
    expect(freeRuns(pages)).toEqual([[1, 1030]]);
    pages.assertConsistent();
  });
});

describe('scratch', () => {
  test('is for movable memory only, and the last to be taken', () => {
    const pages = setup({ scratch: [16, 16] });
    expect([pages.freePages, pages.freeScratchPages]).toEqual([47, 16]);
    const movable = Array.from({ length: 47 }, () => pages.alloc(0, { movable: true }));
    expect(movable.some((pfn) => pages.isScratch(pfn))).toBe(false);
    expect(() => pages.alloc(0)).toThrow(ENOMEM);
    const last = Array.from({ length: 16 }, () => pages.alloc(0, { movable: true }));
    expect(last.every((pfn) => pages.isScratch(pfn))).toBe(true);
    expect(() => pages.alloc(0, { movable: true })).toThrow(ENOMEM);
    pages.assertConsistent();
    for (const pfn of [...movable, ...last]) pages.put(pfn);
    expect([pages.freePages, pages.freeScratchPages]).toEqual([47, 16]);
    pages.assertConsistent();
  });

  test('is taken where only it has a block so large', () => {
    const pages = setup({ scratch: [32, 32] });
    expect(pages.isScratch(pages.alloc(5, { movable: true }))).toBe(true);
    expect(() => pages.alloc(5)).toThrow(ENOMEM);
    expect(pages.isScratch(pages.alloc(4, { movable: true }))).toBe(false);
  });

  test('is never one block with what lies beside it', () => {
    const pages = setup({ scratch: [33, 1] });
    for (const pfn of Array.from({ length: 62 }, () => pages.alloc(0))) pages.put(pfn);
    pages.assertConsistent();
    expect(pages.freeScratchPages).toBe(1);
  });

  test('allocBulk takes it when the rest is gone', () => {
    const pages = setup({ scratch: [16, 16] });
    const out = new Uint32Array(60);
    expect(() => pages.allocBulk(out, 0, 60)).toThrow(ENOMEM);
    pages.allocBulk(out, 0, 60, { movable: true });
    const inScratch = [...out].map((pfn) => pages.isScratch(pfn));
    expect(inScratch.indexOf(true)).toBe(47);
    expect(inScratch.slice(47).every(Boolean)).toBe(true);
    pages.assertConsistent();
    pages.putBulk(out);
    expect([pages.freePages, pages.freeScratchPages]).toEqual([47, 16]);
    pages.assertConsistent();
  });
});

describe('allocBulk', () => {
  test('gives single pages, in as few runs as there are, at the place that was asked for', () => {
    const pages = setup({ frames: 4096 });
    const out = new Uint32Array(2_002).fill(0xffff_ffff);
    pages.allocBulk(out, 1, 2_000);
    expect([out[0], out[2_001]]).toEqual([0xffff_ffff, 0xffff_ffff]);
    const got = out.subarray(1, 2_001);
    expect(new Set(got).size).toBe(2_000);
    expect(got.every((pfn) => pages.isHead(pfn) && pages.orderOf(pfn) === 0)).toBe(true);
    let runs = 1;
    for (let i = 1; i < got.length; i++) if (got[i] !== got[i - 1] + 1) runs += 1;
    expect(runs).toBeLessThanOrEqual(12);
    pages.assertConsistent();
    pages.put(got[77]);
    pages.putBulk(got, 78);
    pages.putBulk(got, 0, 77);
    expect(freeRuns(pages)).toEqual([[1, 4095]]);
    pages.assertConsistent();
  });

  test('all or none', () => {
    const pages = setup();
    pages.alloc(3);
    const out = new Uint32Array(64);
    expect(() => pages.allocBulk(out, 0, 56)).toThrow(ENOMEM);
    expect(pages.freePages).toBe(55);
    pages.allocBulk(out, 0, 55);
    expect(pages.freePages).toBe(0);
    pages.allocBulk(out, 0, 0);
    pages.assertConsistent();
  });

  test('takes the last pages from fragments', () => {
    const pages = setup();
    const all = Array.from({ length: 63 }, () => pages.alloc(0));
    for (const pfn of all) if (pfn % 2 === 1) pages.put(pfn);
    const out = new Uint32Array(32);
    pages.allocBulk(out, 0, 32);
    expect([...out].every((pfn) => pfn % 2 === 1)).toBe(true);
    pages.assertConsistent();
  });
});

describe('clearing', () => {
  test.for([0, 3])('stale memory is cleared where zeros are asked for (order %i)', (order) => {
    const pages = setup();
    expect(isZero(pages.folioBytes(pages.alloc(order, { zero: true })))).toBe(true);
    expect(pages.folioBytes(pages.alloc(order))[0]).toBe(0xdd);
  });

  test('what was used before is cleared, though it was allocated without', () => {
    const pages = setup();
    const first = pages.alloc(2, { zero: true });
    pages.folioBytes(first).fill(1);
    pages.put(first);
    const second = pages.alloc(2);
    pages.put(second);
    const third = pages.alloc(2, { zero: true });
    expect([second, third]).toEqual([first, first]);
    expect(isZero(pages.folioBytes(third))).toBe(true);
  });

  test('allocBulk clears too', () => {
    const pages = setup();
    const out = new Uint32Array(63);
    pages.allocBulk(out, 0, 63, { zero: true });
    expect(isZero(pages.ram.bytes(PAGE_SIZE, 63 * PAGE_SIZE))).toBe(true);
    expect(pages.ram.bytes(0, 1)[0]).toBe(0xdd);
  });

  test('a folio of clean and stale pages is cleared where it is stale only', () => {
    const pages = setup();
    pages.markFreeClean();
    pages.alloc(1); // frames 2 and 3: what follows lies in one block of four
    const [a, b] = [pages.alloc(1), pages.alloc(1)];
    pages.folioBytes(a).fill(1);
    pages.put(a);
    pages.put(b);
    pages.table.clearFlag(STALE, b, 2);
    const whole = pages.alloc(2, { zero: true });
    expect(whole).toBe(Math.min(a, b));
    const bytes = pages.folioBytes(whole);
    expect(isZero(bytes.subarray((a - whole) * PAGE_SIZE, (a - whole + 2) * PAGE_SIZE))).toBe(true);
    expect(bytes[(b - whole) * PAGE_SIZE]).toBe(0xdd); // said to be clean: left alone, which costs nothing
  });

  test('markFreeClean covers scratch and leaves what is in use', () => {
    const pages = setup({ scratch: [16, 16] });
    const pfn = pages.alloc(0);
    pages.markFreeClean();
    expect(pages.table.allHave(STALE, false, 0, 64)).toBe(true);
    pages.put(pfn);
    expect(pages.table.allHave(STALE, true, pfn, 1)).toBe(true);
    pages.assertConsistent();
  });
});

describe('incoming folios', () => {
  const incoming: [number, number][] = [
    [8, 0],
    [9, 0],
    [10, 0],
    [16, 2],
    [24, 3],
  ];

  test('are nobody’s until they are adopted, once', () => {
    const pages = setup({ incoming });
    expect(pages.freePages).toBe(63 - 3 - 4 - 8);
    expect(pages.adoptIncoming(16)).toBe(true);
    expect([pages.orderOf(16), pages.table.refsOf(16)]).toEqual([2, 1]);
    expect(pages.folioBytes(16)[0]).toBe(0xdd);
    pages.assertConsistent();
    expect(pages.adoptIncoming(16)).toBe(false);
    pages.put(16);
    expect(pages.adoptIncoming(16)).toBe(false);
    pages.assertConsistent();
  });

  test.for<[what: string, pfn: number, order: number | undefined]>([
    ['a free page', 30 + 10, undefined],
    ['a reserved page', 0, undefined],
    ['a tail page', 17, undefined],
    ['another order', 16, 1],
    ['an order where single pages are', 8, 1],
    ['a frame outside RAM', 64, undefined],
    ['a frame far outside RAM', 2 ** 40, undefined],
  ])('%s is not adopted, and nothing changes', ([, pfn, order]) => {
    const pages = setup({ incoming });
    const before = pages.table.snapshot();
    expect(pages.adoptIncoming(pfn, order)).toBe(false);
    expect(pages.table.snapshot()).toEqual(before);
  });

  test('the right order is adopted', () => {
    expect(setup({ incoming }).adoptIncoming(24, 3)).toBe(true);
  });

  test('a run of single pages is adopted whole or not at all', () => {
    const pages = setup({ incoming });
    for (const [pfn, count] of [
      [8, 4],
      [7, 2],
      [16, 1],
      [62, 4],
    ])
      expect(pages.adoptIncomingRow(pfn, count, 0)).toBe(false);
    expect(pages.isHead(8)).toBe(false);
    expect(pages.adoptIncomingRow(8, 3, 0)).toBe(true);
    expect([8, 9, 10].map((pfn) => pages.table.refsOf(pfn))).toEqual([1, 1, 1]);
    expect(pages.adoptIncomingRow(10, 1, 0)).toBe(false);
    pages.assertConsistent();
  });

  test('a run of larger folios too', () => {
    const pages = setup({
      incoming: [
        [16, 2],
        [20, 2],
        [24, 3],
      ],
    });
    for (const [pfn, count, order] of [
      [16, 3, 2],
      [16, 2, 1],
      [12, 2, 2],
      [60, 2, 2],
    ])
      expect(pages.adoptIncomingRow(pfn, count, order)).toBe(false);
    expect(pages.isHead(16)).toBe(false);
    expect(pages.adoptIncomingRow(16, 2, 2)).toBe(true);
    expect([pages.orderOf(20), pages.table.refsOf(20)]).toEqual([2, 1]);
    pages.assertConsistent();
  });
});

describe('reserved frames', () => {
  test('come back as free memory, in the zone that they lie in', () => {
    const table = new PageTable(64 * PAGE_SIZE);
    table.setFlag(SCRATCH, 32, 32);
    table.reserve(0, 3);
    table.reserve(40, 1);
    const pages = new PageAllocator(new HeapRam(64 * PAGE_SIZE), table);
    expect([pages.freePages, pages.freeScratchPages]).toEqual([29, 31]);
    pages.releaseReserved(1, 1);
    pages.releaseReserved(40, 1);
    expect([pages.freePages, pages.freeScratchPages]).toEqual([30, 32]);
    pages.assertConsistent();
    expect(() => pages.releaseReserved(1, 1)).toThrow(AssertionError);
  });
});

describe('misuse is found at once, and changes nothing', () => {
  const bugs: [what: string, use: (pages: PageAllocator, pfn: number) => unknown][] = [
    ['get of a tail', (pages, pfn) => pages.get(pfn + 1)],
    ['get of a free frame', (pages) => pages.get(60)],
    ['get outside RAM', (pages) => pages.get(64)],
    ['put of a tail', (pages, pfn) => pages.put(pfn + 1)],
    ['put of a free frame', (pages) => pages.put(60)],
    ['put of the reserved frame', (pages) => pages.put(0)],
    ['put outside RAM', (pages) => pages.put(2 ** 33)],
    ['putBulk of a tail', (pages, pfn) => pages.putBulk(Uint32Array.of(pfn + 1))],
    ['putBulk outside RAM', (pages) => pages.putBulk(Uint32Array.of(64))],
    ['pin of a free frame', (pages) => pages.pinRows(rowOf(60, 1, 0))],
    ['unpin of what is not pinned', (pages, pfn) => pages.unpinRows(rowOf(pfn, 1, 2))],
    ['unpin of a free frame', (pages) => pages.unpinRows(rowOf(60, 1, 0))],
    ['split of a tail', (pages, pfn) => pages.split(pfn + 1)],
    ['release of a frame in use', (pages, pfn) => pages.releaseReserved(pfn, 1)],
  ];

  test.for(bugs)('%s', ([, use]) => {
    const pages = setup();
    const pfn = pages.alloc(2);
    const before = pages.table.snapshot();
    expect(() => use(pages, pfn)).toThrow(AssertionError);
    expect(pages.table.snapshot()).toEqual(before);
    pages.assertConsistent();
  });

  test.for(['put', 'putBulk'] as const)('%s of the last reference to a preserved folio', (how) => {
    const pages = setup();
    const pfn = pages.alloc(0);
    pages.table.setFlag(PRESERVED, pfn, 1);
    const put = (): void => (how === 'put' ? pages.put(pfn) : pages.putBulk(Uint32Array.of(pfn)));
    expect(put).toThrow(AssertionError);
    expect([pages.isHead(pfn), pages.table.refsOf(pfn)]).toEqual([true, 1]);
    pages.assertConsistent();
  });
});

describe('failure injection', () => {
  test('every allocation can be made to fail, and leaves nothing', () => {
    const pages = setup();
    pages.beforeAllocation = () => {
      throw new Error('injected');
    };
    expect(() => pages.alloc(0)).toThrow('injected');
    expect(() => pages.allocBulk(new Uint32Array(4), 0, 4)).toThrow('injected');
    pages.beforeAllocation = undefined;
    expect(pages.freePages).toBe(63);
    pages.assertConsistent();
  });
});

describe('forEachFreeRun', () => {
  test.for([1, 2, 3, 4, 5, 8, 63, 64, 65, 1000])(
    'finds every free frame of %i, whatever lies around',
    (n) => {
      const table = new PageTable((n + 9) * PAGE_SIZE);
      for (let pfn = 0; pfn < n + 9; pfn++) if ((pfn * 7) % 11 < 3) table.reserve(pfn, 1);
      table.setFlag(SCRATCH, n, 5);
      const pages = new PageAllocator(new HeapRam((n + 9) * PAGE_SIZE), table);
      const found = new Set<number>();
      let next = 0;
      pages.forEachFreeRun((pfn, count) => {
        expect(pfn).toBeGreaterThanOrEqual(next);
        next = pfn + count;
        for (let i = pfn; i < next; i++) found.add(i);
      });
      for (let pfn = 0; pfn < n + 9; pfn++) {
        const isFree = (table.flagsOf(pfn) & ~SCRATCH) === FREE;
        if (found.has(pfn) !== isFree) expect(`frame ${pfn}`).toBe(isFree ? 'found' : 'not found');
      }
      pages.assertConsistent();
    },
  );
});

test('memory that is freed while it is held is not handed out again, and keeps its content', () => {
  const pages = setup({ scratch: [32, 16], incoming: [[8, 3]] });
  const before = pages.alloc(2);
  pages.holdFreed();
  const [single, movable] = [pages.alloc(0), pages.alloc(3, { movable: true })];
  pages.adoptIncoming(8);
  for (const pfn of [before, single, movable, 8]) {
    pages.folioBytes(pfn).fill(pfn);
    pages.put(pfn);
  }
  expect(pages.heldPages).toBe(4 + 1 + 8 + 8);
  pages.assertConsistent();
  const all = new Uint32Array(pages.freePages + pages.freeScratchPages);
  pages.allocBulk(all, 0, all.length, { movable: true, zero: true });
  for (const pfn of [before, single, movable, 8]) {
    expect(all.includes(pfn)).toBe(false);
    expect(pages.ram.bytes(pfn * PAGE_SIZE, PAGE_SIZE).every((byte) => byte === pfn)).toBe(true);
  }
  pages.assertConsistent();
});

test.each<[string, (pages: PageAllocator) => unknown]>([
  ['a folio', (pages) => pages.alloc(3)],
  ['pages in bulk', (pages) => pages.allocBulk(new Uint32Array(8), 0, 8)],
  ['a vmalloc area', (pages) => vmalloc(pages, 8 * PAGE_SIZE)],
])('what is held back until it is wanted is given up for %s', (_, allocate) => {
  const pages = setup({ incoming: [[8, 3]] });
  let asked = 0;
  pages.holdFreed(() => {
    asked += 1;
    pages.releaseHeld();
  });
  pages.adoptIncoming(8);
  pages.put(8);
  const rest = new Uint32Array(pages.freePages);
  pages.allocBulk(rest, 0, rest.length);
  expect([asked, pages.heldPages, pages.freePages]).toEqual([0, 8, 0]);
  for (const tooMuch of [() => pages.alloc(4), () => vmalloc(pages, 9 * PAGE_SIZE)])
    expect(tooMuch).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
  expect(() => pages.alloc(3, { optional: true })).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
  expect([asked, pages.heldPages]).toEqual([0, 8]); // it would not have been enough, or smaller ones do as well
  allocate(pages);
  expect([asked, pages.heldPages, pages.freePages]).toEqual([1, 0, 0]);
  expect(() => pages.alloc(0)).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
  expect(asked).toBe(1);
  pages.assertConsistent();
});

describe('confined to some frames', () => {
  /** Frame 0 and 20 .. 23 are in use, all others free. */
  function confined(runs: readonly number[]): PageAllocator {
    const table = new PageTable(64 * PAGE_SIZE);
    table.reserve(0, 1);
    table.reserve(20, 4);
    return new PageAllocator(new HeapRam(64 * PAGE_SIZE), table, runs);
  }

  test.each([
    { runs: [], inside: [], outside: 59 },
    { runs: [8, 8], inside: [[8, 8]], outside: 51 },
    { runs: [0, 64], inside: [[1, 19], [24, 40]], outside: 0 }, // prettier-ignore
    { runs: [2, 1, 18, 8, 63, 1], inside: [[2, 1], [18, 2], [24, 2], [63, 1]], outside: 53 }, // prettier-ignore
  ])('to $runs', ({ runs, inside, outside }) => {
    const pages = confined(runs);
    pages.assertConsistent();
    expect(pages.outsidePages).toBe(outside);
    const all = inside.flatMap(([first, count]) => Array.from({ length: count }, (_, i) => first + i));
    expect(all.map(() => pages.alloc(0)).sort((a, b) => a - b)).toEqual(all);
    expect(() => pages.alloc(0)).toThrow(ENOMEM);
    pages.assertConsistent();
    pages.releaseHeld();
    expect([pages.freePages, pages.outsidePages]).toEqual([outside, 0]);
    for (const pfn of all) pages.put(pfn);
    pages.assertConsistent();
    expect(pages.freePages).toBe(59);
  });

  test('where memory gets short the rest is asked for, as what is held back is', () => {
    const pages = confined([8, 2]);
    pages.holdFreed(() => {
      pages.releaseHeld();
    });
    const got = Array.from({ length: 59 }, () => pages.alloc(0));
    expect(new Set(got).size).toBe(59);
    expect(() => pages.alloc(0)).toThrow(ENOMEM);
    pages.assertConsistent();
  });
});
