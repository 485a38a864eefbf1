/** Tables of text, for a terminal and in Markdown, and the numbers in them. */
import { formatSize } from '@liveupdate/base';
import type { Kind } from './figure.ts';

/** Rows of cells, the head first; all are of the same length. */
export type Rows = readonly (readonly string[])[];

/** Three significant digits. */
export function number(value: number): string {
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(3, digits));
}

/** The same without zeros at the end, for axes. */
export function shortTime(milliseconds: number): string {
  return time(milliseconds).replace(/\.0+(?= )/, '');
}

export function time(milliseconds: number): string {
  return Math.abs(milliseconds) < 1000 ? `${number(milliseconds)} ms` : `${number(milliseconds / 1000)} s`;
}

/** How a value of each kind of figure is written. */
export const VALUES: Readonly<Record<Kind, (value: number) => string>> = {
  faster: time,
  longer: time,
  share: formatSize,
  slope: time,
};

/** How the result of each kind of figure is written. */
export const RESULTS: Readonly<Record<Kind, (value: number) => string>> = {
  faster: (value) => (value < 1 ? `${number(1 / value)} times slower` : `${number(value)} times faster`),
  longer: (value) => `${number(value)} times as long`,
  share: (value) => `${number(value)} %`,
  slope: (value) => `${number(value)} ms per GiB`,
};

function widths(rows: Rows): number[] {
  return rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
}

export function textTable(rows: Rows): string {
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
export function markdownTable([head, ...rows]: Rows): string {
  const width = widths([head, ...rows]).map((columns) => Math.max(3, columns));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, i) => cell.padEnd(width[i])).join(' | ')} |`;
  return [line(head), line(width.map((columns) => '-'.repeat(columns))), ...rows.map(line)].join('\n');
}
