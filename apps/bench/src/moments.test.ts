import { expect, test } from 'vitest';
import { LEAD_MS, longestSilence, MOMENT_MS, momentsOf } from './moments.ts';

test('each answer counts in its moment; what is before, or in no whole moment, does not', () => {
  const start = 10_000;
  const first = start - LEAD_MS;
  const times = [first - 0.001, first, first + 9.999, start, start + 10, start + 19, start + 25];
  const counts = momentsOf(times, start, start + 27);
  const lead = LEAD_MS / MOMENT_MS;
  expect(counts).toHaveLength(lead + 2);
  expect([counts[0], counts[1], counts[lead], counts[lead + 1]]).toEqual([2, 0, 1, 2]);
  expect(counts.reduce((a, b) => a + b)).toBe(5);
});

test('a load that ended before it began has none', () => {
  expect(momentsOf([1], 1000, 100)).toEqual([]);
});

test('the longest silence is one that ended after the start, wherever it began', () => {
  expect(longestSilence([0, 900, 990, 1040, 1045], 1000)).toEqual({ silence: 50, silenceEnd: 40 });
  expect(longestSilence([0, 900], 1000)).toEqual({ silence: 0, silenceEnd: 0 });
});
