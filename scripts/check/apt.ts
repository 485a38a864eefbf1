/**
 * Installing packages of Debian beside whatever else installs some on this machine, and in words
 * where that fails.
 */

import { setTimeout as delay } from 'node:timers/promises';
import { command, type Ended } from './command.ts';

/** Milliseconds: a lock that is held for so long is not going to be free. */
const PATIENCE = 600_000;
/** Milliseconds from one try to the next. */
const PAUSE = 2000;

/**
 * Installs what is not there yet. Waits for whoever holds a lock of apt or dpkg, and says so at
 * once.
 *
 * @param say takes a line while it waits, one for each holder
 * @returns why it failed; empty where it did not
 */
export async function aptInstall(packages: string[], say: (line: string) => void): Promise<string> {
  const wanted = ['install', '--yes', '--no-upgrade', '--no-install-recommends', ...packages];
  const first = await apt(wanted, say);
  if (first.ok) return '';
  const updated = await apt(['update'], say); // the lists were old, or not there
  if (!updated.ok) return `${whyFailed('install', first)}; ${whyFailed('update', updated)}`;
  const second = await apt(wanted, say);
  return second.ok ? '' : whyFailed('install', second);
}

/**
 * One call of apt-get, again and again while a lock is held: by itself it waits for one of its
 * three locks, and says nothing.
 */
async function apt(args: string[], say: (line: string) => void): Promise<Ended> {
  const deadline = Date.now() + PATIENCE;
  const told = new Set<string>();
  for (;;) {
    const env = { DEBIAN_FRONTEND: 'noninteractive', LC_ALL: 'C' };
    const ended = await command('apt-get', ['-qq', ...args], { env });
    const held = ended.ok ? undefined : /^E: (Could not get lock .*)$/m.exec(ended.output)?.[1];
    if (held === undefined || Date.now() > deadline) return ended;
    if (!told.has(held)) say(`apt-get ${args[0]} waits. ${held}`);
    told.add(held);
    await delay(PAUSE);
  }
}

/** What apt-get calls errors; where there are none, the last that it said. */
export function whyFailed(what: string, { output }: Pick<Ended, 'output'>): string {
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  const errors = lines.filter((line) => line.startsWith('E: ')).map((line) => line.slice(3));
  const said = errors.length > 0 ? [...new Set(errors)].join(' ') : (lines.at(-1) ?? 'it does not say why');
  return `apt-get ${what} failed: ${said}`;
}
