/** What every RAM promises, proved for each backend of this package. */
import { MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import { HeapRam } from './heap-ram.ts';
import { checkRamSize, forEachBlock, MAX_RAM_SIZE } from './ram.ts';
import { overlayRam, SparseRam } from './sparse-ram.ts';
import { describeRams, differing, filled, type Backend } from './test-ram.ts';

/** Two whole blocks of 4 MiB and a short one. */
const SIZE = 2 * MAX_FOLIO_SIZE + 5 * PAGE_SIZE;
const backends: readonly Backend[] = [
  ['HeapRam', SIZE, () => new HeapRam(SIZE)],
  ['HeapRam, written', SIZE, () => filled(new HeapRam(SIZE))],
  ['SparseRam', SIZE, () => new SparseRam(SIZE)],
  ['SparseRam, written', SIZE, () => filled(new SparseRam(SIZE))],
  ['SparseRam with a loader', SIZE, () => new SparseRam(SIZE, (block) => block.fill(0x55))],
  ['an overlay', SIZE, () => overlayRam(filled(new HeapRam(SIZE)))],
  ['an overlay, written', SIZE, () => filled(overlayRam(new HeapRam(SIZE)))],
];

const withCode = (code: string): unknown => expect.objectContaining({ code });

describeRams(backends);

describe('RAM in one piece and RAM in blocks', () => {
  test('HeapRam shows any range', () => {
    const ram = new HeapRam(SIZE);
    expect(ram.bytes(1, SIZE - 1)).toHaveLength(SIZE - 1);
  });

  test.for<[pa: number, length: number]>([
    [MAX_FOLIO_SIZE - 1, 2],
    [1, MAX_FOLIO_SIZE],
    [0, MAX_FOLIO_SIZE + 1],
    [0, SIZE],
  ])('SparseRam shows no range across blocks: bytes(%d, %d) is ERANGE', ([pa, length]) => {
    expect(() => new SparseRam(SIZE).bytes(pa, length)).toThrow(withCode('ERANGE'));
  });

  test('forEachBlock cuts a range into parts that every RAM can show', () => {
    const ram = new SparseRam(SIZE);
    for (const [pa, length] of [
      [0, SIZE],
      [5, 10],
      [MAX_FOLIO_SIZE - 3, 6],
      [7, 0],
      [MAX_FOLIO_SIZE, MAX_FOLIO_SIZE],
    ]) {
      let next = pa;
      forEachBlock(pa, length, (at, bytes) => {
        expect(at).toBe(next);
        next = at + ram.bytes(at, bytes).length;
      });
      expect(next).toBe(pa + length);
    }
  });
});

describe('sizes', () => {
  test.for([
    0,
    -PAGE_SIZE,
    1,
    PAGE_SIZE - 1,
    PAGE_SIZE + 1,
    0.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    MAX_RAM_SIZE + PAGE_SIZE,
    2 ** 53,
  ])('RAM of %d bytes is EINVAL', (size) => {
    expect(() => checkRamSize(size)).toThrow(withCode('EINVAL'));
    expect(() => new HeapRam(size)).toThrow(withCode('EINVAL'));
    expect(() => new SparseRam(size)).toThrow(withCode('EINVAL'));
  });

  test('a RAM below the least number of pages is EINVAL', () => {
    checkRamSize(2 * PAGE_SIZE, 2);
    expect(() => checkRamSize(PAGE_SIZE, 2)).toThrow(withCode('EINVAL'));
  });

  test('more than the tables hold is EINVAL that says how much they hold, on every way in', () => {
    for (const way of [
      () => new HeapRam(MAX_RAM_SIZE + PAGE_SIZE),
      () => new SparseRam(MAX_RAM_SIZE + PAGE_SIZE),
    ]) {
      expect(way).toThrow(withCode('EINVAL'));
      expect(way).toThrow('16 TiB');
    }
    expect(new SparseRam(MAX_RAM_SIZE).bytes(MAX_RAM_SIZE - 1, 1)).toEqual(Uint8Array.of(0));
  });

  test('a heap that no engine gives is ENOMEM', () => {
    const heaps: HeapRam[] = [];
    // One may be had where the system promises all that is asked for; eight do not fit into an
    // address space.
    const fill = (): void => {
      for (let i = 0; i < 8; i++) heaps.push(new HeapRam(MAX_RAM_SIZE));
    };
    expect(fill).toThrow(withCode('ENOMEM'));
    for (const heap of heaps) heap.close();
  });
});

describe('the overlay', () => {
  test('shows what is under it and never writes there', () => {
    const under = filled(new HeapRam(SIZE));
    const over = overlayRam(under);
    expect(differing(over.bytes(0, PAGE_SIZE), 0x77)).toBe(0);
    over.bytes(0, PAGE_SIZE).fill(1);
    over.discard(MAX_FOLIO_SIZE, MAX_FOLIO_SIZE);
    over.close();
    expect(differing(under.bytes(0, SIZE), 0x77)).toBe(0);
  });

  test('a block keeps what it was when first touched; a discarded one never shows what is under it again', () => {
    const under = filled(new HeapRam(SIZE));
    const over = overlayRam(under);
    over.bytes(0, 1);
    over.discard(MAX_FOLIO_SIZE, MAX_FOLIO_SIZE);
    under.bytes(0, SIZE).fill(0x11);
    expect([over.bytes(1, 1)[0], over.bytes(MAX_FOLIO_SIZE, 1)[0]]).toEqual([0x77, 0]);
    expect(over.bytes(2 * MAX_FOLIO_SIZE, 1)[0]).toBe(0x11);
  });
});
