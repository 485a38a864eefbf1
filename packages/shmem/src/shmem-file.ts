/** An open shmem file: a position on an inode, as a file descriptor is. */
import { KernelError } from '@liveupdate/base';
import type { ShmemInode } from './inode.ts';
import type { ShmemMapping } from './mapping.ts';
import { SEAL_ALL } from './seals.ts';

export class ShmemFile {
  readonly inode: ShmemInode;
  #position = 0;
  #references = 1;

  constructor(inode: ShmemInode) {
    this.inode = inode;
    inode.get();
  }

  /** Another reference to this description, as dup() gives; drop it with put() or close(). */
  get(): void {
    this.#checkOpen();
    this.#references += 1;
  }

  /** Drops a reference. The last one closes the description, the last description frees the file. */
  put(): void {
    this.#checkOpen();
    this.#references -= 1;
    if (this.#references === 0) this.inode.put();
  }

  /** The same as put(): the owner's reference. */
  close(): void {
    this.put();
  }

  get name(): string {
    return this.inode.name;
  }

  /** Bytes in the file. */
  get size(): number {
    return this.inode.size;
  }

  /** Bytes from the start, where the next read or write happens. */
  get position(): number {
    return this.#position;
  }

  /** @throws KernelError EINVAL: no whole number, or negative. */
  seek(position: number): number {
    this.#checkOpen();
    checkPosition(position);
    this.#position = position;
    return position;
  }

  /**
   * Reads at the position, which moves on. Holes read as zeros.
   *
   * @returns bytes read; less than `target.length` at the end of the file
   * @throws KernelError EBADF: closed
   */
  read(target: Uint8Array): number {
    const done = this.pread(target, this.#position);
    this.#position += done;
    return done;
  }

  /**
   * Writes at the position, which moves on. The file grows as needed.
   *
   * @returns bytes written: all
   * @throws KernelError EBADF: closed. EPERM: sealed, or frozen and it would grow. ENOMEM, ENOSPC: no memory; nothing was written. EFBIG.
   */
  write(source: Uint8Array): number {
    const done = this.pwrite(source, this.#position);
    this.#position += done;
    return done;
  }

  /** Reads at `position` and leaves the file's own position alone. For the errors see read; EINVAL: no such position. */
  pread(target: Uint8Array, position: number): number {
    this.#checkOpen();
    checkPosition(position);
    return this.inode.read(target, position);
  }

  /** Writes at `position` and leaves the file's own position alone. For the errors see write; EINVAL: no such position. */
  pwrite(source: Uint8Array, position: number): number {
    this.#checkOpen();
    checkPosition(position);
    return this.inode.write(source, position);
  }

  /**
   * Makes the file `size` bytes long; new bytes are a hole.
   *
   * @throws KernelError EINVAL: no such size. EPERM: sealed or frozen. EBADF: closed.
   */
  truncate(size: number): void {
    this.#checkOpen();
    this.inode.truncate(size);
  }

  /**
   * Gives [position, position + length) its memory now, zeroed where it was a hole; the file grows as needed.
   *
   * @throws KernelError EINVAL: no such range. EPERM: sealed or frozen. ENOMEM, ENOSPC: nothing is kept. EBADF: closed.
   */
  allocate(position: number, length: number): void {
    this.#checkOpen();
    this.inode.allocate(position, length);
  }

  /** Asks for large folios, up to 2 MiB, for what is allocated from now on (madvise's MADV_HUGEPAGE). A mount may refuse: then nothing changes. */
  adviseHuge(): void {
    this.#checkOpen();
    this.inode.advisedHuge = true;
  }

  /** Seals of the file: a mask of SEAL_*. */
  get seals(): number {
    return this.inode.seals;
  }

  /**
   * Adds seals, for good.
   *
   * @throws KernelError EINVAL: unknown seals. EPERM: the file takes no more. EBUSY: SEAL_WRITE while a mapping exists. EBADF: closed.
   */
  addSeals(seals: number): void {
    this.#checkOpen();
    if ((seals & SEAL_ALL) !== seals)
      throw new KernelError('EINVAL', `unknown seals in 0x${seals.toString(16)}`);
    this.inode.addSeals(seals);
  }

  /**
   * The whole file as one live Uint8Array: no copy. Its size is the file's at this moment; later growth needs a new mapping. Holes are
   * given (zeroed) pages, which cost the system nothing until written.
   *
   * The view keeps the file as an open description does, until it is unmapped. What truncate takes out of the file stays in the view.
   *
   * @throws KernelError EPERM: sealed against writing. ENOMEM, ENOSPC: no memory for holes. EOPNOTSUPP: scattered, on a RAM that cannot
   * map. EBADF: closed. After each of them the holes are as before.
   */
  map(): ShmemMapping {
    this.#checkOpen();
    return this.inode.map();
  }

  #checkOpen(): void {
    if (this.#references === 0) throw new KernelError('EBADF', `file '${this.inode.name}' is closed`);
  }
}

function checkPosition(position: number): void {
  if (!Number.isSafeInteger(position) || position < 0)
    throw new KernelError('EINVAL', `${position} is no position in a file`);
}
