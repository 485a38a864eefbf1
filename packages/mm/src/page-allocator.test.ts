import { AssertionError, MAX_FOLIO_SIZE, MAX_ORDER, PAGE_SIZE } from '@liveupdate/base';
import { describe, expect, test, vi } from 'vitest';
import { FreeSet } from './free-set.ts';
import { HeapRam } from './heap-ram.ts';
import { PageAllocator } from './page-allocator.ts';
import {
  FREE,
  HEAD,
  INCOMING_HEAD,
  PageTable,
  PRESERVED,
  RESERVED,
  SCRATCH,
  STALE,
  TAIL,
} from './page-table.ts';

const ENOMEM: unknown = expect.objectContaining({ code: 'ENOMEM' });

interface Setup {
  frames?: number;
  /** First frame and number of frames. */
  scratch?: [number, number];
  /** Head and order. */
  incoming?: [number, number][];
}

/** An allocator whose frame 0 is reserved and whose memory is 0xdd everywhere. */
function setup({ frames = 64, scratch, incoming = [] }: Setup = {}): PageAllocator {
  const ram = new HeapRam(frames * PAGE_SIZE);
  ram.bytes(0, ram.size).fill(0xdd);
  const table = new PageTable(ram.size);
  for (const [pfn, order] of incoming) table.claimIncoming(pfn, order);
  if (scratch) table.setFlag(SCRATCH, ...scratch);
  table.reserve(0, 1);
  table.markStale();
  return new PageAllocator(ram, table);
}

/** What the free memory looks like. */
function freeRuns(pages: PageAllocator): [number, number][] {
  const runs: [number, number][] = [];
  pages.forEachFreeRun((pfn, count) => {
    const last = runs.at(-1);
    if (last && last[0] + last[1] === pfn) last[1] += count;
    else runs.push([pfn, count]);
  });
  return runs;
}

const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);

