/** What a run comes to, as it stands in a results file. */
import type { Disturbance } from './disturbance.ts';
import type { Figure } from './figure.ts';
import type { MachineFacts } from './machine-facts.ts';
import type { Skipped } from './plan.ts';
import type { PhaseProfile } from './profile.ts';
import type { Measured } from './runner.ts';
import type { Series, Summary } from './stats.ts';

/** Version of this format. */
export const RESULTS_VERSION = 2;

/** `no trust`: what was measured says nothing, see `doubt`. */
export type Verdict = 'pass' | 'fail' | 'no goal' | 'not judged' | 'no trust';

export interface FigureResult extends Figure {
  /** Bytes. */
  readonly size: number;
  /** Milliseconds, bytes, or how many. */
  readonly measuredValue: Summary;
  readonly againstValue: Summary;
  /** Of the kind that the figure is; for a share in percent. Its median counts: see decisive. */
  readonly result: Series;
  readonly verdict: Verdict;
  /** Why it deserves no trust, in words; absent where it does. */
  readonly doubt?: string;
}

/** A figure that could not be measured, because a program for it is missing. */
export interface MissingFigure extends Figure {
  /** Bytes. */
  readonly size: number;
  /** What is missing, and what would bring it. */
  readonly reason: string;
  /** How many figures stand before it. */
  readonly place: number;
}

/** A trial at one size. */
export interface RunResult {
  readonly trial: string;
  readonly title: string;
  /** Bytes. */
  readonly size: number;
  readonly rounds: number;
  /** Every series, whether it is in a figure or not: milliseconds, bytes, or how many. */
  readonly series: Readonly<Record<string, Series>>;
  /** The same of the rounds that do not count, in their order. */
  readonly warmUp: Measured;
  /** What others did to the machine meanwhile; absent in results of before 2026-12. */
  readonly disturbance?: Disturbance;
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
  /**
   * GiB a second at which this machine copies memory at its best, measured at the start; absent in
   * results of before 2026-12.
   */
  readonly copyRate?: number;
  /** Bytes in the files where a figure does not say otherwise. */
  readonly size: number;
  /** Rounds at this size. */
  readonly rounds: number;
  /** Whether built JavaScript was measured, or sources. */
  readonly built: boolean;
  readonly figures: readonly FigureResult[];
  /** Figures that are missing; absent in results of before 2026-12. */
  readonly missing?: readonly MissingFigure[];
  readonly runs: readonly RunResult[];
  readonly skipped: readonly Skipped[];
  /** Where the time goes; empty where it was not asked for. */
  readonly profile: readonly PhaseProfile[];
}
