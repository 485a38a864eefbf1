/** An open shmem file: a position on an inode, as a file descriptor is. */
import {
  bytesOf,
  checkFlag,
  checkInstance,
  checkOptions,
  checkWhole,
  KernelError,
  OpenFile,
  type Bytes,
  isBranded,
  type Branded,
} from '@liveupdate/base';
import { ShmemInode } from './inode.ts';
import type { ShmemMapping } from './mapping.ts';
import { SEAL_ALL } from './seals.ts';
import { SEEK_SET, seekTarget } from './seek.ts';
import { COPY } from './package-copy.ts';

/** What stat(2) says of a file. */
export interface ShmemStat {
  /** Bytes in the file. */
  readonly size: number;
  /** Memory that it takes, in units of 512 bytes. */
  readonly blocks: number;
  /** Names that it has; 0 for a memfd. */
  readonly links: number;
}

const BRAND: Branded = { className: 'ShmemFile', copy: COPY };

export class ShmemFile extends OpenFile {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to objects of other copies too. */
  static override [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  readonly inode: ShmemInode;
  #position = 0;

  constructor(inode: ShmemInode) {
    super();
    this.inode = checkInstance(inode, 'a file', ShmemInode);
    inode.get();
  }

  protected override get title(): string {
    return this.inode.title;
  }

  /** The last description frees the file. */
  protected override freed(): void {
    this.inode.put();
  }

  /** @throws KernelError EBADF: closed, and nobody holds it; or the mount has ended */
  protected override checkOpen(): void {
    super.checkOpen();
    this.inode.shmem.checkLive();
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

  /**
   * Moves the position: to `offset` bytes from the start (SEEK_SET), from where it is (SEEK_CUR) or
   * from the end (SEEK_END); or to the first data (SEEK_DATA) or hole (SEEK_HOLE) at or after
   * `offset`, where the end of the file counts as a hole. Pages that were allocated and never
   * written are holes for this.
   *
   * @returns the new position
   * @throws KernelError EINVAL: no such position or way of seeking. ENXIO: no data or hole there.
   * EBADF: closed. The position stays then.
   */
  seek(offset: number, whence: number = SEEK_SET): number {
    this.checkOpen();
    this.#position = seekTarget(this.inode, this.#position, offset, whence);
    return this.#position;
  }

  /** What stat(2) says. @throws KernelError EBADF: closed */
  stat(): ShmemStat {
    this.checkOpen();
    const { size, cache, links } = this.inode;
    return { size, blocks: cache.count * BLOCKS_PER_PAGE, links };
  }

  /**
   * Another description of the same file, with a position of its own, at 0. Close it when done.
   * @throws KernelError EBADF: closed
   */
  reopen(): ShmemFile {
    this.checkOpen();
    return new ShmemFile(this.inode);
  }

  /**
   * Reads at the position, which moves on. Holes read as zeros.
   *
   * @param target any typed array, a DataView or a buffer: its bytes are filled, whatever its
   * elements
   * @returns bytes read; less than the target has at the end of the file
   * @throws KernelError EBADF: closed. EINVAL: the target has no bytes, or was detached.
   */
  read(target: Bytes): number {
    const done = this.pread(target, this.#position);
    this.#position += done;
    return done;
  }

  /**
   * Writes at the position, which moves on. The file grows as needed.
   *
   * @param source any typed array, a DataView or a buffer: its bytes are written, whatever its
   * elements
   * @returns bytes written: all, or less where the file may not grow: then, as on tmpfs, up to its
   * last whole page
   * @throws KernelError EBADF: closed. EPERM: sealed, or it may not grow and nothing lies before
   * its last whole page ends. ENOMEM, ENOSPC: no memory. EFBIG: no file is so long. EINVAL: the
   * source has no bytes, or was detached. After each of them nothing is written.
   */
  write(source: Bytes): number {
    const done = this.pwrite(source, this.#position);
    this.#position += done;
    return done;
  }

  /**
   * Reads at the position into several arrays, one after the other (readv). For the errors see
   * read.
   */
  readv(targets: readonly Bytes[]): number {
    const done = this.preadv(targets, this.#position);
    this.#position += done;
    return done;
  }

  /**
   * Writes several arrays at the position as if they were one (writev). For the errors see write.
   */
  writev(sources: readonly Bytes[]): number {
    const done = this.pwritev(sources, this.#position);
    this.#position += done;
    return done;
  }

  /**
   * Reads at `position` and leaves the file's own position alone. For the errors see read; EINVAL:
   * no such position.
   */
  pread(target: Bytes, position: number): number {
    this.checkOpen();
    checkPosition(position);
    return this.inode.read(bytesOf(target), position);
  }

  /**
   * Writes at `position` and leaves the file's own position alone. For the errors see write;
   * EINVAL: no such position.
   */
  pwrite(source: Bytes, position: number): number {
    this.checkOpen();
    checkPosition(position);
    const bytes = bytesOf(source);
    return this.inode.write([bytes], bytes.length, position);
  }

  /**
   * Reads at `position` into several arrays, one after the other (preadv). For the errors see
   * pread.
   */
  preadv(targets: readonly Bytes[], position: number): number {
    this.checkOpen();
    checkPosition(position);
    let done = 0;
    for (const target of allBytes(targets)) {
      const length = this.inode.read(target, position + done);
      done += length;
      if (length < target.length) break;
    }
    return done;
  }

  /**
   * Writes several arrays at `position` as if they were one (pwritev). For the errors see pwrite.
   */
  pwritev(sources: readonly Bytes[], position: number): number {
    this.checkOpen();
    checkPosition(position);
    const parts = allBytes(sources);
    return this.inode.write(parts, totalLength(parts), position);
  }

  /**
   * Makes the file `size` bytes long; new bytes are a hole. Memory that was allocated beyond the
   * end is given back.
   *
   * @throws KernelError EINVAL: no such size. EPERM: sealed or frozen. EBADF: closed.
   */
  truncate(size: number): void {
    this.checkOpen();
    this.inode.truncate(size);
  }

  /**
   * Gives [position, position + length) its memory now, zeroed where it was a hole; the file grows
   * as needed.
   *
   * @throws KernelError as fallocate
   */
  allocate(position: number, length: number): void {
    this.fallocate(0, position, length);
  }

  /**
   * fallocate(2): mode 0 as allocate; FALLOC_KEEP_SIZE takes memory beyond the end too and leaves
   * the size; KEEP_SIZE | FALLOC_PUNCH_HOLE makes the range a hole, which splits large folios that
   * reach out of it. While the file is mapped, a punched range is zeroed and keeps its memory, so
   * that views go on showing the file.
   *
   * @throws KernelError EINVAL: no such range. EOPNOTSUPP: no such mode. EFBIG: it ends beyond
   * 2^53. EPERM: sealed or frozen. ENOMEM, ENOSPC: no memory. EBADF: closed. After each of them
   * nothing is changed.
   */
  fallocate(mode: number, position: number, length: number): void {
    this.checkOpen();
    this.inode.fallocate(mode, position, length);
  }

  /**
   * Asks for large folios, up to 2 MiB, for what is allocated from now on (madvise's
   * MADV_HUGEPAGE). A mount may refuse: then nothing changes.
   */
  adviseHuge(): void {
    this.checkOpen();
    this.inode.advisedHuge = true;
  }

  /** Seals of the file: a mask of SEAL_*. */
  get seals(): number {
    return this.inode.seals;
  }

  /**
   * Adds seals, for good. SEAL_EXEC brings SHRINK, GROW, WRITE and FUTURE_WRITE along where the
   * file is executable: unless it was made with MFD_NOEXEC_SEAL.
   *
   * @throws KernelError EINVAL: unknown seals. EPERM: the file takes no more. EBUSY: SEAL_WRITE
   * while a mapping exists. EBADF: closed.
   */
  addSeals(seals: number): void {
    this.checkOpen();
    checkWhole(seals, 'a mask of seals', { max: SEAL_ALL });
    this.inode.addSeals(seals);
  }

  /**
   * The whole file as one live Uint8Array: no copy, and a buffer of its own (`byteOffset` 0,
   * exactly the file's bytes). Its size is the file's at this moment; later growth needs a new
   * mapping. Holes are given zeroed pages, which count as data, and all memory that the view shows
   * is taken now: a full system is ENOSPC here, and no store through the view can end the process.
   *
   * With `sparse` holes take no memory until they are touched. Then **a load or store in one may
   * end the process** (SIGBUS) where the system is full.
   *
   * With `readOnly` a file that is sealed against writing can be looked at too. Nothing keeps you
   * from writing through that view but the promise not to; on a file that is not sealed it counts
   * as one that may write.
   *
   * The view keeps the file as an open description does, until it is unmapped. What truncate takes
   * out of the file stays in the view. What a thread of the pool is doing with it ends
   * harmlessly when it is unmapped; what Node itself goes on with in parts (zlib) finds an empty
   * view, and may throw: let it end first. O_DIRECT and io_uring may not be used: they pin pages.
   *
   * @throws KernelError EPERM: sealed against writing, and not readOnly. ENOMEM, ENOSPC: no memory
   * for holes, or no address space. EOPNOTSUPP: scattered, on a RAM that cannot map. EBADF: closed.
   * EINVAL: unknown options. After each of them the holes are as before.
   */
  map(options: { readonly readOnly?: boolean; readonly sparse?: boolean } = {}): ShmemMapping {
    this.checkOpen();
    checkOptions(options, 'map', ['readOnly', 'sparse']);
    const { readOnly = false, sparse = false } = options;
    return this.inode.map(checkFlag(readOnly, 'readOnly'), checkFlag(sparse, 'sparse'));
  }
}

/** Blocks of 512 bytes in a page. */
const BLOCKS_PER_PAGE = 8;

/** All of them, before the first is touched. */
function allBytes(parts: readonly Bytes[]): Uint8Array[] {
  if (!Array.isArray(parts)) throw new KernelError('EINVAL', 'a list of typed arrays or buffers is expected');
  return parts.map(bytesOf);
}

function totalLength(parts: readonly Uint8Array[]): number {
  let length = 0;
  for (const part of parts) length += part.length;
  return length;
}

function checkPosition(position: number): void {
  checkWhole(position, 'a position in a file');
}