describe('alloc and put', () => {
  test.for(Array.from({ length: MAX_ORDER + 1 }, (_, order) => order))(
    'a folio of order %i is aligned, whole, and comes back',
    (order) => {
      const pages = setup({ frames: 4096 });
      const free = pages.freePages;
      const pfn = pages.alloc(order);
      const count = 2 ** order;
      expect(pfn % count).toBe(0);
      expect([pages.isHead(pfn), pages.orderOf(pfn), pages.table.refs[pfn]]).toEqual([true, order, 1]);
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

  test('getBulk adds a reference to each, twice where a folio is named twice', () => {
    const pages = setup();
    const [a, b] = [pages.alloc(0), pages.alloc(2)];
    pages.getBulk(Uint32Array.from([a, b, a]));
    expect([pages.table.refs[a], pages.table.refs[b]]).toEqual([3, 2]);
    pages.assertConsistent();
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

describe('pins', () => {
  test('a pin is a reference that says do not move', () => {
    const pages = setup();
    const pfns = Uint32Array.from([pages.alloc(0), pages.alloc(2)]);
    pages.pinBulk(pfns);
    pages.pinBulk(pfns);
    expect([...pfns].map((pfn) => [pages.table.refs[pfn], pages.table.pins[pfn]])).toEqual([
      [3, 2],
      [3, 2],
    ]);
    pages.assertConsistent();
    pages.put(pfns[0]);
    expect(() => pages.put(pfns[0])).toThrow(AssertionError); // two references left, both pins
    expect(() => pages.split(pfns[1])).toThrow(AssertionError);
    pages.unpinBulk(pfns.subarray(1));
    pages.unpinBulk(pfns.subarray(1));
    expect(() => pages.unpinBulk(pfns.subarray(1))).toThrow(AssertionError);
    pages.put(pfns[1]);
    pages.assertConsistent();
  });

  test.for(['unpinBulk', 'unpinRun'] as const)('a pin outlives its owner, and %s then frees', (how) => {
    const pages = setup();
    const pfn = pages.alloc(2);
    pages.pinRun(pfn, 1, 2);
    pages.put(pfn);
    pages.assertConsistent();
    if (how === 'unpinRun') pages.unpinRun(pfn, 1, 2);
    else pages.unpinBulk(Uint32Array.of(pfn));
    expect(freeRuns(pages)).toEqual([[1, 63]]);
    pages.assertConsistent();
  });

  test.for<[what: string, spoil: (pages: PageAllocator, pfn: number) => void]>([
    ['a free frame', (pages, pfn) => pages.put(pfn)],
    ['a folio with as many pins as there can be', (pages, pfn) => setPins(pages, pfn, 0xffff)],
  ])('pinBulk is all or none: %s', ([, spoil]) => {
    const pages = setup();
    const pfns = Uint32Array.from([pages.alloc(0), pages.alloc(0), pages.alloc(0)]);
    spoil(pages, pfns[2]);
    expect(() => pages.pinBulk(pfns)).toThrow(AssertionError);
    expect([...pfns.subarray(0, 2)].map((pfn) => [pages.table.refs[pfn], pages.table.pins[pfn]])).toEqual([
      [1, 0],
      [1, 0],
    ]);
    pages.assertConsistent();
  });

  function setPins(pages: PageAllocator, pfn: number, pins: number): void {
    pages.table.pins[pfn] = pins;
    pages.table.refs[pfn] = pins + 1;
  }
});

describe('split', () => {
  test('makes single pages, each with the references of the folio', () => {
    const pages = setup({ scratch: [32, 32] });
    const pfn = pages.alloc(5, { movable: true });
    pages.get(pfn);
    pages.split(pfn);
    expect(pages.table.refs.subarray(pfn, pfn + 32)).toEqual(new Uint32Array(32).fill(2));
    expect(pages.table.flags.subarray(pfn, pfn + 32)).toEqual(new Uint8Array(32).fill(HEAD | SCRATCH));
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
    expect([pages.orderOf(pfn), pages.table.refs[pfn]]).toEqual([0, 1]);
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
    expect(pages.table.refs[shared]).toBe(1);
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
    const counts = (): number[] => [pages.table.refs[heads[0]], pages.table.pins[heads.at(-1)!]];
    pages.getRun(first, heads.length, order);
    expect(counts()).toEqual([2, 0]);
    pages.pinRun(first, heads.length, order);
    expect(counts()).toEqual([3, 1]);
    pages.assertConsistent();
    pages.unpinRun(first, heads.length, order);
    expect(counts()).toEqual([2, 0]);
    pages.putRun(first, heads.length, order);
    expect(counts()).toEqual([1, 0]);
    pages.assertConsistent();
    pages.get(heads[1]);
    pages.putRun(first, heads.length, order);
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
    pages.putRun(1, 63, 0);
    expect([pages.freePages, pages.freeScratchPages]).toEqual([15, 48]);
    expect(pages.isScratch(20)).toBe(true);
    pages.assertConsistent();
  });

  test('a run with a preserved folio in it is not freed at all', () => {
    const pages = setup();
    const all = new Uint32Array(8);
    pages.allocBulk(all, 0, 8);
    pages.table.setFlag(PRESERVED, all[5], 1);
    expect(() => pages.putRun(all[4], 4, 0)).toThrow(AssertionError);
    expect([4, 5, 6, 7].map((i) => pages.table.refs[all[i]])).toEqual([1, 1, 1, 1]);
    pages.assertConsistent();
  });

  test.for<[what: string, use: (pages: PageAllocator, first: number) => void]>([
    ['getRun of another order', (pages, first) => pages.getRun(first, 2, 0)],
    ['getRun that leaves the folios', (pages, first) => pages.getRun(first, 9, 2)],
    ['putRun of another order', (pages, first) => pages.putRun(first, 1, 3)],
    ['putRun of a tail', (pages, first) => pages.putRun(first + 1, 1, 2)],
    ['putRun outside RAM', (pages) => pages.putRun(64, 1, 0)],
    ['pinRun that leaves the folios', (pages, first) => pages.pinRun(first, 9, 2)],
    ['unpinRun of what is not pinned', (pages, first) => pages.unpinRun(first, 8, 2)],
    [
      'pinRun of one with as many pins as there can be',
      (pages, first) => {
        pages.table.pins[first + 28] = 0xffff;
        pages.table.refs[first + 28] = 0x1_0000;
        pages.pinRun(first, 8, 2);
      },
    ],
  ])('%s is a bug, and changes nothing', ([, use]) => {
    const pages = setup();
    const first = pages.alloc(5);
    carve(pages, first, 5, 2);
    expect(() => use(pages, first)).toThrow(AssertionError);
    expect([pages.table.refs[first], pages.table.pins[first]]).toEqual([1, 0]);
    pages.assertConsistent();
  });

  /** Makes a folio into smaller ones, as if they had been allocated side by side. */
  function carve(pages: PageAllocator, pfn: number, from: number, to: number): void {
    pages.split(pfn);
    for (let at = pfn; at < pfn + (1 << from); at += 1 << to) {
      pages.table.orders[at] = to;
      pages.table.flags.fill(TAIL, at + 1, at + (1 << to));
      pages.table.refs.fill(0, at + 1, at + (1 << to));
    }
    pages.assertConsistent();
  }
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
    expect([pages.orderOf(16), pages.table.refs[16]]).toEqual([2, 1]);
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
    const before = pages.table.flags.slice();
    expect(pages.adoptIncoming(pfn, order)).toBe(false);
    expect(pages.table.flags).toEqual(before);
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
      expect(pages.adoptIncomingRun(pfn, count, 0)).toBe(false);
    expect(pages.isHead(8)).toBe(false);
    expect(pages.adoptIncomingRun(8, 3, 0)).toBe(true);
    expect([8, 9, 10].map((pfn) => pages.table.refs[pfn])).toEqual([1, 1, 1]);
    expect(pages.adoptIncomingRun(10, 1, 0)).toBe(false);
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
      expect(pages.adoptIncomingRun(pfn, count, order)).toBe(false);
    expect(pages.isHead(16)).toBe(false);
    expect(pages.adoptIncomingRun(16, 2, 2)).toBe(true);
    expect([pages.orderOf(20), pages.table.refs[20]]).toEqual([2, 1]);
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
    pages.releaseReserved(1);
    pages.releaseReserved(40);
    expect([pages.freePages, pages.freeScratchPages]).toEqual([30, 32]);
    pages.assertConsistent();
    expect(() => pages.releaseReserved(1)).toThrow(AssertionError);
  });
});

describe('misuse is found at once, and changes nothing', () => {
  const bugs: [what: string, use: (pages: PageAllocator, pfn: number) => unknown][] = [
    ['alloc of order -1', (pages) => pages.alloc(-1)],
    ['alloc of order 11', (pages) => pages.alloc(11)],
    ['alloc of no order', (pages) => pages.alloc(Number.NaN)],
    ['get of a tail', (pages, pfn) => pages.get(pfn + 1)],
    ['get of a free frame', (pages) => pages.get(60)],
    ['get outside RAM', (pages) => pages.get(64)],
    ['getBulk of a free frame', (pages) => pages.getBulk(Uint32Array.of(60))],
    ['put of a tail', (pages, pfn) => pages.put(pfn + 1)],
    ['put of a free frame', (pages) => pages.put(60)],
    ['put of the reserved frame', (pages) => pages.put(0)],
    ['put outside RAM', (pages) => pages.put(2 ** 33)],
    ['putBulk of a tail', (pages, pfn) => pages.putBulk(Uint32Array.of(pfn + 1))],
    ['putBulk outside RAM', (pages) => pages.putBulk(Uint32Array.of(64))],
    ['pin of a free frame', (pages) => pages.pinBulk(Uint32Array.of(60))],
    ['unpin of what is not pinned', (pages, pfn) => pages.unpinBulk(Uint32Array.of(pfn))],
    ['unpin of a free frame', (pages) => pages.unpinBulk(Uint32Array.of(60))],
    ['split of a tail', (pages, pfn) => pages.split(pfn + 1)],
    ['release of a frame in use', (pages, pfn) => pages.releaseReserved(pfn)],
  ];

  test.for(bugs)('%s', ([, use]) => {
    const pages = setup();
    const pfn = pages.alloc(2);
    const before = pages.table.flags.slice();
    expect(() => use(pages, pfn)).toThrow(AssertionError);
    expect(pages.table.flags).toEqual(before);
    pages.assertConsistent();
  });

  test.for(['put', 'putBulk'] as const)('%s of the last reference to a preserved folio', (how) => {
    const pages = setup();
    const pfn = pages.alloc(0);
    pages.table.setFlag(PRESERVED, pfn, 1);
    const put = (): void => (how === 'put' ? pages.put(pfn) : pages.putBulk(Uint32Array.of(pfn)));
    expect(put).toThrow(AssertionError);
    expect([pages.isHead(pfn), pages.table.refs[pfn]]).toEqual([true, 1]);
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
        const isFree = (table.flags[pfn] & ~SCRATCH) === FREE;
        if (found.has(pfn) !== isFree) expect(`frame ${pfn}`).toBe(isFree ? 'found' : 'not found');
      }
      pages.assertConsistent();
    },
  );
});

describe('assertConsistent finds', () => {
  /** Single pages everywhere, a folio of order 2, an incoming one, and scratch; `sets` are the free sets that were filled. */
  function world(): { pages: PageAllocator; folio: number; single: number; sets: FreeSet[] } {
    const add = vi.spyOn(FreeSet.prototype, 'add');
    try {
      const pages = setup({ frames: 4096, scratch: [2048, 16], incoming: [[512, 2]] });
      const folio = pages.alloc(2);
      const single = pages.alloc(0);
      pages.assertConsistent();
      return { pages, folio, single, sets: [...new Set(add.mock.contexts as FreeSet[])] };
    } finally {
      add.mockRestore();
    }
  }
  const FREE_FRAME = 3000;
  const IN_SCRATCH = 2050;

  test.for<[rule: string, spoil: (w: ReturnType<typeof world>) => void]>([
    ['a frame in use inside a free block', ({ pages }) => (pages.table.flags[FREE_FRAME] = HEAD)],
    ['a reserved frame inside a free block', ({ pages }) => (pages.table.flags[FREE_FRAME] = RESERVED)],
    ['a block that leaves RAM', ({ sets }) => sets.forEach((set) => !set.has(4095) && set.add(4095))],
    ['a free frame in the wrong zone', ({ pages }) => pages.table.setFlag(SCRATCH, FREE_FRAME, 1)],
    ['a scratch frame in the wrong zone', ({ pages }) => pages.table.clearFlag(SCRATCH, IN_SCRATCH, 1)],
    [
      'a frame in two free blocks',
      ({ pages }) => {
        pages.table.flags[FREE_FRAME] = HEAD;
        pages.table.orders[FREE_FRAME] = 0;
        pages.table.refs[FREE_FRAME] = 1;
        pages.put(FREE_FRAME);
      },
    ],
    [
      'two buddies that are free apart',
      ({ pages, sets }) => {
        // The frame that an odd single page leaves free beside it, and that page itself, put back behind the zone's back.
        const pfn = pages.alloc(0);
        const buddy = pages.alloc(0);
        expect(buddy).toBe(pfn ^ 1);
        pages.put(buddy);
        const singles = sets.find((set) => set.has(buddy) && !set.has(pfn))!;
        singles.add(pfn);
        pages.table.flags[pfn] = FREE;
      },
    ],
    ['an order that counts more blocks than it has', ({ sets }) => addTwice(filledSet(sets))],
    ['a zone that counts more frames than it has', ({ sets }) => removeFirst(filledSet(sets))],
    ['a free frame that is in no free block', ({ pages, single }) => (pages.table.flags[single] = FREE)],
    ['a free frame with a reference', ({ pages }) => (pages.table.refs[FREE_FRAME] = 1)],
    ['a free frame with a pin', ({ pages }) => (pages.table.pins[FREE_FRAME] = 1)],
    ['a tail page of no folio', ({ pages, single }) => (pages.table.flags[single] = TAIL)],
    ['an unknown kind', ({ pages, single }) => (pages.table.flags[single] = 7)],
    ['a folio that is not aligned', ({ pages, folio }) => moveHead(pages, folio)],
    ['a folio of too high an order', ({ pages, folio }) => (pages.table.orders[folio] = 11)],
    ['a folio that leaves RAM', ({ pages, folio }) => (pages.table.orders[folio] = 30)],
    ['a folio without a reference', ({ pages, folio }) => (pages.table.refs[folio] = 0)],
    ['a folio with more pins than references', ({ pages, folio }) => (pages.table.pins[folio] = 2)],
    ['a folio whose tail is free', ({ pages, folio }) => (pages.table.flags[folio + 2] = FREE)],
    ['a folio whose tail is a head', ({ pages, folio }) => (pages.table.flags[folio + 3] = HEAD)],
    ['a folio half in scratch', ({ pages, folio }) => pages.table.setFlag(SCRATCH, folio + 2, 2)],
    ['a tail page with a reference', ({ pages, folio }) => (pages.table.refs[folio + 1] = 1)],
    ['a tail page with a pin', ({ pages, folio }) => (pages.table.pins[folio + 1] = 1)],
    ['an incoming folio that is preserved', ({ pages }) => pages.table.setFlag(PRESERVED, 512, 1)],
    ['an incoming folio with an owner', ({ pages }) => (pages.table.refs[512] = 1)],
    ['an incoming folio with a tail in use', ({ pages }) => (pages.table.flags[513] = TAIL)],
    ['an incoming folio that is too short', ({ pages }) => (pages.table.flags[515] = INCOMING_HEAD)],
    [
      'a preserved folio in scratch',
      ({ pages }) => {
        const out = new Uint32Array(pages.freePages + 1);
        pages.allocBulk(out, 0, out.length, { movable: true });
        pages.table.setFlag(PRESERVED, out[out.length - 1], 1);
      },
    ],
  ])('%s', ([, spoil]) => {
    const w = world();
    spoil(w);
    expect(() => w.pages.assertConsistent()).toThrow(AssertionError);
  });

  /** The folio's four frames as a single page, a folio of two at an odd frame, and a single page. */
  function moveHead(pages: PageAllocator, folio: number): void {
    const { flags, orders, refs } = pages.table;
    flags.set([HEAD, HEAD, TAIL, HEAD], folio);
    orders.set([0, 1, 0, 0], folio);
    refs.set([1, 1, 0, 1], folio);
  }

  const filledSet = (sets: FreeSet[]): FreeSet => sets.find((set) => set.count > 0)!;
  const addTwice = (set: FreeSet): void => set.add(set.first());
  const removeFirst = (set: FreeSet): void => set.remove(set.first());

  test('nothing in a world that is whole', () => {
    const { pages } = world();
    pages.assertConsistent();
    expect(pages.ram.size).toBe(4 * MAX_FOLIO_SIZE);
  });
});
