import { expect, test } from 'vitest';
import { quotient } from './runner.ts';
import { summarize } from './stats.ts';

test.each([
  [[5], { n: 1, median: 5, p25: 5, p75: 5, min: 5, max: 5 }],
  [[4, 1, 3, 2], { n: 4, median: 2.5, p25: 1.75, p75: 3.25, min: 1, max: 4 }],
  [[10, 1, 5, 2, 100], { n: 5, median: 5, p25: 2, p75: 10, min: 1, max: 100 }],
])('%j', (values, summary) => {
  expect(summarize(values)).toEqual(summary);
});

test('a quotient is taken round by round: a round that is slow for both changes nothing', () => {
  expect(quotient([20, 200, 20], [1, 10, 1])).toMatchObject({ median: 20, min: 20, max: 20 });
});

test('a series without values is our own mistake', () => {
  expect(() => summarize([])).toThrow(expect.objectContaining({ name: 'AssertionError' }));
});
