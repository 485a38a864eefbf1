/** BlockIndex against a Map: the same numbers, the same rows, the same next ones. */
import { seed } from '@liveupdate/base/test-seed';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BlockIndex } from './block-index.ts';

const STEP = 512;

/** At and near the borders of chunks, and far away. */
const block = fc.oneof(
  fc.nat(40),
  fc.nat(5).map((chunk) => chunk * 1024),
  fc.integer({ min: 1000, max: 1100 }),
  fc.integer({ min: 3000, max: 5200 }),
  fc.nat(2 ** 40),
);
const change = fc.record({
  block,
  value: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 9 })),
  row: fc.oneof(fc.constant(0), fc.nat(2500)),
});

test(`random changes from seed ${seed}`, () => {
  fc.assert(
    fc.property(fc.array(change, { maxLength: 40 }), (changes) => {
      const index = new BlockIndex(STEP);
      const model = new Map<number, number>();
      for (const { block, value, row } of changes) {
        if (row > 0) {
          let end = block;
          for (; end < block + row && !model.has(end); end++)
            model.set(end, value + 1 + (end - block) * STEP);
          expect(index.fill(block, block + row, value + 1)).toBe(end);
        } else {
          index.set(block, value);
          if (value === 0) model.delete(block);
          else model.set(block, value);
        }
        expect(index.get(block)).toBe(model.get(block) ?? 0);
        const above = [...model.keys()].filter((number) => number >= block);
        expect(index.next(block)).toBe(Math.min(Infinity, ...above));
        if (!model.has(block)) continue;
        let end = block + 1;
        while (end < block + 3000 && model.get(end) === model.get(end - 1)! + STEP) end += 1;
        expect(index.rowEnd(block, block + 3000)).toBe(end);
      }
      for (const number of model.keys()) index.set(number, 0);
      expect(index.next(0)).toBe(Infinity);
    }),
    { seed, numRuns: 200 },
  );
});
