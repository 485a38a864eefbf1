import { AssertionError, codeOf, MAX_ORDER, PAGE_SIZE, pfnToPhys } from '@liveupdate/base';
import { FolioRuns, rowOf } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import { readHandover } from './read-handover.ts';
import {
  allAre,
  coldKho,
  folioOfEachOrder,
  keysOf,
  MiB,
  nextKho,
  rowOfPages,
  scatteredPages,
  snapshot,
  withCode,
} from './test-kho.ts';
import type { Kho } from './kho.ts';

/** Keys that a fresh kernel has by itself: its metadata. */
const OWN_KEYS = keysOfKho(coldKho()).length;

function keysOfKho(kho: Kho): string[] {
  return keysOf(kho.ram, readHandover(kho.ram, kho.entry).preservedMap);
}

/** Frames of every kind that nobody may preserve. */
function unpreservable(kho: Kho): [what: string, pfn: number, code: string][] {
  const folio = kho.pages.alloc(2);
  const preserved = kho.pages.alloc(0);
  kho.preserveFolio(preserved);
  const all = new Uint32Array(kho.pages.freePages - 10);
  kho.pages.allocBulk(all, 0, all.length);
  const single = new Uint32Array(kho.pages.freePages + 1);
  kho.pages.allocBulk(single, 0, single.length, { movable: true });
  const inScratch = single.at(-1)!;
  kho.pages.putBulk(single, 0, single.length - 1);
  const free = kho.pages.alloc(0);
  kho.pages.put(free);
  return [
    ['the reserved page', 0, 'EINVAL'],
    ['a tail page', folio + 1, 'EINVAL'],
    ['a free page', free, 'EINVAL'],
    ['a frame outside RAM', kho.ram.size / PAGE_SIZE, 'EINVAL'],
    ['a frame far outside RAM', 2 ** 31, 'EINVAL'],
    ['a page in scratch', inScratch, 'EINVAL'],
    ['a page that is preserved', preserved, 'EEXIST'],
  ];
}

