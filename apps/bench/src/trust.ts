/**
 * Whether a figure deserves trust: it was measured while the machine was left to it, and what it is
 * measured against ran as fast as this machine can. Of a baseline that suddenly needs twenty times
 * as long, because the host had taken memory back, a figure looks twenty times better than it is.
 */
import { formatSize } from '@liveupdate/base';
import { disturbed } from './disturbance.ts';
import type { FigureResult, Results, RunResult } from './results-format.ts';
import { number } from './tables.ts';

/** Baselines that move all bytes of a trial, and what they are called. */
export const MOVING: Readonly<Record<string, string>> = {
  copy: 'copy',
  tmpfs: 'tmpfs written and read',
  serialize: 'v8.serialize',
  redis: 'Redis',
  writeSync: 'write to tmpfs',
  readSync: 'read from tmpfs',
  bareReadAll: 'read by a bare program',
};

/** Trials whose files are so small that the processor's cache holds what is copied. */
const CACHED = new Set(['files', 'medium-files']);

/** A baseline that is slower than this part of the best one of its kind makes no verdict. */
const LEAST_PART = 0.5;
/** Below, a baseline is a handful of calls and says nothing about bytes a second. */
const LEAST_SIZE = 2 ** 24;

export interface Rate {
  readonly trial: string;
  readonly size: number;
  readonly baseline: string;
  /** GiB a second, of the median. */
  readonly rate: number;
  /** Part of the best rate of this baseline in the run. */
  readonly part: number;
}

/** What is needed to tell what a baseline is worth. */
export type Measured = Pick<Results, 'runs' | 'copyRate'>;

/** Bytes a second of every baseline that moves bytes. */
export function rates({ runs, copyRate = 0 }: Measured): Rate[] {
  const all = runs.flatMap((run) =>
    Object.keys(MOVING).flatMap((baseline) => {
      const rate = rateOf(run, baseline);
      return rate === undefined ? [] : [{ trial: run.trial, size: run.size, baseline, rate }];
    }),
  );
  return all.map((each) => {
    const comparable = all.filter(({ baseline, trial }) => baseline === each.baseline && !CACHED.has(trial));
    const best = Math.max(each.baseline === 'copy' ? copyRate : 0, ...comparable.map(({ rate }) => rate));
    return { ...each, part: each.rate / best };
  });
}

/** At most so many bytes are moved in a trial of this name, whatever its size. */
const MOST_MOVED: Readonly<Record<string, number>> = { calls: 2 ** 30 };

function rateOf({ trial, size, series }: RunResult, baseline: string): number | undefined {
  if (!(baseline in series) || size < LEAST_SIZE) return undefined;
  const moved = Math.min(size, MOST_MOVED[trial] ?? Infinity);
  return moved / 2 ** 30 / (series[baseline].median / 1000);
}

/** Why a figure deserves no trust; undefined where it does. */
export function distrust(
  measured: Measured,
  { trial, size, against }: Pick<FigureResult, 'trial' | 'size' | 'against'>,
): string | undefined {
  const run = measured.runs.find((each) => each.trial === trial && each.size === size);
  const busy = run?.disturbance && disturbed(run.disturbance);
  if (busy !== undefined) return busy;
  const slow = rates(measured).find(
    (rate) =>
      rate.trial === trial && rate.size === size && rate.baseline === against && rate.part < LEAST_PART,
  );
  if (!slow) return undefined;
  const best = number(slow.rate / slow.part);
  return `${MOVING[against]} at ${number(slow.rate)} GiB/s, where ${best} are possible`;
}

/** A sentence for each trial that deserves no trust. */
export function doubts({ runs }: Measured): string[] {
  return runs.flatMap(({ trial, size, disturbance }) => {
    const busy = disturbance && disturbed(disturbance);
    return busy === undefined ? [] : [`NO TRUST ${trial} at ${formatSize(size)}: ${busy}`];
  });
}
