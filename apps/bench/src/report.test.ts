import { expect, test } from 'vitest';
import { plan } from './plan.ts';
import { addingOurs } from './processes.ts';
import { besideTables, circumstances, figureRows, keyStores, textReport, upgrades, waits } from './report.ts';
import { fullResults, resultsOf, run } from './test-results.ts';
import { FIGURES, TRIALS } from './trials.ts';

const GiB = 2 ** 30;
const nine = (value: number): number[] => Array<number>(9).fill(value);

/** A whole handover beside what others keep, with one of them missing. */
function kept(handover: number): ReturnType<typeof resultsOf> {
  const series = {
    handover,
    'our handover': handover - 25,
    bare: 30,
    empty: 25,
    mapped: 35,
    lmdb: 40,
    sqlite: 60,
  };
  const measured = Object.fromEntries(Object.entries(series).map(([name, value]) => [name, nine(value)]));
  const absent = { memcached: 'memcached is not installed; on Debian: apt-get install memcached' };
  return resultsOf([
    { ...run('kept', GiB, measured), absent },
    run('small', GiB, { preserve: nine(0.5), copy: nine(80) }),
  ]);
}

test('what flatters least stands first', () => {
  // What clients notice comes first, and of each kind what flatters least.
  const firsts = ['upgrade', 'kept'].map((of) => FIGURES.find(({ trial }) => trial === of));
  expect(firsts).toMatchObject([{ against: 'workers gap' }, { against: 'bare' }]);
  expect(FIGURES[0]).toBe(firsts[0]);
  expect(figureRows(kept(50))[1].slice(1, 4)).toEqual([
    '50.0 ms',
    'bare program 30.0 ms',
    '0.600 times as fast',
  ]);
});

test('every figure of the whole says what its sum is made of', () => {
  const whole = FIGURES.filter(({ trial }) => ['kept', 'alternatives', 'tmpfs-4g'].includes(trial));
  expect(whole.length).toBeGreaterThan(10);
  for (const { title } of whole)
    expect(title).toMatch(/\(preserve and blackout\)|and call to freeze|is ours/);
});

test('what is ours is above the quickest empty program, whatever disturbed the last one', () => {
  const add = addingOurs();
  const round = (empty: number): Record<string, number> => add({ blackout: 40, handover: 45, empty });
  expect(round(25)).toMatchObject({ 'our blackout': 15, 'our handover': 20 });
  expect(round(60)).toMatchObject({ 'our blackout': 15, 'our handover': 20 });
  expect(round(24)).toMatchObject({ 'our blackout': 16, 'our handover': 21 });
});

test('every figure of the whole, of an upgrade or of a death has nine rounds, whatever its size', () => {
  const options = { size: GiB, series: [GiB / 16, GiB, 4 * GiB, 16 * GiB], rounds: 9, room: 1024 * GiB };
  const { runs } = plan(TRIALS, options);
  const whole = ['upgrade', 'kept', 'alternatives', 'tmpfs-4g', 'killed'];
  for (const { title, trial, size } of FIGURES.filter((figure) => whole.includes(figure.trial))) {
    const mine = runs.filter((each) => each.trial.name === trial && (size ?? each.size) === each.size);
    const wanted = mine.find((each) => each.size === (size ?? GiB)) ?? mine[0];
    expect(wanted.rounds, title).toBeGreaterThanOrEqual(9);
  }
});

test('what could not be measured has a row that says what would bring it', () => {
  const rows = figureRows(kept(50));
  const at = rows.findIndex(([title]) => title.includes('memcached'));
  expect(rows[at - 1][0]).toContain('SQLite');
  expect(rows[at].slice(2)).toEqual([
    'memcached',
    'memcached is not installed; on Debian: apt-get install memcached',
    '',
    '',
    'missing',
  ]);
  const [table] = besideTables(kept(50));
  expect(table.map(([name]) => name)).toEqual([
    '1 GiB kept over a restart by',
    'for comparison: an empty program, started and ended',
    'the same memory inherited by exec, nothing of ours: the limit',
    'tmpfs file, mapped again by the next program',
    'LMDB on tmpfs, opened again by the next program',
    'a live update: preserve and blackout',
    'SQLite on tmpfs (better-sqlite3), opened again by the next program',
    'memcached -e restarted',
  ]);
});