describe('preserving folios', () => {
  test('of each order: one key, and back', () => {
    const kho = coldKho(32 * MiB);
    const pfns = folioOfEachOrder(kho.pages);
    const before = snapshot(kho);
    for (const pfn of pfns) kho.preserveFolio(pfn);
    const { preservedByOrder } = readHandover(kho.ram, kho.entry);
    for (let order = 0; order <= MAX_ORDER; order++)
      expect([order, preservedByOrder.get(order)]).toEqual([order, order === 0 ? 1 + OWN_KEYS : 1]);
    kho.pages.assertConsistent();
    for (const pfn of pfns) {
      expect(kho.pages.isPreserved(pfn)).toBe(true);
      expect(() => kho.pages.put(pfn)).toThrow(AssertionError);
      kho.unpreserveFolio(pfn);
    }
    expect(snapshot(kho)).toEqual(before);
    kho.pages.putBulk(pfns);
    kho.pages.assertConsistent();
  });

  const ways: [how: string, preserve: (kho: Kho, pfn: number) => void][] = [
    ['preserveFolio', (kho, pfn) => kho.preserveFolio(pfn)],
    ['preserveFolios', (kho, pfn) => kho.preserveFolios(Uint32Array.of(pfn))],
    ['preserveFolios after good ones', (kho, pfn) => kho.preserveFolios(Uint32Array.of(good(kho), pfn))],
    ['preserveRun', (kho, pfn) => kho.preserveRows(rowOf(pfn, 1, 0))],
    ['preserveRows after good ones', (kho, pfn) => kho.preserveRows(runs(good(kho), pfn))],
    ['preservePages', (kho, pfn) => kho.preservePages(pfn, 1)],
  ];
  /** The first page in use that may be preserved. */
  const good = (kho: Kho): number => kho.pages.table.snapshot().flags.findIndex((flags) => flags === 2);
  const runs = (...pfns: number[]): FolioRuns => {
    const all = new FolioRuns();
    for (const [i, pfn] of pfns.entries()) all.push(3 * i, pfn, 1, 0);
    return all;
  };

  test.for(ways)('%s refuses what cannot be, and changes nothing', ([, preserve]) => {
    const kho = coldKho();
    const frames = unpreservable(kho);
    const before = snapshot(kho);
    for (const [what, pfn, code] of frames) {
      let thrown: unknown;
      try {
        preserve(kho, pfn);
      } catch (error) {
        thrown = error;
      }
      expect([what, codeOf(thrown)]).toEqual([what, code]);
      expect(snapshot(kho)).toEqual(before);
    }
    kho.pages.assertConsistent();
  });

  test('a list in any order, with runs and folios of every order among it', () => {
    const kho = coldKho(32 * MiB);
    const row = rowOfPages(kho, 10);
    const scattered = scatteredPages(kho.pages, 10);
    const big = folioOfEachOrder(kho.pages);
    const pfns = Uint32Array.from([
      ...scattered.toReversed(),
      ...Array.from({ length: 10 }, (_, i) => row + i),
      ...big,
    ]);
    const before = snapshot(kho);
    kho.preserveFolios(pfns, 3);
    const orders = readHandover(kho.ram, kho.entry).preservedByOrder;
    expect(orders.get(0)).toBe(7 + 10 + 1 + OWN_KEYS);
    expect([...orders.keys()]).toHaveLength(MAX_ORDER + 1);
    expect([...pfns].map((pfn) => kho.pages.isPreserved(pfn)).lastIndexOf(false)).toBe(2);
    kho.unpreserveFolios(pfns, 3, 5);
    kho.unpreserveFolios(pfns, 8);
    expect(snapshot(kho)).toEqual(before);
  });

  test('a page named twice in one list: EEXIST, and none is kept', () => {
    const kho = coldKho();
    const pfn = kho.pages.alloc(0);
    const before = snapshot(kho);
    expect(() => kho.preserveFolios(Uint32Array.of(pfn, pfn))).toThrow(withCode('EEXIST'));
    expect(() => kho.preserveRows(runs(pfn, pfn))).toThrow(withCode('EEXIST'));
    expect(snapshot(kho)).toEqual(before);
  });

  test('runs: all or none, and back', () => {
    const kho = coldKho(32 * MiB);
    const row = rowOfPages(kho, 16);
    const folio = kho.pages.alloc(3);
    const other = kho.pages.alloc(0);
    const all = new FolioRuns();
    all.push(0, row, 10, 0);
    all.push(16, folio, 1, 3);
    all.push(40, other, 1, 0);
    const before = snapshot(kho);
    kho.preserveRows(all);
    expect(keysOfKho(kho)).toHaveLength(OWN_KEYS + 3);
    const preserved = snapshot(kho);
    all.push(50, row + 9, 2, 0); // the first of them is preserved
    kho.unpreserveFolio(other);
    const partly = snapshot(kho);
    expect(() => kho.preserveRows(all)).toThrow(withCode('EEXIST'));
    expect(snapshot(kho)).toEqual(partly);
    kho.preserveFolio(other);
    expect(snapshot(kho)).toEqual(preserved);
    all.length -= 1;
    kho.unpreserveRows(all);
    expect(snapshot(kho)).toEqual(before);
  });

  test.for<[what: string, pfn: (folio: number) => number, count: number, order: number]>([
    ['another order', (folio) => folio, 1, 1],
    ['order 0 where a larger folio begins', (folio) => folio, 1, 0],
    ['a run that leaves the folios', (folio) => folio, 2, 2],
    ['a run that begins in a tail', (folio) => folio + 2, 1, 1],
    ['a run that leaves RAM', (folio) => folio, 5000, 2],
  ])('preserveRun of %s: EINVAL', ([, pfn, count, order]) => {
    const kho = coldKho();
    const folio = kho.pages.alloc(2);
    kho.pages.put(kho.pages.alloc(5));
    const before = snapshot(kho);
    expect(() => kho.preserveRows(rowOf(pfn(folio), count, order))).toThrow(withCode('EINVAL'));
    expect(snapshot(kho)).toEqual(before);
  });

  test('taking back what is not preserved is a bug, and changes nothing', () => {
    const kho = coldKho();
    const pfn = kho.pages.alloc(0);
    const row = rowOfPages(kho, 8);
    kho.preservePages(row, 8);
    const other = kho.pages.alloc(0);
    kho.preserveFolio(other);
    const before = snapshot(kho);
    for (const use of [
      () => kho.unpreserveFolio(pfn),
      () => kho.unpreserveFolio(0),
      () => kho.unpreserveFolio(2 ** 31),
      () => kho.unpreserveFolio(row), // one of a run, which has one key
      () => kho.unpreserveFolios(Uint32Array.of(pfn)),
      () => kho.unpreserveFolios(Uint32Array.of(other, row + 3)),
      () => kho.unpreserveFolios(Uint32Array.of(row + 3)),
      () => kho.unpreserveRows(rowOf(pfn, 1, 0)),
      () => kho.unpreservePages(pfn, 1),
      () => kho.unpreserveFree(pfnToPhys(pfn)),
      () => kho.unpreserveFree(pfnToPhys(row) + 1),
    ])
      expect(use).toThrow(AssertionError);
    expect(snapshot(kho)).toEqual(before);
  });
});

