import { expect, test } from 'vitest';
import { PageCache } from './page-cache.ts';

function runs(cache: PageCache, index: number, count: number): number[][] {
  const seen: number[][] = [];
  cache.forEachRun(index, count, (at, length, pfn) => seen.push([at, length, pfn]));
  return seen;
}

test('runs join what lies side by side in the file and in RAM, across blocks, with the holes between', () => {
  const cache = new PageCache();
  cache.insert(510, 1000, 4);
  cache.insertMany(514, Uint32Array.of(0, 1004, 1005, 77), 1, 3);
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
  expect(cache.stretchesFrom(0)).toEqual([{ index: 512, count: 512 }]);
});

test('stretches name what may hold pages and leave out the emptiness between', () => {
  const cache = new PageCache();
  const far = 2 ** 38;
  cache.insert(far, 9, 1);
  cache.insert(1024, 7, 1);
  cache.insert(600, 5, 1);
  expect(cache.stretchesFrom(0)).toEqual([
    { index: 512, count: 1024 },
    { index: far, count: 512 },
  ]);
  expect(cache.stretchesFrom(1100)).toEqual([
    { index: 1100, count: 436 },
    { index: far, count: 512 },
  ]);
  expect(cache.stretchesFrom(far + 512)).toEqual([]);
});

test.each([
  ['insert over a page', (cache: PageCache) => cache.insert(5, 9, 2)],
  ['insert many over a page', (cache: PageCache) => cache.insertMany(5, Uint32Array.of(9, 10), 0, 2)],
  ['replace a hole', (cache: PageCache) => cache.replace(5, 9)],
  ['replace far away', (cache: PageCache) => cache.replace(5000, 9)],
])('%s is a bug of the caller', (_, work) => {
  const cache = new PageCache();
  cache.insert(6, 100, 1);
  expect(() => work(cache)).toThrow('liveupdate bug');
  cache.replace(6, 200);
  expect(cache.at(6)).toBe(200);
});
