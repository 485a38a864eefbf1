/**
 * Charts as inline SVG: what they show has names and units, colours come from the page's style, so
 * they follow its light and dark.
 */
import { escapeHtml } from './escape-html.ts';

/** A value with the half of all measurements around it. */
interface Point {
  /** Index of the category. */
  readonly at: number;
  readonly value: number;
  readonly low: number;
  readonly high: number;
}

export interface Line {
  readonly title: string;
  /** Number of its colour, from 0 on. */
  readonly colour: number;
  readonly dashed?: boolean;
  readonly points: readonly Point[];
}

export interface LineChart {
  readonly title: string;
  /** What the vertical axis counts. */
  readonly unit: string;
  readonly scale: 'linear' | 'log';
  /** Names along the horizontal axis. */
  readonly categories: readonly string[];
  readonly lines: readonly Line[];
  /** How a value is written. */
  readonly format: (value: number) => string;
}

export interface Bar {
  readonly title: string;
  /** Parts one after the other; one part for a plain bar. */
  readonly parts: readonly { readonly title: string; readonly colour: number; readonly value: number }[];
}

export interface BarChart {
  readonly title: string;
  readonly scale: 'linear' | 'log';
  readonly bars: readonly Bar[];
  readonly format: (value: number) => string;
  /** The same for the axis; default as values. */
  readonly formatTick?: (value: number) => string;
}

const WIDTH = 640;
const PLOT = { left: 62, right: 14, top: 14, bottom: 30, height: 260 };
const BAR = { left: 190, right: 80, height: 22, gap: 10, top: 6, axis: 26 };

/**
 * Lines over categories, with the middle half of the measurements as a stroke through each point.
 */
export function lineChart({ title, unit, scale, categories, lines, format }: LineChart): string {
  const values = lines.flatMap(({ points }) => points.flatMap(({ low, high, value }) => [low, high, value]));
  const axis = scale === 'log' ? logAxis(values) : linearAxis(values);
  const height = PLOT.top + PLOT.height + PLOT.bottom;
  const plotWidth = WIDTH - PLOT.left - PLOT.right;
  const x = (at: number): number => PLOT.left + (plotWidth * (at + 0.5)) / categories.length;
  const y = (value: number): number => PLOT.top + PLOT.height * (1 - axis.place(value));
  const grid = axis.ticks.map((tick) => {
    const at = round(y(tick));
    const label = text(PLOT.left - 8, at + 4, format(tick), 'end');
    return `<line class="grid" x1="${PLOT.left}" x2="${WIDTH - PLOT.right}" y1="${at}" y2="${at}"/>${label}`;
  });
  const names = categories.map((name, at) => text(x(at), height - 10, name, 'middle'));
  const drawn = lines.map(({ title: name, colour, dashed, points }) => {
    const path = points.map(({ at, value }) => `${round(x(at))},${round(y(value))}`).join(' ');
    const marks = points.map(({ at, value, low, high }) => {
      const said = `${name}, ${categories[at]}: ${format(value)} ${unit} (half between ${format(low)} and ${format(high)})`;
      const stroke = `<line x1="${round(x(at))}" x2="${round(x(at))}" y1="${round(y(low))}" y2="${round(y(high))}"/>`;
      return `${stroke}<circle cx="${round(x(at))}" cy="${round(y(value))}" r="4"><title>${escapeHtml(said)}</title></circle>`;
    });
    return `<g class="line c${colour}${dashed === true ? ' dashed' : ''}"><polyline points="${path}"/>${marks.join('')}</g>`;
  });
  const legend = lines.map(({ title: name, colour, dashed }) => ({ name, colour, dashed: dashed === true }));
  return figure(`${title}, ${unit}`, legend, svg(height, title, [...grid, ...names, ...drawn]));
}

