import { expect, test } from 'vitest';
import { changeOf, compareFigures, comparisonReport } from './compare.ts';
import { summarize } from './stats.ts';
import { resultsOf, run } from './test-results.ts';
import type { Results } from './results.ts';

const GiB = 2 ** 30;
const quiet = (value: number) => summarize([value * 0.99, value, value * 1.01]);
const noisy = (value: number) => summarize([value * 0.5, value, value * 1.8]);

test.each([
  ['nothing changed', quiet(10), quiet(10), 'same'],
  ['less than is worth a word', quiet(10), quiet(10.4), 'same'],
  ['more, and quiet', quiet(10), quiet(12), 'better'],
  ['less, and quiet', quiet(10), quiet(8), 'worse'],
  ['less, within noise', noisy(10), quiet(8), 'same'],
  ['less, beyond noise', noisy(10), quiet(0.1), 'worse'],
] as const)('%s', (_, old, fresh, change) => {
  expect(changeOf(old, fresh, 'more')).toBe(change);
  const opposite = { same: 'same', better: 'worse', worse: 'better' } as const;
  expect(changeOf(old, fresh, 'less')).toBe(opposite[change]);
});

function results(preserve: number, about: Partial<Results> = {}): Results {
  const around = [preserve * 0.99, preserve, preserve * 1.01];
  return resultsOf(
    [run('small', GiB, { preserve: around, copy: [300, 300, 300], records: [1, 1, 1] })],
    about,
  );
}

test('a ratio that got worse is found, with its goal', () => {
  const compared = compareFigures(results(2.5), results(5));
  expect(compared.map(({ new: { against }, change }) => [against, change])).toEqual([
    ['copy', 'worse'],
    ['records', 'worse'],
  ]);
  const report = comparisonReport(results(2.5), results(5));
  expect(report).toContain('worse, misses its goal');
  expect(report).toContain('2 ratios: 0 better, 2 worse, 0 same');
  expect(report).toMatch(/small: preserve\s+1 GiB\s+2\.50 ms\s+5\.00 ms\s+worse/);
});

test('one that got better too, and other machines are named', () => {
  const other = { ...results(2.5).machine, kernel: '6.19.0' };
  const report = comparisonReport(results(5), results(2.5, { machine: other }));
  expect(report).toContain('better, reaches its goal');
  expect(report).toContain('the kernel differs: 6.18.0 and 6.19.0');
});

test('what is not in both, or of another size, is not compared', () => {
  expect(compareFigures(resultsOf([]), results(5))).toEqual([]);
  const small = resultsOf([run('small', GiB / 4, { preserve: [1], copy: [300] })], { size: GiB / 4 });
  expect(compareFigures(small, results(5))).toEqual([]);
});
