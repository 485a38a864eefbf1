import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { GOAL_SIZE } from './figure.ts';
import { brokenFigures, judge, readResults, writeResults } from './results.ts';
import { fullResults, resultsOf, run } from './test-results.ts';
import { FIGURES, TRIALS } from './trials.ts';

test.each([
  ['faster', 20, 20, 'pass'],
  ['faster', 20, 19.9, 'fail'],
  ['longer', 3, 3, 'pass'],
  ['longer', 3, 3.1, 'fail'],
  ['share', 2, 2.1, 'fail'],
  ['slope', 10, 9.9, 'pass'],
  ['slope', 10, 10.1, 'fail'],
  ['more', 1.5, -3, 'pass'],
  ['more', 1.5, 1.6, 'fail'],
  ['count', 0, 0, 'pass'],
  ['count', 0, 1, 'fail'],
  ['faster', undefined, 0.1, 'no goal'],
] as const)('%s with goal %s at %s: %s', (kind, goal, median, verdict) => {
  expect(judge({ kind, ...(goal === undefined ? {} : { goal }) }, median, GOAL_SIZE)).toBe(verdict);
});

test.each([
  [undefined, GOAL_SIZE],
  [2 ** 33, 2 ** 33],
])('a goal is not judged on a file that is smaller than it is meant for', (goalSize, least) => {
  const figure = { kind: 'faster', goal: 20, ...(goalSize === undefined ? {} : { goalSize }) } as const;
  expect(judge(figure, 1, least - 1)).toBe('not judged');
  expect(judge(figure, 1, least)).toBe('fail');
});

test('names of trials are unique, and every figure names one', () => {
  const names = TRIALS.map(({ name }) => name);
  expect(new Set(names).size).toBe(names.length);
  for (const { trial } of FIGURES) expect(names).toContain(trial);
  const titles = FIGURES.map(({ trial, title }) => `${trial}: ${title}`);
  expect(new Set(titles).size).toBe(titles.length);
});

test('figures are evaluated when their trial was run at the size of the figures', () => {
  const series = { preserve: [0.2, 0.1], retrieve: [4, 4], copy: [40, 30], records: [0.1, 0.1] };
  const slow = { ...series, preserve: [100, 100] };
  const results = resultsOf([run('small', GOAL_SIZE / 4, slow), run('small', GOAL_SIZE, series)]);
  expect(
    results.figures.map(({ measured, against, result, verdict }) => [
      measured,
      against,
      result.median,
      verdict,
    ]),
  ).toEqual([
    ['preserve', 'copy', 250, 'pass'],
    ['preserve', 'records', 1.5, 'pass'],
    ['retrieve', 'copy', 8.75, 'fail'],
  ]);
  expect(results.runs.map(({ size, series: { preserve } }) => [size, preserve.median])).toEqual([
    [GOAL_SIZE / 4, 100],
    [GOAL_SIZE, 0.15000000000000002],
  ]);
});

test('of a difference the median counts, of a number the worst round', () => {
  const upgrade = { 'standby gap': [3, 4, 9], 'small gap': [2, 3, 2], 'lmdb failed': [50, 50, 50] };
  const { figures } = resultsOf([run('upgrade', 16 * GOAL_SIZE, { ...upgrade, 'ours lost': [0, 0, 2] })]);
  expect(figures.map(({ kind, result, verdict }) => [kind, result.median, verdict])).toEqual([
    ['more', 1, 'pass'],
    ['count', 0, 'fail'],
  ]);
});

test('a figure is broken only where it is beyond doubt', () => {
  const results = (freeze: number): ReturnType<typeof resultsOf> =>
    resultsOf([run('small', GOAL_SIZE, { freeze: [freeze], copy: [100] })]);
  expect(brokenFigures(results(99))).toEqual([]);
  expect(brokenFigures(results(101)).map(({ measured }) => measured)).toEqual(['freeze']);
});

test('a results file comes back as it was; anything else is refused', () => {
  const directory = fs.mkdtempSync(join(tmpdir(), 'liveupdate-bench-'));
  try {
    const path = join(directory, 'results.json');
    const results = fullResults();
    writeResults(path, results);
    expect(readResults(path)).toEqual(JSON.parse(JSON.stringify(results)));
    for (const text of ['{}', '{"version":1}', 'no JSON']) {
      fs.writeFileSync(path, text);
      expect(() => readResults(path)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    }
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});
