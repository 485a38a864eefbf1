/**
 * A store for generations that are all in one process, as tests simulate them: descriptors stay
 * where they are. The same handover may be booted again and again, as a suite does, so what is
 * taken is a duplicate; the store keeps its own until it is closed.
 */
import { KernelError, shown } from '@liveupdate/base';
import { checkFd, duplicateFrom } from '@liveupdate/linux';
import type { FdStore } from '@liveupdate/luo-core';

const fs = process.getBuiltinModule('node:fs');

export class SharedFdStore implements FdStore {
  readonly #kept = new Set<number>();

  /** Descriptors that are kept now. */
  get size(): number {
    return this.#kept.size;
  }

  keep(fd: number): number {
    checkFd(fd);
    const key = duplicateFrom(fd, 0);
    this.#kept.add(key);
    return key;
  }

  drop(key: number): void {
    if (!this.#kept.delete(key)) throw notThere(key);
    fs.closeSync(key);
  }

  take(key: number): number {
    if (!this.#kept.has(key)) throw notThere(key);
    return duplicateFrom(key, 0);
  }

  /** Closes all that is kept. A second call does nothing. */
  close(): void {
    for (const fd of this.#kept) fs.closeSync(fd);
    this.#kept.clear();
  }
}

function notThere(key: number): KernelError {
  return new KernelError('ENOENT', `no descriptor is kept under key ${shown(key)}`);
}
