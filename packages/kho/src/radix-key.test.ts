import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { leafBasePfn, leafOrder, MAX_RUN_ORDER, radixBit, radixLeaf } from './radix-key.ts';
import { withCode } from './test-kho.ts';
import { seed } from '@liveupdate/base/test-seed';

/** The key as the ABI has it, in 64-bit integers. */
function key(pfn: bigint, order: number): bigint {
  const pa = pfn << 12n;
  return (1n << BigInt(64 - (12 + order))) | (pa >> BigInt(12 + order));
}

const LEAF_BITS = 15n;

describe('keys of the preserved memory map', () => {
  test.for<[order: number, bit: bigint]>([
    [0, 52n],
    [1, 51n],
    [9, 43n],
    [10, 42n],
    [MAX_RUN_ORDER, 22n],
  ])('order %i sets bit %s', ([order, bit]) => {
    expect(BigInt(radixLeaf(0, order)) << LEAF_BITS).toBe(1n << bit);
    expect(radixBit(0, order)).toBe(0);
  });

  test.for<[pa: number, order: number, key: bigint]>([
    [0x1000, 0, 0x10_0000_0000_0001n],
    [0x4d_8000, 0, 0x10_0000_0000_04d8n],
    [0x20_0000, 9, 0x800_0000_0001n],
    [0x4000_0000, 10, 0x400_0000_0100n],
    [0x1000_0000_0000, 0, 0x10_0001_0000_0000n],
  ])('pa %i, order %i', ([pa, order, expected]) => {
    const pfn = pa / 4096;
    expect((BigInt(radixLeaf(pfn, order)) << LEAF_BITS) | BigInt(radixBit(pfn, order))).toBe(expected);
  });

  test('leaf and bit are the key in two parts, and lead back to order and address', () => {
    const aligned = fc
      .tuple(fc.nat(MAX_RUN_ORDER), fc.oneof(fc.nat(2 ** 40), fc.nat(2 ** 22)))
      .map(([order, index]) => ({ order, pfn: index * 2 ** Math.min(order, 8), index }))
      .map(({ order, pfn }) => ({ order, pfn: Math.floor(pfn / 2 ** order) * 2 ** order }));
    fc.assert(
      fc.property(aligned, ({ order, pfn }) => {
        const whole = key(BigInt(pfn), order);
        const leaf = radixLeaf(pfn, order);
        const bit = radixBit(pfn, order);
        expect((BigInt(leaf) << LEAF_BITS) | BigInt(bit)).toBe(whole);
        expect(leafOrder(leaf)).toBe(order);
        expect(leafBasePfn(leaf, order) + bit * 2 ** order).toBe(pfn);
      }),
      { seed, numRuns: 2_000 },
    );
  });

  test.for<[pfn: number, order: number, fits: boolean]>([
    [2 ** 52 - 1, 0, true],
    [2 ** 52, 0, false],
    [2 ** 53, 1, false],
    [Number.NaN, 0, false],
  ])('frame %d of order %i fits: %s', ([pfn, order, fits]) => {
    if (fits) expect(leafOrder(radixLeaf(pfn, order))).toBe(order);
    else expect(() => radixLeaf(pfn, order)).toThrow(withCode('ERANGE'));
  });

  test.for([0, 1, 2 ** (22 - 15) - 1, 2 ** 38, 2 ** 45 - 1])('leaf %d stands for no order', (leaf) => {
    expect(() => leafOrder(leaf)).toThrow(withCode('EINVAL'));
  });
});
