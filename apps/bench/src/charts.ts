/**
 * Charts, drawn by Vega-Lite when a page is written: the page stands alone. Within the HTML page
 * they are inline SVG whose colours are those of its style, so they follow its light and dark; in
 * READMEs they are files, one for each theme.
 */
import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { escapeHtml } from './escape-html.ts';
import { inColours, type Theme } from './page-style.ts';

/** What is drawn, and what stands above it. */
export interface Chart {
  readonly title: string;
  readonly spec: TopLevelSpec;
}

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
}

export interface Bar {
  readonly title: string;
  /** Parts one after the other, in milliseconds; one part for a plain bar. */
  readonly parts: readonly { readonly title: string; readonly colour: number; readonly value: number }[];
}

export interface BarChart {
  readonly title: string;
  readonly scale: 'linear' | 'log';
  readonly bars: readonly Bar[];
  /** How the whole of a bar is written. */
  readonly format: (value: number) => string;
}

const WIDTH = 640;
const LINE_HEIGHT = 260;
const BAR_STEP = 30;

const colourOf = (number: number): string => `var(--c${number})`;

/** What charts have in common. Vega has no fonts to measure with: it guesses with room to spare. */
const COMMON = {
  width: WIDTH,
  autosize: { type: 'fit-x', contains: 'padding' },
  background: 'transparent',
  config: {
    font: "system-ui, 'DejaVu Sans', sans-serif",
    view: { stroke: null },
    axis: {
      labelColor: 'var(--text)',
      titleColor: 'var(--text)',
      gridColor: 'var(--grid)',
      domainColor: 'var(--grid)',
      tickColor: 'var(--grid)',
      labelFontSize: 12,
      titleFontSize: 12,
      titleFontWeight: 'normal',
      labelLimit: 0,
    },
    legend: {
      labelColor: 'var(--text)',
      labelFontSize: 12,
      labelLimit: 0,
      orient: 'bottom',
      columns: 1,
      title: null,
    },
    text: { fill: 'var(--text)', fontSize: 12 },
  },
} as const;

const TIME_LABEL =
  "datum.value >= 1000 ? format(datum.value / 1000, '~g') + ' s' : format(datum.value, '~g') + ' ms'";

/**
 * Lines over categories, with the middle half of the measurements as a stroke through each point.
 */
export function lineChart({ title, unit, scale, categories, lines }: LineChart): Chart {
  const values = lines.flatMap(({ title: series, points }) =>
    points.map(({ at, value, low, high }) => ({ size: categories[at], series, value, low, high })),
  );
  const named = lines.map((line) => line.title);
  const least = Math.min(...values.map(({ low }) => low));
  const axisY = {
    title: null,
    format: '~s',
    ...ticks(scale, least, Math.max(...values.map(({ high }) => high))),
  };
  const scaleY = scale === 'log' ? ({ type: 'log', nice: true } as const) : ({ nice: true } as const);
  return chart(`${title}, ${unit}`, {
    height: LINE_HEIGHT,
    data: { values },
    encoding: {
      x: { field: 'size', type: 'ordinal', sort: [...categories], axis: { labelAngle: 0, title: null } },
      color: {
        field: 'series',
        type: 'nominal',
        scale: { domain: named, range: lines.map(({ colour }) => colourOf(colour)) },
        legend: { symbolType: 'stroke', symbolStrokeWidth: 2, columns: 2 },
      },
    },
    layer: [
      {
        mark: { type: 'rule', strokeWidth: 2, opacity: 0.6 },
        encoding: {
          y: { field: 'low', type: 'quantitative', scale: scaleY },
          y2: { field: 'high' },
        },
      },
      {
        mark: { type: 'line', strokeWidth: 2, point: { filled: true, size: 50 } },
        encoding: {
          y: { field: 'value', type: 'quantitative', axis: axisY },
          strokeDash: {
            field: 'series',
            type: 'nominal',
            scale: { domain: named, range: lines.map(({ dashed }) => (dashed === true ? [6, 5] : [1, 0])) },
          },
        },
      },
    ],
  });
}

