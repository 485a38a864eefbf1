import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { ALTERNATIVES, missingAlternative, type Alternative } from './alternatives.ts';
import { GENERATION_PHASES } from './generations.ts';
import { WAIT_PHASES } from './kill-trial.ts';
import { BLACKOUT_PHASES } from './processes.ts';
import { missingPerf } from './perf.ts';
import { PICTURED, readPictured } from './pictured-upgrades.ts';
import { findRun, readResults, writeResults } from './results.ts';
import type { Results } from './results-format.ts';
import { fullResults, resultsOf, run } from './test-results.ts';
import { FIGURES, TRIALS } from './trials.ts';
import { NOTICED } from './upgrade-trial.ts';

const MAIN = new URL('./main.ts', import.meta.url).pathname;
const MiB = 2 ** 20;
const directory = fs.mkdtempSync(join(tmpdir(), 'liveupdate-bench-'));
const inDirectory = (name: string): string => join(directory, name);

afterAll(() => {
  fs.rmSync(directory, { recursive: true });
});

/** Series that may be zero, or less. */
const MAY_BE_NONE = /^perGiB$| (?:failed|closed|lost|cpu)$/;

const FLAGS = ['--conditions=@liveupdate/source', '--no-warnings'];

const bench = (...args: string[]): Ended => benchWith(process.env, ...args);

interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

function benchWith(env: NodeJS.ProcessEnv, ...args: string[]): Ended {
  return spawnSync(process.execPath, [...FLAGS, MAIN, ...args], {
    encoding: 'utf8',
    maxBuffer: 2 ** 26,
    env,
  });
}

test('a smoke run measures everything and says so', (context) => {
  const [out, html] = ['results.json', 'page.html'].map(inDirectory);
  const { status, stdout, stderr } = bench('--smoke', '--json', '--out', out, '--html', html);
  expect(stderr.split('\n').filter((line) => !line.startsWith('bench: '))).toEqual(['']);
  expect(stderr).not.toContain('BROKEN');
  expect(status).toBe(0);
  const results = JSON.parse(stdout) as Results;
  expect(readResults(out)).toEqual(results);
  expect(results).toMatchObject({ size: 64 * MiB, rounds: 1, built: false });

  const done = [...results.runs, ...results.skipped].map(({ trial }) => trial);
  expect(done.toSorted()).toEqual(TRIALS.map(({ name }) => name).toSorted());
  for (const { trial, size, series } of results.runs) {
    expect(size).toBe(64 * MiB);
    for (const [name, summary] of Object.entries(series)) {
      expect(summary.n).toBe(1);
      if (!MAY_BE_NONE.test(name)) expect(summary.min, `${trial}: ${name}`).toBeGreaterThan(0);
      expect(summary.max).toBeLessThan(Infinity);
    }
  }
  const named = (trial: string, names: object): void => {
    expect(Object.keys(findRun(results, trial)!.series)).toEqual(expect.arrayContaining(Object.keys(names)));
  };
  for (const trial of ['small', 'medium', 'huge', 'files', 'sparse', 'small-shm'])
    named(trial, GENERATION_PHASES);
  for (const trial of ['replace', 'replace-huge', 'replace-8g', 'kept', 'alternatives'])
    named(trial, BLACKOUT_PHASES);
  const waited = Object.keys(WAIT_PHASES).map((phase) => [`answer ${phase}`, phase] as const);
  for (const side of ['small', 'standby', 'large', 'many', 'sockets', 'exec', 'bare', 'heap'])
    named('upgrade', Object.fromEntries(NOTICED.map((what) => [`${side} ${what}`, what])));
  expect(findRun(results, 'upgrade')!.series['ours lost'].max).toBe(0);
  for (const side of ['ours', 'huge', 'heap'])
    named('stored-map', { [`${side} set`]: '', [`${side} get`]: '', [`${side} memory`]: '' });
  named('killed', { ...Object.fromEntries(waited), answer: '', empty: '', mapped: '' });

  for (const { verdict } of results.figures) expect(['no goal', 'not judged']).toContain(verdict);
  const titles = FIGURES.filter(({ size }) => size === undefined).map(({ title }) => title);
  const missing = results.missing ?? [];
  expect([...results.figures, ...missing].map(({ title }) => title).toSorted()).toEqual(titles.toSorted());
  const names = Object.keys(ALTERNATIVES) as Alternative[];
  for (const name of names) {
    const reason = missingAlternative(name);
    const isThere = ['kept', 'alternatives'].some((trial) => name in findRun(results, trial)!.series);
    expect(isThere, name).toBe(reason === undefined);
    const told = missing.filter(({ against }) => against === name).map((figure) => figure.reason);
    const rows = FIGURES.filter(({ against, size }) => against === name && size === undefined);
    expect(told, name).toEqual(reason === undefined ? [] : rows.map(() => reason));
  }

  const [{ phases, start, noPerf }] = results.profile;
  expect(phases.map(({ phase }) => phase)).toEqual(Object.keys(GENERATION_PHASES));
  expect(start.length).toBeGreaterThan(3);
  // 16,384 records of 16 bytes are 64 pages, written once each; the profile counts them, and
  // nothing like the content.
  const { written } = phases.find(({ phase }) => phase === 'preserve')!;
  expect(written).toBeGreaterThanOrEqual(64 * 4096);
  expect(written).toBeLessThan(2 * MiB);
  expect(fs.readFileSync(html, 'utf8')).toContain('</html>');

  expect(noPerf).toBe(missingPerf());
  const lacking = [...names.flatMap((name) => missingAlternative(name) ?? []), ...(noPerf ? [noPerf] : [])];
  if (lacking.length > 0) context.skip(`all else passed, but not measured: ${lacking.join('; ')}`);
});

