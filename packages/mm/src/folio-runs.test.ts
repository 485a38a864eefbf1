import { PAGE_SIZE, Prng } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import { FolioRuns } from './folio-runs.ts';
import { HEAD, PageTable } from './page-table.ts';
import { seed } from '@liveupdate/base/test-seed';

type Run = [index: number, pfn: number, count: number, order: number];

const list = ({ length, indices, pfns, counts, orders }: FolioRuns): Run[] =>
  Array.from({ length }, (_, i) => [indices[i], pfns[i], counts[i], orders[i]]);

describe('FolioRuns', () => {
  test.for<[what: string, pushed: Run[], runs: Run[]]>([
    ['nothing', [], []],
    ['one folio', [[5, 64, 1, 2]], [[5, 64, 1, 2]]],
    [
      'what goes on in the file and in RAM is one run',
      [
        [0, 8, 1, 0],
        [1, 9, 1, 0],
        [2, 10, 3, 0],
      ],
      [[0, 8, 5, 0]],
    ],
    [
      'larger folios too',
      [
        [0, 8, 2, 2],
        [8, 16, 1, 2],
      ],
      [[0, 8, 3, 2]],
    ],
    [
      'a gap in RAM',
      [
        [0, 8, 1, 0],
        [1, 10, 1, 0],
      ],
      [
        [0, 8, 1, 0],
        [1, 10, 1, 0],
      ],
    ],
    [
      'a hole in the file',
      [
        [0, 8, 1, 0],
        [2, 9, 1, 0],
      ],
      [
        [0, 8, 1, 0],
        [2, 9, 1, 0],
      ],
    ],
    [
      'another order',
      [
        [0, 8, 1, 0],
        [1, 9, 1, 1],
      ],
      [
        [0, 8, 1, 0],
        [1, 9, 1, 1],
      ],
    ],
    [
      'descending frames',
      [
        [0, 9, 1, 0],
        [1, 8, 1, 0],
      ],
      [
        [0, 9, 1, 0],
        [1, 8, 1, 0],
      ],
    ],
  ])('%s', ([, pushed, runs]) => {
    const all = new FolioRuns();
    for (const run of pushed) all.push(...run);
    expect(list(all)).toEqual(runs);
    expect(all.folios).toBe(runs.reduce((sum, [, , count]) => sum + count, 0));
    expect(all.pages).toBe(runs.reduce((sum, [, , count, order]) => sum + count * 2 ** order, 0));
  });

  test('grows to any number of runs', () => {
    const runs = new FolioRuns();
    for (let i = 0; i < 1_000; i++) runs.push(i, 2 * i, 1, 0);
    expect(list(runs)).toEqual(Array.from({ length: 1_000 }, (_, i) => [i, 2 * i, 1, 0]));
  });

  test('frames above 2^31 and files above 2^31 pages', () => {
    const runs = new FolioRuns();
    runs.push(2 ** 31, 2 ** 32 - 1024, 1, 9);
    runs.push(2 ** 31 + 512, 2 ** 32 - 512, 1, 9);
    expect(list(runs)).toEqual([[2 ** 31, 2 ** 32 - 1024, 2, 9]]);
  });

  test('pushPages finds the folios that pages in a row belong to', () => {
    const random = new Prng(seed);
    for (let round = 0; round < 200; round++) {
      const table = new PageTable(4096 * PAGE_SIZE);
      const folios: [pfn: number, order: number][] = [];
      const first = random.below(64) * 32;
      let pfn = first;
      while (folios.length < 12) {
        const order = random.below(6);
        if (pfn % (1 << order) !== 0) continue;
        folios.push([pfn, order]);
        table.setFolios(pfn, 1, order, HEAD, 1);
        pfn += 1 << order;
      }
      const expected = new FolioRuns();
      for (const [head, order] of folios) expected.push(7 + head - first, head, 1, order);
      const runs = new FolioRuns();
      runs.pushPages(7, first, pfn - first, table);
      expect(list(runs)).toEqual(list(expected));
      expect(runs.folios).toBe(12);
    }
  });

  describe('rows', () => {
    const rowsOf = (runs: FolioRuns): number[][] => {
      const { length, pfns, counts, orders } = runs.rows();
      return Array.from({ length }, (_, i) => [pfns[i], counts[i], orders[i]]);
    };

    test('pages of two streams that take turns in a file are two', () => {
      const runs = new FolioRuns();
      for (let i = 0; i < 1000; i++) {
        runs.push(16 * i, 5000 + i, 1, 0);
        runs.push(16 * i + 1, 100_000 + 15 * i, 15, 0);
      }
      expect(runs.length).toBe(2000);
      expect(rowsOf(runs)).toEqual([
        [5000, 1000, 0],
        [100_000, 15_000, 0],
      ]);
    });

    test('another order is another row, and one run is itself', () => {
      const runs = new FolioRuns();
      runs.push(0, 8, 1, 0);
      expect(runs.rows()).toBe(runs);
      runs.push(8, 16, 1, 3);
      runs.push(1, 9, 1, 0);
      expect(rowsOf(runs)).toEqual([
        [8, 2, 0],
        [16, 1, 3],
      ]);
      expect(list(runs)).toHaveLength(3); // as they were
    });

    test('hold each folio once, wherever the runs lie', () => {
      const random = new Prng(seed);
      for (let round = 0; round < 100; round++) {
        const runs = new FolioRuns();
        const ends = Array.from({ length: 1 + random.below(6) }, (_, i) => i * 10_000);
        const expected = new Set<string>();
        for (let i = 0; i < 200; i++) {
          const stream = random.below(ends.length);
          const order = random.below(3);
          const count = 1 + random.below(4);
          const pfn = Math.ceil(ends[stream] / 4) * 4;
          ends[stream] = pfn + count * 2 ** order;
          runs.push(100 * i, pfn, count, order);
          for (let f = 0; f < count; f++) expected.add(`${pfn + f * 2 ** order}:${order}`);
        }
        const { length, pfns, counts, orders } = runs.rows();
        const found: string[] = [];
        for (let i = 0; i < length; i++)
          for (let f = 0; f < counts[i]; f++) found.push(`${pfns[i] + f * 2 ** orders[i]}:${orders[i]}`);
        expect(found.sort()).toEqual([...expected].sort());
      }
    });
  });
});
