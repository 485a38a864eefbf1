/**
 * RAM that outlives the process: a file in shared memory, mapped. What is stored is there for
 * whoever maps the file next, at once and without a copy; only a reboot of the host or the last
 * close of a file without a name ends it.
 *
 * - The file is sparse: RAM of 64 GiB costs what was touched. Touching more than the file system or
 *   the machine has ends the process by SIGBUS, not by an exception. `system` takes the memory
 *   beforehand and throws ENOSPC instead.
 * - Buffers are detached before memory is unmapped, so one kept too long has length 0 and cannot
 *   crash the process.
 * - The garbage collector never unmaps: RAM and views live until they are closed and released.
 */
import {
  checkFlag,
  checkInstance,
  checkObject,
  checkList,
  checkOptions,
  checkWhole,
  codeOf,
  KernelError,
  Undo,
  isBranded,
  type Branded,
} from '@liveupdate/base';
import {
  checkPages,
  checkRange,
  type Ram,
  type RamPiece,
  type RamView,
  type ViewOptions,
} from '@liveupdate/mm';
import { giveBackOnceCollected, retire, type Range } from './address-ranges.ts';
import { callFs } from './call-fs.ts';
import { madvise, MADV_DONTNEED, seekTo, viewOf } from './libc.ts';
import { MappedMemory } from './mapped-memory.ts';
import { MappedView } from './mapped-view.ts';
import { checkFd, checkPath } from './inputs.ts';
import { mapRuns, mergeAdjacent, Windows } from './mapping.ts';
import { fs } from './node-fs.ts';
import { isOpenOn, RamFile, reopenRamFile } from './ram-file.ts';
import { COPY } from './package-copy.ts';

/** Bytes taken out of the page tables by one step: 0.5 ms where they are 4 KiB pages. */
const DROP_STEP = 8 * 2 ** 20;

const BRAND: Branded = { className: 'MappedRam', copy: COPY };

