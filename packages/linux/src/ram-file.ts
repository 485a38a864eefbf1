/**
 * The file behind a RAM: how it is made, opened and checked before anyone trusts a byte of it.
 * Nothing is mapped here.
 *
 * - A RAM file belongs to the user who runs the program and to nobody else: whoever may write it
 *   owns the program that boots from it.
 * - A new one has no name until `link`, which gives it one in a single step: nobody ever sees half
 *   of it.
 * - Its descriptor has a number from 64 up. Node's start-up sets close-on-exec on the low
 *   descriptors, from 0 on while they are contiguous, so a low one would not reach the generation
 *   after the next.
 */
import {
  checkFlag,
  checkObject,
  checkWhole,
  codeOf,
  KernelError,
  PAGE_SIZE,
  Undo,
  isBranded,
  type Branded,
} from '@liveupdate/base';
import { checkRamSize, MAX_RAM_SIZE } from '@liveupdate/mm';
import { callFs } from './call-fs.ts';
import { checkFd, checkPath } from './inputs.ts';
import {
  addSeals,
  duplicateFrom,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  FALLOC_KEEP_SIZE,
  fallocate,
  isReadWrite,
  memfdCreate,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_HUGETLB,
  seekTo,
  setClosesOnExec,
} from './libc.ts';
import { fs } from './node-fs.ts';
import { checkRuntime } from './runtime.ts';
import { UnnamedFile } from './unnamed-file.ts';
import { COPY } from './package-copy.ts';

/** The lowest number a RAM's descriptor gets. */
const LEAST_FD = 64;
/** Pages of the smallest RAM: page 0 is never handed out. */
const LEAST_PAGES = 2;
const GROUP_OR_OTHERS_WRITE = 0o022;
/** f_type of hugetlbfs (HUGETLBFS_MAGIC in linux/magic.h). */
const HUGETLBFS_MAGIC = 0x9584_58f6;
/** Bytes read at once where a file is searched for content. */
const SEARCH_STEP = 2 ** 20;

const BRAND: Branded = { className: 'RamFile', copy: COPY };

