/**
 * A memfd of this machine: the file in memory that the system itself has, to hand to it and to
 * compare ours with.
 */
import * as fs from 'node:fs';
import {
  bytesOf,
  checkList,
  checkWhole,
  KernelError,
  PAGE_SIZE,
  pagesFor,
  type Bytes,
} from '@liveupdate/base';
import { addSeals, fallocate, getSeals, lseek, memfdCreate } from './libc.ts';
import { checkFd } from './inputs.ts';
import { MappedView } from './mapped-view.ts';
import { callFs } from './call-fs.ts';

/** An int of C. */
const INT = { max: 0x7fff_ffff };

/** What is given to read into or to write from, as bytes. */
function partsOf(given: readonly Bytes[], position: number | undefined): Uint8Array[] {
  if (position !== undefined) checkWhole(position, 'a position');
  return checkList(given, 'a list of buffers').map(bytesOf);
}

/** A view of a memfd, live until it is unmapped. */
export interface MemfdMapping {
  readonly bytes: Uint8Array;
  unmap(): void;
}

export class Memfd implements Disposable {
  /** The open descriptor. It belongs to this object. */
  readonly fd: number;

  private constructor(fd: number) {
    this.fd = fd;
  }

  /**
   * memfd_create(2).
   *
   * @throws KernelError EINVAL: name longer than 249 bytes, or unknown flags. EMFILE, ENFILE,
   * ENOMEM: too many files, no memory. EOPNOTSUPP: not Linux on x64 or arm64.
   */
  static create(name: string, flags: number): Memfd {
    return new Memfd(memfdCreate(name, flags));
  }

  /**
   * A memfd whose descriptor came from elsewhere: inherited, passed over a socket, or left by the
   * kernel before. It belongs to this object from here on.
   *
   * @throws KernelError EBADF: not open. EINVAL: no number of a descriptor, or no file in memory.
   * EOPNOTSUPP: not Linux on x64 or arm64.
   */
  static of(fd: number): Memfd {
    checkFd(fd);
    callFs('looking at a memfd', () => fs.fstatSync(fd));
    if (getSeals(fd) === undefined)
      throw new KernelError('EINVAL', `descriptor ${fd} is no file in memory: a memfd has seals`);
    return new Memfd(fd);
  }

  /**
   * Another description of the same file, with its own position. @throws KernelError EMFILE,
   * ENFILE: too many files. EACCES: not ours
   */
  reopen(): Memfd {
    return new Memfd(callFs('opening a memfd again', () => fs.openSync(`/proc/self/fd/${this.fd}`, 'r+')));
  }

  /**
   * Writes at the position, or at `position`. Returns how many bytes were: a full or sealed file
   * takes less.
   *
   * @throws KernelError EPERM: sealed. ENOSPC, ENOMEM: no memory. EFBIG: too long. EBADF: closed.
   * EINVAL: nothing that has bytes, or no position.
   */
  write(sources: readonly Bytes[], position?: number): number {
    const parts = partsOf(sources, position);
    return callFs('writing to a memfd', () => fs.writevSync(this.fd, parts, position));
  }

  /**
   * Reads at the position, or at `position`. Returns how many bytes there were.
   *
   * @throws KernelError EBADF: closed. EINVAL: nothing that has bytes, or no position.
   */
  read(targets: readonly Bytes[], position?: number): number {
    const parts = partsOf(targets, position);
    return callFs('reading a memfd', () => fs.readvSync(this.fd, parts, position));
  }

  /**
   * lseek(2). @throws KernelError EINVAL: no such position. ENXIO: no data or hole from there on.
   * EBADF: closed.
   */
  seek(offset: number, whence: number): number {
    checkWhole(offset, 'an offset', { min: Number.MIN_SAFE_INTEGER });
    checkWhole(whence, 'where a seek begins', INT);
    return lseek(this.fd, offset, whence);
  }

  /**
   * ftruncate(2). @throws KernelError EPERM: sealed. EFBIG, EINVAL: no such size. EBADF: closed.
   */
  truncate(size: number): void {
    checkWhole(size, 'a size');
    callFs('truncating a memfd', () => {
      fs.ftruncateSync(this.fd, size);
    });
  }

  /** fallocate(2), for its errors see there. */
  fallocate(mode: number, at: number, length: number): void {
    checkWhole(mode, 'a mode of fallocate', INT);
    checkWhole(at, 'a position');
    checkWhole(length, 'a length');
    fallocate(this.fd, mode, at, length);
  }

  /** The seals: a mask of F_SEAL_*. */
  get seals(): number {
    return getSeals(this.fd) ?? 0;
  }

  /**
   * Adds seals. @throws KernelError EPERM: it takes no more. EBUSY: SEAL_WRITE while mapped.
   * EINVAL: unknown ones.
   */
  addSeals(seals: number): void {
    checkWhole(seals, 'seals', INT);
    addSeals(this.fd, seals);
  }

  /** What fstat(2) says. @throws KernelError EBADF: closed */
  stat(): { readonly size: number; readonly blocks: number; readonly links: number } {
    const { size, blocks, nlink } = callFs('looking at a memfd', () => fs.fstatSync(this.fd));
    return { size, blocks, links: nlink };
  }

  /**
   * Maps the file whole, shared and writable, with its pages there (the first 256 MiB of them): a
   * buffer of its own. Touching what is cut off from the file later ends the process by SIGBUS.
   *
   * @throws KernelError EPERM: sealed against writing. EINVAL: the file is empty. ENOMEM: no
   * address space, or no memory. ENOSPC: no memory for a hole.
   */
  map(): MemfdMapping {
    const { size } = this.stat();
    if (size === 0) throw new KernelError('EINVAL', 'an empty file cannot be mapped');
    const runs = [{ pa: 0, length: pagesFor(size) * PAGE_SIZE }];
    const source = { fd: this.fd, runs, granule: PAGE_SIZE, onRelease: () => undefined };
    const view = new MappedView(source, { size, populate: true });
    return {
      bytes: view.bytes,
      unmap: () => {
        view.release();
      },
    };
  }

  /** Closes the descriptor. @throws KernelError EBADF: closed already */
  close(): void {
    callFs('closing a memfd', () => {
      fs.closeSync(this.fd);
    });
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