export class MappedRam implements Ram {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to objects of other copies too. */
  static [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  /** Bytes. */
  readonly size: number;
  /** Descriptor of the file, from 64 up and close-on-exec. It belongs to the RAM. */
  readonly fd: number;
  readonly #file: RamFile;
  /**
   * Where the file was created or opened; undefined for a file without a name or one that came by
   * its descriptor.
   */
  readonly path: string | undefined;
  readonly system: MappedMemory;
  /** The same RAM for a kernel: its windows are buffers that nobody else gets. */
  readonly inner: Ram;
  /** The descriptor that is mapped; locks are on the other one. */
  readonly #mapFd: number;
  readonly #granule: number;
  readonly #range: Range;
  /** Windows for the kernel, and for everybody else. */
  readonly #windows: Windows;
  readonly #outer: Windows;
  readonly #views = new Set<MappedView>();
  /** Views that are there before they are asked for, by what they show. */
  readonly #prepared = new Map<string, RamView>();
  /** Somebody may hold a buffer over the mapping that we do not know. */
  #isShown = false;
  #isOpen = true;

  private constructor(file: RamFile, path?: string, size?: number) {
    using undo = new Undo();
    this.size = file.checkSize(size);
    this.#file = file;
    this.fd = file.fd;
    this.path = path;
    this.#granule = file.granule;
    this.#mapFd = reopenRamFile(file.fd);
    undo.add(() => {
      fs.closeSync(this.#mapFd);
    });
    this.#range = mapRuns(this.#mapFd, [{ pa: 0, length: this.size }], file.granule);
    this.#windows = new Windows(this.#range.address, this.size);
    this.#outer = new Windows(this.#range.address, this.size);
    const { fd, granule } = file;
    const checkOpen = this.#checkOpen.bind(this);
    this.system = new MappedMemory({ fd, size: this.size, granule, windows: this.#windows, checkOpen });
    this.inner = this.#innerRam();
    undo.keep();
  }

  #innerRam(): Ram {
    return {
      size: this.size,
      system: this.system,
      bytes: (pa, length) => {
        this.#checkOpen();
        checkRange(this.size, pa, length);
        return this.#windows.bytes(pa, length);
      },
      ownBytes: this.ownBytes.bind(this),
      discard: this.discard.bind(this),
      view: this.view.bind(this),
      close: this.close.bind(this),
    };
  }

  /**
   * Maps a file, which belongs to the RAM from here on. Where this throws, it stays as it was.
   *
   * @param options.size bytes of RAM, where the file has more
   * @param options.path where it is, or will be linked
   * @throws KernelError EINVAL: its size is not that of a RAM, or options of a wrong kind. ENOMEM:
   * no address space. EMFILE: too many open files.
   */
  static of(file: RamFile, options: { size?: number; path?: string | undefined } = {}): MappedRam {
    checkInstance(file, 'a file of a RAM', RamFile);
    checkObject(options, 'options of a RAM');
    if (options.path !== undefined) checkPath(options.path);
    return new MappedRam(file, options.path, options.size);
  }

  /**
   * Creates a RAM file. It may be larger than the file system: it costs what is touched (see
   * `shmSpace` and `reserve`). It appears under its name when it is all there: whoever finds it
   * finds a RAM, also where we die on the way.
   *
   * @param options.path such as `/dev/shm/my-service.ram`; nothing may be there yet
   * @param options.size bytes, a multiple of 4096, at least two pages
   * @param options.mode 0600 unless given; nobody but the owner may have write permission
   * @throws KernelError EEXIST: there is a file of that name; open it, or remove it first. EINVAL:
   * no such size or mode. ENOENT, ENOTDIR, EACCES, EROFS, ENOSPC: the directory is missing, not
   * ours to write, or full. EFBIG: larger than the file system's files can be. ENOMEM: no address
   * space. EMFILE: too many open files. EOPNOTSUPP: not Linux on x64 or arm64.
   */
  static create(options: { path: string; size: number; mode?: number }): MappedRam {
    checkOptions(options, 'MappedRam.create', ['path', 'size', 'mode']);
    return mapped(RamFile.create(options), (file) => {
      const ram = new MappedRam(file, options.path);
      try {
        file.link();
        return ram;
      } catch (error) {
        ram.close();
        throw error;
      }
    });
  }

  /**
   * Opens a RAM file that exists. The file is checked before it is mapped.
   *
   * @throws KernelError ENOENT: no such file. ELOOP: a symbolic link. EISDIR, EINVAL: no regular
   * file, or its size is not that of a RAM. EPERM: it belongs to another user. EACCES: others may
   * write it, or we may not. ENOMEM: no address space. EMFILE: too many open files. EOPNOTSUPP: not
   * Linux on x64 or arm64.
   */
  static open(options: { path: string }): MappedRam {
    checkOptions(options, 'MappedRam.open', ['path']);
    return mapped(RamFile.open(options.path), (file) => new MappedRam(file, options.path));
  }

  /**
   * Creates RAM without a name (memfd_create): it lives as long as a descriptor or mapping of it,
   * across exec too where the descriptor is kept (see `replaceProcess`), and it cannot be left
   * behind by accident. Nobody can change its size.
   *
   * @param options.name what /proc shows, at most 249 bytes
   * @param options.hugetlb back it with huge pages of the host's pool (/proc/sys/vm/nr_hugepages);
   * the size is then a multiple of one
   * @throws KernelError EINVAL: no such size or name. ENODEV: no hugetlb in this kernel. ENOMEM: no
   * address space. EMFILE: too many open files. EOPNOTSUPP: not Linux on x64 or arm64.
   */
  static anonymous(options: { name: string; size: number; hugetlb?: boolean }): MappedRam {
    checkOptions(options, 'MappedRam.anonymous', ['name', 'size', 'hugetlb']);
    return mapped(RamFile.memory(options), (file) => new MappedRam(file));
  }

  /**
   * RAM on an open descriptor, such as one inherited through exec. The descriptor belongs to the
   * RAM from here on: it becomes close-on-exec, and a number below 64 is exchanged for a higher
   * one. Where this throws, it stays as it was.
   *
   * @throws KernelError EBADF: not open. EINVAL, EPERM, EACCES: as `open` has them, or not open for
   * reading and writing. ENOMEM: no address space. EMFILE: too many open files.
   */
  static fromFd(fd: number): MappedRam {
    return mapped(RamFile.borrow(fd), (file) => {
      const ram = new MappedRam(file);
      file.keep();
      return ram;
    });
  }

  /** Whether there is a file at this path, RAM or not. @throws KernelError EINVAL: no path */
  static exists(path: string): boolean {
    return fs.existsSync(checkPath(path));
  }

  /**
   * Whether a descriptor is open on the file at this path; false where there is none.
   *
   * @throws KernelError EBADF: not open. EACCES, ENOTDIR, ELOOP: the path cannot be followed.
   * EINVAL: no path, or no number of a descriptor.
   */
  static isOpenOn(fd: number, path: string): boolean {
    return isOpenOn(checkFd(fd), checkPath(path));
  }

  /**
   * Removes a RAM file; whoever has it open keeps it. Nothing where there is none.
   *
   * @throws KernelError EACCES, EPERM, EROFS: the directory is not ours to write. EINVAL: no path
   */
  static remove(path: string): void {
    checkPath(path);
    callFs(`removing '${path}'`, () => {
      fs.rmSync(path, { force: true });
    });
  }

  /**
   * Where RAM is mapped in this process, for system calls that take addresses. It says nothing
   * about views.
   *
   * @throws KernelError EBADF: closed
   */
  get address(): bigint {
    this.#checkOpen();
    return this.#range.address;
  }

  /**
   * A live view, of any length: a window on a buffer that others use too.
   *
   * @throws KernelError EFAULT: not inside RAM. EBADF: closed.
   */
  bytes(pa: number, length: number): Uint8Array<ArrayBuffer> {
    this.#checkOpen();
    checkRange(this.size, pa, length);
    return this.#outer.bytes(pa, length);
  }

  /**
   * A live view over a buffer of its own, of exactly this length. After `close` it is memory of
   * nobody.
   *
   * @throws KernelError EFAULT: not inside RAM. EBADF: closed.
   */
  ownBytes(pa: number, length: number): Uint8Array<ArrayBuffer> {
    this.#checkOpen();
    checkRange(this.size, pa, length);
    if (length === 0) return new Uint8Array(0);
    this.#isShown = true;
    return new Uint8Array(viewOf(this.#range.address + BigInt(pa), length));
  }

  /**
   * Gives memory back to the system; it reads as zeros afterwards. See `system.discard`.
   *
   * @throws KernelError EFAULT: not inside RAM. EINVAL: not whole pages. EBADF: closed. EPERM:
   * sealed against writing. EOPNOTSUPP: the file system cannot punch holes.
   */
  discard(pa: number, length: number): void {
    this.system.discard(pa, length);
  }

  /**
   * One contiguous live view over pieces of RAM, in their order: the pieces of the file are mapped
   * side by side. It is a buffer of its own. About 7 µs, and 2 µs more per piece that does not
   * continue the one before; every such piece is one of the process's vm.max_map_count mappings
   * (65530 by default).
   *
   * @throws KernelError ENOMEM: no address space, or too many mappings. ENOSPC: no memory for a
   * hole, where it is to be populated. EFAULT: a piece is not inside RAM. EINVAL: a piece is not
   * made of whole pages (of hugetlb memory: of whole huge pages), there is none, or they have fewer
   * bytes than are shown. EBADF: closed.
   */
  view(pieces: readonly RamPiece[], options: ViewOptions): RamView {
    this.#checkOpen();
    checkList(pieces, 'a list of pieces of RAM');
    checkObject(options, 'what a view shows');
    checkFlag(options.populate, 'whether a view is populated');
    const runs = mergeAdjacent(pieces);
    let bytes = 0;
    for (const { pa, length } of runs) {
      checkPages(this.size, pa, length);
      bytes += length;
      if (pa % this.#granule === 0 && length % this.#granule === 0) continue;
      const why = `a piece of ${length} bytes at ${pa} is not made of huge pages of ${this.#granule} bytes`;
      throw new KernelError('EINVAL', why);
    }
    if (!(checkWhole(options.size, 'bytes to show') > 0 && options.size <= bytes))
      throw new KernelError('EINVAL', `pieces of ${bytes} bytes cannot show ${options.size}`);
    const prepared = this.#prepared.size > 0 ? this.#prepared.get(shows(runs, options)) : undefined;
    if (prepared) {
      this.#prepared.delete(shows(runs, options));
      return prepared;
    }
    const onRelease = (view: MappedView): void => {
      this.#views.delete(view);
    };
    const view = new MappedView({ fd: this.#mapFd, runs, granule: this.#granule, onRelease }, options);
    this.#views.add(view);
    return view;
  }

  /**
   * Makes a view that is likely asked for: `view` gives it to whoever asks for the same pieces and
   * size first.
   *
   * @throws KernelError as view
   */
  prepareView(pieces: readonly RamPiece[], options: ViewOptions): void {
    const view = this.view(pieces, options);
    const key = shows(mergeAdjacent(pieces), options);
    this.#prepared.get(key)?.release();
    this.#prepared.set(key, view);
  }

  /**
   * Makes the buffer ahead through which memory at an address is seen by a kernel. To the engine
   * each is 8 MiB more, and after some of them it collects garbage.
   *
   * @throws KernelError EBADF: closed. EFAULT: no address in it
   */
  prepareWindow(pa: number): void {
    this.inner.bytes(pa, 1);
  }

  /** Takes the views down that were prepared and that nobody asked for. */
  dropPrepared(): void {
    for (const view of this.#prepared.values()) view.release();
    this.#prepared.clear();
  }

  /**
   * Takes all pages out of this process's page tables, some at each step of the generator (0.5 ms
   * where all are there); between the steps other work can go on. Nothing is lost: the pages stay
   * in the file, and whoever touches one again has it mapped again, for about 1 µs.
   *
   * The end of the process and exec do the same at once, and for 50 ms per GiB of 4 KiB pages
   * nobody is served. Done beforehand, that is short. Costs by what is in the file, however large
   * that is. The generator ends early where the kernel does not take the advice (locked memory).
   *
   * @throws KernelError EBADF: closed, at whatever step
   */
  *dropPageTables(): Generator<undefined, void> {
    this.#checkOpen();
    const views = [...this.#views].flatMap((view) => view.ranges.map((range) => ({ view, range })));
    for (const view of this.#views) view.noteDropped();
    let dropped = 0;
    for (const { view, range } of [{ view: undefined, range: this.#range }, ...views]) {
      for (let at = 0; at < range.length;) {
        if (view && !this.#views.has(view)) break; // released between two steps
        const end = Math.min(range.length, at + DROP_STEP - dropped);
        // What the file has not is in no page table: one step, however long it is.
        const to = view ? end : Math.min(range.length, Math.max(end, this.#nextData(at)));
        try {
          madvise(range.address + BigInt(at), to - at, MADV_DONTNEED);
        } catch (error) {
          if (codeOf(error) === 'EINVAL') return;
          throw error;
        }
        dropped += to - at;
        at = to;
        if (dropped < DROP_STEP) continue; // many small views are one step
        dropped = 0;
        yield;
        this.#checkOpen();
      }
    }
  }

  /**
   * The first page from `at` on that the file has: what it has not is in no page table. Infinity
   * where none follows.
   */
  #nextData(at: number): number {
    try {
      return seekTo('data', this.fd, at) ?? Infinity;
    } catch (error) {
      if (codeOf(error) === 'EINVAL') return at; // hugetlbfs does not know
      throw error;
    }
  }

  /**
   * Bytes of memory that the file takes.
   *
   * @throws KernelError EBADF: closed
   */
  allocated(): number {
    this.#checkOpen();
    return callFs('looking at RAM', () => fs.fstatSync(this.fd)).blocks * 512;
  }

  /**
   * The ranges that were touched, ascending; all else reads as zeros. True at the time of asking.
   *
   * @throws KernelError EBADF: closed. EINVAL: the file system does not know (hugetlbfs).
   */
  dataPieces(): RamPiece[] {
    return this.system.dataPieces(0, this.size);
  }

  /**
   * Detaches every buffer, takes every view down, unmaps and closes. The file stays where it has a
   * name. Idempotent.
   */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const view of [...this.#views]) view.release();
    const [inner, outer] = [this.#windows.detach(), this.#outer.detach()];
    retire(this.#range); // a thread of the pool may be at work on a window of `bytes`
    if (inner && outer && !this.#isShown) giveBackOnceCollected(this.#range, [...inner, ...outer]);
    fs.closeSync(this.#mapFd);
    this.#file.close(); // last: the lock goes with it, and another may own what lies here
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #checkOpen(): void {
    if (!this.#isOpen) throw new KernelError('EBADF', 'this RAM is closed');
  }
}

/** RAM made of a file, which is closed where that fails. */
function mapped(file: RamFile, make: (file: RamFile) => MappedRam): MappedRam {
  try {
    return make(file);
  } catch (error) {
    file.close();
    throw error;
  }
}

/** What a view shows, in a text. */
function shows(runs: readonly RamPiece[], { size, populate }: ViewOptions): string {
  let text = `${size} ${populate}`;
  for (const { pa, length } of runs) text += ` ${pa}+${length}`;
  return text;
}
