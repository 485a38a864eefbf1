import { PAGE_SIZE, pfnToPhys } from '@liveupdate/base';
import { vmalloc, VmallocArea } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import type { Kho } from './kho.ts';
import { coldKho, failEachAllocation, MiB, nextKho, scatteredPages, snapshot, withCode } from './test-kho.ts';
import {
  EMPTY_VMALLOC,
  readVmallocDescriptor,
  readVmallocPages,
  writeVmallocDescriptor,
  type VmallocDescriptor,
} from './vmalloc-ser.ts';

/** An area of `pieces` scattered pieces, each beginning with its number. */
function scattered(kho: Kho, pieces: number, order: number): VmallocArea {
  const area =
    order === 0
      ? new VmallocArea(kho.pages, scatteredPages(kho.pages, pieces), 0)
      : vmalloc(kho.pages, pieces * (PAGE_SIZE << order), order);
  for (let i = 0; i < pieces; i++)
    new DataView(area.piece(i).buffer, area.piece(i).byteOffset).setUint32(0, i + 1);
  return area;
}

const numbers = (area: VmallocArea): number[] =>
  Array.from({ length: area.pfns.length }, (_, i) =>
    new DataView(area.piece(i).buffer, area.piece(i).byteOffset).getUint32(0),
  );

/** Sets u64 number `index` of chunk `chunk`; the descriptor stays the same. */
function poke(
  kho: Kho,
  descriptor: VmallocDescriptor,
  chunk: number,
  index: number,
  value: bigint,
): VmallocDescriptor {
  let pa = descriptor.first;
  const view = (): DataView => {
    const bytes = kho.ram.bytes(pa, PAGE_SIZE);
    return new DataView(bytes.buffer, bytes.byteOffset, PAGE_SIZE);
  };
  for (let i = 0; i < chunk; i++) pa = Number(view().getBigUint64(0, true));
  view().setBigUint64(index * 8, value, true);
  return descriptor;
}

describe('descriptors', () => {
  test('are 16 bytes, as the ABI has them', () => {
    const bytes = new Uint8Array(16);
    const descriptor = { first: 0x12_3456_7000, totalPages: 0x89ab_cdef, flags: 3, order: 9 };
    writeVmallocDescriptor(bytes, descriptor);
    expect(Buffer.from(bytes).toString('hex')).toBe('0070563412000000efcdab8903000900');
    expect(readVmallocDescriptor(bytes)).toEqual(descriptor);
    expect(readVmallocDescriptor(new Uint8Array(16))).toEqual(EMPTY_VMALLOC);
  });

  test('an address beyond 2^53 is EOVERFLOW', () => {
    expect(() => readVmallocDescriptor(new Uint8Array(16).fill(0xff))).toThrow(withCode('EOVERFLOW'));
  });

  test('the empty one names nothing', () => {
    const { pfns, chunks } = readVmallocPages(coldKho().ram, EMPTY_VMALLOC);
    expect([pfns.length, chunks.length]).toEqual([0, 0]);
  });
});

