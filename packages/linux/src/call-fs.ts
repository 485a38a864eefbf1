/** Calls of node:fs whose failures are KernelErrors. */
import { codeOf, KernelError } from '@liveupdate/base';
import { ADVICE } from './advice.ts';

/**
 * Runs a call of node:fs and turns what it throws into a KernelError with the same code; EINVAL for
 * a wrong kind of argument.
 */
export function callFs<T>(tried: string, call: () => T, advice = ''): T {
  try {
    return call();
  } catch (cause) {
    if (cause instanceof KernelError) throw cause;
    const code = isWrongKind(cause) ? 'EINVAL' : codeOf(cause);
    throw new KernelError(code, `${tried}: ${advice || (ADVICE[code] ?? whyOf(cause))}`, { cause });
  }
}

/** Whether Node refused an argument before it asked the system. */
function isWrongKind(cause: unknown): boolean {
  return (
    cause instanceof Error &&
    'code' in cause &&
    /^ERR_(?:INVALID_ARG_\w+|OUT_OF_RANGE)$/.test(String(cause.code))
  );
}

/**
 * What Node says about a failed call, without the code and the arguments, which we say ourselves.
 */
function whyOf(cause: unknown): string {
  const message = cause instanceof Error ? cause.message : String(cause);
  return /^[A-Z\d]+: (?<why>[^,]+), \w+/.exec(message)?.groups?.['why'] ?? message;
}
