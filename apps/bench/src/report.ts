/** Results as text: tables for a terminal, and the same in Markdown for the READMEs. */
import { formatSize } from '@liveupdate/base';
import { ALTERNATIVES } from './alternatives.ts';
import type { Hot } from './cpu-profile.ts';
import { disturbed, type Disturbance } from './disturbance.ts';
import type { Figure } from './figure.ts';
import { GENERATION_PHASES } from './generations.ts';
import { WAIT_PHASES } from './kill-trial.ts';
import { STEPS } from './key-store.ts';
import { BLACKOUT_PHASES } from './processes.ts';
import { decisive, findRun, runsOf } from './results.ts';
import type { FigureResult, MissingFigure, Results, RunResult } from './results-format.ts';
import { summarize } from './stats.ts';
import { STEP_TITLES, STORED_MAP_AGAINST } from './stored-map-figures.ts';
import { KEY_STORES } from './stored-map-trials.ts';
import { markdownTable, number, RESULTS, textTable, time, VALUES, type Rows } from './tables.ts';
import { doubts, MOVING, rates } from './trust.ts';
import { CONNECTIONS, stateSizes, UPGRADED, UPGRADED_AGAINST } from './upgrade-trial.ts';

/** What a series is measured against, in words. */
const AGAINST: Readonly<Record<string, string>> = {
  copy: 'copy',
  records: 'records alone',
  bare: 'bare program',
  bareReadAll: 'bare program',
  least: '64 MiB',
  empty: 'empty program',
  bytes: 'preserved',
  tmpfs: 'tmpfs',
  serialize: 'v8.serialize',
  redis: 'Redis',
  none: 'nothing touched',
  mapped: 'mapped tmpfs file',
  lmdb: 'LMDB',
  sqlite: 'SQLite',
  memcached: 'memcached',
  criu: 'CRIU',
  bareBuffer: 'mmap and a buffer',
  bareMap: 'bare mmap',
  ...UPGRADED_AGAINST,
  ...STORED_MAP_AGAINST,
};

const FIGURE_HEAD = ['', 'measured', 'against', 'result', 'half of all between', 'goal', ''] as const;

/** Trials in which another program gets the bytes: what is beside a copy there is no marking. */
const WHOLE = new Set(['alternatives', 'kept', 'tmpfs-4g']);

function titleOf({ title, trial, against, size, goalSize = 0 }: FigureResult | MissingFigure): string {
  const what = against === 'copy' && !WHOLE.has(trial) ? `marking beside moving: ${title}` : title;
  return size < goalSize ? `${what} (here ${formatSize(size)})` : what;
}

function missingCells(figure: MissingFigure): string[] {
  return [titleOf(figure), '', AGAINST[figure.against] ?? figure.against, figure.reason, '', '', 'missing'];
}

/** Figures in their order, those that are missing among them. */
function allCells({ figures, missing = [] }: Results, isWanted: (figure: Figure) => boolean): string[][] {
  const before = (at: number): string[][] =>
    missing.filter((figure) => figure.place === at && isWanted(figure)).map(missingCells);
  const cells = figures.flatMap((figure, at) => [
    ...before(at),
    ...(isWanted(figure) ? [figureCells(figure)] : []),
  ]);
  return [...cells, ...before(figures.length)];
}

function figureCells(figure: FigureResult): string[] {
  const { kind, result, goal } = figure;
  const value = VALUES[kind];
  const sign = kind === 'faster' ? '≥' : '≤';
  return [
    titleOf(figure),
    value(figure.measuredValue.median),
    `${AGAINST[figure.against] ?? figure.against} ${value(figure.againstValue.median)}`,
    RESULTS[kind](decisive(kind, result)),
    `${number(result.p25)} .. ${number(result.p75)}`,
    goal === undefined ? '' : `${sign} ${goal}`,
    figure.verdict === 'no goal' ? '' : figure.verdict,
  ];
}

/** Figures with their goals. */
export function figureRows(results: Results): Rows {
  return [FIGURE_HEAD, ...allCells(results, () => true)];
}

