import { KernelError } from '@liveupdate/base';
import { whyUnsupported } from './runtime.ts';

/**
 * node:fs without the facade that `import` makes for it: that reads every property of the module,
 * among them getters which load streams and promises, and a process that was just replaced would be
 * away 6 ms longer.
 */
export const fs = builtinFs();

/** A runtime that cannot even do that is told so at the import. */
function builtinFs() {
  if ('getBuiltinModule' in process) return process.getBuiltinModule('node:fs');
  throw new KernelError('EOPNOTSUPP', whyUnsupported(process) ?? 'process.getBuiltinModule is missing');
}
