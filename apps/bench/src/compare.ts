/**
 * Two results files, figure by figure: what got better or worse, by a rule that noise does not
 * meet. A verdict needs all of this:
 *
 * - Both runs have at least LEAST_ROUNDS rounds of the figure, on a machine that was left to it,
 *   and against a baseline as fast as it should be (see trust.ts).
 * - The median of the ratio changed by more than LEAST_CHANGE, and so did that of what is measured,
 *   in the same direction: a baseline that had a bad day makes no verdict.
 * - Both by the ranks of the single rounds, in an exact Mann-Whitney test, with Holm's correction
 *   for all figures: where nothing changed, not one in twenty comparisons says so about even one.
 *
 * Figures against a constant, such as 3 ns a page, are times: they depend on the day, and get no
 * verdict.
 */
import { decisive, isTime, reaches } from './results.ts';
import type { FigureResult, Results, RunResult } from './results-format.ts';
import { chanceOfRanks, corrected } from './significance.ts';
import { summarize, type Series } from './stats.ts';
import { distrust } from './trust.ts';

export type Change = 'better' | 'worse' | 'same';

/** How likely one false verdict among all figures may be. */
const CHANCE = 0.05;
/** What differs less is not worth a word, however quiet the machine was. */
const LEAST_CHANGE = 0.1;
/** From fewer rounds no ranks are as unlikely as many figures need. */
const LEAST_ROUNDS = 8;

export interface ComparedFigure {
  readonly old: FigureResult;
  readonly new: FigureResult;
  /** Undefined where there is no verdict. */
  readonly change: Change | undefined;
  /** Why there is none. */
  readonly reason?: string;
}

/** Figures that are in both, of the same size. */
export function compareFigures(old: Results, fresh: Results): ComparedFigure[] {
  const pairs = fresh.figures.flatMap((figure) => {
    const before = old.figures.find(
      ({ trial, title, size }) => trial === figure.trial && title === figure.title && size === figure.size,
    );
    return before ? [{ old: before, new: figure, tested: rounds(old, before, fresh, figure) }] : [];
  });
  const tested = pairs.flatMap(({ tested: each }) => (typeof each === 'string' ? [] : [each]));
  const chances = tested.flatMap((each) => [chanceThat('better', each), chanceThat('worse', each)]);
  const counting = corrected(chances);
  let at = 0;
  return pairs.map(({ tested: each, ...figures }) => {
    if (typeof each === 'string') return { ...figures, change: undefined, reason: each };
    const [better, worse] = [counting[at++], counting[at++]];
    const change = better <= CHANCE ? 'better' : worse <= CHANCE ? 'worse' : 'same';
    return { ...figures, change };
  });
}

/** The rounds of a figure in both runs. */
interface Rounds {
  readonly kind: FigureResult['kind'];
  readonly ratio: readonly [old: readonly number[], fresh: readonly number[]];
  readonly measured: readonly [old: readonly number[], fresh: readonly number[]];
}

/** What is tested, or why a figure cannot be. */
function rounds(old: Results, before: FigureResult, fresh: Results, after: FigureResult): Rounds | string {
  const measuredIn = (results: Results, { trial, size, measured }: FigureResult): Series | undefined =>
    results.runs.find((run) => run.trial === trial && run.size === size)?.series[measured];
  const [was, is] = [measuredIn(old, before)?.values, measuredIn(fresh, after)?.values];
  const [ratioBefore, ratioAfter] = [before.result.values, after.result.values];
  if (!was || !is || !ratioBefore || !ratioAfter) return NO_ROUNDS;
  const fewest = Math.min(was.length, is.length);
  if (fewest < LEAST_ROUNDS) return `${fewest} round${fewest === 1 ? '' : 's'}, ${LEAST_ROUNDS} are needed`;
  if (isTime(after)) return 'a time, which depends on the day';
  const doubt = distrust(old, before) ?? distrust(fresh, after);
  if (doubt !== undefined) return doubt;
  return { kind: after.kind, ratio: [ratioBefore, ratioAfter], measured: [was, is] };
}

const NO_ROUNDS = 'single rounds are not in both files: measure the older one again';

/**
 * How likely ranks like these are where nothing changed; 1 where the medians changed too little. Of
 * the ratio and of what is measured itself, the likelier one.
 */
function chanceThat(change: 'better' | 'worse', { kind, ratio, measured }: Rounds): number {
  const chanceOf = (grew: boolean, [old, fresh]: Rounds['ratio']): number => {
    const [smaller, larger] = grew ? [old, fresh] : [fresh, old];
    const isWorth = summarize(larger).median > summarize(smaller).median * (1 + LEAST_CHANGE);
    return isWorth ? chanceOfRanks(smaller, larger) : 1;
  };
  // What is measured is a time, or bytes: less is better.
  return Math.max(
    chanceOf((kind === 'faster') === (change === 'better'), ratio),
    chanceOf(change === 'worse', measured),
  );
}

/** Whether a goal was lost or reached. */
export function goalChange({ old, new: { goal, kind, result, verdict } }: ComparedFigure): string {
  if (goal === undefined || old.verdict === verdict) return '';
  return reaches(kind, decisive(kind, result), goal) ? ', reaches its goal' : ', misses its goal';
}

/** Times of both runs whose medians differ by more than is worth a word: no verdicts. */
export function changedTimes(
  old: Results,
  fresh: Results,
): { run: RunResult; name: string; was: Series; is: Series }[] {
  return fresh.runs.flatMap((run) => {
    const before = old.runs.find(({ trial, size }) => trial === run.trial && size === run.size);
    return Object.entries(run.series).flatMap(([name, is]) => {
      const was = before?.series[name];
      if (!was || NO_TIMES.test(name) || !apart(was, is)) return [];
      return [{ run, name, was, is }];
    });
  });
}

/** Whether the middle halves of two series do not meet, and the medians differ by a tenth. */
function apart(was: Series, is: Series): boolean {
  if (Math.abs(is.median - was.median) <= was.median * LEAST_CHANGE) return false;
  return is.p25 > was.p75 || is.p75 < was.p25;
}

/** Series of bytes, of how many, or of something that is a figure already. */
const NO_TIMES = /^(?:bytes|outside|perGiB)$| (?:failed|closed|lost|before|after)$/;