/** The parts of a blackout at the size of the figures, as far as they were measured. */
function blackout(results: Results): Rows[] {
  const runs = [
    ['4 KiB folios', findRun(results, 'replace')],
    ['2 MiB folios', findRun(results, 'replace-huge')],
  ] as const;
  const there = runs.filter((pair): pair is readonly [(typeof pair)[0], RunResult] => pair[1] !== undefined);
  if (there.length === 0) return [];
  const row = (title: string, series: string): string[] => [
    title,
    ...there.map(([, run]) => time(run.series[series].median)),
  ];
  const rows = [
    [`blackout at ${formatSize(results.size)}: of which`, ...there.map(([title]) => title)],
    ...Object.entries(BLACKOUT_PHASES).map(([series, title]) => row(title, series)),
    row('all of the blackout', 'blackout'),
    row('for comparison: a bare program maps the same memory', 'bare'),
    row('for comparison: an empty program, to its end', 'empty'),
  ];
  return [rows];
}

/** The parts of the wait behind a kill: ours, and what it is measured against. */
export function waits(results: Results): Rows[] {
  const run = findRun(results, 'killed');
  if (!run) return [];
  const sides = ['answer', 'mapped', 'lmdb'].filter((side) => side in run.series);
  const row = (title: string, seriesOf: (side: string) => string): string[] => [
    title,
    ...sides.map((side) => time(run.series[seriesOf(side)].median)),
  ];
  const head = `from kill -9 to the first answer at ${formatSize(run.size)}: of which`;
  return [
    [
      [head, ...sides.map((side) => (side === 'answer' ? 'live update' : AGAINST[side]))],
      ...Object.entries(WAIT_PHASES).map(([phase, title]) => row(title, (side) => `${side} ${phase}`)),
      row('all of the wait', (side) => side),
    ],
  ];
}

/** What clients noticed of an upgrade, the shortest gap first. */
export function upgrades(results: Results): Rows[] {
  const run = runsOf(results, 'upgrade').at(0);
  if (!run) return [];
  const { small, middle, large } = stateSizes(run.size);
  const sizes: Readonly<Record<string, number>> = { small, many: small, large };
  const isOlder = !Object.keys(run.series).some((name) => name.endsWith(' silence')); // than that series
  const rows = Object.entries(UPGRADED)
    .filter(([side]) => `${side} gap` in run.series)
    .map(([side, title]) => ({
      title: ['sockets', 'bare'].includes(side) ? title : `${title}, ${formatSize(sizes[side] ?? middle)}`,
      of: (what: string) => run.series[`${side} ${what}`],
    }))
    .sort((a, b) => a.of('gap').median - b.of('gap').median)
    .map(({ title, of }) => [
      title,
      ...['failed', 'closed'].map((what) => String(of(what).max)),
      ...[of('gap').median, of('gap').max].map(time),
      ...(isOlder ? [] : [time(of('silence').median)]),
      time(of('wait').max),
      ...['before', 'after'].map((what) => String(Math.round(of(what).median))),
    ]);
  const head = `an upgrade, as ${CONNECTIONS} clients see it`;
  const most = ['most failed', 'most closed', 'gap', 'worst gap'];
  const silence = isOlder ? [] : ['silence'];
  return [[[head, ...most, ...silence, 'worst wait', 'answers a second before', 'after'], ...rows]];
}

/**
 * What a call costs, of the map and of other stores, and the memory that a million keys take; and
 * what of it the processors were needed for.
 */
export function keyStores(results: Results): Rows[] {
  const run = runsOf(results, 'stored-map').at(0);
  if (!run) return [];
  const sides = Object.entries(KEY_STORES).filter(([side]) => `${side} set` in run.series);
  const row = (title: string, what: string, write: (value: number) => string): string[] => [
    title,
    ...sides.map(([side]) => {
      const name = `${side} ${what}`;
      return name in run.series ? write(run.series[name].median) : '';
    }),
  ];
  const head = (what: string): string[] => [`${what}, 1 million keys`, ...sides.map(([, title]) => title)];
  // Milliseconds of a million calls are nanoseconds of one.
  const micros = (value: number): string => number(value / 1000);
  const steps = (suffix: string): string[][] =>
    STEPS.map((step) => row(STEP_TITLES[step], `${step}${suffix}`, micros));
  const processors = steps(' cpu').filter((cells) => cells.slice(1).some((cell) => cell !== ''));
  return [
    [head('µs a call'), ...steps(''), row('memory', 'memory', formatSize)],
    ...(processors.length > 0 ? [[head('µs of processors a call, in its process'), ...processors]] : []),
  ];
}

