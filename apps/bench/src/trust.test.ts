import { expect, test } from 'vitest';
import { resultsOf, run } from './test-results.ts';
import { doubts, rates } from './trust.ts';

const GiB = 2 ** 30;

test('a figure against a baseline that is far too slow has no verdict, and says why', () => {
  const series = (copy: number): Record<string, number[]> => ({
    preserve: [0.01, 0.01, 0.01],
    copy: [copy, copy, copy],
  });
  const { figures } = resultsOf([run('small', GiB, series(100)), run('huge', GiB, series(1800))]);
  expect(figures.map(({ trial, verdict, doubt }) => [trial, verdict, doubt])).toEqual([
    ['small', 'pass', undefined],
    ['huge', 'no goal', 'copy at 0.556 GiB/s, where 10.0 are possible'],
  ]);
  const [alone] = resultsOf([run('small', GiB, series(1800))], { copyRate: 12 }).figures;
  expect([alone.verdict, alone.doubt]).toEqual(['no trust', 'copy at 0.556 GiB/s, where 12.0 are possible']);
});

test('small files are copied from the cache: no other copy is held to that', () => {
  const copied = (copy: number): Record<string, number[]> => ({ preserve: [1], copy: [copy] });
  const results = resultsOf([run('small', GiB, copied(100)), run('files', GiB, copied(40))]);
  expect(rates(results).map(({ trial, rate, part }) => [trial, rate, part])).toEqual([
    ['small', 10, 1],
    ['files', 25, 2.5],
  ]);
});

test('what was measured on a busy machine has no verdict', () => {
  const quiet = run('small', GiB, { preserve: [1], retrieve: [1], copy: [100] });
  const busy = { ...quiet, disturbance: { others: 0.1, stolen: 0.15, waiting: undefined } };
  expect(resultsOf([quiet]).figures.map(({ verdict }) => verdict)).toEqual(['pass', 'pass']);
  const results = resultsOf([busy]);
  expect(results.figures.map(({ verdict }) => verdict)).toEqual(['no trust', 'no trust']);
  expect(doubts(results)).toEqual([
    'NO TRUST small at 1 GiB: other programs had 10 % of the processors, the host kept 15 %',
  ]);
});
