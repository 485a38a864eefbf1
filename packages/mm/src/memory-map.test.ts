import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { usableMemory, withMemoryMap, type MemoryMapEntry } from './memory-map.ts';
import { PageAllocator } from './page-allocator.ts';
import { PageTable } from './page-table.ts';
import type { Ram } from './ram.ts';
import { overlayRam, SparseRam } from './sparse-ram.ts';
import { vmalloc } from './vmalloc.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
const withCode = (code: string): unknown => expect.objectContaining({ code });

type Line = [from: number, to: number, kind?: 'reserved'];
const lines = (list: Line[]): MemoryMapEntry[] =>
  list.map(([pa, to, kind]) => ({ pa, length: to - pa, kind: kind ?? 'usable' }));

test.for<[what: string, map: Line[], usable: Line[]]>([
  ['one range', [[0, 64]], [[0, 64]]],
  ['ranges in any order', [[32, 48], [0, 16]], [[0, 16], [32, 48]]], // prettier-ignore
  ['ranges that touch or overlap are one', [[0, 16], [16, 32], [24, 40]], [[0, 40]]], // prettier-ignore
  ['a range within another', [[0, 40], [8, 16]], [[0, 40]]], // prettier-ignore
  ['reserved in the midst', [[0, 64], [8, 16, 'reserved']], [[0, 8], [16, 64]]], // prettier-ignore
  ['reserved at both ends', [[4, 64], [0, 8, 'reserved'], [60, 99, 'reserved']], [[8, 60]]], // prettier-ignore
  ['reserved over a border', [[0, 16], [32, 64], [8, 40, 'reserved']], [[0, 8], [40, 64]]], // prettier-ignore
  ['all reserved', [[8, 16], [0, 64, 'reserved']], []], // prettier-ignore
  ['beyond the end', [[0, 16], [96, 999], [1000, 1001]], [[0, 16], [96, 100]]], // prettier-ignore
  ['empty ranges', [[8, 8], [16, 16, 'reserved'], [0, 4]], [[0, 4]]], // prettier-ignore
])('%s', ([, map, usable]) => {
  const scaled = (list: Line[]): Line[] =>
    list.map(([from, to, kind]) => [from * PAGE_SIZE, to * PAGE_SIZE, ...(kind ? [kind] : [])] as Line);
  expect(usableMemory(lines(scaled(map)), 100 * PAGE_SIZE)).toEqual(
    scaled(usable).map(([pa, to]) => ({ pa, length: to - pa })),
  );
});

test('parts of pages are not memory: usable ranges shrink, reserved ones grow', () => {
  const map = lines([
    [100, 0x9fc00],
    [0x10_0000, 0x20_0000],
    [0x18_0001, 0x18_0002, 'reserved'],
  ]);
  expect(usableMemory(map, GiB)).toEqual([
    { pa: 0x1000, length: 0x9e000 },
    { pa: 0x10_0000, length: 0x8_0000 },
    { pa: 0x18_1000, length: 0x7_f000 },
  ]);
});

test.for([
  [-4096, 8192],
  [0, -4096],
  [0.5, 4096],
  [Number.NaN, 4096],
  [0, Number.POSITIVE_INFINITY],
])('%d + %d bytes is no line of a map: EINVAL', ([pa, length]) => {
  expect(() => usableMemory([{ pa, length, kind: 'usable' }], GiB)).toThrow(withCode('EINVAL'));
});

test('a map without a usable page: EINVAL', () => {
  expect(() => withMemoryMap(new SparseRam(GiB), lines([[1, 4097]]))).toThrow(withCode('EINVAL'));
  expect(() => withMemoryMap(new SparseRam(MiB), lines([[GiB, 2 * GiB]]))).toThrow(withCode('EINVAL'));
});

/** 8 MiB at 3 GiB and 8 MiB at 512 GiB, a MiB of the first reserved. */
function board(): Ram {
  return withMemoryMap(
    new SparseRam(1024 * GiB),
    lines([
      [3 * GiB, 3 * GiB + 8 * MiB],
      [3 * GiB + 5 * MiB, 3 * GiB + 6 * MiB, 'reserved'],
      [512 * GiB, 512 * GiB + 8 * MiB],
    ]),
  );
}

