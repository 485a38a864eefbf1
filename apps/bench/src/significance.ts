/**
 * Whether two series of measurements differ by more than chance makes them: the exact Mann-Whitney
 * test, which looks at ranks alone (one wild round weighs no more than any other), and Holm's
 * correction for many tests at once.
 */
import { assert } from '@liveupdate/base';

/**
 * How likely chance alone ranks `larger` so high above `smaller`, or higher, where both are of one
 * kind: one-sided. Values that are the same share their ranks.
 *
 * @returns from 0, not counting it, to 1
 */
export function chanceOfRanks(smaller: readonly number[], larger: readonly number[]): number {
  assert(smaller.length > 0 && larger.length > 0, 'both series have values');
  const all = [...smaller, ...larger];
  const doubled = doubledRanks(all);
  const observed = doubled.slice(smaller.length).reduce((sum, rank) => sum + rank, 0);
  const sums = sumsOfSubsets(doubled, larger.length);
  const total = sums.reduce((sum, count) => sum + count, 0);
  const asHigh = sums.slice(observed).reduce((sum, count) => sum + count, 0);
  return asHigh / total;
}

/** Twice the rank of each value, from 2 on: half ranks of equal values are whole numbers so. */
function doubledRanks(values: readonly number[]): number[] {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b]);
  const ranks = new Array<number>(values.length);
  for (let from = 0, to = 0; from < order.length; from = to) {
    while (to < order.length && values[order[to]] === values[order[from]]) to += 1;
    for (let i = from; i < to; i++) ranks[order[i]] = from + 1 + to;
  }
  return ranks;
}

/** How many subsets of `size` of the numbers have each sum. */
function sumsOfSubsets(numbers: readonly number[], size: number): Float64Array {
  const most = numbers.reduce((sum, number) => sum + number, 0);
  const counts = Array.from({ length: size + 1 }, () => new Float64Array(most + 1));
  counts[0][0] = 1;
  for (const [done, number] of numbers.entries()) {
    for (let chosen = Math.min(done + 1, size); chosen > 0; chosen--) {
      const [from, to] = [counts[chosen - 1], counts[chosen]];
      for (let sum = most - number; sum >= 0; sum--) to[sum + number] += from[sum];
    }
  }
  return counts[size];
}

/**
 * Holm's correction: each chance as it counts beside all others, so that the chance of even one
 * false alarm among them stays below the bound that they are held to.
 */
export function corrected(chances: readonly number[]): number[] {
  const order = [...chances.keys()].sort((a, b) => chances[a] - chances[b]);
  const result = new Array<number>(chances.length);
  let least = 0;
  for (const [place, index] of order.entries()) {
    least = Math.max(least, Math.min(1, chances[index] * (chances.length - place)));
    result[index] = least;
  }
  return result;
}
