/**
 * Ranges of address space: where they lie, what is at them when, and that none is used again too
 * early.
 */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { KernelError } from '@liveupdate/base';
import { HUGE_PAGE } from '@liveupdate/mm';
import {
  countMappings,
  giveBack,
  giveBackOnceCollected,
  retire,
  takeRange,
  viewSpace,
  type Range,
} from './address-ranges.ts';
import * as libc from './libc.ts';
import { detach } from './mapping.ts';
import { collectGarbage } from './test-garbage.ts';
import { codeOfThrown } from './test-thrown.ts';
import { countMaps, mappedAt, NOBODYS } from './test-view.ts';

vi.mock('./libc.ts', async (original) => ({ ...(await original()) }));

const PAGE = 4096;
afterEach(() => {
  vi.restoreAllMocks();
});

describe.each([PAGE, 3 * PAGE, HUGE_PAGE, 5 * HUGE_PAGE + PAGE])('a range of %i bytes', (length) => {
  test('lies where it was asked to, apart from all others', () => {
    const ranges = [0, 8 * PAGE, HUGE_PAGE - PAGE].map((place) => takeRange(length, HUGE_PAGE, place));
    const sorted = ranges.toSorted((a, b) => (a.from < b.from ? -1 : 1));
    for (const [i, { from, total, address }] of sorted.entries()) {
      expect(address >= from && address + BigInt(length) <= from + BigInt(total)).toBe(true);
      if (i > 0) expect(sorted[i - 1].from + BigInt(sorted[i - 1].total) <= from).toBe(true);
    }
    if (length >= HUGE_PAGE) {
      const places = ranges.map(({ address }) => Number(address % BigInt(HUGE_PAGE)));
      expect(places).toEqual([0, 8 * PAGE, HUGE_PAGE - PAGE]);
    }
    for (const range of ranges) free(range);
  });

  test('is memory of nobody from the retirement on, and free when all buffers over it are collected', async () => {
    await collectGarbage(); // of tests before
    const before = viewSpace();
    const { range, held } = retiredUnder(length);
    expect(mappedAt(range.address)).toMatch(NOBODYS);
    expect(viewSpace().retired - before.retired).toBe(range.total);
    await collectGarbage();
    expect(viewSpace().retired - before.retired).toBe(range.total); // one is held
    expect(held.pop()?.byteLength).toBe(0);
    await collectGarbage();
    expect(viewSpace()).toEqual(before);
  });
});

/** A range that was retired under two buffers, of which one is given out. */
function retiredUnder(length: number): { range: Range; held: ArrayBuffer[] } {
  const range = takeRange(length, HUGE_PAGE, 0);
  const flags = libc.MAP_PRIVATE | libc.MAP_ANONYMOUS | libc.MAP_FIXED;
  libc.mmap(range.address, length, libc.PROT_READ_WRITE, flags, -1, 0);
  const buffers = [libc.viewOf(range.address, PAGE), libc.viewOf(range.address, PAGE)];
  for (const buffer of buffers) detach(buffer);
  retire(range);
  giveBackOnceCollected(range, buffers);
  return { range, held: [buffers[1]] };
}

function free(range: Range): void {
  retire(range);
  giveBack(range);
}

test('what was stored to a small range since is not there for the next who gets it', () => {
  const range = takeRange(PAGE, PAGE, 0);
  retire(range);
  new Uint8Array(libc.viewOf(range.address, PAGE))[7] = 9;
  giveBack(range);
  const again = takeRange(PAGE, PAGE, 0);
  expect(again.address).toBe(range.address);
  expect(new Uint8Array(libc.viewOf(again.address, PAGE))[7]).toBe(0);
  free(again);
});

test('ranges that were retired are one mapping, however many', () => {
  const before = countMaps();
  const ranges = Array.from({ length: 2000 }, (_, i) =>
    takeRange(i % 2 === 0 ? PAGE : HUGE_PAGE + PAGE, HUGE_PAGE, 0),
  );
  for (const range of ranges) retire(range);
  expect(countMaps() - before).toBeLessThan(40);
  for (const range of ranges) giveBack(range);
});

test('small ranges fill the gaps that others left', () => {
  const ranges = Array.from({ length: 64 }, () => takeRange(PAGE, PAGE, 0));
  const odd = ranges.filter((_, i) => i % 2 === 1);
  for (const range of [...odd.slice(16), ...odd.slice(0, 16)]) free(range);
  const refilled = odd.map(() => takeRange(PAGE, PAGE, 0));
  const gaps = new Set(odd.map(({ address }) => address));
  expect(refilled.every(({ address }) => gaps.has(address))).toBe(true);
  for (const range of ranges) free(range);
});

test('where the system promises no more memory, what is retired is there to be read', () => {
  const { mmap } = libc;
  vi.spyOn(libc, 'mmap').mockImplementation((...args) => {
    if (args[2] === libc.PROT_READ_WRITE) throw new KernelError('ENOMEM', 'nothing more is promised');
    return mmap(...args);
  });
  const range = takeRange(HUGE_PAGE, HUGE_PAGE, 0);
  retire(range);
  expect(mappedAt(range.address)).toMatch(/^r--p 0+ 00:00 0\s*$/);
  expect(new Uint8Array(libc.viewOf(range.address, PAGE))[0]).toBe(0);
  giveBack(range);
});

test('what the system cannot take back stays retired', () => {
  const before = viewSpace().retired;
  const range = takeRange(HUGE_PAGE, HUGE_PAGE, 0);
  retire(range);
  const munmap = vi.spyOn(libc, 'munmap').mockImplementation(() => {
    throw new KernelError('ENOMEM', 'one mapping more than it may have');
  });
  giveBack(range);
  expect(viewSpace().retired - before).toBe(range.total);
  munmap.mockRestore();
  giveBack(range);
  expect(viewSpace().retired).toBe(before);
});

test('more mappings than there may be are ENOMEM, and count for nothing', () => {
  const { mappings, mostMappings } = viewSpace();
  expect(codeOfThrown(() => countMappings(mostMappings + 1))).toBe('ENOMEM');
  expect(viewSpace().mappings).toBe(mappings);
});
