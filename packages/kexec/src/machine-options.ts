/** Checks what a program passes to Machine.open: an option that is not known would protect nobody. */
import { KernelError } from '@liveupdate/base';
import type { MachineOptions } from './machine.ts';

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
