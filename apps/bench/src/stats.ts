/**
 * Order statistics: on a machine that others use too, a mean tells about them, a median about the
 * work.
 */
import { assert } from '@liveupdate/base';

/**
 * What a series of measurements comes to. `p25` and `p75` are the quartiles: half of the
 * measurements lie between them.
 */
export interface Summary {
  readonly n: number;
  readonly median: number;
  readonly p25: number;
  readonly p75: number;
  readonly min: number;
  readonly max: number;
}

/** The same, with the measurements themselves, in the order in which they were made. */
export interface Series extends Summary {
  /** Absent in results of before 2026-12: they kept none. */
  readonly values?: readonly number[];
}

/** Digits that are kept of a measurement: more than any of it repeats. */
const KEPT_DIGITS = 5;

export function seriesOf(values: readonly number[]): Series {
  return {
    ...summarize(values),
    values: values.map((value) => Number(value.toPrecision(KEPT_DIGITS))),
  };
}

export function summarize(values: readonly number[]): Summary {
  assert(values.length > 0, 'a series has at least one value');
  const sorted = values.toSorted((a, b) => a - b);
  return {
    n: sorted.length,
    median: quantile(sorted, 0.5),
    p25: quantile(sorted, 0.25),
    p75: quantile(sorted, 0.75),
    min: sorted[0],
    max: sorted[sorted.length - 1],
  };
}

/**
 * The value below which the part `q` of an ascending series lies, between two of them in
 * proportion.
 */
function quantile(sorted: readonly number[], q: number): number {
  const at = q * (sorted.length - 1);
  const below = Math.floor(at);
  const above = Math.ceil(at);
  return sorted[below] + (sorted[above] - sorted[below]) * (at - below);
}
