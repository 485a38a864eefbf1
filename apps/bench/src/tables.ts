/** Tables of text, for a terminal and in Markdown, and the numbers in them. */
import { formatSize } from '@liveupdate/base';
import Table from 'cli-table3';
import { markdownTable as markdown } from 'markdown-table';
import type { Kind } from './figure.ts';

/** Rows of cells, the head first; all are of the same length. */
export type Rows = readonly (readonly string[])[];

/** Three significant digits. */
export function number(value: number): string {
  if (value === 0) return '0';
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(3, digits));
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
  more: time,
  count: String,
};

/** How the result of each kind of figure is written. */
export const RESULTS: Readonly<Record<Kind, (value: number) => string>> = {
  faster: (value) => `${number(value)} times as fast`,
  longer: (value) => `${number(value)} times as long`,
  share: (value) => `${number(value)} %`,
  slope: (value) => `${number(value)} ms per GiB`,
  more: (value) => `${value < 0 ? '' : '+'}${number(value)} ms`,
  count: String,
};

/** Nothing between rows, two spaces between columns. */
const BARE_TABLE = {
  chars: {
    ...Object.fromEntries(
      ['top', 'bottom', 'mid', 'left', 'right'].flatMap((side) =>
        ['', '-mid', '-left', '-right'].map((end) => [`${side}${end}`, ''] as const),
      ),
    ),
    middle: '  ',
  },
  style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
};

export function textTable(rows: Rows): string {
  const table = new Table(BARE_TABLE);
  table.push(...rows.map((row) => [...row]));
  return table.toString().replace(/ +$/gm, '');
}

/** For the READMEs, where Prettier gives it the form that it has there. */
export function markdownTable(rows: Rows): string {
  return markdown(rows.map((row) => [...row]));
}
