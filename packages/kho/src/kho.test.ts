import { AssertionError, codeOf, MAX_ORDER, PAGE_SIZE, pfnToPhys } from '@liveupdate/base';
import { FolioRuns, PageAllocator, vmalloc } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import { KexecMetadataSer, ScratchSer } from './abi.ts';
import { Kho } from './kho.ts';
import { readHandover } from './read-handover.ts';
import {
  allAre,
  coldKho,
  failEachAllocation,
  folioOfEachOrder,
  keysOf,
  MiB,
  nextKho,
  scatteredPages,
  snapshot,
  withCode,
} from './test-kho.ts';

/** Keys that a fresh kernel has by itself: its metadata. */
const OWN_KEYS = keysOfKho(coldKho()).length;

function keysOfKho(kho: Kho): string[] {
  return keysOf(kho.ram, readHandover(kho.ram, kho.entry).preservedMap);
}

/** `count` pages of order 0 in a row from an even frame on, each beginning with its number. */
function rowOfPages(kho: Kho, count: number, align = 8): number {
  const all = new Uint32Array(count + align);
  kho.pages.allocBulk(all, 0, all.length);
  all.sort();
  const first = all.find((pfn, i) => pfn % align === 0 && all[i + count - 1] === pfn + count - 1)!;
  kho.pages.putBulk(all.filter((pfn) => pfn < first || pfn >= first + count));
  for (let i = 0; i < count; i++) kho.pages.folioBytes(first + i).fill(i + 1);
  return first;
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
    ['preserveRun', (kho, pfn) => kho.preserveRun(pfn, 1, 0)],
    ['preserveRuns after good ones', (kho, pfn) => kho.preserveRuns(runs(good(kho), pfn))],
    ['preservePages', (kho, pfn) => kho.preservePages(pfn, 1)],
  ];
  /** The first page in use that may be preserved. */
  const good = (kho: Kho): number => kho.pages.table.flags.findIndex((flags) => flags === 2);
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
    expect(() => kho.preserveRuns(runs(pfn, pfn))).toThrow(withCode('EEXIST'));
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
    kho.preserveRuns(all);
    expect(keysOfKho(kho)).toHaveLength(OWN_KEYS + 3);
    const preserved = snapshot(kho);
    all.push(50, row + 9, 2, 0); // the first of them is preserved
    kho.unpreserveFolio(other);
    const partly = snapshot(kho);
    expect(() => kho.preserveRuns(all)).toThrow(withCode('EEXIST'));
    expect(snapshot(kho)).toEqual(partly);
    kho.preserveFolio(other);
    expect(snapshot(kho)).toEqual(preserved);
    all.length -= 1;
    kho.unpreserveRuns(all);
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
    expect(() => kho.preserveRun(pfn(folio), count, order)).toThrow(withCode('EINVAL'));
    expect(snapshot(kho)).toEqual(before);
  });

  test('taking back what is not preserved is a bug, and changes nothing', () => {
    const kho = coldKho();
    const pfn = kho.pages.alloc(0);
    const row = rowOfPages(kho, 8);
    kho.preservePages(row, 8);
    const before = snapshot(kho);
    for (const use of [
      () => kho.unpreserveFolio(pfn),
      () => kho.unpreserveFolio(0),
      () => kho.unpreserveFolio(2 ** 31),
      () => kho.unpreserveFolio(row), // one of a run, which has one key
      () => kho.unpreserveFolios(Uint32Array.of(pfn)),
      () => kho.unpreserveRun(pfn, 1, 0),
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
      expect([next.pages.orderOf(row + i), next.pages.table.refs[row + i]]).toEqual([0, 1]);
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

describe('restoring', () => {
  test('a folio of each order comes back as it was, once', () => {
    const kho = coldKho(32 * MiB);
    const pfns = folioOfEachOrder(kho.pages);
    kho.preserveFolios(pfns);
    for (const [order, pfn] of pfns.entries()) kho.pages.folioBytes(pfn).fill(order + 1); // after preserving
    const next = nextKho(kho, { freeMemory: 'poison' });
    for (const [order, pfn] of pfns.entries()) {
      expect([next.isIncoming(pfn), order > 0 && next.isIncoming(pfn + 1)]).toEqual([true, false]);
      next.restoreFolio(pfn);
      expect([next.pages.orderOf(pfn), next.pages.table.refs[pfn], next.isIncoming(pfn)]).toEqual([
        order,
        1,
        false,
      ]);
      const bytes = next.pages.folioBytes(pfn);
      expect([bytes[0], bytes[bytes.length - 1]]).toEqual([order + 1, order + 1]);
      expect(() => next.restoreFolio(pfn)).toThrow(withCode('ENOENT'));
    }
    next.pages.assertConsistent();
  });

  test('what is no preserved folio is ENOENT, and nothing changes', () => {
    const kho = coldKho(64 * MiB, { freeMemory: 'zero' });
    const folio = kho.allocPreserve(4 * 4096);
    const long = rowOfPages(kho, 2048, 2048);
    kho.preservePages(long, 2048);
    const next = nextKho(kho);
    const own = next.pages.alloc(0);
    const before = snapshot(next);
    for (const pfn of [
      0,
      folio.pa / PAGE_SIZE + 1,
      own,
      next.ram.size / PAGE_SIZE,
      2 ** 31,
      -1,
      0.5,
      Number.NaN,
      long,
    ]) {
      expect(() => next.restoreFolio(pfn)).toThrow(withCode('ENOENT'));
      expect(() => next.restoreFree(pfn * PAGE_SIZE)).toThrow(withCode('ENOENT'));
      expect(next.restoreFolios(Uint32Array.of(pfn))).toBe(0);
    }
    expect(() => next.restoreFree(folio.pa + 8)).toThrow(withCode('ENOENT'));
    expect(() => next.restoreFree(BigInt(folio.pa) + 8n)).toThrow(withCode('ENOENT'));
    expect(snapshot(next)).toEqual(before);
    next.restoreFree(BigInt(folio.pa));
    next.restorePages(long, 2048);
    next.pages.assertConsistent();
  });

  test('on a cold boot there is nothing to restore', () => {
    const kho = coldKho();
    const pfn = kho.pages.alloc(0);
    expect(() => kho.restoreFolio(pfn)).toThrow(withCode('ENOENT'));
    expect(() => kho.restoreFolio(1000)).toThrow(withCode('ENOENT'));
    expect(kho.retrieveSubtree('kexec-metadata')).toBeUndefined();
    kho.commit();
  });

  test('a list is restored up to the first that cannot be', () => {
    const kho = coldKho(16 * MiB);
    const row = rowOfPages(kho, 12);
    const folios = Uint32Array.from([kho.pages.alloc(3), kho.pages.alloc(0), kho.pages.alloc(3)]);
    const list = Uint32Array.from([...Array.from({ length: 12 }, (_, i) => row + i), ...folios]);
    kho.preserveFolios(list);
    for (let bad = 0; bad < list.length; bad++) {
      const next = nextKho(kho, { freeMemory: 'keep' });
      next.restoreFolio(list[bad]);
      expect(next.restoreFolios(list)).toBe(bad);
      expect([...list].map((pfn) => next.isIncoming(pfn)).indexOf(true)).toBe(
        bad + 1 < list.length ? bad + 1 : -1,
      );
      expect(next.restoreFolios(list, bad + 1)).toBe(list.length - bad - 1);
      next.pages.putBulk(list);
      next.pages.assertConsistent();
    }
    expect(nextKho(kho, { freeMemory: 'keep' }).restoreFolios(list)).toBe(list.length);
  });

  test('runs are restored up to the first that cannot be, which is left whole', () => {
    const kho = coldKho(64 * MiB, { freeMemory: 'zero' });
    const row = rowOfPages(kho, 12);
    const [a, b] = [kho.pages.alloc(3), kho.pages.alloc(3)];
    const long = rowOfPages(kho, 2048, 2048);
    kho.preservePages(long, 2048);
    const runs = new FolioRuns();
    runs.push(0, row, 5, 0);
    runs.push(5, a, b === a + 8 ? 2 : 1, 3);
    runs.push(100, row + 5, 7, 0);
    kho.preserveRuns(runs);
    const next = nextKho(kho, { freeMemory: 'keep' });
    next.restoreFolio(row + 9);
    expect(next.restoreRuns(runs)).toBe(2);
    expect([next.isIncoming(row + 5), next.isIncoming(row + 11), next.pages.isHead(a)]).toEqual([
      true,
      true,
      true,
    ]);
    expect(next.restoreRuns(runs)).toBe(0);
    const huge = new FolioRuns();
    huge.push(0, long, 1, 11);
    expect(next.restoreRuns(huge)).toBe(0);
    const outside = new FolioRuns();
    outside.push(0, next.ram.size / PAGE_SIZE - 1, 2, 0);
    expect(next.restoreRuns(outside)).toBe(0);
    next.pages.assertConsistent();
  });
});

describe('subtrees', () => {
  test('are in the device tree as long as they are named', () => {
    const kho = coldKho();
    const block = kho.allocPreserve(3 * PAGE_SIZE);
    const entry = kho.entry;
    kho.addSubtree('LUO', block.pa, 32);
    expect(kho.entry.fdtAddr).not.toBe(entry.fdtAddr); // published by the address, never half-written
    kho.addSubtree('inside', block.pa + 8, 4 * PAGE_SIZE - 8);
    const { subtrees } = readHandover(kho.ram, kho.entry);
    expect([...subtrees.keys()]).toEqual(['kexec-metadata', 'LUO', 'inside']);
    expect(subtrees.get('LUO')).toEqual({ name: 'LUO', pa: block.pa, size: 32 });
    kho.removeSubtree('LUO');
    expect([...readHandover(kho.ram, kho.entry).subtrees.keys()]).toEqual(['kexec-metadata', 'inside']);
    expect(() => kho.removeSubtree('LUO')).toThrow(withCode('ENOENT'));
    const next = nextKho(kho);
    expect(next.retrieveSubtree('inside')).toEqual({
      name: 'inside',
      pa: block.pa + 8,
      size: 4 * PAGE_SIZE - 8,
    });
    expect(next.retrieveSubtree('LUO')).toBeUndefined();
  });

  test.for<[what: string, code: string, add: (kho: Kho, pa: number) => void]>([
    ['a name that is taken', 'EEXIST', (kho, pa) => kho.addSubtree('taken', pa, 8)],
    ['the name of the metadata', 'EEXIST', (kho, pa) => kho.addSubtree('kexec-metadata', pa, 8)],
    ['no name', 'EINVAL', (kho, pa) => kho.addSubtree('', pa, 8)],
    ['a name with a NUL', 'EINVAL', (kho, pa) => kho.addSubtree('a\0b', pa, 8)],
    ['a path', 'EINVAL', (kho, pa) => kho.addSubtree('a/b', pa, 8)],
    ['no bytes, which the next kernel would refuse', 'EINVAL', (kho, pa) => kho.addSubtree('x', pa, 0)],
    ['a negative size', 'EINVAL', (kho, pa) => kho.addSubtree('x', pa, -1)],
    ['a size that is no number', 'EINVAL', (kho, pa) => kho.addSubtree('x', pa, Number.NaN)],
    ['half a byte', 'EINVAL', (kho, pa) => kho.addSubtree('x', pa, 0.5)],
    ['more than is preserved', 'EINVAL', (kho, pa) => kho.addSubtree('x', pa, PAGE_SIZE + 1)],
    [
      'more than is preserved from where it begins',
      'EINVAL',
      (kho, pa) => kho.addSubtree('x', pa + 1, PAGE_SIZE),
    ],
    [
      'memory that is not preserved',
      'EINVAL',
      (kho) => kho.addSubtree('x', kho.pages.alloc(0) * PAGE_SIZE, 8),
    ],
    ['address 0', 'EINVAL', (kho) => kho.addSubtree('x', 0, 8)],
    ['an address outside RAM', 'EINVAL', (kho) => kho.addSubtree('x', kho.ram.size, 8)],
    ['no address', 'EINVAL', (kho) => kho.addSubtree('x', Number.NaN, 8)],
    ['a name that no page holds', 'ENOMEM', (kho, pa) => kho.addSubtree('x'.repeat(4000), pa, 8)],
  ])('%s: %s', ([, code, add]) => {
    const kho = coldKho();
    const block = kho.allocPreserve(8);
    kho.addSubtree('taken', block.pa, 8);
    const published = kho.ram.bytes(kho.entry.fdtAddr, PAGE_SIZE).slice();
    const { entry } = kho;
    expect(() => add(kho, block.pa)).toThrow(withCode(code));
    expect(kho.entry).toEqual(entry);
    expect(kho.ram.bytes(kho.entry.fdtAddr, PAGE_SIZE)).toEqual(published);
    kho.addSubtree('fine', block.pa, 8);
    expect([...readHandover(kho.ram, kho.entry).subtrees.keys()]).toEqual([
      'kexec-metadata',
      'taken',
      'fine',
    ]);
  });

  test('as many as fit in a page, then ENOMEM, and one more after one less', () => {
    const kho = coldKho();
    const block = kho.allocPreserve(8);
    let count = 0;
    const add = (): void => kho.addSubtree(`subtree-${count}`, block.pa, 8);
    expect(() => {
      for (; ; count++) add();
    }).toThrow(withCode('ENOMEM'));
    expect(count).toBeGreaterThan(40);
    expect(readHandover(kho.ram, kho.entry).subtrees.size).toBe(count + 1);
    kho.removeSubtree('subtree-0');
    add();
    expect(readHandover(kho.ram, kho.entry).subtrees.size).toBe(count + 1);
  });
});

describe('failure injection: every allocation of every operation fails once', () => {
  /** An operation on what was prepared before it. */
  const after =
    <T>(prepared: T, use: (prepared: T) => void) =>
    (): void =>
      use(prepared);

  test.for<[what: string, least: number, operation: (kho: Kho) => () => void]>([
    ['preserveFolio', 5, (kho) => after(kho.pages.alloc(4), (pfn) => kho.preserveFolio(pfn))],
    ['preserveFolios', 20, (kho) => after(folioOfEachOrder(kho.pages), (pfns) => kho.preserveFolios(pfns))],
    [
      'preserveRuns',
      10,
      (kho) =>
        after(folioOfEachOrder(kho.pages), (pfns) => {
          const runs = new FolioRuns();
          for (const [order, pfn] of pfns.entries()) runs.push(4096 * order, pfn, 1, order);
          kho.preserveRuns(runs);
        }),
    ],
    ['preservePages', 10, (kho) => after(rowOfPages(kho, 40), (row) => kho.preservePages(row + 1, 35))],
    ['allocPreserve', 6, (kho) => () => kho.allocPreserve(5 * PAGE_SIZE)],
    [
      'preserveVmalloc',
      2,
      (kho) => after(vmalloc(kho.pages, 2000 * PAGE_SIZE), (area) => kho.preserveVmalloc(area)),
    ],
    [
      'addSubtree of a new block',
      1,
      (kho) => () => {
        const block = kho.allocPreserve(8);
        kho.addSubtree('x', block.pa, 8);
      },
    ],
  ])('%s', ([, least, operation]) => {
    const failures = failEachAllocation(() => {
      const kho = coldKho(32 * MiB, { freeMemory: 'zero' });
      return { kho, operation: operation(kho) };
    });
    expect(failures).toBeGreaterThanOrEqual(least);
  });

  test('a boot: what was handed over is whole, and the next attempt reads the same', () => {
    const kho = coldKho();
    const block = kho.allocPreserve(100);
    block.bytes.fill(7);
    const state = (): unknown => {
      const { table, ...rest } = readHandover(kho.ram, kho.entry);
      return [rest, table.flags, table.orders];
    };
    const before = state();
    for (let n = 0; ; n++) {
      const incoming = readHandover(kho.ram, kho.entry);
      const pages = new PageAllocator(kho.ram, incoming.table);
      let left = n;
      pages.beforeAllocation = () => {
        if (left-- === 0) throw new Error('injected');
      };
      try {
        new Kho({ pages, scratch: incoming.scratch, incoming, release: 'x' });
        expect(n).toBeGreaterThanOrEqual(10);
        break;
      } catch (error) {
        expect(String(error)).toBe('Error: injected');
      }
      expect(state()).toEqual(before);
    }
    expect(allAre(block.bytes, 7)).toBe(true);
  });
});

describe('what a kernel tells the next', () => {
  test('the metadata: release and number of handovers', () => {
    let kho = coldKho(4 * MiB, { release: 'one' });
    for (const [count, release] of ['one', 'two', 'three'].entries()) {
      const { incoming } = (kho = nextKho(kho, { release: ['two', 'three', 'four'][count] }));
      expect(incoming?.kexecMetadata).toEqual({
        version: 1,
        previousRelease: release,
        kexecCount: count + 1,
      });
      expect(incoming?.subtrees.get('kexec-metadata')?.size).toBe(KexecMetadataSer.SIZE);
    }
  });

  test.for([
    ['', true],
    ['x'.repeat(64), true],
    ['x'.repeat(65), false],
    ['ü'.repeat(33), false],
  ] as const)("a release of '%s': %s", ([release, fits]) => {
    if (fits)
      expect(nextKho(coldKho(4 * MiB, { release })).incoming?.kexecMetadata?.previousRelease).toBe(release);
    else expect(() => coldKho(4 * MiB, { release })).toThrow(withCode('EINVAL'));
  });

  test('the scratch areas, in an array that the entry names', () => {
    const scratch = [
      { addr: 40 * PAGE_SIZE, size: 8 * PAGE_SIZE },
      { addr: 8 * PAGE_SIZE, size: 4 * PAGE_SIZE },
    ];
    const kho = coldKho(4 * MiB, { scratch });
    expect(kho.entry.scratchSize).toBe(2 * ScratchSer.SIZE);
    expect(readHandover(kho.ram, kho.entry).scratch).toEqual(scratch);
  });
});
