/** Every wait has an end: what takes longer than anything ever should is given up, and said. */
import { setTimeout } from 'node:timers/promises';
import { KernelError } from '@liveupdate/base';

const SECOND = 1000;

/** Milliseconds that something may take before it counts as hanging. */
export const PATIENCE = {
  /** A round of a trial, or setting it up. */
  round: 600 * SECOND,
  /** The next line of a program that a trial runs. */
  line: 300 * SECOND,
  /** A program's end, after it was told to end. */
  end: 30 * SECOND,
  /** A server's start with its data, or its end with saving. */
  server: 120 * SECOND,
  /** A tool that only says what there is. */
  question: 20 * SECOND,
} as const;

/** @throws KernelError ETIMEDOUT: it is not there after so many milliseconds */
export async function within<T>(promise: Promise<T>, milliseconds: number, what: string): Promise<T> {
  const done = new AbortController();
  const end = setTimeout(milliseconds, undefined, { signal: done.signal }).then(() => {
    throw new KernelError('ETIMEDOUT', `${what} within ${milliseconds / SECOND} s: given up`);
  });
  try {
    return await Promise.race([promise, end]);
  } finally {
    done.abort();
  }
}
