/** The RAM that a command line names, by its path or by its name. */
import { KernelError } from '@liveupdate/base';
import { ramPath } from '@liveupdate/kexec';
import { UsageError } from './usage-error.ts';

/**
 * Where it is.
 *
 * @param given a path, which has a slash, or a name
 * @throws UsageError: it is neither
 */
export function pathOfRam(given: string): string {
  if (given.includes('/')) return given;
  try {
    return ramPath(given);
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    throw new UsageError(error.message.replace(`${error.code}: `, ''));
  }
}
