import { MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';
import { HeapRam, type RamPiece } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import { bootCold } from './boot.ts';
import { chooseScratch, checkScratch } from './scratch.ts';
import { MiB, nextKho, withCode } from './test-kho.ts';

const GiB = 2 ** 30;

describe('chooseScratch', () => {
  test.for<[ram: number, addr: number, size: number]>([
    [16 * PAGE_SIZE, PAGE_SIZE, PAGE_SIZE],
    [4 * MiB, PAGE_SIZE, 16 * 1024],
    [16 * MiB, MAX_FOLIO_SIZE, 64 * 1024],
    [GiB, MAX_FOLIO_SIZE, 4 * MiB],
    [16 * GiB, MAX_FOLIO_SIZE, 64 * MiB],
    [1024 * GiB, MAX_FOLIO_SIZE, 64 * MiB],
  ])('RAM of %i bytes', ([size, addr, length]) => {
    expect(chooseScratch({ size })).toEqual([{ addr, size: length }]);
    checkScratch(chooseScratch({ size }), { size });
  });

  test.for<[what: string, memory: RamPiece[], addr: number, size: number]>([
    ['in the largest range', [{ pa: MiB, length: 8 * MiB }, { pa: GiB, length: GiB }], GiB + MAX_FOLIO_SIZE, 4 * MiB + 32 * 1024], // prettier-ignore
    ['not where a range begins', [{ pa: 3 * MiB, length: 32 * MiB }], MAX_FOLIO_SIZE, 128 * 1024],
    ['within a small range', [{ pa: 6 * MiB, length: 32 * PAGE_SIZE }], 6 * MiB + PAGE_SIZE, PAGE_SIZE],
    ['in half of one at most', Array.from({ length: 3000 }, (_, i) => ({ pa: (2 * i + 2) * MiB, length: 4 * PAGE_SIZE })), 2 * MiB + PAGE_SIZE, PAGE_SIZE], // prettier-ignore
  ])('%s', ([, memory, addr, length]) => {
    const last = memory[memory.length - 1];
    const ram = { size: last.pa + last.length, memory };
    expect(chooseScratch(ram)).toEqual([{ addr, size: length }]);
    checkScratch(chooseScratch(ram), ram);
  });

  test('an area in a hole of the memory map, or over its border: EINVAL', () => {
    const ram = { size: 9 * MiB, memory: [{ pa: MiB, length: MiB }, { pa: 8 * MiB, length: MiB }] }; // prettier-ignore
    checkScratch([{ addr: MiB, size: MiB }], ram);
    for (const addr of [0, MiB / 2, 1.5 * MiB, 4 * MiB, 8.5 * MiB])
      expect(() => checkScratch([{ addr, size: MiB }], ram)).toThrow(withCode('EINVAL'));
  });
});

describe('areas of one’s own', () => {
  const SIZE = 4 * MiB;
  const at = (page: number, pages: number): { addr: number; size: number } => ({
    addr: page * PAGE_SIZE,
    size: pages * PAGE_SIZE,
  });

  test.for<[what: string, areas: { addr: number; size: number }[]]>([
    ['none', []],
    ['one', [at(8, 8)]],
    ['two side by side', [at(16, 8), at(8, 8)]],
    ['an empty one inside another', [at(8, 8), at(10, 0)]],
    ['up to the end', [at(1000, 24)]],
    ['as many as their array holds', Array.from({ length: 256 }, (_, i) => at(2 * i + 2, 1))],
  ])('%s: boots, and the next kernel keeps them', ([, areas]) => {
    const kho = bootCold(new HeapRam(SIZE), { scratch: areas });
    const used = areas.reduce((sum, { size }) => sum + size / PAGE_SIZE, 0);
    expect(kho.pages.freeScratchPages).toBe(used);
    const next = nextKho(kho);
    expect(next.scratch.filter(({ size }) => size > 0)).toEqual(areas.filter(({ size }) => size > 0));
    expect(next.pages.freeScratchPages).toBe(used);
    next.pages.assertConsistent();
  });

  test.for<[what: string, areas: { addr: number; size: number }[]]>([
    ['outside RAM', [at(1024, 1)]],
    ['half outside', [at(1020, 8)]],
    ['below RAM', [at(-8, 8)]],
    ['of negative size', [at(8, -4)]],
    ['not aligned', [{ addr: 100, size: PAGE_SIZE }]],
    ['of part of a page', [{ addr: PAGE_SIZE, size: 100 }]],
    ['of no number', [{ addr: Number.NaN, size: PAGE_SIZE }]],
    ['that overlap', [at(8, 8), at(15, 2)]],
    ['that are the same', [at(8, 8), at(8, 8)]],
    ['too many', Array.from({ length: 257 }, (_, i) => at(2 * i + 2, 1))],
  ])('%s: EINVAL', ([, scratch]) => {
    expect(() => bootCold(new HeapRam(SIZE), { scratch })).toThrow(withCode('EINVAL'));
  });

  test('that leave no page for the kernel: ENOMEM', () => {
    expect(() => bootCold(new HeapRam(SIZE), { scratch: [at(1, 1020)] })).toThrow(withCode('ENOMEM'));
  });
});
