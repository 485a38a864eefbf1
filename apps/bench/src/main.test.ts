import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { readResults, type Results } from './results.ts';
import { FIGURES, PHASES, TRIALS } from './trials.ts';

const MAIN = new URL('./main.ts', import.meta.url).pathname;

function bench(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  const flags = ['--conditions=@liveupdate/source', '--no-warnings'];
  return spawnSync(process.execPath, [...flags, MAIN, ...args], { encoding: 'utf8' });
}

test('a smoke run measures everything and says so', { timeout: 120_000 }, () => {
  const directory = fs.mkdtempSync(join(tmpdir(), 'liveupdate-bench-'));
  try {
    const out = join(directory, 'results.json');
    const { status, stdout, stderr } = bench('--smoke', '--json', '--out', out);
    expect(stderr.split('\n').filter((line) => !line.startsWith('bench: '))).toEqual(['']);
    expect(status).toBe(0);
    const results = JSON.parse(stdout) as Results;
    expect(readResults(out)).toEqual(results);
    expect(results).toMatchObject({ size: 64 * 2 ** 20, rounds: 2, built: false });
    expect(Object.keys(results.series)).toEqual(TRIALS.map(({ name }) => name));
    expect(results.figures.map(({ title }) => title)).toEqual(FIGURES.map(({ title }) => title));
    for (const { result, measuredValue, againstValue, verdict } of results.figures) {
      for (const summary of [result, measuredValue, againstValue]) {
        expect(summary.n).toBe(2);
        expect(summary.min).toBeGreaterThan(0);
        expect(summary.max).toBeLessThan(Infinity);
      }
      expect(['no goal', 'not judged']).toContain(verdict);
    }
    for (const trial of ['replace', 'replace-huge']) {
      const phases = Object.keys(PHASES).map((phase) => results.series[trial][phase].median);
      expect(Math.min(...phases)).toBeGreaterThan(0);
    }
    // 32 folios against 64 MiB of copying: no machine is so busy that this turns round.
    const huge = results.figures.find(({ trial, measured }) => trial === 'huge' && measured === 'unpreserve');
    expect(huge?.result.median).toBeGreaterThan(1);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
});

test('one trial, as a table', { timeout: 60_000 }, () => {
  const { status, stdout } = bench('huge', '--smoke');
  expect(status).toBe(0);
  const rows = stdout.split('\n');
  for (const { title } of FIGURES.filter(({ trial }) => trial === 'huge'))
    expect(rows.some((row) => row.startsWith(title))).toBe(true);
  expect(stdout).not.toContain('blackout');
});

test('help tells every trial', () => {
  const { status, stdout } = bench('--help');
  expect(status).toBe(0);
  for (const { name } of TRIALS) expect(stdout).toContain(name);
});

test.each([[['--size', '12']], [['--size', 'much']], [['--repeat', '0']], [['nonsense']], [['--nonsense']]])(
  'wrong use ends with 2 and a word about it: %j',
  (args) => {
    const { status, stdout, stderr } = bench(...args);
    expect(status).toBe(2);
    expect(stdout).toBe('');
    expect(stderr).toContain('error');
  },
);

test('results that cannot be written end with 1', { timeout: 60_000 }, () => {
  const { status, stderr } = bench('huge', '--smoke', '--out', '/nonexistent/results.json');
  expect(status).toBe(1);
  expect(stderr).toContain('ENOENT');
});
