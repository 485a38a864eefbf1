/**
 * The next generation beside the one that runs: it has mapped the RAM without owning it, knows that
 * it can take it over, and has made what takes time. When the owner has sealed it takes over at
 * once.
 *
 * Until its `commit` it writes only where the owner has lent it memory, and the owner can go on:
 * see `Machine.seal`.
 */
import { codeOf, KernelError } from '@liveupdate/base';
import { MappedRam, tryLock, unlock } from '@liveupdate/linux';
import type { MachineOptions } from './machine-options.ts';
import { busyMessage, readClaimed, type ClaimedRam } from './ram-claim.ts';
import type { FoundRam } from './ram-source.ts';
import { rehearse } from './rehearsal.ts';

/** What an owner that has sealed tells the next one: plain data. */
export interface SealedRam {
  /** Free memory that the next one may use before it commits: first frame and number in turn. */
  readonly lent: readonly number[];
}

/** A RAM that is ready to be taken over. */
export class Standby {
  readonly #found: FoundRam;
  readonly #options: MachineOptions;
  #ram: MappedRam | undefined;

  /** @param found a RAM that exists, which belongs to this from here on */
  constructor(found: FoundRam, options: MachineOptions) {
    this.#found = found;
    this.#options = options;
    this.#ram = MappedRam.of(found.file, found.path === undefined ? {} : { path: found.path });
  }

  /**
   * Tries out the takeover, and makes the views that will be asked for.
   *
   * @throws KernelError as rehearse
   */
  async prepare(): Promise<void> {
    const { views, windows } = await rehearse(this.#found.file, this.#options);
    for (const { pieces, options } of views) this.#ram?.prepareView(pieces, options);
    for (const pa of windows) this.#ram?.prepareWindow(pa);
  }

  /** The RAM, mapped; undefined where it was given up. */
  get ram(): MappedRam | undefined {
    return this.#ram;
  }

  /**
   * Takes the lock and reads what the owner left. Nothing is written. Where it throws, the lock is
   * free.
   *
   * @throws KernelError EBUSY: the owner has it. ENOENT: its file was removed. EINVAL, EPERM: as
   * Machine.open
   */
  claim(): ClaimedRam {
    const { file, path, wanted } = this.#found;
    if (!tryLock(file.fd)) throw new KernelError('EBUSY', busyMessage(file));
    try {
      if (path !== undefined && !file.isAt(path))
        throw new KernelError('ENOENT', `${path} was removed, or replaced by another: open it anew`);
      return readClaimed(this.#found, wanted);
    } catch (error) {
      unlock(file.fd); // its owner may go on
      throw error;
    }
  }

  /** The RAM is a machine's from now on. */
  taken(): void {
    this.#ram = undefined;
  }

  /** Gives it up. */
  release(): void {
    try {
      this.#ram?.close();
    } catch (error) {
      if (codeOf(error) !== 'EBADF') throw error;
    }
    this.#ram = undefined;
  }
}
