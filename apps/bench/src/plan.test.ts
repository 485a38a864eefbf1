import { expect, test } from 'vitest';
import { plan } from './plan.ts';
import type { Trial } from './runner.ts';

const GiB = 2 ** 30;

function trial(name: string, about: Partial<Trial>): Trial {
  return {
    name,
    title: name,
    prepare: () => ({ run: () => Promise.resolve({}), end: () => undefined }),
    ...about,
  };
}

const options = { size: GiB, series: [GiB / 4, 4 * GiB], rounds: 11, room: 20 * GiB };
const planned = (trials: readonly Trial[], about = {}) => {
  const { runs, skipped } = plan(trials, { ...options, ...about });
  return { runs: runs.map((run) => [run.trial.name, run.size / GiB, run.rounds]), skipped };
};

test('one size, several, or its own; fewer rounds where they are long', () => {
  const trials = [
    trial('one', {}),
    trial('several', { sizes: 'series' }),
    trial('own', { sizes: 16 * GiB, memory: (size) => size }),
  ];
  expect(planned(trials)).toEqual({
    runs: [
      ['one', 1, 11],
      ['several', 0.25, 11],
      ['several', 1, 11],
      ['several', 4, 5],
      ['own', 16, 5],
    ],
    skipped: [],
  });
  expect(planned(trials.slice(2), { most: GiB / 16, rounds: 2 }).runs).toEqual([['own', 1 / 16, 2]]);
  const often = trials.slice(2).map((trial) => ({ ...trial, leastRounds: 9 }));
  expect([11, 3].map((rounds) => planned(often, { rounds }).runs[0][2])).toEqual([9, 3]);
});

test('a trial with a size of its own takes the largest that memory allows', () => {
  const own = trial('own', { sizes: 16 * GiB, memory: (size) => 1.1 * size });
  expect(planned([own], { room: 10 * GiB }).runs).toEqual([['own', 8, 5]]);
});

test('what does not fit, or cannot be done here, is left out and says why', () => {
  const trials = [
    trial('large', { sizes: 'series' }),
    trial('odd', { missing: () => 'there is no such thing' }),
  ];
  const { runs, skipped } = planned(trials, { room: 4 * GiB });
  expect(runs).toEqual([
    ['large', 0.25, 11],
    ['large', 1, 11],
  ]);
  expect(skipped).toEqual([
    { trial: 'large', size: 4 * GiB, reason: 'it takes 12 GiB of memory, and 4 GiB may be taken here' },
    { trial: 'odd', size: GiB, reason: 'there is no such thing' },
  ]);
});
