/** Results as text: a table for a terminal, and the same in Markdown for the README. */
import { formatSize } from '@liveupdate/base';
import type { FigureResult, Results } from './results.ts';
import type { Summary } from './stats.ts';
import { PHASES, type Kind } from './trials.ts';

const HEAD = ['', 'measured', 'against', 'result', 'half of all between', 'goal', ''] as const;

/** Three significant digits. */
function number(value: number): string {
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(3, digits));
}

function time(milliseconds: number): string {
  return milliseconds < 1000 ? `${number(milliseconds)} ms` : `${number(milliseconds / 1000)} s`;
}

const VALUES: Readonly<Record<Kind, (value: number) => string>> = {
  faster: time,
  longer: time,
  share: formatSize,
};
const RESULTS: Readonly<Record<Kind, (value: number) => string>> = {
  faster: (value) => `${number(value)} times faster`,
  longer: (value) => `${number(value)} times as long`,
  share: (value) => `${number(value)} %`,
};

/** What a series is measured against, in words. */
const AGAINST: Readonly<Record<string, string>> = { copy: 'copy', empty: 'empty program', ram: 'RAM' };

function figureCells(figure: FigureResult): string[] {
  const { kind, result, goal } = figure;
  const value = VALUES[kind];
  const sign = kind === 'faster' ? '≥' : '≤';
  return [
    figure.title,
    value(figure.measuredValue.median),
    `${AGAINST[figure.against] ?? figure.against} ${value(figure.againstValue.median)}`,
    RESULTS[kind](result.median),
    `${number(result.p25)} .. ${number(result.p75)}`,
    goal === undefined ? '' : `${sign} ${goal}`,
    figure.verdict === 'no goal' ? '' : figure.verdict,
  ];
}

function phaseRows(series: Readonly<Record<string, Summary>>): string[][] {
  return Object.entries(PHASES).map(([name, title]) => {
    const { median, p25, p75 } = series[name];
    return [title, time(median), `${time(p25)} .. ${time(p75)}`];
  });
}

const PHASE_HEAD = ['blackout, 4 KiB folios: of which', 'median', 'half of all between'] as const;

/** Where and when it was measured, a sentence per line. */
function circumstances({ machine, load, size, rounds, built, date, commit }: Results): string[] {
  const huge = machine.hugePages.shmemEnabled ?? 'unknown';
  return [
    `${formatSize(size)} in the file, ${rounds} round${rounds === 1 ? '' : 's'}, ${built ? 'built JavaScript' : 'sources'}, ${date.slice(0, 10)}${commit === undefined ? '' : `, commit ${commit}`}.`,
    `${machine.cpus} × ${machine.cpu}, ${formatSize(machine.memory)}; Linux ${machine.kernel}, Node ${machine.node}, ${machine.arch}; huge pages for shared memory: ${huge}.`,
    `Load average ${load.start.toFixed(2)} at the start, ${load.end.toFixed(2)} at the end.`,
  ];
}

/** For a terminal. */
export function textReport(results: Results): string {
  const parts = [textTable([[...HEAD], ...results.figures.map(figureCells)])];
  const replace = results.series['replace'] as Results['series'][string] | undefined;
  if (replace) parts.push(textTable([[...PHASE_HEAD], ...phaseRows(replace)]));
  parts.push(circumstances(results).join('\n'));
  return `${parts.join('\n\n')}\n`;
}

/** For the README. */
export function markdownReport(results: Results): string {
  const parts = [
    circumstances(results).join(' '),
    markdownTable([[...HEAD], ...results.figures.map(figureCells)]),
  ];
  const replace = results.series['replace'] as Results['series'][string] | undefined;
  if (replace) parts.push(markdownTable([[...PHASE_HEAD], ...phaseRows(replace)]));
  return parts.join('\n\n');
}

function widths(rows: readonly (readonly string[])[]): number[] {
  return rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
}

function textTable(rows: readonly (readonly string[])[]): string {
  const width = widths(rows);
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(width[i]))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** As Prettier would write it. */
function markdownTable([head, ...rows]: readonly (readonly string[])[]): string {
  const width = widths([head, ...rows]).map((columns) => Math.max(3, columns));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => cell.padEnd(width[i])).join(' | ')} |`;
  return [line(head), line(width.map((columns) => '-'.repeat(columns))), ...rows.map(line)].join('\n');
}
