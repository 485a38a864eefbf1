/**
 * File descriptors, as the device needs them: a small interface that an emulator or a driver
 * implements, and a plain implementation of it.
 */
import { checkFlag, checkObject, checkOptions, checkWhole, KernelError, shown } from '@liveupdate/base';
import type { MaybePromise } from './callback-types.ts';
import type { PreservableFile } from './handler.ts';

/** A file whose last descriptor does more than drop a reference when it is closed. */
export interface ReleasableFile extends PreservableFile {
  /** Drops a reference, as put does, and tells when what follows of it is done. */
  release(): MaybePromise<void>;
}

/** The open files of one process. */
export interface DescriptorTable {
  /**
   * Puts a file under a free number. The reference that the caller has to it goes to the table.
   *
   * @throws KernelError EMFILE: the table is full; the reference stays with the caller
   */
  install(file: PreservableFile, options: { readonly closeOnExec: boolean }): number;
  /**
   * The file under a number; no reference is taken.
   *
   * @throws KernelError EBADF: there is none
   */
  get(fd: number): PreservableFile;
  /**
   * Frees a number and drops its reference: by `release` where the file has it (it may be waited
   * for), else by `put`. The number is free whatever release throws.
   *
   * @throws KernelError EBADF: there is no such number. What release throws.
   */
  close(fd: number): MaybePromise<void>;
}

/** The first number that is given: below are standard input, output and error. */
const FIRST_FD = 3;
/** As many as Linux gives a process by default. */
const DEFAULT_LIMIT = 1024;

/** A descriptor table in memory: lowest free number first, as Linux does it. */
export class ProcessDescriptors implements DescriptorTable {
  readonly #files = new Map<number, { file: PreservableFile; closeOnExec: boolean }>();
  readonly #limit: number;
  /** No number below it is free. */
  #lowest = FIRST_FD;

  /**
   * @param limit numbers are below this (RLIMIT_NOFILE)
   * @throws KernelError EINVAL: no such limit
   */
  constructor(limit = DEFAULT_LIMIT) {
    this.#limit = checkWhole(limit, 'a number of descriptors');
  }

  /** The numbers in use. */
  get numbers(): number[] {
    return [...this.#files.keys()].sort((a, b) => a - b);
  }

  install(file: PreservableFile, options: { readonly closeOnExec: boolean }): number {
    checkObject(file, 'a file');
    checkOptions(options, 'install', ['closeOnExec']);
    const closeOnExec = checkFlag(options.closeOnExec, 'closeOnExec');
    let fd = this.#lowest;
    while (this.#files.has(fd)) fd += 1;
    this.#lowest = fd;
    if (fd >= this.#limit)
      throw new KernelError(
        'EMFILE',
        `${this.#limit} descriptors are in use: close some, or raise the limit`,
      );
    this.#files.set(fd, { file, closeOnExec });
    return fd;
  }

  get(fd: number): PreservableFile {
    return this.#entry(fd).file;
  }

  /** Another number for the same file; it is not closed at exec. */
  dup(fd: number): number {
    const file = this.get(fd);
    const copy = this.install(file, { closeOnExec: false });
    file.get?.();
    return copy;
  }

  close(fd: number): MaybePromise<void> {
    const { file } = this.#entry(fd);
    this.#files.delete(fd);
    this.#lowest = Math.min(this.#lowest, fd);
    if ('release' in file) return (file as ReleasableFile).release();
    file.put?.();
  }

  /**
   * What exec does: closes those that are marked so. What their release throws is dropped, as by
   * the kernel.
   */
  async exec(): Promise<void> {
    for (const [fd, { closeOnExec }] of [...this.#files]) {
      if (!closeOnExec) continue;
      try {
        await this.close(fd);
      } catch {
        // Nobody is left to be told.
      }
    }
  }

  #entry(fd: number): { file: PreservableFile; closeOnExec: boolean } {
    const entry = this.#files.get(fd);
    if (!entry) throw new KernelError('EBADF', `${shown(fd)} is no open file`);
    return entry;
  }
}
