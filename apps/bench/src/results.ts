/** Puts what was measured together and judges it; reads and writes results files. */
import * as fs from 'node:fs';
import { KernelError } from '@liveupdate/base';
import type { Disturbance } from './disturbance.ts';
import { GOAL_SIZE, type Figure } from './figure.ts';
import type { PlannedRun } from './plan.ts';
import { quotient, type Measured } from './runner.ts';
import { damagedPart } from './results-check.ts';
import {
  RESULTS_VERSION,
  type FigureResult,
  type MissingFigure,
  type Results,
  type RunResult,
  type Verdict,
} from './results-format.ts';
import { seriesOf, summarize, type Series, type Summary } from './stats.ts';
import { FIGURES } from './trials.ts';
import { distrust } from './trust.ts';

/** A run with what was measured in it. */
export interface MeasuredRun extends PlannedRun {
  readonly measured: Measured;
  readonly warmUp: Measured;
  readonly absent: Readonly<Record<string, string>>;
  readonly disturbance: Disturbance;
}

/** Puts a run's measurements together. Figures of what was not run are left out. */
export function evaluate(
  measuredRuns: readonly MeasuredRun[],
  about: Omit<Results, 'version' | 'figures' | 'missing' | 'runs'>,
): Results {
  const runs = measuredRuns.map(({ trial, size, rounds, measured, warmUp, disturbance }) => ({
    trial: trial.name,
    title: trial.title,
    size,
    rounds,
    series: Object.fromEntries(
      Object.entries(measured).map(([name, values]) => [name, seriesOf(values)] as const),
    ),
    warmUp,
    disturbance,
  }));
  const figures: FigureResult[] = [];
  const missing: MissingFigure[] = [];
  for (const figure of FIGURES) {
    const wanted = figure.size ?? about.size;
    const run = measuredRuns.find(
      ({ trial, size }) =>
        trial.name === figure.trial && (typeof trial.sizes === 'number' || size === wanted),
    );
    if (!run) continue;
    const { measured, absent, size } = run;
    if (figure.measured in measured && figure.against in measured)
      figures.push(evaluateFigure(figure, run, { ...about, runs }));
    else if (figure.against in absent)
      missing.push({ ...figure, size, reason: absent[figure.against], place: figures.length });
  }
  return { version: RESULTS_VERSION, ...about, figures, missing, runs };
}

function evaluateFigure(
  figure: Figure,
  { measured: series, size }: MeasuredRun,
  all: Pick<Results, 'runs' | 'copyRate'>,
): FigureResult {
  const measured = series[figure.measured];
  const against = series[figure.against];
  const result = ratio(figure.kind, measured, against);
  const doubt = distrust(all, { ...figure, size });
  const verdict = judge(figure, decisive(figure.kind, result), size);
  return {
    ...figure,
    size,
    measuredValue: summarize(measured),
    againstValue: summarize(against),
    result,
    verdict: doubt !== undefined && (verdict === 'pass' || verdict === 'fail') ? 'no trust' : verdict,
    ...(doubt === undefined ? {} : { doubt }),
  };
}

/**
 * Whether a figure is a time in disguise: measured against what it may take at most, or against
 * nothing. It says how quick this machine is today too. (A count is no ratio either.)
 */
export function isTime({ kind, against }: FigureResult): boolean {
  return ['slope', 'more', 'count'].includes(kind) || against.startsWith('most ') || against === 'second';
}

/** What of all rounds a figure is judged by. */
export function decisive(kind: Figure['kind'], { median, max }: Summary): number {
  return kind === 'count' ? max : median;
}

function ratio(kind: Figure['kind'], measured: readonly number[], against: readonly number[]): Series {
  switch (kind) {
    case 'faster':
      return quotient(against, measured);
    case 'longer':
      return quotient(measured, against);
    case 'share':
      return quotient(
        measured.map((bytes) => bytes * 100),
        against,
      );
    case 'slope':
    case 'count':
      return seriesOf(measured);
    case 'more':
      return seriesOf(measured.map((value, round) => value - against[round]));
  }
}

export function judge(
  { goal, goalSize = GOAL_SIZE, kind }: Pick<Figure, 'goal' | 'goalSize' | 'kind'>,
  value: number,
  size: number,
): Verdict {
  if (goal === undefined) return 'no goal';
  if (size < goalSize) return 'not judged';
  return reaches(kind, value, goal) ? 'pass' : 'fail';
}

/** Whether a value is as good as a bound, or better. */
export function reaches(kind: Figure['kind'], value: number, bound: number): boolean {
  return kind === 'faster' ? value >= bound : value <= bound;
}

/** Figures that are so far off that something must be broken, on whatever machine. */
export function brokenFigures({ figures }: Results): FigureResult[] {
  return figures.filter(
    ({ kind, result, sane }) => sane !== undefined && !reaches(kind, decisive(kind, result), sane),
  );
}

/** A run by trial and size; the size by default the one of the figures. */
export function findRun(results: Results, trial: string, size = results.size): RunResult | undefined {
  return results.runs.find((run) => run.trial === trial && run.size === size);
}

/** All runs of a trial, by size. */
export function runsOf(results: Results, trial: string): RunResult[] {
  return results.runs.filter((run) => run.trial === trial).sort((a, b) => a.size - b.size);
}

/** Results as JSON, with rows of numbers on one line. */
export function resultsText(results: Results): string {
  return JSON.stringify(results, undefined, 2).replace(/\[[\s\d.,e+-]+\]/g, (row) =>
    row.replace(/\s+/g, ' '),
  );
}

export function writeResults(path: string, results: Results): void {
  fs.writeFileSync(path, `${resultsText(results)}\n`);
}

/**
 * @throws KernelError EINVAL: not a results file of this version, or a damaged one; and any code of
 *   reading a file
 */
export function readResults(path: string): Results {
  let results: unknown;
  try {
    results = JSON.parse(fs.readFileSync(path, 'utf8'));
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new KernelError('EINVAL', `${path} is no JSON, or the end of it is missing`, { cause });
  }
  if ((results as Partial<Results> | null)?.version !== RESULTS_VERSION)
    throw new KernelError('EINVAL', `${path} is no results file of version ${RESULTS_VERSION}`);
  const damaged = damagedPart(results as Results);
  if (damaged !== undefined) throw new KernelError('EINVAL', `${path} is damaged: ${damaged}`);
  return results as Results;
}