/** Horizontal bars; where they have several parts, the parts stand in a legend. */
export function barChart({ title, scale, bars, format, formatTick = format }: BarChart): string {
  const totals = bars.map(({ parts }) => parts.reduce((sum, { value }) => sum + value, 0));
  const axis = scale === 'log' ? logAxis(totals) : linearAxis(totals);
  const plotWidth = WIDTH - BAR.left - BAR.right;
  const plotHeight = BAR.top + bars.length * (BAR.height + BAR.gap);
  const x = (value: number): number => BAR.left + plotWidth * axis.place(value);
  const grid = axis.ticks.map((tick) => {
    const at = round(x(tick));
    const line = `<line class="grid" x1="${at}" x2="${at}" y1="0" y2="${plotHeight}"/>`;
    return line + text(at, plotHeight + 16, formatTick(tick), 'middle');
  });
  const drawn = bars.map(({ title: name, parts }, row) => {
    const top = BAR.top + row * (BAR.height + BAR.gap);
    let sum = 0;
    const rects = parts.map(({ title: part, colour, value }) => {
      const [from, to] = [sum === 0 ? BAR.left : x(sum), x(sum + value)];
      sum += value;
      const said = `${name}, ${part}: ${format(value)}`;
      const box = `x="${round(from)}" y="${top}" width="${round(Math.max(0, to - from))}" height="${BAR.height}"`;
      return `<rect class="c${colour}" ${box}><title>${escapeHtml(said)}</title></rect>`;
    });
    const middle = top + BAR.height / 2 + 4;
    const label = text(BAR.left - 10, middle, name, 'end');
    return label + rects.join('') + text(round(x(sum)) + 6, middle, format(sum), 'start');
  });
  const parts =
    bars.length > 0
      ? bars.reduce((most, bar) => (bar.parts.length > most.parts.length ? bar : most)).parts
      : [];
  const legend =
    parts.length > 1 ? parts.map((part) => ({ name: part.title, colour: part.colour, dashed: false })) : [];
  return figure(title, legend, svg(plotHeight + BAR.axis, title, [...grid, ...drawn]));
}

interface Axis {
  readonly ticks: readonly number[];
  /** Where a value stands between the ends of the axis, from 0 to 1. */
  place(value: number): number;
}

/** From zero to a round number above all values. */
function linearAxis(values: readonly number[]): Axis {
  const most = Math.max(...values, Number.MIN_VALUE);
  const rough = most / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const end = Math.ceil(most / step) * step;
  const ticks = Array.from({ length: Math.round(end / step) + 1 }, (_, i) => i * step);
  return { ticks, place: (value) => value / end };
}

/** Whole powers of ten around all values. */
function logAxis(values: readonly number[]): Axis {
  const positive = values.filter((value) => value > 0);
  const first = Math.floor(Math.log10(Math.min(...positive)));
  const last = Math.max(first + 1, Math.ceil(Math.log10(Math.max(...positive))));
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
  return { ticks, place: (value) => (Math.log10(Math.max(value, 10 ** first)) - first) / (last - first) };
}

interface Key {
  readonly name: string;
  readonly colour: number;
  readonly dashed: boolean;
}

function figure(title: string, legend: readonly Key[], drawing: string): string {
  const keys = legend.map(
    ({ name, colour, dashed }) =>
      `<li><i class="c${colour}${dashed ? ' dashed' : ''}"></i>${escapeHtml(name)}</li>`,
  );
  const list = keys.length > 0 ? `<ul class="legend">${keys.join('')}</ul>` : '';
  return `<figure><figcaption>${escapeHtml(title)}</figcaption>${list}${drawing}</figure>`;
}

function svg(height: number, title: string, parts: readonly string[]): string {
  return `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeHtml(title)}">${parts.join('')}</svg>`;
}

function text(x: number, y: number, content: string, anchor: 'start' | 'middle' | 'end'): string {
  return `<text x="${round(x)}" y="${round(y)}" text-anchor="${anchor}">${escapeHtml(content)}</text>`;
}

/** Tenths of a pixel are enough. */
function round(value: number): number {
  return Math.round(value * 10) / 10;
}
