/** Charts of a run's results: for the HTML page, and for READMEs as pictures. */
import { formatSize } from '@liveupdate/base';
import type { Alternative } from './alternatives.ts';
import { barChart, lineChart, picture, type Bar, type Chart, type Line } from './charts.ts';
import { WAIT_PHASES } from './kill-trial.ts';
import { themedPath, THEMES } from './page-style.ts';
import { BLACKOUT_PHASES } from './processes.ts';
import { findRun, runsOf } from './results.ts';
import type { Results, RunResult } from './results-format.ts';
import type { Summary } from './stats.ts';
import { time } from './tables.ts';

/** What there is to draw, by name; what was not measured is not there. */
export function resultCharts(results: Results): Readonly<Record<string, Chart>> {
  const charts = {
    beside: beside(results),
    killed: killed(results),
    blackout: blackoutBySize(results),
    phases: phases(results),
    throughput: throughput(results),
  };
  return Object.fromEntries(
    Object.entries(charts).flatMap(([name, chart]) => (chart ? [[name, chart] as const] : [])),
  );
}

/** Where the pictures of a chart of these results are, but for the theme. */
export function pictureName(file: string, chart: string): string {
  return file.replace(/\.json$/, `-${chart}`);
}

/** Pictures of them, light and dark, by the path of each: beside the results file. */
export async function resultPictures(file: string, results: Results): Promise<Map<string, string>> {
  const pictures = new Map<string, string>();
  for (const [name, chart] of Object.entries(resultCharts(results)))
    for (const theme of THEMES)
      pictures.set(themedPath(pictureName(file, name), theme), await picture(chart, theme));
  return pictures;
}

/** What is drawn of a trial. */
interface Drawn {
  readonly title: string;
  readonly trial: string;
  readonly series: string;
  readonly colour: number;
  readonly dashed?: boolean;
}

const THROUGHPUT: readonly Drawn[] = [
  { title: 'preserve, 2 MiB folios', trial: 'huge', series: 'preserve', colour: 0 },
  { title: 'retrieve, 2 MiB folios', trial: 'huge', series: 'retrieve', colour: 0, dashed: true },
  { title: 'preserve, 4 KiB folios', trial: 'small', series: 'preserve', colour: 1 },
  { title: 'retrieve, 4 KiB folios', trial: 'small', series: 'retrieve', colour: 1, dashed: true },
  { title: 'records alone, 4 KiB folios', trial: 'small', series: 'records', colour: 2, dashed: true },
  { title: 'copy', trial: 'small', series: 'copy', colour: 6 },
];

const BLACKOUT: readonly Drawn[] = [
  { title: '4 KiB folios', trial: 'replace', series: 'blackout', colour: 1 },
  { title: '2 MiB folios', trial: 'replace-huge', series: 'blackout', colour: 0 },
  { title: 'bare program: the same memory by exec', trial: 'replace-huge', series: 'bare', colour: 6 },
  { title: 'empty program', trial: 'replace-huge', series: 'empty', colour: 2, dashed: true },
];

/** Trials that add one larger size to a line of the blackout, under a name of their own. */
const LARGEST: Readonly<Record<string, string>> = { replace: 'growth', 'replace-huge': 'growth-huge' };

function throughput(results: Results): Chart | undefined {
  const toRate = (size: number, milliseconds: number): number => size / 2 ** 30 / (milliseconds / 1000);
  return chartBySize(results, THROUGHPUT, {
    title: 'Marking beside moving, by size',
    unit: 'GiB of preserved bytes per second',
    scale: 'log',
    // The fast end of the times is the high end of the rates.
    convert: (size, { median, p25, p75 }) => ({
      value: toRate(size, median),
      low: toRate(size, p75),
      high: toRate(size, p25),
    }),
  });
}

function blackoutBySize(results: Results): Chart | undefined {
  return chartBySize(results, BLACKOUT, {
    title: 'Blackout by size: from the freeze to the first byte read',
    unit: 'ms',
    scale: 'linear',
    convert: (_, { median, p25, p75 }) => ({ value: median, low: p25, high: p75 }),
  });
}

interface BySize {
  readonly title: string;
  readonly unit: string;
  readonly scale: 'linear' | 'log';
  readonly convert: (size: number, summary: Summary) => { value: number; low: number; high: number };
}

