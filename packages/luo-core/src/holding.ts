/**
 * How LUO keeps a file open: beside its users, where the file can tell them apart, as one of them
 * else.
 */
import { KernelError } from '@liveupdate/base';
import { kindOf } from './callbacks.ts';
import type { PreservableFile } from './handler.ts';

/**
 * From here on the file's users may close it at any time.
 *
 * @throws KernelError EBADF: closed already, or not a file
 */
export function hold(file: PreservableFile): void {
  const given: unknown = file; // a caller in JavaScript may pass anything
  if (typeof given !== 'object' || given === null)
    throw new KernelError('EBADF', `a file is expected, not ${kindOf(given)}`);
  if (tellsHolders(file)) file.hold();
  else file.get?.();
}

/** The inverse of hold. */
export function unhold(file: PreservableFile): void {
  if (tellsHolders(file)) file.unhold();
  else put(file);
}

/**
 * Holds a file that its handler has just made: its first reference is LUO's, and users get their
 * own.
 */
export function holdRetrieved(file: PreservableFile): void {
  if (!tellsHolders(file)) return;
  file.hold();
  put(file);
}

function tellsHolders(file: PreservableFile): file is Required<Pick<PreservableFile, 'hold' | 'unhold'>> {
  return typeof file.hold === 'function' && typeof file.unhold === 'function';
}

/**
 * Where a user has closed the file once too often, nothing is left to drop: the session goes on.
 */
function put(file: PreservableFile): void {
  try {
    file.put?.();
  } catch {
    // Told to that user already, or to be told by the file itself.
  }
}
