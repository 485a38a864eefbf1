/**
 * Two results files beside each other: what got better or worse beyond noise.
 *
 * A change counts where the medians' notches do not meet (median ± 1.57 × interquartile range / √n,
 * as in a box plot: about 95 %), and the medians differ by more than `LEAST_CHANGE`. Only ratios
 * can be a regression: they are measured within one run, so another day or a busier machine moves
 * both sides.
 */
import { formatSize } from '@liveupdate/base';
import { findRun, reaches, type FigureResult, type Results } from './results.ts';
import type { Summary } from './stats.ts';
import { number, RESULTS, textTable, time } from './tables.ts';

export type Change = 'better' | 'worse' | 'same';

/** What differs less is not worth a word, however quiet the machine was. */
const LEAST_CHANGE = 0.05;

export interface ComparedFigure {
  readonly old: FigureResult;
  readonly new: FigureResult;
  readonly change: Change;
}

/** Figures that are in both, of the same size. */
export function compareFigures(old: Results, fresh: Results): ComparedFigure[] {
  return fresh.figures.flatMap((figure) => {
    const before = old.figures.find(
      ({ trial, title, size }) => trial === figure.trial && title === figure.title && size === figure.size,
    );
    if (!before) return [];
    const change = changeOf(before.result, figure.result, figure.kind === 'faster' ? 'more' : 'less');
    return [{ old: before, new: figure, change }];
  });
}

/** @param good which direction is the good one */
export function changeOf(old: Summary, fresh: Summary, good: 'more' | 'less'): Change {
  const [before, after] = [old.median, fresh.median];
  if (Math.abs(after - before) <= Math.abs(before) * LEAST_CHANGE) return 'same';
  if (Math.abs(after - before) <= notch(old) + notch(fresh)) return 'same';
  return after > before === (good === 'more') ? 'better' : 'worse';
}

function notch({ p25, p75, n }: Summary): number {
  return (1.57 * (p75 - p25)) / Math.sqrt(n);
}

/** What two files come to, for a terminal. */
export function comparisonReport(old: Results, fresh: Results): string {
  const figures = compareFigures(old, fresh);
  const head = ['', 'size', 'old', 'new', 'change', ''];
  const rows = figures.map(({ old: before, new: after, change }) => [
    after.title,
    formatSize(after.size),
    RESULTS[after.kind](before.result.median),
    RESULTS[after.kind](after.result.median),
    `${number((after.result.median / before.result.median - 1) * 100)} %`,
    change === 'same' ? '' : `${change}${verdictOf(before, after)}`,
  ]);
  const parts = [textTable([head, ...rows])];
  const times = changedTimes(old, fresh);
  if (times.length > 0)
    parts.push(
      textTable([
        ['times that changed (no verdict: they depend on the day)', 'size', 'old', 'new', ''],
        ...times,
      ]),
    );
  parts.push(...differences(old, fresh));
  const counts = (['better', 'worse', 'same'] as const).map(
    (change) => `${figures.filter((figure) => figure.change === change).length} ${change}`,
  );
  parts.push(`${figures.length} ratios: ${counts.join(', ')}`);
  return `${parts.join('\n\n')}\n`;
}

/** Whether a goal was lost or reached. */
function verdictOf(old: FigureResult, { goal, kind, result, verdict }: FigureResult): string {
  if (goal === undefined || old.verdict === verdict) return '';
  return reaches(kind, result.median, goal) ? ', reaches its goal' : ', misses its goal';
}

/** Series of milliseconds that changed beyond noise. */
function changedTimes(old: Results, fresh: Results): string[][] {
  return fresh.runs.flatMap(({ trial, size, series }) => {
    const before = findRun(old, trial, size);
    if (!before) return [];
    return Object.entries(series).flatMap(([name, summary]) => {
      const was = before.series[name] as Summary | undefined;
      if (!was || NO_TIMES.has(name)) return [];
      const change = changeOf(was, summary, 'less');
      if (change === 'same') return [];
      return [[`${trial}: ${name}`, formatSize(size), time(was.median), time(summary.median), change]];
    });
  });
}

/** Series of bytes, or of something that is a figure already. */
const NO_TIMES = new Set(['bytes', 'outside', 'perGiB']);

/** What makes two files hard to compare. */
function differences(old: Results, fresh: Results): string[] {
  const facts = (['cpu', 'cpus', 'memory', 'kernel', 'node'] as const).flatMap((fact) =>
    old.machine[fact] === fresh.machine[fact]
      ? []
      : [`the ${fact} differs: ${old.machine[fact]} and ${fresh.machine[fact]}`],
  );
  if (old.built !== fresh.built) facts.push('one measured sources, the other built JavaScript');
  return facts.length > 0 ? [`Mind that ${facts.join('; ')}.`] : [];
}
