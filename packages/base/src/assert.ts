/** Assertions: for our own bugs only. What a caller can cause is a KernelError. */

/** A broken invariant inside liveupdate. Seeing one is a bug in liveupdate, never in the caller. */
export class AssertionError extends Error {
  constructor(message: string) {
    super(`liveupdate bug: ${message}`);
    this.name = 'AssertionError';
  }
}

/** Throws an AssertionError unless `condition` holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
