/**
 * Runs trials: rounds in which the thing and what it is measured against take turns, so that both
 * meet the same machine.
 */
import { assert } from '@liveupdate/base';
import { MachineWatch, type Disturbance } from './disturbance.ts';
import { seriesOf, type Series } from './stats.ts';

export interface TrialOptions {
  /** Bytes in the file, or in all files together. */
  readonly size: number;
  /**
   * Whether what is measured in one process shall be warm first, as rounds that do not count make
   * it.
   */
  readonly warm: boolean;
}

/** A trial that is set up. */
export interface Rounds {
  /** Measures everything once; the series by name: milliseconds, bytes, or how many. */
  run(round: number): Promise<Record<string, number>>;
  /** Series that cannot be had here, by name, and why. */
  readonly absent?: Readonly<Record<string, string>>;
  end(): unknown;
}

export interface Trial {
  /** Name of the trial on the command line and in the results. */
  readonly name: string;
  /** What it is, for people. */
  readonly title: string;
  /**
   * Which sizes it is run at: the main one alone (default), a series of them, or one of its own
   * (the largest below it that memory allows).
   */
  readonly sizes?: 'main' | 'series' | number;
  /** Most rounds of it that count: what takes long in each need not be done often. */
  readonly rounds?: number;
  /**
   * Rounds at least, in runs of more than five, where single rounds differ much and do not take
   * long.
   */
  readonly leastRounds?: number;
  /** Left out unless all is measured, or it is asked for by name. */
  readonly extra?: boolean;
  /** Bytes of memory that it takes at a size; default three times the size. */
  readonly memory?: (size: number) => number;
  /** Why it cannot be run here; undefined where it can. */
  readonly missing?: (size: number) => string | undefined;
  prepare(options: TrialOptions): Rounds | Promise<Rounds>;
}

/** Measurements of one trial: every series has one value per round. */
export type Measured = Readonly<Record<string, readonly number[]>>;

export interface RoundCounts {
  /** Rounds before those that count, kept apart. */
  readonly warmUp: number;
  readonly rounds: number;
}

/** What comes of a trial. */
export interface MeasuredTrial {
  readonly warmUp: Measured;
  readonly series: Measured;
  /** Series that could not be had, by name, and why. */
  readonly absent: Readonly<Record<string, string>>;
  /** What others did to the machine while rounds were measured that count. */
  readonly disturbance: Disturbance;
}

/**
 * Measures a trial. `progress` is called before each round with its number from 1 on, warm-up
 * included; 0 is the setting up.
 */
export async function runTrial(
  trial: Trial,
  { size }: Pick<TrialOptions, 'size'>,
  { warmUp, rounds }: RoundCounts,
  progress: (round: number) => void,
): Promise<MeasuredTrial> {
  const kept: Record<'warmUp' | 'series', Record<string, number[]>> = { warmUp: {}, series: {} };
  progress(0);
  const prepared = await trial.prepare({ size, warm: warmUp > 0 });
  let watch: MachineWatch | undefined;
  try {
    for (let round = 0; round < warmUp + rounds; round++) {
      progress(round + 1);
      if (round === warmUp) watch = new MachineWatch();
      const into = kept[round < warmUp ? 'warmUp' : 'series'];
      for (const [name, value] of Object.entries(await prepared.run(round))) (into[name] ??= []).push(value);
    }
    assert(watch !== undefined, 'a trial has a round that counts');
    return { ...kept, absent: prepared.absent ?? {}, disturbance: watch.end() };
  } finally {
    await prepared.end();
  }
}

/**
 * Measures all sides of a round, another one first in each: none finds the machine always as the
 * same other left it.
 */
export async function inTurn(
  sides: readonly (() => Promise<Record<string, number>>)[],
  round: number,
): Promise<Record<string, number>> {
  const series: Record<string, number> = {};
  for (let i = 0; i < sides.length; i++) Object.assign(series, await sides[(round + i) % sides.length]());
  return series;
}

/** The quotient of two series, round by round: what disturbed both in a round leaves it alone. */
export function quotient(dividend: readonly number[], divisor: readonly number[]): Series {
  assert(dividend.length === divisor.length, 'two series of one trial have a value for each round');
  return seriesOf(dividend.map((value, round) => value / divisor[round]));
}
