/** Replaces the kernel of a guest by the one that it was started with. */
import * as fs from 'node:fs';
import { loadKexecKernel, rebootByKexec } from '@liveupdate/linux';
import { SHARE } from './report.ts';

/**
 * Loads the next kernel. It starts the same program; `words` are in its environment, in place of
 * those of the same names.
 */
export function loadNextKernel(words: Readonly<Record<string, number>>): void {
  const before = fs.readFileSync(`${SHARE}/command-line`, 'utf8');
  const more = Object.entries(words).map(([name, value]) => ` ${name}=${value}`);
  const kernel = fs.openSync(process.env.GUEST_KERNEL ?? '', 'r');
  loadKexecKernel({ kernel, commandLine: before + more.join(''), debug: true });
}

/** Loads the next kernel and starts it. */
export function replaceKernel(words: Readonly<Record<string, number>>): never {
  loadNextKernel(words);
  return rebootByKexec();
}
