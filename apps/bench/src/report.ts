/** Results as text: tables for a terminal, and the same in Markdown for the READMEs. */
import { formatSize } from '@liveupdate/base';
import { ALTERNATIVES } from './alternatives.ts';
import type { Hot } from './cpu-profile.ts';
import { disturbed, type Disturbance } from './disturbance.ts';
import { GENERATION_PHASES } from './generations.ts';
import { BLACKOUT_PHASES } from './processes.ts';
import { NO_REDIS } from './redis.ts';
import { findRun, runsOf, type FigureResult, type Results, type RunResult } from './results.ts';
import { summarize } from './stats.ts';
import { markdownTable, number, RESULTS, textTable, time, VALUES, type Rows } from './tables.ts';
import { doubts, MOVING, rates } from './trust.ts';

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
  bareBuffer: 'mmap and a buffer',
  bareMap: 'bare mmap',
};

const FIGURE_HEAD = ['', 'measured', 'against', 'result', 'half of all between', 'goal', ''] as const;

function figureCells(figure: FigureResult): string[] {
  const { kind, result, goal } = figure;
  const value = VALUES[kind];
  const sign = kind === 'faster' ? '≥' : '≤';
  return [
    figure.size < (figure.goalSize ?? 0) ? `${figure.title} (here ${formatSize(figure.size)})` : figure.title,
    value(figure.measuredValue.median),
    `${AGAINST[figure.against] ?? figure.against} ${value(figure.againstValue.median)}`,
    RESULTS[kind](result.median),
    `${number(result.p25)} .. ${number(result.p75)}`,
    goal === undefined ? '' : `${sign} ${goal}`,
    figure.verdict === 'no goal' ? '' : figure.verdict,
  ];
}

/** Figures with their goals. */
export function figureRows(results: Results): Rows {
  return [FIGURE_HEAD, ...results.figures.map(figureCells)];
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

const REPLACED_SERIES = { blackout: 'blackout', handover: 'whole handover', bare: 'bare program' } as const;

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

/** Ours and the others, in milliseconds. */
function beside(results: Results): Rows[] {
  const run = findRun(results, 'alternatives');
  if (!run) return [];
  const rows = Object.entries({ handover: 'a live update, all of it', ...ALTERNATIVES }).flatMap(
    ([name, title]) => (name in run.series ? [[title, time(run.series[name].median)]] : []),
  );
  return [[[`${formatSize(run.size)} carried over a restart by`, 'median'], ...rows]];
}

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
  const { skipped, profile, machine, runs } = results;
  const noRedis = machine.redis === undefined && runs.some(({ trial }) => trial === 'alternatives');
  const noPerf = new Set(profile.flatMap((each) => each.noPerf ?? []));
  return [
    ...skipped.map(({ trial, size, reason }) => `SKIPPED ${trial} at ${formatSize(size)}: ${reason}`),
    ...(noRedis ? [`SKIPPED Redis: ${NO_REDIS}`] : []),
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
    ...beside(results),
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
export function markdownReport(results: Results): string {
  const sections = [figureRows(results), ...blackout(results), ...beside(results), ...bySize(results)];
  const parts = [circumstances(results).join(' '), ...sections.map(markdownTable)];
  return parts.join('\n\n');
}

/** For the README of the repository: what most people ask for. */
export function markdownHeadlines(results: Results): string {
  const head = ['', 'measured', 'against', 'result'];
  const rows = results.figures
    .filter(({ headline }) => headline === true)
    .map((figure) => figureCells(figure).slice(0, head.length));
  const { machine, size, date } = results;
  const where = `${formatSize(size)} unless a line says otherwise; ${machine.cpus} × ${machine.cpu}, Linux ${machine.kernel}, Node ${machine.node}, ${date.slice(0, 10)}.`;
  return `${markdownTable([head, ...rows])}\n\n${where}`;
}