const REPLACED_SERIES = {
  blackout: 'blackout',
  handover: 'preserve and blackout',
  bare: 'bare program',
  empty: 'empty program, started and ended',
} as const;

/** Trials of which there is a table by size, and the series in it. */
const BY_SIZE: readonly { trial: string; title: string; series: Readonly<Record<string, string>> }[] = [
  { trial: 'small', title: 'in one process, 4 KiB folios', series: GENERATION_PHASES },
  { trial: 'huge', title: 'in one process, 2 MiB folios', series: GENERATION_PHASES },
  { trial: 'replace', title: 'replaced, 4 KiB folios', series: REPLACED_SERIES },
  { trial: 'replace-huge', title: 'replaced, 2 MiB folios', series: REPLACED_SERIES },
];

/** Medians, a column for each size. */
function bySize(results: Results): Rows[] {
  return BY_SIZE.flatMap(({ trial, title, series }) => {
    const runs = runsOf(results, trial);
    if (runs.length < 2) return [];
    const head = [title, ...runs.map(({ size }) => formatSize(size))];
    // A series may be younger than the results.
    const there = Object.entries(series).filter(([name]) => runs.every((run) => name in run.series));
    const medians = there.map(([name, what]) => [what, ...runs.map((run) => time(run.series[name].median))]);
    return [[head, ...medians]];
  });
}

/** Ours and the others, in milliseconds, the quickest first; what could not be had at the end. */
export function besideTables(results: Results): Rows[] {
  return (['kept', 'alternatives'] as const).flatMap((trial): Rows[] => {
    const run = findRun(results, trial);
    if (!run) return [];
    const names = { handover: 'a live update: preserve and blackout', ...ALTERNATIVES, ...EMPTY };
    const there = Object.entries(names).filter(([name]) => name in run.series);
    const rows = there
      .map(([name, title]) => [title, run.series[name]] as const)
      .sort(([, a], [, b]) => a.median - b.median)
      .map(([title, { median, p25, p75 }]) => [title, time(median), `${time(p25)} .. ${time(p75)}`]);
    const missing = (results.missing ?? [])
      .filter((figure) => figure.trial === trial)
      .map(({ against, reason }) => [names[against as keyof typeof names], reason, '']);
    const what = trial === 'kept' ? 'kept over a restart by' : 'carried over a restart by';
    return [[[`${formatSize(run.size)} ${what}`, 'median', 'half of all between'], ...rows, ...missing]];
  });
}

const EMPTY = { empty: 'for comparison: an empty program, started and ended' } as const;

const PROFILE_HEAD = ['time', 'user', 'system', 'faults', 'calls', 'RAM written', 'arrays', 'most time in'];

/** Where the time goes, in numbers for a GiB, and in names. */
export function profileTables({ profile }: Results): Rows[] {
  return profile.map(({ title, size, phases }) => {
    const per = (value: number): number => (value / size) * 2 ** 30;
    const rows = phases.map(({ phase, functions, symbols, ...counts }) => [
      phase,
      ...[counts.time, counts.user, counts.system].map((value) => time(per(value))),
      number(per(counts.faults)),
      counts.calls === undefined ? '?' : number(per(counts.calls)),
      ...[counts.written, counts.arrays].map((value) => formatSize(Math.round(per(value)))),
      [...functions.slice(0, 1), ...symbols.slice(0, 1)].map(nameOfHot).join('; '),
    ]);
    return [[`${title}: per GiB`, ...PROFILE_HEAD], ...rows];
  });
}

export function nameOfHot({ what, share }: Hot): string {
  return `${what} ${Math.round(share)} %`;
}

/** What each baseline that moves bytes came to, for who doubts it. */
export function rateTable(results: Results): Rows[] {
  const rows = rates(results).map(({ baseline, trial, size, rate, part }) => [
    MOVING[baseline],
    trial,
    formatSize(size),
    `${number(rate)} GiB/s`,
    `${Math.round(part * 100)} %`,
  ]);
  return rows.length > 0 ? [[['baselines', 'in', 'size', 'median', 'of what is possible'], ...rows]] : [];
}

