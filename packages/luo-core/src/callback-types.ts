/** What callbacks of handlers and of FLBs give and take. */

/** A value, or a promise of it. Values are not waited for. */
export type MaybePromise<T> = T | Promise<T>;

/**
 * The handler's own number for a file: mostly the physical address of a preserved record. At the
 * API a bigint; numbers are accepted.
 */
export type HandlerData = bigint | number;