/** An open file that is ours alone. Its size and its content are whatever they are. */
export class RamFile implements Disposable {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to objects of other copies too. */
  static [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  /** From 64 up and close-on-exec. */
  readonly fd: number;
  /** Bytes in the pages that the file system gives and takes: huge ones for hugetlb memory. */
  readonly granule: number;
  /** What it is called in messages. */
  readonly what: string;
  #unnamed: UnnamedFile | undefined;
  /** The descriptor that was given to us, while it is not ours. */
  #lender: number | undefined;
  #isOpen = true;

  private constructor(
    fd: number,
    what: string,
    granule: number,
    from: { readonly unnamed?: UnnamedFile; readonly lender?: number } = {},
  ) {
    this.fd = fd;
    this.granule = granule;
    this.what = what;
    this.#unnamed = from.unnamed;
    this.#lender = from.lender;
  }

  /**
   * Makes a file of `size` bytes, all holes, that has no name yet: `link` puts it at `path`. Where
   * it is closed before that, or its maker dies, nothing is left.
   *
   * @throws KernelError as MappedRam.create, but for EEXIST
   */
  static create(options: { path: string; size: number; mode?: number }): RamFile {
    checkObject(options, 'options of a file');
    const { path, size, mode = 0o600 } = options;
    checkPath(path);
    checkRamSize(size, LEAST_PAGES);
    checkWhole(mode, 'a mode of a file', { max: 0o7777 });
    checkRuntime();
    if ((mode & GROUP_OR_OTHERS_WRITE) !== 0 || (mode & 0o600) !== 0o600) {
      throw new KernelError(
        'EINVAL',
        `mode 0${mode.toString(8)}: a RAM file is read and written by its owner alone, such as 0600`,
      );
    }
    using undo = new Undo();
    const unnamed = UnnamedFile.make(path, mode);
    undo.add(() => {
      unnamed.discard();
    });
    const fd = moveUp(unnamed.fd);
    undo.add(() => {
      fs.closeSync(fd);
    });
    const what = `'${path}'`;
    const file = new RamFile(fd, what, checkOwner(fd, what), { unnamed });
    file.resize(size);
    undo.keep();
    return file;
  }

  /**
   * Opens the file at `path`.
   *
   * @throws KernelError ENOENT, ELOOP, EISDIR, EINVAL, EPERM, EACCES, EMFILE: as MappedRam.open,
   * but for its size
   */
  static open(path: string): RamFile {
    checkPath(path);
    checkRuntime();
    using undo = new Undo();
    const { O_RDWR, O_NOFOLLOW, O_NONBLOCK, O_NOCTTY } = fs.constants;
    const flags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY;
    const fd = moveUp(callFs(`opening '${path}'`, () => fs.openSync(path, flags)));
    undo.add(() => {
      fs.closeSync(fd);
    });
    const what = `'${path}'`;
    const file = new RamFile(fd, what, checkOwner(fd, what));
    undo.keep();
    return file;
  }

  /**
   * Makes a file that never has a name. Its size is sealed: nobody can cut it short under a
   * mapping.
   *
   * @throws KernelError as MappedRam.anonymous
   */
  static memory(options: { name: string; size: number; hugetlb?: boolean }): RamFile {
    checkObject(options, 'options of a file');
    const { name, size, hugetlb = false } = options;
    checkRamSize(size, LEAST_PAGES);
    checkFlag(hugetlb, 'hugetlb');
    using undo = new Undo();
    const fd = moveUp(memfdCreate(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | (hugetlb ? MFD_HUGETLB : 0)));
    undo.add(() => {
      fs.closeSync(fd);
    });
    const what = `memory file '${name}'`;
    const file = new RamFile(fd, what, checkOwner(fd, what));
    file.resize(size);
    addSeals(fd, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    undo.keep();
    return file;
  }

  /**
   * A file on an open descriptor, which stays its owner's until `keep()`.
   *
   * @throws KernelError as MappedRam.fromFd, but for its size
   */
  static borrow(fd: number): RamFile {
    const what = `descriptor ${checkFd(fd)}`;
    checkRuntime();
    const granule = checkOwner(fd, what);
    return new RamFile(fd < LEAST_FD ? duplicateFrom(fd, LEAST_FD) : fd, what, granule, { lender: fd });
  }

  /**
   * The same, but opened anew: with a file description of its own, and so with a lock that whoever
   * else has the descriptor does not share. `keep` closes the one that was given.
   *
   * @throws KernelError as borrow
   */
  static reopen(fd: number): RamFile {
    const what = `descriptor ${checkFd(fd)}`;
    checkRuntime();
    const granule = checkOwner(fd, what);
    return new RamFile(reopenRamFile(fd), what, granule, { lender: fd });
  }

  /**
   * Takes over a borrowed descriptor: it becomes close-on-exec, and one below 64 is exchanged for a
   * higher one.
   */
  keep(): void {
    const lender = this.#lender;
    if (lender === undefined) return;
    this.#lender = undefined;
    setClosesOnExec(this.fd, true);
    if (lender !== this.fd) fs.closeSync(lender);
  }

  /** Bytes that it has now. */
  get size(): number {
    return callFs(`looking at ${this.what}`, () => fs.fstatSync(this.fd)).size;
  }

  /**
   * Whether it can be mapped as RAM of `size` bytes, or of as many as it has.
   *
   * @throws KernelError EINVAL: it has no such size
   */
  checkSize(size = this.size): number {
    checkWhole(size, 'a size of RAM');
    const has = this.size;
    if (size > MAX_RAM_SIZE) checkRamSize(size);
    if (size < LEAST_PAGES * PAGE_SIZE || size % PAGE_SIZE !== 0 || size > has)
      throw new KernelError('EINVAL', `${this.what} has ${has} bytes: it is no RAM; give another`);
    return size;
  }

  /**
   * Makes it as long as that. What is cut off is gone, what is added are holes.
   *
   * @throws KernelError EPERM: its size is sealed. EFBIG: more than a file can have here. EINVAL:
   * no such size; hugetlb memory has whole huge pages.
   */
  resize(size: number): void {
    checkWhole(size, 'a size of RAM');
    const tried = `giving ${this.what} ${size} bytes`;
    const advice =
      this.granule === PAGE_SIZE
        ? ''
        : `hugetlb memory comes in whole huge pages; make the size a multiple of ${this.granule}`;
    callFs(
      tried,
      () => {
        try {
          fs.ftruncateSync(this.fd, size);
        } catch (cause) {
          if (codeOf(cause) !== 'EPERM') throw cause;
          throw new KernelError('EPERM', `${tried}: its size is sealed; open it with the size it has`, {
            cause,
          });
        }
      },
      advice,
    );
  }

  /**
   * Its first page, by read(2): that takes no memory, where a look through a mapping would. Zeros
   * past the end.
   */
  firstPage(): Uint8Array {
    const page = new Uint8Array(PAGE_SIZE);
    callFs(`reading ${this.what}`, () => fs.readSync(this.fd, page, 0, PAGE_SIZE, 0));
    return page;
  }

  /**
   * Takes the memory of the first page now.
   *
   * @throws KernelError ENOSPC, ENOMEM: there is none
   */
  reserveFirstPage(): void {
    fallocate(this.fd, FALLOC_KEEP_SIZE, 0, this.granule);
  }

  /** Whether there is nothing but zeros in it. What was never written is not read. */
  isBlank(): boolean {
    const buffer = new Uint8Array(SEARCH_STEP);
    for (const { from, to } of this.#pieces()) {
      for (let at = from; at < to;) {
        const want = Math.min(SEARCH_STEP, to - at);
        const read = callFs(`reading ${this.what}`, () => fs.readSync(this.fd, buffer, 0, want, at));
        if (read === 0) break;
        if (buffer.subarray(0, read).some((byte) => byte !== 0)) return false;
        at += read;
      }
    }
    return true;
  }

  /** Where it may have content; the whole of it where the file system does not know. */
  *#pieces(): Generator<{ readonly from: number; readonly to: number }> {
    const { size } = this;
    for (let at = 0; at < size;) {
      const piece = this.#pieceFrom(at, size);
      if (!piece) return;
      yield piece;
      at = piece.to;
    }
  }

  #pieceFrom(at: number, size: number): { readonly from: number; readonly to: number } | undefined {
    try {
      const from = seekTo('data', this.fd, at);
      return from === undefined ? undefined : { from, to: seekTo('hole', this.fd, from) ?? size };
    } catch (error) {
      if (codeOf(error) !== 'EINVAL') throw error;
      return { from: at, to: size };
    }
  }