/** Horizontal bars; where they have several parts, the parts stand in a legend. */
export function barChart({ title, scale, bars, format }: BarChart): Chart {
  const totals = bars.map(({ title: bar, parts }) => {
    const total = parts.reduce((sum, { value }) => sum + value, 0);
    return { bar, total, label: format(total) };
  });
  const most = bars.reduce<Bar['parts']>(
    (parts, bar) => (bar.parts.length > parts.length ? bar.parts : parts),
    [],
  );
  const all = totals.map(({ total }) => total);
  const least = scale === 'log' ? 10 ** Math.floor(Math.log10(Math.min(...all))) : 0;
  // Room for what is written behind the longest bar.
  const domain = [least, Math.max(...all) * (scale === 'log' ? 4 : 1.2)];
  const scaleX = { type: scale, domain } as const;
  const axisX = { title: null, labelExpr: TIME_LABEL, ...ticks(scale, domain[0], domain[1]) };
  const y = {
    field: 'bar',
    type: 'ordinal',
    sort: bars.map((bar) => bar.title),
    axis: { title: null, grid: false },
  } as const;
  const parts = bars.flatMap(({ title: bar, parts: all }) => {
    let end = 0;
    return all.map(({ title: part, value, colour }) => {
      const start = end === 0 ? least : end;
      end += value;
      return { bar, part, start, end, colour: colourOf(colour) };
    });
  });
  const colour =
    most.length > 1
      ? ({
          field: 'part',
          type: 'nominal',
          scale: { domain: most.map((part) => part.title), range: most.map((part) => colourOf(part.colour)) },
        } as const)
      : ({ field: 'colour', type: 'nominal', scale: null } as const);
  return chart(title, {
    height: bars.length * BAR_STEP,
    layer: [
      {
        data: { values: parts },
        mark: { type: 'bar', height: { band: 0.7 } },
        encoding: {
          y,
          x: { field: 'start', type: 'quantitative', scale: scaleX, axis: axisX },
          x2: { field: 'end' },
          color: colour,
        },
      },
      {
        data: { values: totals },
        mark: { type: 'text', align: 'left', dx: 6 },
        encoding: {
          y,
          x: { field: 'total', type: 'quantitative' },
          text: { field: 'label' },
        },
      },
    ],
  });
}

/** Where an axis has its marks: a logarithmic one at whole powers of ten, and nowhere else. */
function ticks(scale: 'linear' | 'log', from: number, to: number): { values?: number[]; tickCount?: number } {
  if (scale === 'linear') return { tickCount: 6 };
  const first = Math.floor(Math.log10(from));
  return {
    values: Array.from({ length: Math.ceil(Math.log10(to)) - first + 1 }, (_, i) => 10 ** (first + i)),
  };
}

/** Charts below each other, on axes of their own. */
export function rowsChart(title: string, rows: readonly object[]): Chart {
  return chart(title, { autosize: undefined, width: undefined, spacing: 14, vconcat: rows });
}

function chart(title: string, what: object): Chart {
  return { title, spec: { ...COMMON, ...what } as TopLevelSpec };
}

/** A chart as SVG; its colours are still names of the page's style. */
async function drawn(spec: TopLevelSpec): Promise<string> {
  const view = new View(parse(compile(spec).spec), { renderer: 'none' });
  try {
    return await view.toSVG();
  } finally {
    view.finalize();
  }
}

/** A chart under its title, in a page. */
export async function figure({ title, spec }: Chart): Promise<string> {
  // Inside a page SVG needs no names of its own; its size is the page's to choose.
  const inline = (await drawn(spec))
    .replace(/ xmlns(:\w+)?="[^"]*"/g, '')
    .replace(/^<svg/, `<svg role="img" aria-label="${escapeHtml(title)}"`);
  return `<figure><figcaption>${escapeHtml(title)}</figcaption>${inline}</figure>`;
}

/**
 * A chart with its title as a file that stands alone.
 *
 * @param words what it shows, for those who do not see it
 */
export async function picture({ title, spec }: Chart, theme: Theme, words = title): Promise<string> {
  const head = { text: title, anchor: 'start', color: 'var(--text)', fontSize: 15, offset: 14 };
  const whole = { ...spec, padding: 14, background: 'var(--page)', title: head } as TopLevelSpec;
  // Vega numbers the parts of all pictures of a process: here each begins anew.
  const names = new Map<string, string>();
  const svg = (await drawn(whole)).replace(/\b(?:clip|gradient_)\d+\b/g, (name) => {
    if (!names.has(name)) names.set(name, `part${names.size}`);
    return names.get(name)!;
  });
  const described = svg.replace(
    /^<svg[^>]*/,
    (open) => `${open} role="img"><title>${escapeHtml(title)}</title><desc>${escapeHtml(words)}</desc`,
  );
  return `${inColours(theme, described)}\n`;
}
