import { Prng } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { chanceOfRanks, corrected } from './significance.ts';

test.each([
  ['three above three, 1 of 20 choices', [1, 2, 3], [4, 5, 6], 1 / 20],
  ['three below three, all of them', [4, 5, 6], [1, 2, 3], 1],
  ['next to the highest', [1, 2, 4], [3, 5, 6], 2 / 20],
  ['all the same', [7, 7, 7], [7, 7, 7], 1],
  ['ties share a rank', [1, 2, 2], [2, 3, 3], 3 / 20],
  ['nine above nine', [1, 2, 3, 4, 5, 6, 7, 8, 9], [10, 11, 12, 13, 14, 15, 16, 17, 18], 1 / 48_620],
])('chance of ranks: %s', (_, smaller, larger, chance) => {
  expect(chanceOfRanks(smaller, larger)).toBeCloseTo(chance, 10);
});

/** All choices, one by one. */
function naive(smaller: readonly number[], larger: readonly number[]): number {
  const all = [...smaller, ...larger];
  const rank = (value: number): number =>
    all.filter((each) => each < value).length + all.filter((each) => each === value).length / 2;
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + rank(value), 0);
  let [asHigh, choices] = [0, 0];
  for (let mask = 0; mask < 2 ** all.length; mask++) {
    const chosen = all.filter((_, i) => (mask >> i) & 1);
    if (chosen.length !== larger.length) continue;
    choices += 1;
    if (sum(chosen) >= sum(larger)) asHigh += 1;
  }
  return asHigh / choices;
}

test('chance of ranks: as counting all choices one by one', () => {
  const random = new Prng(1);
  const values = (): number[] => Array.from({ length: 1 + random.below(5) }, () => random.below(6));
  for (let i = 0; i < 200; i++) {
    const [smaller, larger] = [values(), values()];
    expect(chanceOfRanks(smaller, larger)).toBeCloseTo(naive(smaller, larger), 9);
  }
});

test('Holm: the smallest chance counts as often as there are tests, and order stays', () => {
  expect(corrected([0.01, 0.04, 0.03, 0.005])).toEqual([0.03, 0.06, 0.06, 0.02]);
  expect(corrected([0.6, 0.7])).toEqual([1, 1]);
  expect(corrected([])).toEqual([]);
});