/** How busy the machine was with others' work, for each trial. */
export function disturbanceTable({ runs }: Results): Rows[] {
  const percent = (part: number | undefined): string =>
    part === undefined ? '?' : `${Math.round(part * 100)} %`;
  const rows = runs.flatMap(({ trial, size, disturbance }) => {
    if (!disturbance) return [];
    const { others, stolen, waiting } = disturbance;
    return [[trial, formatSize(size), percent(others), percent(stolen), percent(waiting)]];
  });
  const head = ['how busy the machine was', 'size', 'others', 'host', 'waited for a processor'];
  return rows.length > 0 ? [[head, ...rows]] : [];
}

/** The same in a sentence. */
function disturbance({ runs }: Results): string[] {
  const all = runs.flatMap((run) => run.disturbance ?? []);
  if (all.length === 0) return [];
  const middle = (part: (each: Disturbance) => number): string =>
    `${number(summarize(all.map(part)).median * 100)} %`;
  const most = Math.max(...all.map(({ others, stolen }) => others + stolen));
  return [
    `Beside the trials other programs had ${middle(({ others }) => others)} of the processors and the host ${middle(({ stolen }) => stolen)} (medians), in the worst trial ${Math.round(most * 100)} % together.`,
  ];
}

/** Where and when it was measured, a sentence per line. */
export function circumstances(results: Results): string[] {
  const { machine, load, size, rounds, built, date, commit } = results;
  const huge = machine.hugePages.shmemEnabled ?? 'unknown';
  return [
    `${formatSize(size)} in the files unless a line says otherwise, ${rounds} round${rounds === 1 ? '' : 's'}, ${built ? 'built JavaScript' : 'sources'}, ${date.slice(0, 10)}${commit === undefined ? '' : `, commit ${commit}`}.`,
    `${machine.cpus} × ${machine.cpu}, ${formatSize(machine.memory)}, of which ${formatSize(machine.room)} could be taken; Linux ${machine.kernel}, Node ${machine.node}, ${machine.arch}; huge pages for shared memory: ${huge}; Redis: ${machine.redis ?? 'not installed'}.`,
    `Load average ${load.start.toFixed(2)} at the start, ${load.end.toFixed(2)} at the end.`,
    ...disturbance(results),
  ];
}

/** What was left out, a sentence per line. */
export function omissions(results: Results): string[] {
  const { skipped, profile } = results;
  const noPerf = new Set(profile.flatMap((each) => each.noPerf ?? []));
  return [
    ...skipped.map(({ trial, size, reason }) => `SKIPPED ${trial} at ${formatSize(size)}: ${reason}`),
    ...(results.missing ?? []).map(({ title, reason }) => `MISSING ${title}: ${reason}`),
    ...Array.from(noPerf, (reason) => `SKIPPED perf: ${reason}`),
    ...doubts(results),
    ...doubtedFigures(results),
  ];
}

/** Figures with a doubt of their own: that of a busy trial stands for all of its figures. */
function doubtedFigures({ figures, runs }: Results): string[] {
  const isBusy = (trial: string, size: number): boolean =>
    runs.some(
      (run) => run.trial === trial && run.size === size && run.disturbance && disturbed(run.disturbance),
    );
  return figures.flatMap(({ title, trial, size, doubt }) =>
    doubt === undefined || isBusy(trial, size) ? [] : [`NO TRUST ${title}: ${doubt}`],
  );
}

/** For a terminal. */
export function textReport(results: Results): string {
  const sections = [
    figureRows(results),
    ...blackout(results),
    ...besideTables(results),
    ...waits(results),
    ...upgrades(results),
    ...keyStores(results),
    ...bySize(results),
    ...rateTable(results),
    ...disturbanceTable(results),
    ...profileTables(results),
  ];
  const parts = sections.map(textTable);
  parts.push([...omissions(results), ...circumstances(results)].join('\n'));
  return `${parts.join('\n\n')}\n`;
}

/** For the README of this package. */
export function markdownReport(results: Results, pictures: readonly string[] = []): string {
  const sections = [
    figureRows(results),
    ...blackout(results),
    ...besideTables(results),
    ...waits(results),
    ...upgrades(results),
    ...keyStores(results),
    ...bySize(results),
  ];
  const parts = [circumstances(results).join(' '), ...pictures, ...sections.map(markdownTable)];
  return parts.join('\n\n');
}
