import { expect, test } from 'vitest';
import { evaluate, judge } from './results.ts';
import { FIGURES, GOAL_SIZE, TRIALS } from './trials.ts';

test.each([
  ['faster', 20, 20, 'pass'],
  ['faster', 20, 19.9, 'fail'],
  ['longer', 3, 3, 'pass'],
  ['longer', 3, 3.1, 'fail'],
  ['share', 2, 2.1, 'fail'],
  ['faster', undefined, 0.1, 'no goal'],
] as const)('%s with goal %s at %s: %s', (kind, goal, median, verdict) => {
  expect(judge({ kind, ...(goal === undefined ? {} : { goal }) }, median, GOAL_SIZE)).toBe(verdict);
});

test('a goal is not judged on a small file', () => {
  expect(judge({ kind: 'faster', goal: 20 }, 1, GOAL_SIZE - 1)).toBe('not judged');
});

test('every figure names a trial, and is evaluated when that was run', () => {
  const names = TRIALS.map(({ name }) => name);
  for (const { trial } of FIGURES) expect(names).toContain(trial);
  const series = { preserve: [2, 1], unpreserve: [1, 1], retrieve: [4, 4], copy: [40, 30] };
  const results = evaluate(new Map([['small', series]]), {
    date: '',
    commit: undefined,
    machine: {
      arch: '',
      cpu: '',
      cpus: 1,
      memory: 0,
      kernel: '',
      node: '',
      hugePages: { enabled: undefined, shmemEnabled: undefined },
    },
    load: { start: 0, end: 0 },
    size: GOAL_SIZE,
    rounds: 2,
  });
  expect(results.figures.map(({ measured, result, verdict }) => [measured, result.median, verdict])).toEqual([
    ['preserve', 25, 'pass'],
    ['unpreserve', 35, 'no goal'],
    ['retrieve', 8.75, 'no goal'],
  ]);
});
