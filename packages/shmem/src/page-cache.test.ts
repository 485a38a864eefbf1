import { Prng } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { PageCache } from './page-cache.ts';
import { seed } from '@liveupdate/base/test-seed';

function runs(cache: PageCache, index: number, count: number): number[][] {
  const seen: number[][] = [];
  cache.forEachRun(index, count, (at, length, pfn) => seen.push([at, length, pfn]));
  return seen;
}

test('runs join what lies side by side in the file and in RAM, across blocks, with the holes between', () => {
  const cache = new PageCache();
  cache.insert(510, 1000, 4);
  cache.insert(514, 1004, 2);
  cache.insert(516, 77, 1);
  cache.insert(2048, 50, 1);
  expect(runs(cache, 0, 2050)).toEqual([
    [0, 510, 0],
    [510, 6, 1000],
    [516, 1, 77],
    [517, 1531, 0],
    [2048, 1, 50],
    [2049, 1, 0],
  ]);
  expect(runs(cache, 512, 3)).toEqual([[512, 3, 1002]]);
  expect(runs(cache, 512, 0)).toEqual([]);
  expect(cache.count).toBe(8);
  expect([cache.at(509), cache.at(510), cache.at(516), cache.at(2 ** 40)]).toEqual([0, 1000, 77, 0]);
});

test('removing counts what was there, and gives back blocks that are empty', () => {
  const cache = new PageCache();
  cache.insert(0, 100, 512);
  cache.insert(600, 900, 2);
  cache.remove(0, 601);
  expect(cache.count).toBe(1);
  expect(runs(cache, 0, 1024)).toEqual([
    [0, 601, 0],
    [601, 1, 901],
    [602, 422, 0],
  ]);
  expect(cache.stretches(0, Infinity)).toEqual([{ index: 512, count: 512 }]);
});

test('a block whose pages lie in a row is one run, however it came to be, and can be changed again', () => {
  const cache = new PageCache();
  for (let page = 0; page < 512; page++) cache.insert(page, 1000 + page, 1);
  cache.insert(512, 1512, 200);
  cache.insert(712, 1712, 312);
  cache.insert(1024, 2024, 512);
  expect(runs(cache, 0, 1536)).toEqual([[0, 1536, 1000]]);
  expect([cache.at(5), cache.at(600), cache.at(1535)]).toEqual([1005, 1600, 2535]);
  cache.replace(5, 9);
  cache.remove(600, 1);
  expect(runs(cache, 0, 1536)).toEqual([
    [0, 5, 1000],
    [5, 1, 9],
    [6, 594, 1006],
    [600, 1, 0],
    [601, 935, 1601],
  ]);
  cache.insert(600, 1600, 1);
  cache.remove(1024, 512);
  expect(cache.count).toBe(1024);
  expect(() => cache.insert(512, 7, 512)).toThrow('liveupdate bug');
});

test('a run over much emptiness and back, with blocks that came in any order', () => {
  const cache = new PageCache();
  const far = 2 ** 38;
  for (const index of [far, 5000, 100 * 512, far + 512 * 20]) cache.insert(index, 7, 1);
  cache.remove(100 * 512, 1);
  expect(runs(cache, 0, far + 512 * 30)).toEqual([
    [0, 5000, 0],
    [5000, 1, 7],
    [5001, far - 5001, 0],
    [far, 1, 7],
    [far + 1, 512 * 20 - 1, 0],
    [far + 512 * 20, 1, 7],
    [far + 512 * 20 + 1, 512 * 10 - 1, 0],
  ]);
  expect(cache.nextData(5001, far + 1)).toBe(far);
  expect(cache.nextData(far + 512 * 21, 2 ** 40)).toBe(2 ** 40);
});

test('pages that were never written are no data', () => {
  const cache = new PageCache();
  cache.insert(0, 1000, 1024);
  expect([cache.nextData(3, 2000), cache.nextHole(3, 1024), cache.nextHole(3, 2000)]).toEqual([
    3, 1024, 1024,
  ]);
  cache.markUnwritten(500, 30);
  expect([cache.nextHole(3, 2000), cache.nextData(500, 2000)]).toEqual([500, 530]);
  cache.markWritten(510, 20);
  expect([cache.nextData(500, 2000), cache.nextData(500, 505), cache.hasUnwritten]).toEqual([510, 505, true]);
  cache.remove(500, 10);
  cache.insert(500, 1500, 10);
  expect([cache.hasUnwritten, cache.nextHole(0, 1024)]).toEqual([false, 1024]);
});

