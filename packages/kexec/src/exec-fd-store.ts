/**
 * Descriptors that exec carries: those that handlers keep stay open in the program that replaces
 * this one, under the same numbers. So a key is a number. Which they are is told beside the RAM's
 * own descriptor (inherited-rams.ts).
 *
 * A program may close a number that is ours, and get it again for something else. So what each
 * stood for is noted, and one that stands for another by now is left alone.
 */
import { KernelError, shown } from '@liveupdate/base';
import { checkFd, duplicateFrom } from '@liveupdate/linux';
import type { FdStore } from '@liveupdate/luo-core';
import { checkCluster } from './next-program.ts';

/** Above those that a program has open from its start, and may put others in place of. */
export const LEAST_KEY = 64;

const fs = process.getBuiltinModule('node:fs');

export class ExecFdStore implements FdStore {
  /** What each number stands for. */
  readonly #kept = new Map<number, string>();
  readonly #incoming: Map<number, string>;
  #hasEnded = false;

  /** @param incoming what the generation before kept */
  constructor(incoming: readonly number[]) {
    this.#incoming = new Map(incoming.map((fd) => [fd, fileBehind(fd)]));
  }

  /** What goes along with the next exec. */
  get kept(): number[] {
    return stillThere(this.#kept);
  }

  /** What came along and was not taken. */
  get incoming(): number[] {
    return stillThere(this.#incoming);
  }

  keep(fd: number): number {
    checkFd(fd);
    this.#checkLive();
    checkCluster();
    const key = duplicateFrom(fd, LEAST_KEY);
    this.#kept.set(key, fileBehind(key));
    return key;
  }

  drop(key: number): void {
    const was = this.#kept.get(key);
    if (was === undefined) throw notThere(key, 'is kept');
    this.#kept.delete(key);
    closeIfSame(key, was);
  }

  take(key: number): number {
    this.#checkLive();
    const was = this.#incoming.get(key);
    this.#incoming.delete(key);
    if (was === undefined || was === '' || fileBehind(key) !== was) throw notThere(key, 'came along');
    return key;
  }

  /**
   * @throws KernelError EOPNOTSUPP: something is kept, which whoever opens the RAM next would not
   * get
   */
  checkEmpty(): void {
    const { size } = this.#kept;
    if (size === 0) return;
    const what =
      size === 1 ? 'a descriptor is preserved, which goes' : `${size} descriptors are preserved, which go`;
    throw new KernelError('EOPNOTSUPP', `${what} by exec alone: use kexec(), or unpreserve first`);
  }

  /** Closes what came along and was not taken: nobody will ask for it. */
  closeIncoming(): void {
    closeAll(this.#incoming);
  }

  /** Closes what is kept, and what came and was not taken. Nothing is kept or taken any more. */
  end(): void {
    this.#hasEnded = true;
    closeAll(this.#kept);
    closeAll(this.#incoming);
  }

  /** The same, but that what came and was not taken stays open, for who has its numbers. */
  leaveIncoming(): void {
    this.#incoming.clear();
  }

  #checkLive(): void {
    if (this.#hasEnded) throw new KernelError('EBADF', 'this machine is closed');
  }
}

/** What tells one open file from another; '' where the number is free. */
function fileBehind(fd: number): string {
  try {
    const { dev, ino, mode } = fs.fstatSync(fd, { bigint: true });
    return `${dev}:${ino}:${mode}`;
  } catch {
    return '';
  }
}

function stillThere(fds: ReadonlyMap<number, string>): number[] {
  return [...fds].filter(([fd, was]) => was !== '' && fileBehind(fd) === was).map(([fd]) => fd);
}

function closeIfSame(fd: number, was: string): void {
  if (was !== '' && fileBehind(fd) === was) fs.closeSync(fd);
}

function closeAll(fds: Map<number, string>): void {
  for (const [fd, was] of fds) closeIfSame(fd, was);
  fds.clear();
}

function notThere(key: number, what: string): KernelError {
  return new KernelError('ENOENT', `no descriptor ${what} under key ${shown(key)}`);
}