describe('a vmalloc area is handed over', () => {
  test.for<[pieces: number, order: number, chunks: number]>([
    [0, 0, 1],
    [1, 0, 1],
    [510, 0, 1],
    [511, 0, 2], // full, so that an empty chunk follows
    [512, 0, 2],
    [1022, 0, 3],
    [1023, 0, 3],
    [1, 3, 1],
    [5, 9, 1],
    [3, 10, 1],
    [600, 1, 2],
  ])('%i pieces of order %i in %i chunk(s)', ([pieces, order, chunks]) => {
    const kho = coldKho(order < 9 ? 16 * MiB : 32 * MiB);
    const area = scattered(kho, pieces, order);
    const descriptor = kho.preserveVmalloc(area);
    expect(descriptor).toEqual({
      first: descriptor.first,
      totalPages: pieces << order,
      flags: order > 0 ? 3 : 1,
      order,
    });
    const named = readVmallocPages(kho.ram, descriptor);
    expect([...named.pfns]).toEqual([...area.pfns]);
    expect(named.chunks).toHaveLength(chunks);
    for (const pfn of named.chunks) expect(kho.pages.isPreserved(pfn)).toBe(true);

    const next = nextKho(kho, { freeMemory: 'poison' });
    const restored = next.restoreVmalloc(descriptor);
    expect([restored.order, restored.pageCount]).toEqual([order, pieces << order]);
    expect(numbers(restored)).toEqual(Array.from({ length: pieces }, (_, i) => i + 1));
    for (const pfn of named.chunks)
      expect([next.isIncoming(pfn), next.pages.isHead(pfn)]).toEqual([false, false]);
    next.pages.assertConsistent();
    restored.free();
    next.pages.assertConsistent();
  });

  test.for([0, 511, 512])('and taken back: %i pieces leave no trace', (pieces) => {
    const kho = coldKho(8 * MiB);
    const area = scattered(kho, pieces, 0);
    const before = snapshot(kho);
    const descriptor = kho.preserveVmalloc(area);
    kho.unpreserveVmalloc(descriptor);
    expect(snapshot(kho)).toEqual(before);
    expect(numbers(area)).toHaveLength(pieces);
    kho.pages.assertConsistent();
  });

  test.for<[pieces: number, order: number, least: number]>([
    [0, 0, 1],
    [1, 0, 1],
    [1022, 0, 3],
    [4, 4, 6],
  ])('each allocation fails once: %i pieces of order %i', ([pieces, order, least]) => {
    const failures = failEachAllocation(() => {
      const kho = coldKho(16 * MiB, { freeMemory: 'zero' });
      const area = scattered(kho, pieces, order);
      return { kho, operation: () => kho.preserveVmalloc(area) };
    });
    expect(failures).toBeGreaterThanOrEqual(least);
  });

  test('twice is EEXIST, and the first time stands', () => {
    const kho = coldKho();
    const area = scattered(kho, 20, 0);
    kho.preserveVmalloc(area);
    const before = snapshot(kho);
    expect(() => kho.preserveVmalloc(area)).toThrow(withCode('EEXIST'));
    expect(snapshot(kho)).toEqual(before);
  });

  test('with a piece in scratch: EINVAL, and nothing is kept', () => {
    const kho = coldKho();
    const pfns = new Uint32Array(kho.pages.freePages + 1);
    kho.pages.allocBulk(pfns, 0, pfns.length, { movable: true });
    const area = new VmallocArea(kho.pages, pfns.slice(-3), 0);
    const before = snapshot(kho);
    expect(() => kho.preserveVmalloc(area)).toThrow(withCode('EINVAL'));
    expect(snapshot(kho)).toEqual(before);
  });
});