test('the wait behind a kill stands beside what it consists of; LMDB may be missing', () => {
  const parts = (side: string, all: number): Record<string, number> => ({
    [side]: all,
    [`${side} gone`]: all / 10,
    [`${side} start`]: all / 2,
    [`${side} open`]: all / 5,
    [`${side} read`]: all / 5,
  });
  const wait = (series: Record<string, number>): ReturnType<typeof resultsOf> => {
    const measured = Object.entries(series).map(([name, value]) => [name, nine(value)]);
    const absent = { lmdb: 'the npm package lmdb does not load here' };
    const killed = run('killed', GiB, Object.fromEntries(measured) as Record<string, number[]>);
    return resultsOf([{ ...killed, ...('lmdb' in series ? {} : { absent }) }]);
  };
  const two = { empty: 25, ...parts('answer', 50), ...parts('mapped', 100) };
  const all = wait({ ...two, ...parts('lmdb', 200) });
  expect(waits(all)).toEqual([
    [
      ['from kill -9 to the first answer at 1 GiB: of which', 'live update', 'mapped tmpfs file', 'LMDB'],
      ['killed, until the process is gone', '5.00 ms', '10.0 ms', '20.0 ms'],
      ['Node starts, and the program is loaded', '25.0 ms', '50.0 ms', '100 ms'],
      ['what was kept is opened', '10.0 ms', '20.0 ms', '40.0 ms'],
      ['a page is read, and the answer is here', '10.0 ms', '20.0 ms', '40.0 ms'],
      ['all of the wait', '50.0 ms', '100 ms', '200 ms'],
    ],
  ]);
  expect(figureRows(all).map((row) => [row[2], ...row.slice(3, 4), ...row.slice(5)])).toEqual([
    ['against', 'result', 'goal', ''],
    ['empty program 25.0 ms', '2.00 times as long', '', ''],
    ['mapped tmpfs file 100 ms', '0.500 times as long', '', ''],
    ['LMDB 200 ms', '0.250 times as long', '≤ 1', 'pass'],
  ]);
  expect(waits(wait(two))[0][0]).toHaveLength(3);
  expect(figureRows(wait(two)).at(-1)!.slice(2)).toEqual([
    'LMDB',
    'the npm package lmdb does not load here',
    '',
    '',
    'missing',
  ]);
});

test('what clients notice of an upgrade, the shortest gap first; the worst round beside the median', () => {
  const noticed = (side: string, gap: number, lost: number): Record<string, number[]> => ({
    [`${side} failed`]: [0, 0, lost],
    [`${side} closed`]: [0, lost, lost],
    [`${side} gap`]: [gap, gap, 3 * gap],
    [`${side} silence`]: [gap, 2 * gap, 3 * gap],
    [`${side} wait`]: [gap, 4 * gap, gap],
    [`${side} before`]: [9000, 9000.4, 10],
    [`${side} after`]: [8000, 8000, 8000],
  });
  const measured = {
    ...noticed('standby', 4, 0),
    ...noticed('large', 3, 0),
    ...noticed('bare', 50, 1),
    ...noticed('workers', 1, 50),
    'most gap': [5, 5, 5],
    'most wait': [100, 100, 100],
    'ours lost': [0, 0, 0],
  };
  const absent = { 'lmdb gap': 'the npm package lmdb does not load here' };
  const results = resultsOf([{ ...run('upgrade', 16 * GiB, measured), absent }]);
  const worker = 'LMDB on tmpfs, two workers of node:cluster rolled one after the other, 1 GiB';
  const bare = 'bare server: exec with its listening socket, no state, no connections';
  expect(upgrades(results)[0].slice(1)).toEqual([
    [worker, '50', '50', '1.00 ms', '3.00 ms', '2.00 ms', '4.00 ms', '9000', '8000'],
    ['live update by standby, 16 GiB', '0', '0', '3.00 ms', '9.00 ms', '6.00 ms', '12.0 ms', '9000', '8000'],
    ['live update by standby, 1 GiB', '0', '0', '4.00 ms', '12.0 ms', '8.00 ms', '16.0 ms', '9000', '8000'],
    [bare, '1', '1', '50.0 ms', '150 ms', '100 ms', '200 ms', '9000', '8000'],
  ]);
  const [, first, second, third] = figureRows(results);
  expect(first.slice(1, 4)).toEqual(['4.00 ms', 'workers rolled 1.00 ms', '4.00 times as long']);
  expect(second.slice(1)).toEqual([
    '4.00 ms',
    'at most 5.00 ms',
    '0.800 times as long',
    '0.800 .. 1.60',
    '≤ 1',
    'pass',
  ]);
  expect(third.slice(2, 4)).toEqual(['LMDB restarted', 'the npm package lmdb does not load here']);
  expect(upgrades(resultsOf([]))).toEqual([]);
});

