/** The child's end of the line, without anything that would have to be loaded for it. */
import * as fs from 'node:fs';
import { performance } from 'node:perf_hooks';

/** Environment variable that names the directory for compiled code. */
export const CODE_CACHE_VARIABLE = 'LIVEUPDATE_BENCH_CODE_CACHE';

/** What the parent told at the start: the last argument. */
export function argument(): unknown {
  return JSON.parse(process.argv.at(-1)!);
}

/** The last line of a program that failed. */
export interface Failed {
  readonly failed: string;
}

/**
 * What nobody catches is told to the parent, and ends this program. Of an error that a user can
 * meet, the message; of our own mistakes, where they are.
 */
export function tellFailures(): void {
  process.once('uncaughtException', (error: Error) => {
    const isTold = ['KernelError', 'ProgramFailed'].includes(error.name);
    const failed = isTold ? error.message : (error.stack ?? String(error));
    say({ failed } satisfies Failed);
    process.exit(1);
  });
}

/** Says something to the parent. */
export function say(line: object): void {
  fs.writeSync(1, `${JSON.stringify(line)}\n`);
}

/**
 * Waits until the parent lets us go on; false where it wants us to end. The event loop turns
 * meanwhile, as a service's does that waits for work: what the engine has put off for later is done
 * then, and not in what is measured next.
 */
export async function awaitGo(): Promise<boolean> {
  return new Promise((resolve, reject) => {
    fs.read(0, new Uint8Array(1), 0, 1, null, (error, count) => {
      if (error) reject(error);
      else resolve(count === 1);
    });
  });
}

/** Bytes in a line of the status of a process in /proc, such as RssAnon. */
export function statusBytes(field: string, pid: number | 'self' = 'self'): number {
  const text = fs.readFileSync(`/proc/${pid}/status`, 'latin1');
  return Number(new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024;
}

/**
 * Environment variable by which a generation learns when the one before called execve, and what
 * else that one has to tell.
 */
const BEFORE = 'LIVEUPDATE_BENCH_BEFORE';

/**
 * Adds the moment right before execve, and what `numbers` gives then, to the environment of the
 * next program: what is before it is ours, what is after it is the kernel's.
 */
export function noteExec(numbers: () => Readonly<Record<string, number>>): void {
  onReplace((env) => {
    env[BEFORE] = JSON.stringify({ ...numbers(), execAt: now() });
  });
}

/** BEFORE_REPLACE_EVENT of the linux package, which not every program here loads. */
const BEFORE_REPLACE = 'liveupdate:beforeReplace';

/**
 * Calls back right before execve, in the order of asking, with the environment of the next program.
 */
export function onReplace(callback: (env: Record<string, string>) => void): void {
  (process as NodeJS.EventEmitter).on(BEFORE_REPLACE, callback);
}

/** What the generation before noted; undefined in the first one. */
export function before(): { readonly execAt: number; readonly [number: string]: number } | undefined {
  const text = process.env[BEFORE];
  return text === undefined
    ? undefined
    : (JSON.parse(text) as { readonly execAt: number; readonly [number: string]: number });
}

/** Milliseconds on the clock that all processes share. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** How a program got from execve to its first line at `bodyAt`, in milliseconds. */
export function startPhases(
  execAt: number,
  bodyAt: number,
): { readonly exec: number; readonly node: number; readonly modules: number } {
  const origin = now() - performance.now();
  const { nodeStart, bootstrapComplete } = performance.nodeTiming;
  return {
    exec: origin + nodeStart - execAt,
    node: bootstrapComplete - nodeStart,
    modules: bodyAt - origin - bootstrapComplete,
  };
}
