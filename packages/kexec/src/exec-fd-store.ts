/**
 * Descriptors that exec carries: those that handlers keep stay open in the program that replaces
 * this one, under the same numbers. So a key is a number. Which they are is told beside the RAM's
 * own descriptor (inherited-rams.ts).
 */
import { KernelError, shown } from '@liveupdate/base';
import { checkFd, duplicateFrom } from '@liveupdate/linux';
import type { FdStore } from '@liveupdate/luo-core';
import { checkCluster } from './next-program.ts';

/** Above those that a program has open from its start, and may put others in place of. */
const LEAST = 64;

const fs = process.getBuiltinModule('node:fs');

export class ExecFdStore implements FdStore {
  readonly #kept = new Set<number>();
  readonly #incoming: Set<number>;

  /** @param incoming what the generation before kept */
  constructor(incoming: readonly number[]) {
    this.#incoming = new Set(incoming);
  }

  /** What goes along with the next exec. */
  get kept(): number[] {
    return [...this.#kept];
  }

  keep(fd: number): number {
    checkFd(fd);
    checkCluster();
    const key = duplicateFrom(fd, LEAST);
    this.#kept.add(key);
    return key;
  }

  drop(key: number): void {
    if (!this.#kept.delete(key)) throw notThere(key, 'is kept');
    fs.closeSync(key);
  }

  take(key: number): number {
    if (!this.#incoming.delete(key)) throw notThere(key, 'came along');
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

  /** Closes what is kept, and what came and was not taken. */
  end(): void {
    for (const set of [this.#kept, this.#incoming]) {
      for (const fd of set) fs.closeSync(fd);
      set.clear();
    }
  }
}

function notThere(key: number, what: string): KernelError {
  return new KernelError('ENOENT', `no descriptor ${what} under key ${shown(key)}`);
}
