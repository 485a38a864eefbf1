/**
 * Descriptors that exec carries: those that handlers keep stay open in the program that replaces
 * this one, under the same numbers. So a key is a number. Which they are is told beside the RAM's
 * own descriptor (inherited-rams.ts).
 *
 * A program may close a number that is ours, and get it again for something else. So what each
 * stood for is noted, and one that stands for another by now is left alone.
 */
import { KernelError, shown } from '@liveupdate/base';
import { checkFd, duplicateFrom, fileBehind } from '@liveupdate/linux';
import type { FdStore } from '@liveupdate/luo-core';
import { checkCluster } from './next-program.ts';

/** Above those that a program has open from its start, and may put others in place of. */
export const LEAST_KEY = 64;

const fs = process.getBuiltinModule('node:fs');

export class ExecFdStore implements FdStore {
  /** What each number stood for when it was kept, or came. */
  readonly #kept: Files = new Map();
  readonly #incoming: Files;
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
    if (!this.#kept.has(key)) throw notThere(key, 'is kept');
    const was = this.#kept.get(key);
    this.#kept.delete(key);
    if (isSame(key, was)) fs.closeSync(key);
  }

  take(key: number): number {
    this.#checkLive();
    const was = this.#incoming.get(key);
    this.#incoming.delete(key);
    if (!isSame(key, was)) throw notThere(key, 'came along');
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

  /** What came along and was not taken is another's from now on: it stays open. */
  leaveIncoming(): void {
    this.#incoming.clear();
  }

  #checkLive(): void {
    if (this.#hasEnded) throw new KernelError('EBADF', 'this machine is closed');
  }
}

type Files = Map<number, string | undefined>;

/** Whether a number stands for what it stood for. */
function isSame(fd: number, was: string | undefined): boolean {
  return was !== undefined && fileBehind(fd) === was;
}

function stillThere(files: Files): number[] {
  return [...files].filter(([fd, was]) => isSame(fd, was)).map(([fd]) => fd);
}

function closeAll(files: Files): void {
  for (const fd of stillThere(files)) fs.closeSync(fd);
  files.clear();
}

function notThere(key: number, what: string): KernelError {
  return new KernelError('ENOENT', `no descriptor ${what} under key ${shown(key)}`);
}
