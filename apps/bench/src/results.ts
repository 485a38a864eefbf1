/** What a run comes to, as it stands in a results file. */
import * as fs from 'node:fs';
import { KernelError } from '@liveupdate/base';
import { GOAL_SIZE, type Figure } from './figure.ts';
import type { MachineFacts } from './machine-facts.ts';
import type { PlannedRun, Skipped } from './plan.ts';
import type { PhaseProfile } from './profile.ts';
import { quotient, type Measured } from './runner.ts';
import { summarize, type Summary } from './stats.ts';
import { FIGURES } from './trials.ts';

/** Version of this format. */
const RESULTS_VERSION = 2;

export type Verdict = 'pass' | 'fail' | 'no goal' | 'not judged';

export interface FigureResult extends Figure {
  /** Bytes. */
  readonly size: number;
  /** Milliseconds, or bytes. */
  readonly measuredValue: Summary;
  readonly againstValue: Summary;
  /** Of the kind that the figure is; for a share in percent. */
  readonly result: Summary;
  readonly verdict: Verdict;
}

/** A trial at one size. */
export interface RunResult {
  readonly trial: string;
  readonly title: string;
  /** Bytes. */
  readonly size: number;
  readonly rounds: number;
  /** Every series, whether it is in a figure or not: milliseconds, or bytes. */
  readonly series: Readonly<Record<string, Summary>>;
  /** The same of the rounds that do not count, in their order. */
  readonly warmUp: Measured;
}

export interface Results {
  readonly version: typeof RESULTS_VERSION;
  readonly date: string;
  /**
   * The commit that was measured, with '+' where files differed from it; undefined outside a
   * checkout.
   */
  readonly commit: string | undefined;
  readonly machine: MachineFacts;
  /**
   * Processes that wanted a processor, on average of the minute before: of others at the start,
   * ours among them at the end.
   */
  readonly load: { readonly start: number; readonly end: number };
  /** Bytes in the files where a figure does not say otherwise. */
  readonly size: number;
  /** Rounds at this size. */
  readonly rounds: number;
  /** Whether built JavaScript was measured, or sources. */
  readonly built: boolean;
  readonly figures: readonly FigureResult[];
  readonly runs: readonly RunResult[];
  readonly skipped: readonly Skipped[];
  /** Where the time goes; empty where it was not asked for. */
  readonly profile: readonly PhaseProfile[];
}

/** A run with what was measured in it. */
export interface MeasuredRun extends PlannedRun {
  readonly measured: Measured;
  readonly warmUp: Measured;
}

/** Puts a run's measurements together. Figures of what was not run are left out. */
export function evaluate(
  runs: readonly MeasuredRun[],
  about: Omit<Results, 'version' | 'figures' | 'runs'>,
): Results {
  const figures = FIGURES.flatMap((figure) => {
    const wanted = figure.size ?? about.size;
    const run = runs.find(
      ({ trial, size }) =>
        trial.name === figure.trial && (typeof trial.sizes === 'number' || size === wanted),
    );
    const isThere = run && figure.measured in run.measured && figure.against in run.measured;
    return isThere ? [evaluateFigure(figure, run.measured, run.size)] : [];
  });
  const results = runs.map(({ trial, size, rounds, measured, warmUp }) => ({
    trial: trial.name,
    title: trial.title,
    size,
    rounds,
    series: Object.fromEntries(
      Object.entries(measured).map(([name, values]) => [name, summarize(values)] as const),
    ),
    warmUp,
  }));
  return { version: RESULTS_VERSION, ...about, figures, runs: results };
}

function evaluateFigure(figure: Figure, series: Measured, size: number): FigureResult {
  const measured = series[figure.measured];
  const against = series[figure.against];
  const result = ratio(figure.kind, measured, against);
  return {
    ...figure,
    size,
    measuredValue: summarize(measured),
    againstValue: summarize(against),
    result,
    verdict: judge(figure, result.median, size),
  };
}

function ratio(kind: Figure['kind'], measured: readonly number[], against: readonly number[]): Summary {
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
      return summarize(measured);
  }
}

/** The median decides. */
export function judge(
  { goal, goalSize = GOAL_SIZE, kind }: Pick<Figure, 'goal' | 'goalSize' | 'kind'>,
  median: number,
  size: number,
): Verdict {
  if (goal === undefined) return 'no goal';
  if (size < goalSize) return 'not judged';
  return reaches(kind, median, goal) ? 'pass' : 'fail';
}

/** Whether a value is as good as a bound, or better. */
export function reaches(kind: Figure['kind'], value: number, bound: number): boolean {
  return kind === 'faster' ? value >= bound : value <= bound;
}

/** Figures that are so far off that something must be broken, on whatever machine. */
export function brokenFigures({ figures }: Results): FigureResult[] {
  return figures.filter(
    ({ kind, result, sane }) => sane !== undefined && !reaches(kind, result.median, sane),
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

export function writeResults(path: string, results: Results): void {
  fs.writeFileSync(path, `${JSON.stringify(results, undefined, 2)}\n`);
}

/** @throws KernelError EINVAL: not a results file of this version */
export function readResults(path: string): Results {
  let results: Partial<Results>;
  try {
    results = JSON.parse(fs.readFileSync(path, 'utf8')) as Partial<Results>;
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    throw new KernelError('EINVAL', `${path} is no JSON`, { cause });
  }
  if (results.version !== RESULTS_VERSION)
    throw new KernelError('EINVAL', `${path} is no results file of version ${RESULTS_VERSION}`);
  return results as Results;
}