describe('preserving pages in a row', () => {
  test.for<[offset: number, count: number, keys: string[]]>([
    [0, 1, ['+0 order 0']],
    [0, 8, ['+0 order 3']],
    [1, 7, ['+4 order 2', '+2 order 1', '+1 order 0']],
    [1, 8, ['+4 order 2', '+2 order 1', '+1 order 0', '+8 order 0']],
    [3, 12, ['+4 order 2', '+8 order 2', '+12 order 1', '+3 order 0', '+14 order 0']],
    [0, 0, []],
  ])('from +%i on, %i pages', ([offset, count, keys]) => {
    const kho = coldKho();
    const row = rowOfPages(kho, 16, 16);
    const before = snapshot(kho);
    kho.preservePages(row + offset, count);
    const found: string[] = [];
    for (const key of keysOfKho(kho)) {
      const [, pfn, times, order] = /^(\d+) x(\d+), order (\d+)$/.exec(key)!.map(Number);
      const own = (at: number): boolean => at >= row && at < row + 16;
      for (let i = 0; i < times; i++)
        if (own(pfn + i * 2 ** order)) found.push(`+${pfn + i * 2 ** order - row} order ${order}`);
    }
    expect(found).toEqual(keys);

    const next = nextKho(kho, { freeMemory: 'poison' });
    if (count > 0) {
      const was = snapshot(next);
      expect(() => next.restorePages(row + offset, count + 1)).toThrow(withCode('ENOENT'));
      expect(() => next.restorePages(row + offset + 1, count)).toThrow(withCode('ENOENT'));
      expect(snapshot(next)).toEqual(was);
    }
    next.restorePages(row + offset, count);
    for (let i = offset; i < offset + count; i++) {
      expect([next.pages.orderOf(row + i), next.pages.table.refsOf(row + i)]).toEqual([0, 1]);
      expect(allAre(next.pages.folioBytes(row + i), i + 1)).toBe(true);
    }
    next.pages.assertConsistent();
    if (count > 0) expect(() => next.restorePages(row + offset, count)).toThrow(withCode('ENOENT'));

    kho.unpreservePages(row + offset, count);
    expect(snapshot(kho)).toEqual(before);
  });

  test('one of them preserved already, or part of a folio: nothing is kept', () => {
    const kho = coldKho();
    const row = rowOfPages(kho, 16, 16);
    kho.preserveFolio(row + 5);
    const before = snapshot(kho);
    expect(() => kho.preservePages(row, 16)).toThrow(withCode('EEXIST'));
    const folio = kho.pages.alloc(2);
    expect(() => kho.preservePages(folio, 4)).toThrow(withCode('EINVAL'));
    kho.pages.put(folio);
    expect(snapshot(kho)).toEqual(before);
  });
});

describe('blocks', () => {
  test.for<[size: number, order: number]>([
    [1, 0],
    [4096, 0],
    [4097, 1],
    [3 * 4096, 2],
    [2 * MiB, 9],
    [4 * MiB, 10],
    [0.5, 0],
  ])('of %d bytes are zeroed folios of order %i, preserved until they are freed', ([size, order]) => {
    const kho = coldKho(32 * MiB);
    const before = snapshot(kho);
    const block = kho.allocPreserve(size);
    const pfn = block.pa / PAGE_SIZE;
    expect([kho.pages.orderOf(pfn), kho.pages.isPreserved(pfn)]).toEqual([order, true]);
    expect(block.bytes).toHaveLength(PAGE_SIZE << order);
    expect(allAre(block.bytes, 0)).toBe(true);
    kho.unpreserveFree(order % 2 === 0 ? block.pa : BigInt(block.pa));
    expect(snapshot(kho)).toEqual(before);
  });

  test.for<[size: number, code: string]>([
    [0, 'EINVAL'],
    [-1, 'EINVAL'],
    [Number.NaN, 'EINVAL'],
    [4 * MiB + 1, 'E2BIG'],
    [2 ** 50, 'E2BIG'],
    [Number.POSITIVE_INFINITY, 'E2BIG'],
  ])('of %d bytes: %s', ([size, code]) => {
    const kho = coldKho();
    const before = snapshot(kho);
    expect(() => kho.allocPreserve(size)).toThrow(withCode(code));
    expect(snapshot(kho)).toEqual(before);
  });

  test('where there is no memory: ENOMEM', () => {
    const kho = coldKho();
    expect(() => kho.allocPreserve(4 * MiB)).toThrow(withCode('ENOMEM'));
  });

  test('at() finds them by the number that a handler keeps', () => {
    const kho = coldKho();
    const block = kho.allocPreserve(3 * 4096);
    block.bytes.fill(5);
    for (const data of [block.pa, BigInt(block.pa)]) {
      expect(kho.at(data).pa).toBe(block.pa);
      expect(kho.at(data).bytes).toHaveLength(4 * PAGE_SIZE);
    }
    const next = nextKho(kho);
    expect(allAre(next.at(block.pa).bytes, 5)).toBe(true); // before it is restored ...
    next.restoreFolio(block.pa / PAGE_SIZE);
    expect(next.at(block.pa).bytes).toHaveLength(4 * PAGE_SIZE); // ... and after
  });

  test('at() of anything else is EINVAL', () => {
    const kho = coldKho(64 * MiB, { freeMemory: 'zero' });
    const block = kho.allocPreserve(2 * 4096);
    const long = rowOfPages(kho, 2048, 2048);
    kho.preservePages(long, 2048);
    const next = nextKho(kho);
    for (const data of [
      0,
      block.pa + 1,
      block.pa + PAGE_SIZE,
      kho.ram.size,
      2 ** 52,
      -PAGE_SIZE,
      Number.NaN,
      2n ** 63n,
      -1n,
      pfnToPhys(long), // 2048 pages in a row are no block
    ])
      expect(() => next.at(data)).toThrow(withCode('EINVAL'));
  });
});