test('stretches name what may hold pages and leave out the emptiness between', () => {
  const cache = new PageCache();
  const far = 2 ** 38;
  cache.insert(far, 9, 1);
  cache.insert(1024, 7, 1);
  cache.insert(600, 5, 1);
  expect(cache.stretches(0, Infinity)).toEqual([
    { index: 512, count: 1024 },
    { index: far, count: 512 },
  ]);
  expect(cache.stretches(1100, Infinity)).toEqual([
    { index: 1100, count: 436 },
    { index: far, count: 512 },
  ]);
  expect(cache.stretches(far + 512, Infinity)).toEqual([]);
});

test.each([
  ['insert over a page', (cache: PageCache) => cache.insert(5, 9, 2)],
  ['replace a hole', (cache: PageCache) => cache.replace(5, 9)],
  ['replace far away', (cache: PageCache) => cache.replace(5000, 9)],
])('%s is a bug of the caller', (_, work) => {
  const cache = new PageCache();
  cache.insert(6, 100, 1);
  expect(() => work(cache)).toThrow('liveupdate bug');
  cache.replace(6, 200);
  expect(cache.at(6)).toBe(200);
});

test('a row of pages, and what it becomes, is what a map of pages is', () => {
  const random = new Prng(seed);
  const END = 3000;
  for (let round = 0; round < 150; round++) {
    const cache = new PageCache();
    const pages = new Map<number, number>();
    const unwritten = new Set<number>();
    for (let step = 0; step < 12; step++) {
      let index = random.below(END);
      let count = 1 + random.below(random.below(2) ? 900 : 9);
      const last = Math.max(-1, ...pages.keys());
      const kind = random.below(8);
      if (kind < 4) {
        // Half of them go on where the last pages end.
        const goesOn = last >= 0 && random.below(2) === 1;
        if (goesOn) index = last + 1;
        const pfn = goesOn && random.below(4) > 0 ? pages.get(last)! + 1 : 1 + random.below(10) * 5000;
        for (let i = 0; i < count; i++) if (pages.has(index + i)) count = i;
        cache.insert(index, pfn, count);
        for (let i = 0; i < count; i++) pages.set(index + i, pfn + i);
        if (random.below(4) === 0) {
          cache.markUnwritten(index, count);
          for (let i = 0; i < count; i++) unwritten.add(index + i);
        }
      } else if (kind < 6) {
        if (random.below(3) === 0) count = END * 2;
        else if (random.below(2) === 0) count = Math.max(1, last - index + random.below(3)); // about to where they end
        cache.remove(index, count);
        for (let i = index; i < index + count; i++) {
          pages.delete(i);
          unwritten.delete(i);
        }
      } else if (kind === 6 && pages.has(index)) {
        cache.replace(index, 77);
        pages.set(index, 77);
      } else {
        cache.markWritten(index, count);
        for (let i = index; i < index + count; i++) unwritten.delete(i);
      }
      const from = random.below(END);
      const end = from + random.below(2 * END);
      const expected: number[][] = [];
      for (let at = from; at < end; at++) {
        const pfn = pages.get(at) ?? 0;
        const run = expected.at(-1);
        if (run && (pfn === 0 ? run[2] === 0 : run[2] !== 0 && pfn === run[2] + run[1])) run[1] += 1;
        else expected.push([at, 1, pfn]);
      }
      expect(runs(cache, from, end - from)).toEqual(expected);
      expect(cache.count).toBe(pages.size);
      expect(cache.hasUnwritten).toBe(unwritten.size > 0);
      const next = (isWanted: (at: number) => boolean): number => {
        for (let at = from; at < end; at++) if (isWanted(at)) return at;
        return end;
      };
      const isData = (at: number): boolean => pages.has(at) && !unwritten.has(at);
      expect(cache.nextData(from, end)).toBe(next(isData));
      expect(cache.nextHole(from, end)).toBe(next((at) => !isData(at)));
      const stretches = cache.stretches(from, end);
      for (let at = from; at < end; at++)
        if (pages.has(at))
          expect(stretches.some((part) => at >= part.index && at < part.index + part.count)).toBe(true);
    }
  }
});
