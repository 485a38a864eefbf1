/**
 * A CPU profile of the JavaScript engine (.cpuprofile), summed up: which functions the time went
 * to, themselves without what they call.
 */
import type { Profiler } from 'node:inspector';

/** A function, or a part of the engine or the kernel, and its share of the time. */
export interface Hot {
  /** `fillHoles fill.ts:28`, `(garbage collector)`, `clear_page_erms (kernel)`. */
  readonly what: string;
  /** Percent of the time that was sampled. */
  readonly share: number;
}

/** Time to self, in microseconds by function. */
export function selfTimes(profile: Profiler.Profile): Map<string, number> {
  const names = new Map(profile.nodes.map((node) => [node.id, labelOf(node.callFrame)]));
  const times = new Map<string, number>();
  const { samples = [], timeDeltas = [] } = profile;
  for (const [i, sample] of samples.entries()) {
    const name = names.get(sample) ?? '(unknown)';
    // A delta is the time before its sample, and may be negative where two threads' clocks were
    // read.
    times.set(name, (times.get(name) ?? 0) + Math.max(0, timeDeltas[i]));
  }
  return times;
}

/** Waiting, and the profiler's own doing. */
const NOT_WORK = /^\(idle\)$|^dispatch$|node:inspector/;

/**
 * The functions with the most time, in percent of all that was neither idle nor the profiler's own.
 */
export function hottest(times: ReadonlyMap<string, number>, count: number): Hot[] {
  const busy = [...times].filter(([name]) => !NOT_WORK.test(name));
  const total = busy.reduce((sum, [, time]) => sum + time, 0);
  return busy
    .sort(([, a], [, b]) => b - a)
    .slice(0, count)
    .map(([what, time]) => ({ what, share: (time / total) * 100 }))
    .filter(({ share }) => share >= 1);
}

function labelOf({ functionName, url, lineNumber }: Profiler.ProfileNode['callFrame']): string {
  const name = functionName === '' ? '(anonymous)' : functionName;
  if (url === '') return name;
  return `${name} ${shortUrl(url)}:${lineNumber + 1}`;
}

/** The end of a path that still tells whose file it is. */
function shortUrl(url: string): string {
  if (url.startsWith('node:')) return url;
  const parts = url.split('/');
  const file = parts.pop();
  const index = parts.findLastIndex((part) => part === 'src' || part === 'dist');
  return index > 0 ? `${parts[index - 1]}/${file}` : `${parts.at(-1)}/${file}`;
}