describe('a damaged area is EINVAL, and nothing is restored', () => {
  const PIECES = 600;

  type Spoil = (descriptor: VmallocDescriptor, kho: Kho, pa: (i: number) => bigint) => VmallocDescriptor;

  test.for<[what: string, spoil: Spoil]>([
    ['one page more', (d) => ({ ...d, totalPages: d.totalPages + 1 })],
    ['one page less', (d) => ({ ...d, totalPages: d.totalPages - 1 })],
    ['no pages', (d) => ({ ...d, totalPages: 0 })],
    ['more pages than RAM has', (d) => ({ ...d, totalPages: 2 ** 32 - 1 })],
    ['another order', (d) => ({ ...d, order: 1 })],
    ['another order, and so many pages', (d) => ({ ...d, order: 1, totalPages: 2 * d.totalPages })],
    ['an order above every folio', (d) => ({ ...d, order: 11, totalPages: 0 })],
    ['an order above every number', (d) => ({ ...d, first: 0, order: 65_535, totalPages: 5 })],
    ['no chunk', (d) => ({ ...d, first: 0 })],
    ['a chunk outside RAM', (d, kho) => ({ ...d, first: kho.ram.size })],
    ['a chunk that is not aligned', (d) => ({ ...d, first: d.first + 8 })],
    [
      'a first chunk that is the second',
      (d, kho) => ({ ...d, first: pfnToPhys(readVmallocPages(kho.ram, d).chunks[1]) }),
    ],
    ['a chunk that is a piece', (d, kho, pa) => poke(kho, d, 0, 0, pa(3))],
    ['chunks in a circle', (d, kho) => poke(kho, d, 1, 0, BigInt(d.first))],
    ['a chunk that follows itself', (d, kho) => poke(kho, d, 0, 0, BigInt(d.first))],
    ['a second chunk beyond 2^53', (d, kho) => poke(kho, d, 0, 0, 1n << 60n)],
    ['a second chunk that is gone', (d, kho) => poke(kho, d, 0, 0, 0n)],
    ['a hole among the pieces', (d, kho) => poke(kho, d, 0, 100, 0n)],
    ['a piece too many', (d, kho) => poke(kho, d, 1, 1 + PIECES - 511, 4096n)],
    ['a piece twice', (d, kho, pa) => poke(kho, d, 0, 8, pa(20))],
    ['a piece that is a chunk', (d, kho) => poke(kho, d, 0, 8, BigInt(d.first))],
    ['a piece outside RAM', (d, kho) => poke(kho, d, 0, 8, BigInt(kho.ram.size))],
    ['a piece beyond 2^53', (d, kho) => poke(kho, d, 0, 8, 1n << 63n)],
    ['a piece that is not aligned', (d, kho, pa) => poke(kho, d, 0, 8, pa(8) + 1n)],
    ['a piece that is free', (d, kho) => poke(kho, d, 0, 8, BigInt(pfnToPhys(freeFrame(kho))))],
  ])('%s', ([, spoil]) => {
    const kho = coldKho(8 * MiB);
    const area = scattered(kho, PIECES, 0);
    const good = kho.preserveVmalloc(area);
    const next = nextKho(kho, { freeMemory: 'keep' });
    const descriptor = spoil(good, next, (i) => BigInt(pfnToPhys(area.pfns[i])));
    const before = snapshot(next);
    expect(() => next.restoreVmalloc(descriptor)).toThrow(withCode('EINVAL'));
    expect(snapshot(next)).toEqual(before);
    next.pages.assertConsistent();
  });

  function freeFrame(kho: Kho): number {
    const pfn = kho.pages.alloc(0);
    kho.pages.put(pfn);
    return pfn;
  }

  test('pages that were preserved as one long run are no folios of that order', () => {
    const kho = coldKho(64 * MiB, { freeMemory: 'zero' });
    const pages = new Uint32Array(6 * 1024);
    kho.pages.allocBulk(pages, 0, pages.length);
    pages.sort();
    const first = pages.find((pfn, i) => pfn % 2048 === 0 && pages[i + 2047] === pfn + 2047)!;
    kho.preservePages(first, 2048);
    const chunk = kho.allocPreserve(PAGE_SIZE);
    chunk.view.setBigUint64(8, BigInt(pfnToPhys(first)), true);
    const next = nextKho(kho);
    const before = snapshot(next);
    expect(() => next.restoreVmalloc({ first: chunk.pa, totalPages: 2048, flags: 3, order: 11 })).toThrow(
      withCode('EINVAL'),
    );
    expect(snapshot(next)).toEqual(before);
  });

  test('restored once, it is gone', () => {
    const kho = coldKho();
    const descriptor = kho.preserveVmalloc(scattered(kho, 5, 0));
    const next = nextKho(kho);
    next.restoreVmalloc(descriptor);
    expect(() => next.restoreVmalloc(descriptor)).toThrow(withCode('EINVAL'));
    next.pages.assertConsistent();
  });
});
