/** What every RAM promises, for the tests of each backend. */
import { MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import { forEachBlock, type Ram } from './ram.ts';

const MiB = 2 ** 20;
const withCode = (code: string): unknown => expect.objectContaining({ code });

/** RAM with something in it everywhere, so that a discard that does nothing shows. */
export function filled(ram: Ram): Ram {
  forEachBlock(0, ram.size, (pa, length) => ram.bytes(pa, length).fill(0x77));
  return ram;
}

/** 0 where all bytes are alike, so that megabytes are compared without an assertion per byte. */
export function differing(bytes: Uint8Array, value: number): number {
  let count = 0;
  for (const byte of bytes) if (byte !== value) count += 1;
  return count;
}

/** A backend: its name, its size in bytes, and what makes one. */
export type Backend = readonly [name: string, size: number, make: () => Ram];

/** Proves what every RAM promises. */
export function describeRams(backends: readonly Backend[]): void {
  describe.for(backends)('%s', ([, size, make]) => {
    let shared: Ram | undefined;
    /** One RAM for the tests that change nothing. */
    const any = (): Ram => (shared ??= make());

    test('has the size that was asked for', () => {
      expect(any().size).toBe(size);
    });

    test.for<[pa: number, length: number]>([
      [-1, 1],
      [-PAGE_SIZE, PAGE_SIZE],
      [0, -1],
      [size, 1],
      [size - 1, 2],
      [0, size + 1],
      [2 ** 53, 1],
      [-(2 ** 40), 2 ** 40],
    ])('bytes(%d, %d) is EFAULT, and so is its discard', ([pa, length]) => {
      expect(() => any().bytes(pa, length)).toThrow(withCode('EFAULT'));
      expect(() => any().discard(pa, length)).toThrow(withCode('EFAULT'));
    });

    test.for<[pa: number, length: number]>([
      [1, PAGE_SIZE],
      [0, 1],
      [PAGE_SIZE, 100],
      [PAGE_SIZE - 1, PAGE_SIZE + 1],
    ])('discard(%d, %d) is EINVAL', ([pa, length]) => {
      expect(() => any().discard(pa, length)).toThrow(withCode('EINVAL'));
    });

    test('shows nothing of no bytes, at the end too', () => {
      const ram = make();
      for (const pa of [0, 1, size - 1, size]) expect(ram.bytes(pa, 0)).toHaveLength(0);
      ram.discard(size, 0);
    });

    test('views are live and of the right length', () => {
      const ram = make();
      const all = ram.bytes(0, MAX_FOLIO_SIZE);
      expect(all).toHaveLength(MAX_FOLIO_SIZE);
      const part = ram.bytes(5_000, 300);
      part.fill(0xa5);
      expect(all.subarray(5_000, 5_300)).toEqual(part);
      all[5_001] = 1;
      expect([part[1], ram.bytes(5_001, 1)[0]]).toEqual([1, 1]);
    });

    test('every byte has its own address', () => {
      const ram = make();
      const places = [0, 1, PAGE_SIZE - 1, PAGE_SIZE, MAX_FOLIO_SIZE - 1, MAX_FOLIO_SIZE, size - 1];
      for (const [i, pa] of places.entries()) ram.bytes(pa, 1)[0] = 100 + i;
      expect(places.map((pa) => ram.bytes(pa, 1)[0])).toEqual([100, 101, 102, 103, 104, 105, 106]);
    });

    test('a discarded page reads as zeros, through views taken before too, and its neighbours stay', () => {
      const ram = make();
      const view = ram.bytes(0, 3 * PAGE_SIZE).fill(0xa5);
      ram.discard(PAGE_SIZE, PAGE_SIZE);
      expect(differing(view.subarray(PAGE_SIZE, 2 * PAGE_SIZE), 0)).toBe(0);
      expect(differing(view.subarray(0, PAGE_SIZE), 0xa5)).toBe(0);
      expect(differing(view.subarray(2 * PAGE_SIZE), 0xa5)).toBe(0);
      view[PAGE_SIZE] = 9;
      expect(ram.bytes(PAGE_SIZE, 1)[0]).toBe(9);
    });

    test('a page that was never looked at reads as zeros once discarded', () => {
      const ram = make();
      ram.discard(2 * PAGE_SIZE, PAGE_SIZE);
      expect(differing(ram.bytes(2 * PAGE_SIZE, PAGE_SIZE), 0)).toBe(0);
    });

    test('discard of everything, in one call, leaves zeros everywhere', () => {
      const ram = make();
      const early = ram.bytes(MAX_FOLIO_SIZE, PAGE_SIZE).fill(1);
      ram.discard(0, ram.size);
      expect(differing(early, 0)).toBe(0);
      let left = 0;
      forEachBlock(
        0,
        Math.min(size, 16 * MiB),
        (pa, length) => (left += differing(ram.bytes(pa, length), 0)),
      );
      expect(left).toBe(0);
      expect(differing(ram.bytes(size - PAGE_SIZE, PAGE_SIZE), 0)).toBe(0);
      // A second discard, and one of a part, find nothing to do.
      ram.discard(0, ram.size);
      ram.discard(PAGE_SIZE, PAGE_SIZE);
    });

    test('close takes every view down, and nothing can be had afterwards; a second close does nothing', () => {
      const ram = make();
      const views = [ram.bytes(0, 10), ram.bytes(MAX_FOLIO_SIZE, PAGE_SIZE), ram.bytes(size - 1, 1)];
      ram.close();
      expect(views.map((view) => view.length)).toEqual([0, 0, 0]);
      for (const length of [0, PAGE_SIZE]) {
        expect(() => ram.bytes(0, length)).toThrow(withCode('EBADF'));
        expect(() => ram.discard(0, length)).toThrow(withCode('EBADF'));
      }
      ram.close();
    });
  });
}
