/** When answers came: how many in each moment around the beginning of an upgrade. */

/** Milliseconds that are counted together. */
export const MOMENT_MS = 10;
/** Milliseconds before the upgrade begins from which on it is counted. */
export const LEAD_MS = 500;

/** Answers in each whole moment from LEAD_MS before `start` to `end`, from times in any order. */
export function momentsOf(times: readonly number[], start: number, end: number): number[] {
  const first = start - LEAD_MS;
  const counts = new Array<number>(Math.max(0, Math.floor((end - first) / MOMENT_MS))).fill(0);
  for (const at of times) {
    const moment = Math.floor((at - first) / MOMENT_MS);
    if (moment >= 0 && moment < counts.length) counts[moment] += 1;
  }
  return counts;
}

export interface Silence {
  /** Milliseconds without an answer. */
  readonly silence: number;
  /** When it ended; milliseconds from the start on. */
  readonly silenceEnd: number;
}

/** The longest time without an answer that ended after `start`; of times in their order. */
export function longestSilence(times: readonly number[], start: number): Silence {
  let longest = { silence: 0, silenceEnd: 0 };
  for (let i = 1; i < times.length; i++) {
    const silence = times[i] - times[i - 1];
    if (times[i] > start && silence > longest.silence) longest = { silence, silenceEnd: times[i] - start };
  }
  return longest;
}
