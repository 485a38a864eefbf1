/**
 * Results as one HTML page that stands alone: charts, the figures with their goals, and where the
 * time goes.
 */
import { formatSize } from '@liveupdate/base';
import type { Alternative } from './alternatives.ts';
import { barChart, lineChart, type Bar, type Line } from './charts.ts';
import { escapeHtml } from './escape-html.ts';
import { PAGE_STYLE } from './page-style.ts';
import { BLACKOUT_PHASES } from './processes.ts';
import {
  circumstances,
  disturbanceTable,
  figureRows,
  nameOfHot,
  omissions,
  profileTables,
  rateTable,
} from './report.ts';
import { findRun, runsOf } from './results.ts';
import type { Results, RunResult } from './results-format.ts';
import type { Summary } from './stats.ts';
import { time, type Rows } from './tables.ts';

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

export async function htmlReport(results: Results): Promise<string> {
  const charts = await Promise.all([
    beside(results),
    blackoutBySize(results),
    phases(results),
    throughput(results),
  ]);
  const [where, machine, ...busy] = circumstances(results);
  const left = omissions(results).map((line) => `<p>${escapeHtml(line)}</p>`);
  const profiles = profileTables(results).map(table);
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Live update: what it costs</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<h1>Live update: what it costs</h1>
<p>${escapeHtml(where)} ${escapeHtml(busy.join(' '))}</p>
<p>${escapeHtml(machine)}</p>
<h2>Charts</h2>
<div class="charts">
${charts.flatMap((chart) => chart ?? []).join('\n')}
</div>
<h2>Figures</h2>
${table(figureRows(results))}
${left.join('\n')}
${profiles.length > 0 ? `<h2>Where the time goes</h2>\n${profiles.join('\n')}` : ''}
${hotSpots(results)}
<details><summary>How busy the machine was, and what the baselines came to</summary>${[...disturbanceTable(results), ...rateTable(results)].map(table).join('\n')}</details>
</body>
</html>
`;
}

function throughput(results: Results): Promise<string> | undefined {
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

function blackoutBySize(results: Results): Promise<string> | undefined {
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

function chartBySize(results: Results, drawn: readonly Drawn[], chart: BySize): Promise<string> | undefined {
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

function beside(results: Results): Promise<string> | undefined {
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

function phases(results: Results): Promise<string> | undefined {
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

/** The first row is the head; a cell that is a verdict is coloured. */
function table([head, ...rows]: Rows): string {
  const headCells = head.map((cell) => `<th>${escapeHtml(cell)}</th>`).join('');
  const body = rows.map((row) => {
    const cells = row.map((cell) => {
      const verdict = cell === 'pass' || cell === 'fail' ? ` class="${cell}"` : '';
      return `<td${verdict}>${escapeHtml(cell)}</td>`;
    });
    return `<tr>${cells.join('')}</tr>`;
  });
  return `<div class="scroll"><table><thead><tr>${headCells}</tr></thead><tbody>${body.join('')}</tbody></table></div>`;
}

/** The names behind the numbers. */
function hotSpots({ profile }: Results): string {
  return profile
    .map(({ title, phases: counted, start }) => {
      const rows = counted.map(({ phase, functions, symbols }) => [
        phase,
        functions.map(nameOfHot).join(', '),
        symbols.map(nameOfHot).join(', '),
      ]);
      rows.push(['start of the next generation', start.map(nameOfHot).join(', '), '']);
      const names = table([[title, 'JavaScript functions', 'all of the machine (perf)'], ...rows]);
      return `<details><summary>Functions, ${escapeHtml(title)}</summary>${names}</details>`;
    })
    .join('\n');
}
