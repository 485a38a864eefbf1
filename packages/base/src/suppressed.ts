/**
 * Errors that came while a failure was taken back. The first cause is what a caller must see, as it
 * was thrown; what came on top must not hide it, and must not be lost either.
 */

/** An error with what came on top of it. */
interface WithSuppressed {
  suppressed?: readonly unknown[];
}

/**
 * Attaches `later` to `error`, as its property `suppressed`, behind what is there already. A thrown
 * value that is no object, or a frozen one, stays as it is.
 *
 * @returns `error` itself
 */
export function withSuppressed<E>(error: E, later: readonly unknown[]): E {
  if (later.length === 0 || typeof error !== 'object' || error === null) return error;
  const suppressed = [...suppressedBy(error), ...later];
  // Not enumerable: it is told by who asks, and not printed with each error.
  Reflect.defineProperty(error, 'suppressed', {
    value: suppressed,
    enumerable: false,
    configurable: true,
    writable: true,
  });
  return error;
}

/**
 * What was thrown while the failure that `error` tells of was taken back, in order: by a handler's
 * unfreeze, say. Empty where everything was taken back without another error.
 *
 * @example
 * try { await machine.kexec(); } catch (error) { console.error(error, ...suppressedBy(error)); }
 */
export function suppressedBy(error: unknown): readonly unknown[] {
  if (typeof error !== 'object' || error === null) return [];
  const { suppressed } = error as WithSuppressed;
  return Array.isArray(suppressed) ? (suppressed as readonly unknown[]) : [];
}
