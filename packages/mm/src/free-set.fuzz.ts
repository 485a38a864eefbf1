/** FreeSet against a Set: the same members, the same lowest ones. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FreeSet } from './free-set.ts';
import { seed } from '@liveupdate/base/test-seed';

test.for([1, 31, 32, 33, 1024, 1025, 40_000])('members below %i', (length) => {
  const member = fc.oneof(fc.nat(length - 1), fc.nat(Math.min(length - 1, 40)));
  /** A member that comes or goes, or members side by side that come. */
  const step = fc.tuple(
    member,
    fc.oneof({ weight: 3, arbitrary: fc.constant(1) }, fc.integer({ min: 2, max: 3000 })),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const set = new FreeSet(length);
      const model = new Set<number>();
      for (const [i, wanted] of steps) {
        let count = 0;
        while (count < wanted && i + count < length && !model.has(i + count)) count += 1;
        if (count > 1) {
          for (let at = i; at < i + count; at++) model.add(at);
          set.addRange(i, count);
        } else if (model.delete(i)) {
          set.remove(i);
        } else {
          model.add(i);
          set.add(i);
        }
        const sorted = [...model].sort((a, b) => a - b);
        const from = (i * 7) % length;
        expect([set.count, set.first(), set.next(from), set.has(i)]).toEqual([
          model.size,
          sorted[0] ?? -1,
          sorted.find((other) => other >= from) ?? -1,
          model.has(i),
        ]);
      }
    }),
    { seed, numRuns: 60 },
  );
});

test('the next member is found at once, however far it is', () => {
  const set = new FreeSet(2 ** 32);
  for (const member of [5, 2 ** 31 + 7, 2 ** 32 - 1]) set.add(member);
  for (let i = 0; i < 100; i++)
    expect([set.next(6), set.next(2 ** 31 + 8), set.next(2 ** 32)]).toEqual([2 ** 31 + 7, 2 ** 32 - 1, -1]);
});

test('questions beyond the end are answered with no', () => {
  const set = new FreeSet(40);
  set.add(39);
  expect([set.has(40), set.has(64), set.has(10_000), set.next(40), set.next(10_000)]).toEqual([
    false,
    false,
    false,
    -1,
    -1,
  ]);
});
