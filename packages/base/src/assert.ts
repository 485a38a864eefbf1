/** Assertions: for our own bugs only. What a caller can cause is a KernelError. */

import { isBranded, type Branded } from './brand.ts';

/** An error is understood whichever version threw it. */
const BRAND: Branded = {
  className: 'AssertionError',
  copy: { name: '@liveupdate/base' },
};

/** A broken invariant inside liveupdate. Seeing one is a bug in liveupdate, never in the caller. */
export class AssertionError extends Error {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to errors of other copies too. */
  static override [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  constructor(message: string) {
    super(`liveupdate bug: ${message}`);
    this.name = 'AssertionError';
  }
}

/** Throws an AssertionError unless `condition` holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
