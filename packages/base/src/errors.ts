/**
 * The one error class of liveupdate: what a caller can meet, with the code and number that Linux
 * uses for it. Broken invariants of our own are not KernelErrors: see assert.ts.
 */
import { isBranded, type Branded } from './brand.ts';

/**
 * Linux errno numbers (asm-generic), by name: the codes that liveupdate raises or passes on from
 * the host.
 */
const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  ENOEXEC: 8,
  EBADF: 9,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENODEV: 19,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOTTY: 25,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  EPIPE: 32,
  ERANGE: 34,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ELOOP: 40,
  ENODATA: 61,
  EOVERFLOW: 75,
  ELIBBAD: 80,
  ENOTSOCK: 88,
  EMSGSIZE: 90,
  EPROTOTYPE: 91,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ECONNRESET: 104,
  ENOBUFS: 105,
  ENOTCONN: 107,
  ETOOMANYREFS: 109,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  ESTALE: 116,
} as const;

/**
 * Name of an errno that liveupdate knows, such as `'EBUSY'`.
 *
 * @useDeclaredType
 */
export type ErrnoCode = keyof typeof ERRNO;

const NAMES = new Map<number, ErrnoCode>(
  Object.entries(ERRNO).map(([name, number]) => [number, name as ErrnoCode]),
);

/** Positive Linux errno number of a code. @throws KernelError EINVAL: no code that is known */
export function errnoNumber(code: ErrnoCode): number {
  if (!Object.hasOwn(ERRNO, code)) throw new KernelError('EINVAL', 'there is no such error code');
  return ERRNO[code];
}

/**
 * The code of a positive Linux errno number; `'EIO'` for a number that liveupdate has no name for.
 */
export function errnoCode(errno: number): ErrnoCode {
  return NAMES.get(errno) ?? 'EIO';
}

/** An error is understood whichever version threw it. */
const BRAND: Branded = {
  className: 'KernelError',
  copy: { name: '@liveupdate/base' },
};

/**
 * A failure that a caller can meet. `code` is stable and meant to be matched; the message says what
 * to do and may change.
 *
 * @example
 * try {
 *   await session.retrieve(7n);
 * } catch (error) {
 *   if (error instanceof KernelError && error.code === 'ENOENT') startWithout();
 *   else throw error;
 * }
 */
export class KernelError extends Error {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to errors of other copies too. */
  static override [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  /** errno name, such as `'EEXIST'`. */
  declare readonly code: ErrnoCode;
  /** Negative errno number, as Node's own system errors have it. */
  declare readonly errno: number;

  constructor(code: ErrnoCode, message: string, options?: { cause?: unknown }) {
    super(`${code}: ${message}`, options);
    this.name = BRAND.className;
    this.code = code;
    this.errno = -ERRNO[code];
  }
}

/**
 * The code of anything thrown: of a KernelError or a Node system error its own, `'EIO'` where it
 * has none that is known.
 */
export function codeOf(error: unknown): ErrnoCode {
  if (error instanceof KernelError) return error.code;
  const code = typeof error === 'object' && error !== null ? (error as { code?: unknown }).code : undefined;
  return typeof code === 'string' && Object.hasOwn(ERRNO, code) ? (code as ErrnoCode) : 'EIO';
}