  /** Whether it is what lies at this path now. */
  isAt(path: string): boolean {
    return isOpenOn(this.fd, checkPath(path));
  }

  /**
   * Puts a file that was made by `create` at its path, whole as it is.
   *
   * @throws KernelError EEXIST: there is something. ENOENT, ENOTDIR, EACCES, EROFS, ENOSPC: the
   * directory is gone, not ours to write, or full.
   */
  link(): void {
    this.#unnamed?.link(this.fd);
    this.#unnamed = undefined;
  }

  /**
   * Closes it. One that was made and not linked is gone; of one that is borrowed, the lender keeps
   * his descriptor. Idempotent.
   */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#unnamed?.discard();
    this.#unnamed = undefined;
    if (this.#lender !== this.fd) fs.closeSync(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Whether the descriptor is open on the file at this path; false where there is none. */
export function isOpenOn(fd: number, path: string): boolean {
  const there = callFs(`looking at '${path}'`, () => fs.statSync(path, { throwIfNoEntry: false }));
  const here = callFs(`looking at descriptor ${fd}`, () => fs.fstatSync(fd));
  return there?.ino === here.ino && there.dev === here.dev;
}

/**
 * Another open file description on the same file, for mapping it. A mapping keeps its description,
 * and that keeps its locks: the lock on a RAM is on the descriptor that goes through exec, and must
 * not outlive the owner with an old address space. Without /proc it is the same one.
 */
export function reopenRamFile(fd: number): number {
  try {
    return moveUp(callFs(`reopening descriptor ${fd}`, () => fs.openSync(`/proc/self/fd/${fd}`, 'r+')));
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    return duplicateFrom(fd, LEAST_FD);
  }
}

/**
 * Gives a descriptor of ours a number from LEAST_FD up and close-on-exec; the one it had is closed,
 * also where that fails.
 */
function moveUp(low: number): number {
  try {
    return duplicateFrom(low, LEAST_FD);
  } finally {
    fs.closeSync(low);
  }
}

/** Throws unless the file is ours alone. Returns its granule. */
function checkOwner(fd: number, what: string): number {
  const stat = callFs(`looking at ${what}`, () => fs.fstatSync(fd));
  const own = process.geteuid?.();
  if (!stat.isFile()) {
    throw new KernelError(
      'EINVAL',
      `${what} is not a regular file: give a file on tmpfs or hugetlbfs, or a memfd`,
    );
  }
  if (stat.uid !== own) {
    const whose = `belongs to user ${stat.uid}, this program runs as user ${own ?? '?'}`;
    throw new KernelError('EPERM', `${what} ${whose}: run it as the owner, or create a RAM of its own`);
  }
  // A file without a name (nlink 0) cannot be opened by others, and a memfd has mode 0777 from
  // birth.
  if (stat.nlink > 0 && (stat.mode & GROUP_OR_OTHERS_WRITE) !== 0) {
    const mode = `0${(stat.mode & 0o777).toString(8)}`;
    throw new KernelError(
      'EACCES',
      `${what} has mode ${mode}, others may write it: if its content is to be trusted, chmod 600`,
    );
  }
  if (!isReadWrite(fd))
    throw new KernelError('EACCES', `${what} is not open for reading and writing: open it with O_RDWR`);
  const system = callFs(`looking at the file system of ${what}`, () => fs.statfsSync(`/proc/self/fd/${fd}`));
  return system.type === HUGETLBFS_MAGIC ? system.bsize : PAGE_SIZE;
}
