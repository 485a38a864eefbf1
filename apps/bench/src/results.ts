/** What a run comes to, as it stands in a results file. */
import * as fs from 'node:fs';
import { KernelError } from '@liveupdate/base';
import { IS_BUILT } from './child-process.ts';
import type { MachineFacts } from './machine-facts.ts';
import { quotient, type Measured } from './runner.ts';
import { summarize, type Summary } from './stats.ts';
import { FIGURES, GOAL_SIZE, type Figure } from './trials.ts';

/** Version of this format. */
const RESULTS_VERSION = 1;

export type Verdict = 'pass' | 'fail' | 'no goal' | 'not judged';

export interface FigureResult extends Figure {
  /** Milliseconds, or bytes. */
  readonly measuredValue: Summary;
  readonly againstValue: Summary;
  /** Of the kind that the figure is; for a share in percent. */
  readonly result: Summary;
  readonly verdict: Verdict;
}

export interface Results {
  readonly version: typeof RESULTS_VERSION;
  readonly date: string;
  /** The commit that was measured, with '+' where files differed from it; undefined outside a checkout. */
  readonly commit: string | undefined;
  readonly machine: MachineFacts;
  /** Processes that wanted a processor, on average of the minute before: of others at the start, ours among them at the end. */
  readonly load: { readonly start: number; readonly end: number };
  /** Bytes in the file. */
  readonly size: number;
  readonly rounds: number;
  /** Whether built JavaScript was measured, or sources. */
  readonly built: boolean;
  readonly figures: readonly FigureResult[];
  /** Every series of every trial, whether it is in a figure or not. */
  readonly series: Readonly<Record<string, Readonly<Record<string, Summary>>>>;
}

/** Puts a run's measurements together, by trial. Figures of trials that were not run are left out. */
export function evaluate(
  measured: ReadonlyMap<string, Measured>,
  run: Pick<Results, 'date' | 'commit' | 'machine' | 'load' | 'size' | 'rounds'>,
): Results {
  const figures = FIGURES.flatMap((figure) => {
    const series = measured.get(figure.trial);
    return series ? [evaluateFigure(figure, series, run.size)] : [];
  });
  const series = Object.fromEntries(
    Array.from(measured, ([trial, all]) => [
      trial,
      Object.fromEntries(Object.entries(all).map(([name, values]) => [name, summarize(values)])),
    ]),
  );
  return { version: RESULTS_VERSION, ...run, built: IS_BUILT, figures, series };
}

function evaluateFigure(figure: Figure, series: Measured, size: number): FigureResult {
  const measured = series[figure.measured];
  const against = series[figure.against];
  const result =
    figure.kind === 'faster'
      ? quotient(against, measured)
      : quotient(figure.kind === 'share' ? measured.map((bytes) => bytes * 100) : measured, against);
  return {
    ...figure,
    measuredValue: summarize(measured),
    againstValue: summarize(against),
    result,
    verdict: judge(figure, result.median, size),
  };
}

/** The median decides. */
export function judge({ goal, kind }: Pick<Figure, 'goal' | 'kind'>, median: number, size: number): Verdict {
  if (goal === undefined) return 'no goal';
  if (size < GOAL_SIZE) return 'not judged';
  return (kind === 'faster' ? median >= goal : median <= goal) ? 'pass' : 'fail';
}

export function writeResults(path: string, results: Results): void {
  fs.writeFileSync(path, `${JSON.stringify(results, undefined, 2)}\n`);
}

/** @throws KernelError EINVAL: not a results file of this version */
export function readResults(path: string): Results {
  const results = JSON.parse(fs.readFileSync(path, 'utf8')) as Partial<Results>;
  if (results.version !== RESULTS_VERSION)
    throw new KernelError('EINVAL', `${path} is no results file of version ${RESULTS_VERSION}`);
  return results as Results;
}
