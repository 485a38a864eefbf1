/**
 * Machines of this process that we do not know: a worker thread's, or those of another copy of this
 * package. exec would end them with us, and their RAM would be lost: so they are looked for among
 * the open files.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { readBootPage } from './boot-page.ts';

const fs = process.getBuiltinModule('node:fs');

/** Descriptors looked at in one turn of the event loop: some 0.5 ms. */
const AT_ONCE = 256;

/**
 * Looks at all descriptors, a few in each turn.
 *
 * @param known descriptors of the machines that we know
 * @throws KernelError EBUSY: this process owns a RAM that is none of them
 */
export async function checkStrangers(known: readonly number[]): Promise<void> {
  const ours = new Set(known.map(identityOf));
  for (const [i, fd] of descriptors().entries()) {
    if (i % AT_ONCE === AT_ONCE - 1) await new Promise((resolve) => setImmediate(resolve));
    const identity = identityOf(fd);
    if (identity === undefined || ours.has(identity) || !isOwnRam(fd)) continue;
    throw new KernelError(
      'EBUSY',
      `this process owns ${nameOf(fd)} too, in a worker thread or by another copy of @liveupdate/kexec, and it would be lost: hand it over or close it first`,
    );
  }
}

/** Nothing where there is no /proc. */
function descriptors(): number[] {
  try {
    return fs.readdirSync('/proc/self/fd').map(Number);
  } catch {
    return [];
  }
}

/** What tells a file from others; undefined for what can be no RAM. */
function identityOf(fd: number): string | undefined {
  try {
    const stat = fs.fstatSync(fd);
    return stat.isFile() && stat.size >= 2 * PAGE_SIZE ? `${stat.dev}:${stat.ino}` : undefined;
  } catch {
    return undefined; // closed meanwhile
  }
}

function isOwnRam(fd: number): boolean {
  const page = new Uint8Array(PAGE_SIZE);
  try {
    fs.readSync(fd, page, 0, PAGE_SIZE, 0);
    const { state, ownerPid } = readBootPage(page, fs.fstatSync(fd).size);
    return state === 'running' && ownerPid === process.pid;
  } catch {
    return false; // not open for reading, or no RAM of a version that we know
  }
}

/**
 * Where it lies in /dev/shm, as nearly all do: the system does not know the name of what was made
 * without one.
 */
function nameOf(fd: number): string {
  const identity = identityOf(fd);
  for (const name of fs.readdirSync('/dev/shm')) {
    const { dev, ino } = fs.lstatSync(`/dev/shm/${name}`, { throwIfNoEntry: false }) ?? {};
    if (identity === `${dev}:${ino}`) return `/dev/shm/${name}`;
  }
  return `the RAM of descriptor ${fd}`;
}