function chartBySize(results: Results, drawn: readonly Drawn[], chart: BySize): Chart | undefined {
  const found = drawn.map((each) => ({ each, values: valuesBySize(results, each) }));
  const sizes = [...new Set(found.flatMap(({ values }) => values.map(({ size }) => size)))].sort(
    (a, b) => a - b,
  );
  if (sizes.length === 0) return undefined;
  const lines: Line[] = found.map(({ each: { title, colour, dashed = false }, values }) => ({
    title,
    colour,
    dashed,
    points: values.map(({ size, summary }) => ({ at: sizes.indexOf(size), ...chart.convert(size, summary) })),
  }));
  const { title, unit, scale } = chart;
  const categories = sizes.map(formatSize);
  return lineChart({
    title,
    unit,
    scale,
    categories,
    lines: lines.filter(({ points }) => points.length > 0),
  });
}

function valuesBySize(results: Results, { trial, series }: Drawn): { size: number; summary: Summary }[] {
  const values = runsOf(results, trial).map((run) => ({ size: run.size, summary: run.series[series] }));
  const largest = series === 'blackout' ? runsOf(results, LARGEST[trial] ?? '').at(-1) : undefined;
  if (largest && values.every(({ size }) => size < largest.size))
    values.push({ size: largest.size, summary: largest.series['most'] });
  return values.filter(({ summary }) => (summary as Summary | undefined) !== undefined);
}

function beside(results: Results): Chart | undefined {
  // Both are of the same size; what stands in the later trial stands for itself.
  const runs = ['alternatives', 'kept'].flatMap((trial) => findRun(results, trial) ?? []);
  if (runs.length === 0) return undefined;
  const series = Object.assign({}, ...runs.map((run) => run.series)) as RunResult['series'];
  const bars = Object.entries(SHORT)
    .filter(([name]) => name in series)
    .map(([name, title]) => bar(title, name === 'handover' ? 0 : 6, series[name].median))
    .sort((a, b) => a.parts[0].value - b.parts[0].value);
  const title = `${formatSize(runs[0].size)} kept or carried over a restart (logarithmic)`;
  return barChart({ title, scale: 'log', bars, format: time });
}

/** Names that fit beside a bar. */
const SHORT: Readonly<Record<Alternative | 'handover' | 'empty', string>> = {
  handover: 'live update, all of it',
  empty: 'an empty program',
  bare: 'memfd by exec, the limit',
  mapped: 'tmpfs file mapped again',
  lmdb: 'LMDB opened again',
  sqlite: 'SQLite opened again',
  memcached: 'memcached -e restarted',
  criu: 'CRIU',
  copy: 'copy in memory',
  tmpfs: 'tmpfs file written, read',
  serialize: 'v8.serialize to tmpfs',
  redis: 'Redis',
};

function bar(title: string, colour: number, value: number): Bar {
  return { title, parts: [{ title, colour, value }] };
}

function phases(results: Results): Chart | undefined {
  const stacked = (name: string, run: RunResult): Bar => ({
    title: `${name} folios, ${formatSize(run.size)}`,
    parts: Object.entries(BLACKOUT_PHASES).map(([series, title], colour) => ({
      title,
      colour,
      value: run.series[series].median,
    })),
  });
  const bars = [
    ...runsOf(results, 'replace').map((run) => stacked('4 KiB', run)),
    ...runsOf(results, 'replace-huge').map((run) => stacked('2 MiB', run)),
    ...runsOf(results, 'replace-8g').map((run) => stacked('2 MiB', run)),
  ];
  if (bars.length === 0) return undefined;
  return barChart({
    title: 'What a blackout consists of',
    scale: 'linear',
    bars,
    format: time,
  });
}

/** From a kill to the first answer, ours beside others. */
function killed(results: Results): Chart | undefined {
  const run = findRun(results, 'killed');
  if (!run) return undefined;
  const sides = { answer: 'live update', mapped: 'tmpfs file mapped again', lmdb: 'LMDB opened again' };
  const bars = Object.entries(sides)
    .filter(([side]) => side in run.series)
    .map(([side, title]) => ({
      title,
      parts: Object.entries(WAIT_PHASES).map(([phase, what], colour) => ({
        title: what,
        colour,
        value: run.series[`${side} ${phase}`].median,
      })),
    }));
  const title = `From kill -9 to the first answer, ${formatSize(run.size)}`;
  return barChart({ title, scale: 'linear', bars, format: time });
}
