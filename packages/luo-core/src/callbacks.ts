/**
 * Calling handlers: what they return is checked against the rules on the interface, and promises
 * may have a time limit.
 */
import { type ErrnoCode, KernelError, shown } from '@liveupdate/base';

/** Largest u64. */
const MAX_U64 = 0xffff_ffff_ffff_ffffn;

/** A whole number of at most 64 bits as a bigint; undefined for anything else. */
export function asU64(given: unknown): bigint | undefined {
  const value = typeof given === 'number' && Number.isSafeInteger(given) ? BigInt(given) : given;
  return typeof value === 'bigint' && value >= 0n && value <= MAX_U64 ? value : undefined;
}

/** A handler or an FLB, as messages name it. */
export interface CallbackOwner {
  /** `handler 'memfd-v2'`, `FLB 'iommu-v1'`. */
  readonly title: string;
}

/** The error for a callback that does not keep to its rule. */
export function brokenRule(
  { title }: CallbackOwner,
  callback: string,
  rule: string,
  code: ErrnoCode = 'EINVAL',
): KernelError {
  return new KernelError(code, `${title}: ${callback}() ${rule}`);
}

/** What a value is, for a message. */
export function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (isPromise(value)) return 'a promise';
  if (typeof value === 'bigint' || typeof value === 'number') return String(value);
  return typeof value;
}

export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return (
    typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
  );
}

/**
 * What preserve or freeze gave, as the ABI has it. A handler in JavaScript may give anything.
 *
 * @throws KernelError EINVAL: not `{ data }` with a number of 64 bits
 */
export function dataOf(owner: CallbackOwner, callback: string, result: unknown): bigint {
  if (typeof result !== 'object' || result === null)
    throw brokenRule(owner, callback, `must return { data }, and returned ${kindOf(result)}`);
  const { data } = result as { data?: unknown };
  const value = asU64(data);
  if (value === undefined)
    throw brokenRule(
      owner,
      callback,
      `must return { data } with a whole number or a bigint of at most 64 bits, and data is ${kindOf(data)}`,
    );
  return value;
}

/**
 * What canPreserve and canFinish answered.
 *
 * @throws KernelError EINVAL: neither true nor false
 */
export function answerOf(owner: CallbackOwner, callback: string, answer: unknown): boolean {
  if (typeof answer !== 'boolean')
    throw brokenRule(owner, callback, `must answer true or false, and returned ${kindOf(answer)}`);
  return answer;
}

/** The longest delay of a timer, 2^31 - 1 ms. */
const MAX_TIME_LIMIT = 0x7fff_ffff;

/** Waits for callbacks that return promises. */
export class CallbackWaiter {
  readonly #limit: number | undefined;

  /**
   * @param limit milliseconds that a promise may take; undefined: any time
   * @throws KernelError EINVAL: no time from 1 ms to 24 days
   */
  constructor(limit: number | undefined) {
    if (limit !== undefined && !(typeof limit === 'number' && limit >= 1 && limit <= MAX_TIME_LIMIT))
      throw new KernelError('EINVAL', `${shown(limit)} is no time limit: 1 to ${MAX_TIME_LIMIT} ms, or none`);
    this.#limit = limit;
  }

  /** What a callback gave, which may be a promise. Callers in hot loops await only what is one. */
  async settle<T>(owner: CallbackOwner, callback: string, given: PromiseLike<T>): Promise<T> {
    const limit = this.#limit;
    if (limit === undefined) return given;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const timeout = new Promise<never>((_, reject) => {
      timer = setTimeout(() => {
        reject(brokenRule(owner, callback, `must end within ${limit} ms, and has not`, 'ETIMEDOUT'));
      }, limit);
    });
    try {
      return await Promise.race([given, timeout]);
    } finally {
      clearTimeout(timer);
    }
  }
}
