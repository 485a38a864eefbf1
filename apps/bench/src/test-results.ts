/** Results as a machine would have measured them, for tests. */
import { evaluate, type MeasuredRun } from './results.ts';
import type { Results } from './results-format.ts';
import type { Measured } from './runner.ts';
import { TRIALS } from './trials.ts';

const GiB = 2 ** 30;

const MACHINE: Results['machine'] = {
  arch: 'x64',
  cpu: 'Test & <CPU>',
  cpus: 2,
  memory: 24 * GiB,
  room: 20 * GiB,
  kernel: '6.18.0',
  node: '24.0.0',
  hugePages: { enabled: 'madvise', shmemEnabled: 'never' },
  hugetlb: 0,
  redis: '7.0.15',
};

const QUIET = { others: 0.01, stolen: 0, waiting: 0.02 };

export function run(trial: string, size: number, measured: Measured): MeasuredRun {
  const found = TRIALS.find(({ name }) => name === trial);
  if (!found) throw new Error(`no trial '${trial}'`);
  return { trial: found, size, rounds: 3, measured, warmUp: {}, absent: {}, disturbance: QUIET };
}

export function resultsOf(runs: readonly MeasuredRun[], about: Partial<Results> = {}): Results {
  return evaluate(runs, {
    date: '2026-01-02T03:04:05.000Z',
    commit: undefined,
    machine: MACHINE,
    load: { start: 0, end: 1 },
    size: GiB,
    rounds: 3,
    built: true,
    skipped: [],
    profile: [],
    ...about,
  });
}

const spread = (value: number): number[] => [value * 0.9, value, value * 1.2];

/** Everything that a report shows, at several sizes. */
export function fullResults(): Results {
  const phases = ['seal', 'exec', 'node', 'modules', 'open', 'retrieve', 'read', 'finish'];
  const sizes = [GiB / 16, GiB / 4, GiB, 4 * GiB];
  const runs = sizes.flatMap((size) => {
    const gib = size / GiB;
    const inProcess = (folios: number): Measured => ({
      copy: spread(200 * gib),
      records: spread(0.8 * gib),
      preserve: spread(14 * gib * folios + 0.1),
      unpreserve: spread(8 * gib * folios + 0.1),
      freeze: spread(0.1),
      boot: spread(3 * gib),
      retrieve: spread(9 * gib * folios + 0.1),
      finish: spread(0.05),
    });
    const replaced: Record<string, number[]> = {
      ...Object.fromEntries(phases.map((phase, i) => [phase, spread(5 + i * 4 + gib)])),
      blackout: spread(150 + 20 * gib),
      handover: spread(200 + 70 * gib),
      bare: spread(80),
      empty: spread(50),
      readAll: spread(200 * gib),
      bareReadAll: spread(200 * gib),
    };
    return [
      run('small', size, inProcess(1)),
      run('huge', size, inProcess(0.01)),
      run('replace', size, replaced),
      run('replace-huge', size, replaced),
    ];
  });
  const beside = { handover: 250, bare: 80, copy: 200, tmpfs: 900, serialize: 2500, redis: 4000 };
  const alternatives = Object.entries(beside).map(([name, value]) => [name, spread(value)]);
  const kept = {
    handover: 250,
    'our handover': 200,
    empty: 50,
    bare: 80,
    mapped: 90,
    lmdb: 110,
    sqlite: 120,
    memcached: 900,
    criu: 4000,
  };
  const others = Object.entries(kept).map(([name, value]) => [name, spread(value)]);
  const grown = { least: spread(150), most: spread(400), perGiB: spread(15) };
  return resultsOf([
    ...runs,
    run('growth', 16 * GiB, grown),
    run('growth-huge', 16 * GiB, grown),
    run('kept', GiB, Object.fromEntries(others) as Measured),
    run('alternatives', GiB, Object.fromEntries(alternatives) as Measured),
  ]);
}
