/** What is found in a map that nothing of its own can have written. */
import { KernelError } from '@liveupdate/base';

export function damaged(what: string): KernelError {
  return new KernelError(
    'EIO',
    `this map is damaged: ${what}. Its file cannot be trusted: start with a new one`,
  );
}
