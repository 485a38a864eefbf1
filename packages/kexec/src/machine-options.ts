/**
 * What a program passes to Machine.open, and its check: an option that is not known would protect
 * nobody.
 */
import { checkFlag, checkFunction, checkOneOf, checkOptions } from '@liveupdate/base';
import { checkFd, checkPath } from '@liveupdate/linux';
import { KERNEL_OPTIONS, type KernelOptions } from './kernel.ts';
import type { RamSource } from './ram-source.ts';

export interface MachineOptions extends RamSource, Omit<KernelOptions, 'publish' | 'confinedTo'> {
  /**
   * What to do with a RAM whose owner died without handing over: `'recover'` (default): what it had
   * preserved is there; `'refuse'`: EIO; `'cold'`: everything in it is given up.
   */
  readonly onCrash?: 'recover' | 'refuse' | 'cold';
  /**
   * Whether what was handed over stays whole until this generation hands over itself: for programs
   * that only add to a RAM. Where they fail, call abandon(), or die, the next owner finds
   * everything as if they had not been there, but for what they wrote into files that they
   * retrieved. Memory that they free is not used again. Handlers that write into memory that they
   * were handed spoil it; memfd's does not. Default false.
   */
  readonly keepHandover?: boolean;
}

/**
 * Every option, and its check; undefined where whoever uses it checks it before anything is
 * changed.
 */
const CHECKS: { readonly [K in keyof MachineOptions]-?: ((value: never) => unknown) | undefined } = {
  name: undefined,
  path: checkPath,
  fd: checkFd,
  size: undefined,
  handlers: (given: () => unknown) => checkFunction(given, 'what makes the handlers'),
  callbackTimeLimit: undefined,
  release: undefined,
  scratch: undefined,
  onCrash: (given: string) =>
    checkOneOf(given, 'what to do after a crash (onCrash)', ['recover', 'refuse', 'cold']),
  keepHandover: (given: boolean) => checkFlag(given, 'keepHandover'),
  huge: (given: string) =>
    checkOneOf(given, 'a policy for large folios (huge)', ['never', 'always', 'within_size', 'advise']),
  freeMemory: (given: string) =>
    checkOneOf(given, 'what becomes of free memory (freeMemory)', ['discard', 'zero', 'keep', 'poison']),
};

/** @throws KernelError EINVAL: an option that does not exist, or a value that it cannot have */
export function checkMachineOptions(options: MachineOptions): void {
  checkOptions(options, 'a machine', Object.keys(CHECKS));
  for (const [name, value] of Object.entries(options) as [keyof MachineOptions, unknown][])
    if (value !== undefined) CHECKS[name]?.(value as never);
}

/** Those of the options that are the kernel's. */
export function kernelOptions(options: MachineOptions): KernelOptions {
  return Object.fromEntries(
    Object.entries(options).filter(([name]) => (KERNEL_OPTIONS as readonly string[]).includes(name)),
  );
}
