/** What two results files come to, for a terminal. */
import { formatSize } from '@liveupdate/base';
import { changedTimes, compareFigures, goalChange, type ComparedFigure } from './compare.ts';
import { decisive } from './results.ts';
import type { Results } from './results-format.ts';
import { number, RESULTS, textTable, time } from './tables.ts';

/** A comparison, and what it comes to. */
export interface Comparison {
  readonly text: string;
  /** `none`: there is not one verdict. */
  readonly outcome: 'worse' | 'not worse' | 'none';
}

export function comparison(old: Results, fresh: Results): Comparison {
  const figures = compareFigures(old, fresh);
  const count = (change: ComparedFigure['change']): number =>
    figures.filter((figure) => figure.change === change).length;
  const judged = figures.length - count(undefined);
  const parts = [
    ...(figures.length > 0 ? [figureTable(figures)] : []),
    ...timeTable(old, fresh),
    ...differences(old, fresh),
    ...(judged < figures.length ? [reasons(figures)] : []),
  ];
  if (figures.length === 0) parts.push(nothingShared(old, fresh));
  else
    parts.push(
      `${figures.length} figures: ${count('better')} better, ${count('worse')} worse, ${count('same')} same, ${count(undefined)} without a verdict`,
    );
  const outcome = judged === 0 ? 'none' : count('worse') > 0 ? 'worse' : 'not worse';
  return { text: `${parts.join('\n\n')}\n`, outcome };
}

function figureTable(figures: readonly ComparedFigure[]): string {
  const head = ['', 'size', 'old', 'new', 'change', ''];
  const rows = figures.map((figure) => {
    const { old: before, new: after, change } = figure;
    return [
      after.title,
      formatSize(after.size),
      RESULTS[after.kind](decisive(after.kind, before.result)),
      RESULTS[after.kind](decisive(after.kind, after.result)),
      ['more', 'count'].includes(after.kind)
        ? ''
        : `${number((after.result.median / before.result.median - 1) * 100)} %`,
      change === undefined ? 'no verdict' : change === 'same' ? '' : `${change}${goalChange(figure)}`,
    ];
  });
  return textTable([head, ...rows]);
}

function timeTable(old: Results, fresh: Results): string[] {
  const rows = changedTimes(old, fresh).map(({ run: { trial, size }, name, was, is }) => [
    `${trial}: ${name}`,
    formatSize(size),
    time(was.median),
    time(is.median),
  ]);
  if (rows.length === 0) return [];
  return [
    textTable([['times that changed (no verdict: they depend on the day)', 'size', 'old', 'new'], ...rows]),
  ];
}

/** Why figures have no verdict, a line for each reason. */
function reasons(figures: readonly ComparedFigure[]): string {
  const byReason = Map.groupBy(
    figures.filter(({ reason }) => reason !== undefined),
    ({ reason }) => reason,
  );
  const lines = Array.from(byReason, ([reason, { length }]) => {
    return `${length} figure${length === 1 ? '' : 's'} without a verdict: ${reason}`;
  });
  return lines.join('\n');
}

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

/** Why there is nothing to compare. */
function nothingShared(old: Results, fresh: Results): string {
  const sizes = ({ figures }: Results): string => {
    const all = [...new Set(figures.map(({ size }) => size))].sort((a, b) => a - b);
    return all.length > 0 ? all.map(formatSize).join(', ') : 'no size at all';
  };
  return `The two files have no figure of the same size in common: the old one has ${sizes(old)}, the new one ${sizes(fresh)}. Measure the same trials with the same --size.`;
}