test('what a call costs is a table of microseconds; sides and calls that are not there are left out', () => {
  const series = { 'ours set': [900, 1000, 1100], 'ours memory': [2 ** 20, 2 ** 20, 2 ** 20] };
  const lmdb = { 'lmdb set': [2500, 2500, 2500], 'lmdb setOne': [23_000, 23_000, 23_000] };
  const absent = { 'redis get': 'redis-server is not installed' };
  const results = resultsOf([{ ...run('stored-map', 120e6, { ...series, ...lmdb }), absent }]);
  const [[head, ...rows], ...more] = keyStores(results);
  expect(more).toEqual([]);
  expect(head.slice(1)).toEqual(['map in a file, 4 KiB folios', 'LMDB on tmpfs']);
  expect(rows[0]).toEqual(['new keys, many at a time', '1.00', '2.50']);
  expect(rows[2]).toEqual(['new key, one call', '', '23.0']);
  expect(rows.at(-1)).toEqual(['memory', '1 MiB', '']);
  const [, missing, many, one] = figureRows(results);
  expect(missing.slice(2, 4)).toEqual(['Redis', 'redis-server is not installed']);
  expect(many.slice(1)).toEqual([
    '1.00 s',
    'LMDB 2.50 s',
    '2.50 times as fast',
    '2.39 .. 2.64',
    '≥ 1',
    'pass',
  ]);
  expect(one.slice(2, 4)).toEqual(['LMDB 23.0 s', '23.0 times as fast']);
  expect(keyStores(resultsOf([]))).toEqual([]);
});

test('a ratio is written one way, above and below 1, as its spread is', () => {
  const ratios = (handover: number): readonly string[] => figureRows(kept(handover))[1];
  expect(ratios(60).slice(3, 5)).toEqual(['0.500 times as fast', '0.500 .. 0.500']);
  expect(ratios(15).slice(3, 5)).toEqual(['2.00 times as fast', '2.00 .. 2.00']);
});

test('preserve beside a copy is called what it is', () => {
  const titles = figureRows(kept(50)).map(([title]) => title);
  expect(titles).toContain('marking beside moving: preserve, 4 KiB folios');
  const beside = figureRows(fullResults()).map(([title]) => title);
  expect(beside).toContain('whole handover (preserve and blackout) against a copy in one process');
});

test('a report says how busy the machine was, and what the baselines came to', () => {
  const results = kept(50);
  expect(circumstances(results).join(' ')).toContain('in the worst trial 1 % together');
  expect(textReport(results)).toMatch(/copy +small +1 GiB +12\.5 GiB\/s +100 %/);
  const busy = { ...results.runs[0], disturbance: { others: 0.4, stolen: 0, waiting: 0.3 } };
  expect(textReport({ ...results, runs: [busy] })).toMatch(/kept +1 GiB +40 % +0 % +30 %/);
  expect(textReport({ ...results, runs: [busy] })).toContain('NO TRUST kept at 1 GiB');
});