test('a smoke run of the picture: every side is upgraded, and drawn in light and dark', () => {
  const out = inDirectory('picture.json');
  const { status, stderr } = bench('picture', '--smoke', '--out', out);
  expect([status, stderr]).toEqual([0, expect.stringContaining(`written to ${out}`)]);
  const { sides, momentMs, leadMs } = readPictured(out);
  expect(sides.map(({ side }) => side)).toEqual(
    PICTURED.filter(
      (side) => side === 'standby' || side === 'heap' || missingAlternative('lmdb') === undefined,
    ),
  );
  for (const { side, silence, silenceEnd, moments } of sides) {
    expect(moments.length, side).toBeGreaterThan((leadMs + silenceEnd) / momentMs - 1);
    expect(silence).toBeGreaterThan(0);
  }
  expect(sides[0]).toMatchObject({ failed: 0, closed: 0 });
  const drawn = ['light', 'dark'].map((theme) =>
    fs.readFileSync(inDirectory(`picture-${theme}.svg`), 'utf8'),
  );
  expect(bench('picture', '--from', out).status).toBe(0); // the same file again
  expect(
    ['light', 'dark'].map((theme) => fs.readFileSync(inDirectory(`picture-${theme}.svg`), 'utf8')),
  ).toEqual(drawn);
});

test('one trial, as a table', () => {
  const { status, stdout } = bench('huge', '--size', '64MiB', '--repeat', '1', '--no-profile');
  expect(status).toBe(0);
  const rows = stdout.split('\n');
  for (const { title } of FIGURES.filter(({ trial, size }) => trial === 'huge' && size === undefined))
    expect(rows.some((row) => row.includes(title))).toBe(true);
  expect(stdout).not.toContain('blackout');
});

test('programs that are not installed have rows that say what to install', () => {
  const env = { ...process.env, PATH: '/nonexistent' };
  const run = ['kept', 'alternatives', '--size', '64MiB', '--repeat', '1', '--no-profile'];
  const { status, stdout } = benchWith(env, ...run);
  expect(status).toBe(0);
  for (const name of ['memcached', 'redis-server', 'CRIU'])
    expect(stdout).toMatch(
      new RegExp(`^whole handover.* ${name} is not installed; on Debian: apt-get install`, 'm'),
    );
  expect(stdout).toMatch(/^whole handover .*against LMDB.* times as fast/m);
});

test('more memory than there is: nothing is begun, and it says so', () => {
  const { status, stdout, stderr } = bench('huge', '--size', '900TiB');
  expect([status, stdout]).toEqual([1, '']);
  expect(stderr).toContain('SKIPPED huge: it takes');
  expect(stderr).toContain('SKIPPED profile: it takes');
  expect(stderr).toContain('give a smaller --size');
});

