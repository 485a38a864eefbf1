/** Runs trials: rounds in which the thing and what it is measured against take turns, so that both meet the same machine. */
import { assert } from '@liveupdate/base';
import { summarize, type Summary } from './stats.ts';

export interface TrialOptions {
  /** Bytes in the file. */
  readonly size: number;
}

/** A trial that is set up. */
interface Rounds {
  /** Measures everything once; the series by name, in milliseconds or bytes. */
  run(round: number): Promise<Record<string, number>>;
  end(): unknown;
}

export interface Trial {
  /** Name of the trial on the command line and in the results. */
  readonly name: string;
  /** What it is, for people. */
  readonly title: string;
  prepare(options: TrialOptions): Rounds | Promise<Rounds>;
}

/** Measurements of one trial: every series has one value per round. */
export type Measured = Readonly<Record<string, readonly number[]>>;

/** Measures a trial. `progress` is called before each round with its number from 1 on; 0 is the setting up. */
export async function runTrial(
  trial: Trial,
  options: TrialOptions,
  rounds: number,
  progress: (round: number) => void,
): Promise<Measured> {
  const series: Record<string, number[]> = {};
  progress(0);
  const prepared = await trial.prepare(options);
  try {
    for (let round = 0; round < rounds; round++) {
      progress(round + 1);
      for (const [name, value] of Object.entries(await prepared.run(round)))
        (series[name] ??= []).push(value);
    }
  } finally {
    await prepared.end();
  }
  return series;
}

/** The quotient of two series, round by round: what disturbed both in a round leaves it alone. */
export function quotient(dividend: readonly number[], divisor: readonly number[]): Summary {
  assert(dividend.length === divisor.length, 'two series of one trial have a value for each round');
  return summarize(dividend.map((value, round) => value / divisor[round]));
}
