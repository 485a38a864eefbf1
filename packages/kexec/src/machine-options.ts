/** What a program passes to Machine.open, and its check: an option that is not known would protect nobody. */
import { KernelError } from '@liveupdate/base';
import type { KernelOptions } from './kernel.ts';
import type { RamSource } from './ram-source.ts';

export interface MachineOptions extends RamSource, KernelOptions {
  /**
   * What to do with a RAM whose owner died without handing over: `'refuse'` (default, EIO), or `'cold'`: everything in it is given up.
   */
  readonly onCrash?: 'refuse' | 'cold';
  /**
   * Whether what was handed over stays whole until this generation hands over itself: for programs that only add to a RAM. Where they fail, call
   * abandon(), or die, the next owner finds everything as if they had not been there, but for what they wrote into files that they retrieved.
   * Memory that they free is not used again. Handlers that write into memory that they were handed spoil it; memfd's does not. Default false.
   */
  readonly keepHandover?: boolean;
}

/** Every option: what it may be, or undefined where whoever uses it checks it. */
const OPTIONS: Readonly<Record<keyof MachineOptions, readonly unknown[] | undefined>> = {
  name: undefined,
  path: undefined,
  fd: undefined,
  size: undefined,
  handlers: undefined,
  callbackTimeLimit: undefined,
  release: undefined,
  scratch: undefined,
  onCrash: ['refuse', 'cold'],
  keepHandover: [true, false],
  huge: ['never', 'always', 'within_size', 'advise'],
  freeMemory: ['discard', 'zero', 'keep', 'poison'],
};

/** @throws KernelError EINVAL: an option that does not exist, or a value that it cannot have */
export function checkOptions(options: object): void {
  for (const [name, value] of Object.entries(options) as [string, unknown][]) {
    if (!Object.hasOwn(OPTIONS, name))
      throw new KernelError(
        'EINVAL',
        `a machine has no option '${name}': it has ${Object.keys(OPTIONS).join(', ')}`,
      );
    const values = OPTIONS[name as keyof MachineOptions];
    if (values && value !== undefined && !values.includes(value))
      throw new KernelError('EINVAL', `no such ${name}: use ${values.map(String).join(' or ')}`);
  }
}