test.each(['small', 'replace', 'first'])(
  'a program that throws ends the run with its message: %s',
  (trial) => {
    // No file may be larger than some 360 or 720 MB, as the shell counts: the trial, or a program
    // that it runs, cannot have its RAM.
    const command = `ulimit -f 700000; exec "$@"`;
    const { status, stderr } = spawnSync(
      'sh',
      ['-c', command, 'sh', process.execPath, ...FLAGS, MAIN, trial, '--size', '1GiB', '--no-profile'],
      { encoding: 'utf8', timeout: 120_000, killSignal: 'SIGKILL' },
    );
    expect(status).toBe(1);
    expect(stderr).toMatch(/failed: EFBIG: giving memory file 'liveupdate.*' \d+ bytes: .*\n$/);
  },
);

test('compare: exit code 1 where a figure got worse, 0 where none did, 2 without a verdict', () => {
  const nine = (value: number): number[] => Array.from({ length: 9 }, (_, i) => value * (1 + i / 100));
  const write = (name: string, preserve: number[], size = 2 ** 30): string => {
    const path = inDirectory(name);
    const series = { preserve, copy: preserve.map(() => 300) };
    writeResults(path, resultsOf([run('small', size, series)], { size }));
    return path;
  };
  const [fast, slow] = [write('fast.json', nine(2)), write('slow.json', nine(4))];
  const once = write('once.json', [4]);
  const small = write('small.json', nine(2), 2 ** 28);
  const damaged = inDirectory('damaged.json');
  fs.writeFileSync(damaged, fs.readFileSync(fast, 'utf8').slice(0, 2000));
  const half = inDirectory('half.json');
  fs.writeFileSync(half, '{"version":2,"size":1,"date":"","machine":{},"load":{}}');

  const told = (a: string, b: string): [number | null, string] => {
    const { status, stdout, stderr } = bench('compare', a, b);
    return [status, stderr === '' ? stdout : stderr];
  };
  expect(told(fast, slow)).toEqual([1, expect.stringContaining('0 better, 1 worse')]);
  expect(told(slow, fast)).toEqual([0, expect.stringContaining('1 better, 0 worse')]);
  expect(told(fast, once)).toEqual([2, expect.stringContaining('1 round, 8 are needed')]);
  expect(told(fast, small)).toEqual([2, expect.stringContaining('no figure of the same size')]);
  expect(told(fast, damaged)).toEqual([2, expect.stringContaining('is no JSON, or the end of it')]);
  expect(told(half, fast)).toEqual([2, expect.stringContaining('half.json is damaged: its figures')]);
  expect(told(fast, '/nonexistent/new.json')).toEqual([2, expect.stringContaining('ENOENT')]);
});

test('html: a page of results that exist', () => {
  const [results, page] = ['full.json', 'full.html'].map(inDirectory);
  writeResults(results, fullResults());
  expect(bench('html', results, page).status).toBe(0);
  expect(fs.readFileSync(page, 'utf8')).toContain('Marking beside moving, by size');
});

test('help tells every trial', () => {
  const { status, stdout } = bench('run', '--help');
  expect(status).toBe(0);
  for (const { name } of TRIALS) expect(stdout).toContain(name);
});

test.each([
  [['--size', '12']],
  [['--size', 'much']],
  [['--sizes', '64MiB,12']],
  [['--repeat', '0']],
  [['nonsense']],
  [['--nonsense']],
  [['compare', 'one.json']],
])('wrong use ends with 2 and a word about it: %j', (args) => {
  const { status, stdout, stderr } = bench(...args);
  expect(status).toBe(2);
  expect(stdout).toBe('');
  expect(stderr).toContain('error');
});

test.each([
  [['huge', '--smoke', '--out', '/nonexistent/results.json'], 'ENOENT'],
  [['html', MAIN, '/nonexistent/page.html'], 'no JSON'],
])('what cannot be read or written ends with 1: %j', (args, word) => {
  const { status, stderr } = bench(...args);
  expect(status).toBe(1);
  expect(stderr).toContain(word);
});
