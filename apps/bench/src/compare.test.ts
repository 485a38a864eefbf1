import { expect, test } from 'vitest';
import { Prng } from '@liveupdate/base';
import { compareFigures, type Change } from './compare.ts';
import { comparison } from './compare-report.ts';
import type { Results } from './results-format.ts';
import { resultsOf, run } from './test-results.ts';
import { TRIALS } from './trials.ts';

const GiB = 2 ** 30;

/** Rounds around a value, half of them within `spread` of it, and one in forty far above. */
function rounds(random: Prng, value: number, spread: number, count = 9): number[] {
  const unit = (): number => random.below(2 ** 20) / 2 ** 20;
  const bell = (): number => (unit() + unit() + unit() + unit() - 2) * 2.5 * spread;
  return Array.from({ length: count }, () => value * (1 + bell()) * (random.below(40) === 0 ? 1.5 : 1));
}

const STEPS = ['preserve', 'preserveOnce', 'unpreserve', 'freeze', 'boot', 'retrieve', 'finish'];
const WITH_STEPS = ['small', 'medium', 'huge', 'files'].map((name) =>
  TRIALS.find((each) => each.name === name)!,
);

/** A run of many figures, the times of which are `factor` times as long as usual. */
function measured(seed: number, { factor = 1, spread = 0.03, count = 9 } = {}): Results {
  const random = new Prng(seed);
  const runs = WITH_STEPS.map(({ name }) => {
    const steps = STEPS.map((step, i) => [step, rounds(random, factor * (i + 1), spread, count)]);
    return run(name, GiB, {
      ...(Object.fromEntries(steps) as Record<string, number[]>),
      copy: rounds(random, 300, spread, count),
      records: rounds(random, 1, spread, count),
    });
  });
  return resultsOf(runs);
}

/** Figures in such a run. */
const ALL = measured(1).figures.length;

function changes(old: Results, fresh: Results): Record<Change | 'none', number> {
  const counts = { better: 0, worse: 0, same: 0, none: 0 };
  for (const { change = 'none' } of compareFigures(old, fresh)) counts[change] += 1;
  return counts;
}

test.each([0.01, 0.05, 0.2])(
  'where nothing changed, twenty pairs of runs have no verdict: spread %d',
  (spread) => {
    for (let seed = 1; seed <= 20; seed++) {
      const counts = changes(measured(seed, { spread }), measured(1000 + seed, { spread }));
      expect(counts).toEqual({ better: 0, worse: 0, same: ALL, none: 0 });
    }
  },
);

test.each([
  [1.3, 'worse', 'better'],
  [1 / 1.3, 'better', 'worse'],
] as const)('nine rounds are enough to find a change by 30 %%: times %f', (factor, change, other) => {
  let found = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const counts = changes(measured(seed), measured(1000 + seed, { factor }));
    expect(counts[change], `seed ${seed}`).toBeGreaterThan(0);
    expect(counts[other]).toBe(0);
    found += counts[change];
  }
  expect(found / (20 * ALL)).toBeGreaterThan(0.8);
});

test('a change by 5 % is not worth a word, however sure it is', () => {
  const counts = changes(measured(1, { spread: 0.001 }), measured(2, { spread: 0.001, factor: 1.05 }));
  expect(counts).toMatchObject({ better: 0, worse: 0 });
});

test('a baseline that had a bad day makes no verdict', () => {
  const steady = [1, 1.01, 0.99, 1, 1.02, 0.98, 1, 1.01, 0.99];
  const withCopy = (copy: number): Results =>
    resultsOf([run('small', GiB, { preserve: steady, copy: steady.map((value) => value * copy) })]);
  expect(changes(withCopy(300), withCopy(150))).toMatchObject({ better: 0, worse: 0, same: 1 });
});

test('one round has no verdict, and seven have none', () => {
  for (const count of [1, 7]) {
    const { text, outcome } = comparison(measured(1, { count }), measured(2, { count, factor: 9 }));
    expect(outcome).toBe('none');
    expect(text).toContain(
      `${ALL} figures without a verdict: ${count} round${count > 1 ? 's' : ''}, 8 are needed`,
    );
  }
});

test('results that kept no single rounds have no verdict, and say what they need', () => {
  const old = JSON.parse(
    JSON.stringify(measured(1), (key, value: unknown) => (key === 'values' ? undefined : value)),
  ) as Results;
  const { text, outcome } = comparison(old, measured(2, { factor: 9 }));
  expect(outcome).toBe('none');
  expect(text).toContain('single rounds are not in both files: measure the older one again');
});

test('what a busy machine, or a slow baseline, was measured with has no verdict', () => {
  const busy = { others: 0.5, stolen: 0, waiting: 0.5 };
  const fresh = measured(2, { factor: 9 });
  const disturbed = { ...fresh, runs: fresh.runs.map((each) => ({ ...each, disturbance: busy })) };
  expect(comparison(measured(1), disturbed)).toMatchObject({
    outcome: 'none',
    text: expect.stringContaining('other programs had 50 % of the processors') as string,
  });
  const nine = (value: number): number[] => Array<number>(9).fill(value);
  const copied = (slow: number): Results =>
    resultsOf([
      run('small', GiB, { preserve: nine(1), copy: nine(100) }),
      run('huge', GiB, { preserve: nine(slow / 100), copy: nine(slow) }),
    ]);
  const verdicts = compareFigures(copied(100), copied(1800));
  expect(verdicts.map(({ new: { trial }, change }) => `${trial}: ${change}`)).toEqual([
    'small: same',
    'huge: undefined',
  ]);
  expect(verdicts[1].reason).toContain('copy at 0.556 GiB/s, where 10.0 are possible');
});

test('a figure against a constant is a time, and has no verdict', () => {
  const nine = Array.from({ length: 9 }, (_, i) => 1 + i / 100);
  const pages = (factor: number): Results =>
    resultsOf([
      run('pages', GiB, {
        'ours preserve': nine.map((value) => value * factor),
        'most preserve': Array<number>(9).fill(3),
        'naive preserve': nine,
      }),
    ]);
  expect(compareFigures(pages(1), pages(5)).map(({ change, reason }) => change ?? reason)).toEqual([
    'a time, which depends on the day',
    'worse',
  ]);
});

test('a report names what got worse, lost goals, changed times and other machines', () => {
  const worse = measured(2, { factor: 9 });
  const other = { ...worse, machine: { ...worse.machine, kernel: '6.19.0' } };
  const { text, outcome } = comparison(measured(1), other);
  expect(outcome).toBe('worse');
  expect(text).toContain('worse, misses its goal');
  expect(text).toContain(`${ALL} figures: 0 better, ${ALL} worse, 0 same, 0 without a verdict`);
  expect(text).toMatch(/small: boot\s+1 GiB\s+\d\.\d+ ms\s+\d+\.\d ms/);
  expect(text).toContain('the kernel differs: 6.18.0 and 6.19.0');
  expect(comparison(measured(1), measured(3)).outcome).toBe('not worse');
});

test('what is not in both, or of another size, is not compared, and that is said', () => {
  expect(compareFigures(resultsOf([]), measured(1))).toEqual([]);
  const small = resultsOf([run('small', GiB / 4, { preserve: [1], copy: [300] })], { size: GiB / 4 });
  expect(comparison(small, measured(1))).toEqual({
    outcome: 'none',
    text: 'The two files have no figure of the same size in common: the old one has 256 MiB, the new one 1 GiB. Measure the same trials with the same --size.\n',
  });
});