test('RAM shows memory, and EFAULT in holes, at both ends of them', () => {
  for (const ram of [board(), overlayRam(board())]) {
    expect(ram.size).toBe(512 * GiB + 8 * MiB);
    ram.bytes(3 * GiB, 4)[3] = 7;
    ram.discard(512 * GiB, 8 * MiB);
    expect(ram.bytes(3 * GiB + 5 * MiB - 4096, 4096)).toHaveLength(4096);
    for (const [pa, length] of [
      [0, 4096],
      [3 * GiB - 4096, 4096],
      [3 * GiB + 5 * MiB - 4096, 8192],
      [3 * GiB + 5 * MiB, 4096],
      [3 * GiB + 6 * MiB - 4096, 8192],
      [3 * GiB + 8 * MiB, 4096],
      [512 * GiB + 8 * MiB, 4096],
    ] as const) {
      expect(() => ram.bytes(pa, length)).toThrow(withCode('EFAULT'));
      expect(() => ram.discard(pa, length)).toThrow(withCode('EFAULT'));
    }
    expect(() => ram.discard(3 * GiB + 1, 4096)).toThrow(withCode('EINVAL'));
    ram.close();
    expect(() => ram.bytes(3 * GiB, 1)).toThrow(withCode('EBADF'));
  }
});

test('an overlay leaves what lies under it, holes too', () => {
  const under = board();
  under.bytes(3 * GiB, 1)[0] = 1;
  const over = overlayRam(under);
  expect([over.memory, over.size]).toEqual([under.memory, under.size]);
  over.bytes(3 * GiB, 1)[0] += 1;
  expect([under.bytes(3 * GiB, 1)[0], over.bytes(3 * GiB, 1)[0]]).toEqual([1, 2]);
});

test('an allocator gives out all memory and no hole, at a high base', () => {
  const ram = board();
  const pages = new PageAllocator(ram, new PageTable(ram.size, ram.memory));
  expect(pages.freePages).toBe((15 * MiB) / PAGE_SIZE);
  pages.assertConsistent();
  const area = vmalloc(pages, 15 * MiB);
  area.write(new Uint8Array(15 * MiB).fill(1)); // EFAULT if a page were not memory
  expect(() => pages.alloc(0)).toThrow(withCode('ENOMEM'));
  area.free();
  pages.assertConsistent();
  const folios = [pages.alloc(10), pages.alloc(10), pages.alloc(10)]; // 4 MiB each, aligned
  expect(() => pages.alloc(10)).toThrow(KernelError);
  expect(pages.freePages).toBe((3 * MiB) / PAGE_SIZE);
  for (const pfn of folios) pages.put(pfn);
  pages.assertConsistent();
});

test('what a RAM can do beyond bytes it can do under a map too, for memory only', () => {
  const asked: [string, number][] = [];
  const noting = (name: string) => (pa: number) => {
    asked.push([name, pa]);
    return [];
  };
  const system = {
    reserve: noting('reserve'),
    populate: noting('populate'),
    populateHuge: (pa: number) => noting('populateHuge')(pa).length === 0,
    read: noting('read'),
    write: noting('write'),
    dataPieces: noting('dataPieces'),
  };
  const view = {
    bytes: new Uint8Array(1),
    populate: () => Promise.resolve(),
    share: () => ({ address: 0n, length: 1, live: new SharedArrayBuffer(4) }),
    release: () => undefined,
  };
  const under: Ram = Object.assign(new SparseRam(4 * MiB), {
    system,
    view: () => view,
    ownBytes: () => new Uint8Array(2),
  });
  const ram = withMemoryMap(under, lines([[2 * MiB - 4096, 4 * MiB]]));
  const calls = [
    (pa: number) => ram.system?.reserve(pa, 4096),
    (pa: number) => ram.system?.populate(pa, 4096),
    (pa: number) => ram.system?.read(pa, new Uint8Array(4096)),
    (pa: number) => ram.system?.write(pa, new Uint8Array(4096)),
    (pa: number) => ram.system?.dataPieces(pa, 4096),
    (pa: number) => ram.view?.([{ pa, length: 4096 }], { size: 4096, populate: true }),
    (pa: number) => ram.ownBytes?.(pa, 4096),
  ];
  for (const call of calls) {
    call(2 * MiB - 4096);
    expect(() => call(2 * MiB - 8192)).toThrow(withCode('EFAULT'));
  }
  expect(ram.system?.populateHuge(2 * MiB)).toBe(true);
  expect(ram.system?.populateHuge(0)).toBe(false);
  const at = 2 * MiB - 4096;
  expect(asked).toEqual([
    ['reserve', at],
    ['populate', at],
    ['read', at],
    ['write', at],
    ['dataPieces', at],
    ['populateHuge', 2 * MiB],
  ]);
  expect(withMemoryMap(new SparseRam(MiB), lines([[0, MiB]]))).toHaveProperty('system', undefined);
});
