/**
 * Callbacks whose keys are part of a change of the live record: what a handler preserves or takes
 * back while one runs.
 */
import type { LiveSessions } from './live-sessions.ts';

/** Calls a callback. What it gives may be a promise: see notedUntil. */
export function noted<T>(live: LiveSessions | undefined, callback: () => T): T {
  if (!live) return callback();
  const { publication } = live;
  publication.startNoting();
  try {
    return callback();
  } finally {
    publication.stopNoting();
  }
}

/** Waits for the promise of a callback. */
export async function notedUntil<T>(live: LiveSessions | undefined, given: PromiseLike<T>): Promise<T> {
  if (!live) return given;
  const { publication } = live;
  publication.startNoting();
  try {
    return await given;
  } finally {
    publication.stopNoting();
  }
}
