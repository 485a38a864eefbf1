/**
 * Which trials are run at which sizes: what was asked for, as far as this machine's memory and
 * tools allow. What is left out is said.
 */
import { formatSize } from '@liveupdate/base';
import type { Trial } from './runner.ts';

export interface PlannedRun {
  readonly trial: Trial;
  readonly size: number;
  readonly rounds: number;
}

/** What was not measured, and why. */
export interface Skipped {
  readonly trial: string;
  readonly size: number;
  readonly reason: string;
}

export interface PlanOptions {
  /** Bytes, for what is run at one size. */
  readonly size: number;
  /** Bytes, for what is run at several. */
  readonly series: readonly number[];
  /** Most bytes for trials with a size of their own; default no limit. */
  readonly most?: number;
  /** Rounds at GOAL_SIZE and below. */
  readonly rounds: number;
  /** Bytes of memory that a trial may take. */
  readonly room: number;
}

export interface Plan {
  readonly runs: readonly PlannedRun[];
  readonly skipped: Skipped[];
}

const DEFAULT_COPIES = 3;
/** From here on a round takes long, and there are fewer of them. */
const LONG_SIZE = 2 ** 30;
const LEAST_ROUNDS = 5;

export function plan(trials: readonly Trial[], options: PlanOptions): Plan {
  const runs: PlannedRun[] = [];
  const skipped: Skipped[] = [];
  for (const trial of trials) {
    for (const wanted of sizesOf(trial, options)) {
      const size = typeof trial.sizes === 'number' ? fitting(trial, wanted, options.room) : wanted;
      const needed = memoryOf(trial, size);
      const skip = (reason: string): void => {
        skipped.push({ trial: trial.name, size, reason });
      };
      const missing = trial.missing?.(size);
      if (missing !== undefined) skip(missing);
      else if (needed > options.room) skip(tooMuch(needed, options.room));
      else
        runs.push({
          trial,
          size,
          rounds: roundsAt(size, Math.min(options.rounds, trial.rounds ?? Infinity), trial.leastRounds),
        });
    }
  }
  return { runs, skipped };
}

/** Why something cannot be run that takes more memory than there is. */
export function tooMuch(needed: number, room: number): string {
  return `it takes ${formatSize(needed)} of memory, and ${formatSize(room)} may be taken here`;
}

function sizesOf(
  { sizes = 'main' }: Trial,
  { size, series, most = Infinity }: PlanOptions,
): readonly number[] {
  if (typeof sizes === 'number') return [Math.min(sizes, most)];
  return sizes === 'main' ? [size] : [...new Set([size, ...series])].sort((a, b) => a - b);
}

function memoryOf({ memory }: Trial, size: number): number {
  return memory?.(size) ?? DEFAULT_COPIES * size;
}

/** The size, or the largest of its halves that memory allows. */
function fitting(trial: Trial, size: number, room: number): number {
  let fits = size;
  while (fits > LONG_SIZE && memoryOf(trial, fits) > room) fits /= 2;
  return fits;
}

function roundsAt(size: number, rounds: number, least = LEAST_ROUNDS): number {
  if (rounds <= LEAST_ROUNDS) return rounds;
  return Math.max(least, Math.round(rounds * Math.min(1, LONG_SIZE / size)));
}
