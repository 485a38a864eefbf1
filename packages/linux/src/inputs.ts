/**
 * Checks of what callers pass to the system, before it is asked: C and Node would make something of
 * whatever it is.
 */
import { checkObject, checkText, checkWhole, KernelError } from '@liveupdate/base';

/** The largest int of C. */
const MOST_FD = 2 ** 31 - 1;

/**
 * The number of a descriptor, open or not.
 *
 * @throws KernelError EINVAL: no whole number from 0 to 2^31 - 1
 */
export function checkFd(fd: number): number {
  return checkWhole(fd, 'a descriptor', { max: MOST_FD });
}

/**
 * The path of a file.
 *
 * @throws KernelError EINVAL: no text, an empty one, or one with a NUL
 */
export function checkPath(path: string): string {
  if (checkText(path, 'a path') !== '' && !path.includes('\0')) return path;
  throw new KernelError('EINVAL', path === '' ? 'the path is empty' : 'the path holds a NUL character');
}

/**
 * The environment of a program.
 *
 * @throws KernelError EINVAL: no object, or a value that is no text
 */
export function checkEnvironment(env: Readonly<Record<string, string | undefined>>): void {
  checkObject(env, 'an environment');
  if (Array.isArray(env)) throw new KernelError('EINVAL', 'an environment is an object of strings, no array');
  for (const value of Object.values(env)) if (value !== undefined) checkText(value, 'a variable');
}
