/**
 * RAM that outlives the process: a file in shared memory, mapped. What is stored is there for whoever maps the file next, at once and
 * without a copy; only a reboot of the host or the last close of a file without a name ends it.
 *
 * - The file is sparse: RAM of 64 GiB costs what was touched. Touching more than the file system or the machine has ends the process by
 *   SIGBUS, not by an exception. `reserve` and `populate` take the memory beforehand and throw ENOSPC instead.
 * - Views are detached before memory is unmapped, so a view kept too long has length 0 and cannot crash the process.
 * - The garbage collector never unmaps: RAM and gathered views live until they are closed and released.
 */
import { codeOf, KernelError, Undo, PAGE_SIZE, pagesFor } from '@liveupdate/base';
import {
  checkPages,
  checkRange,
  HUGE_PAGE,
  type GatheredView,
  type Ram,
  type RamPiece,
} from '@liveupdate/mm';
import { callFs } from './call-fs.ts';
import {
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  fallocate,
  madvise,
  MADV_COLLAPSE,
  MADV_DONTNEED,
  MADV_HUGEPAGE,
  MADV_POPULATE_WRITE,
  seekTo,
} from './libc.ts';
import { mapFile, mapRuns, mergeAdjacent, type Mapping } from './mapping.ts';
import { fs } from './node-fs.ts';
import { isOpenOn, RamFile, reopenRamFile } from './ram-file.ts';

/** Bytes reserved by one system call: a signal makes the kernel take back and redo at most so much. */
const RESERVE_STEP = 256 * 2 ** 20;
/** Bytes taken out of the page tables by one system call: 0.5 ms where they are 4 KiB pages. */
const DROP_STEP = 8 * 2 ** 20;
/** How long the system is not asked for huge pages after it had none, or one took so long: where memory is scattered it moves others' to make one. */
const NO_HUGE_MS = 1000;
const SLOW_HUGE_MS = 20;

export class MappedRam implements Ram {
  /** Bytes. */
  readonly size: number;
  /** Descriptor of the file, from 64 up and close-on-exec. It belongs to the RAM. */
  readonly fd: number;
  readonly #file: RamFile;
  /** Where the file was created or opened; undefined for a file without a name or one that came by its descriptor. */
  readonly path: string | undefined;
  /** The descriptor that is mapped; locks are on the other one. */
  readonly #mapFd: number;
  readonly #granule: number;
  #mapping: Mapping | undefined;
  readonly #gathered = new Set<Mapping>();
  /** Which huge pages' worth of RAM were taken in one piece, by their number: 1. */
  readonly #huge: Uint8Array;
  /** Until then (performance.now()) the system is not asked for huge pages: it had none. */
  #noHugeUntil = 0;

  private constructor(file: RamFile, path?: string, size?: number) {
    using undo = new Undo();
    this.size = file.checkSize(size);
    this.#file = file;
    this.fd = file.fd;
    this.path = path;
    this.#granule = file.granule;
    this.#huge = new Uint8Array(Math.ceil(this.size / HUGE_PAGE));
    this.#mapFd = reopenRamFile(file.fd);
    undo.add(() => {
      fs.closeSync(this.#mapFd);
    });
    this.#mapping = mapFile(this.#mapFd, this.size, file.granule);
    undo.keep();
  }

  /**
   * Maps a file, which belongs to the RAM from here on. Where this throws, it stays as it was.
   *
   * @param options.size bytes of RAM, where the file has more
   * @param options.path where it is, or will be linked
   * @throws KernelError EINVAL: its size is not that of a RAM. ENOMEM: no address space. EMFILE: too many open files.
   */
  static of(file: RamFile, options: { size?: number; path?: string | undefined } = {}): MappedRam {
    return new MappedRam(file, options.path, options.size);
  }

  /**
   * Creates a RAM file. It may be larger than the file system: it costs what is touched (see `shmSpace` and `reserve`).
   * It appears under its name when it is all there: whoever finds it finds a RAM, also where we die on the way.
   *
   * @param options.path such as `/dev/shm/my-service.ram`; nothing may be there yet
   * @param options.size bytes, a multiple of 4096, at least two pages
   * @param options.mode 0600 unless given; nobody but the owner may have write permission
   * @throws KernelError EEXIST: there is a file of that name; open it, or remove it first. EINVAL: no such size or mode.
   * ENOENT, ENOTDIR, EACCES, EROFS, ENOSPC: the directory is missing, not ours to write, or full. EFBIG: larger than the file system's
   * files can be. ENOMEM: no address space. EMFILE: too many open files. EOPNOTSUPP: not Linux on x64 or arm64.
   */
  static create(options: { path: string; size: number; mode?: number }): MappedRam {
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
   * @throws KernelError ENOENT: no such file. ELOOP: a symbolic link. EISDIR, EINVAL: no regular file, or its size is not that of a
   * RAM. EPERM: it belongs to another user. EACCES: others may write it, or we may not. ENOMEM: no address space. EMFILE: too many open
   * files. EOPNOTSUPP: not Linux on x64 or arm64.
   */
  static open(options: { path: string }): MappedRam {
    return mapped(RamFile.open(options.path), (file) => new MappedRam(file, options.path));
  }

  /**
   * Creates RAM without a name (memfd_create): it lives as long as a descriptor or mapping of it, across exec too where the descriptor
   * is kept (see `replaceProcess`), and it cannot be left behind by accident. Nobody can change its size.
   *
   * @param options.name what /proc shows, at most 249 bytes
   * @param options.hugetlb back it with huge pages of the host's pool (/proc/sys/vm/nr_hugepages); the size is then a multiple of one
   * @throws KernelError EINVAL: no such size or name. ENODEV: no hugetlb in this kernel. ENOMEM: no address space. EMFILE: too many open
   * files. EOPNOTSUPP: not Linux on x64 or arm64.
   */
  static anonymous(options: { name: string; size: number; hugetlb?: boolean }): MappedRam {
    return mapped(RamFile.memory(options), (file) => new MappedRam(file));
  }

  /**
   * RAM on an open descriptor, such as one inherited through exec. The descriptor belongs to the RAM from here on: it becomes
   * close-on-exec, and a number below 64 is exchanged for a higher one. Where this throws, it stays as it was.
   *
   * @throws KernelError EBADF: not open. EINVAL, EPERM, EACCES: as `open` has them, or not open for reading and writing. ENOMEM: no
   * address space. EMFILE: too many open files.
   */
  static fromFd(fd: number): MappedRam {
    return mapped(RamFile.borrow(fd), (file) => {
      const ram = new MappedRam(file);
      file.keep();
      return ram;
    });
  }

  /** Whether there is a file at this path, RAM or not. */
  static exists(path: string): boolean {
    return fs.existsSync(path);
  }

  /**
   * Whether a descriptor is open on the file at this path; false where there is none.
   *
   * @throws KernelError EBADF: not open. EACCES, ENOTDIR, ELOOP: the path cannot be followed.
   */
  static isOpenOn(fd: number, path: string): boolean {
    return isOpenOn(fd, path);
  }

  /**
   * Removes a RAM file; whoever has it open keeps it. Nothing where there is none.
   *
   * @throws KernelError EACCES, EPERM, EROFS: the directory is not ours to write
   */
  static remove(path: string): void {
    callFs(`removing '${path}'`, () => {
      fs.rmSync(path, { force: true });
    });
  }

  /**
   * Where RAM is mapped in this process, for system calls that take addresses. It says nothing about gathered views.
   *
   * @throws KernelError EBADF: closed
   */
  get address(): bigint {
    return this.#open().address;
  }

  /**
   * A live view, of any length.
   *
   * @throws KernelError EFAULT: not inside RAM. EBADF: closed.
   */
  bytes(pa: number, length: number): Uint8Array {
    const mapping = this.#open();
    checkRange(this.size, pa, length);
    return mapping.bytes(pa, length);
  }

  /**
   * Gives memory back to the system; it reads as zeros afterwards. 4 KiB cost about 7 µs, 1 GiB about 280 ms. Of
   * hugetlb memory whole huge pages go back, and the rest of the range is cleared.
   *
   * @throws KernelError EFAULT: not inside RAM. EINVAL: not whole pages. EBADF: closed. EPERM: sealed against writing. EOPNOTSUPP: the
   * file system cannot punch holes.
   */
  discard(pa: number, length: number): void {
    this.#open();
    checkPages(this.size, pa, length);
    const first = Math.ceil(pa / this.#granule) * this.#granule;
    const end = Math.floor((pa + length) / this.#granule) * this.#granule;
    if (first >= end) {
      this.#clear(pa, length);
      return;
    }
    this.#huge.fill(0, Math.floor(first / HUGE_PAGE), Math.ceil(end / HUGE_PAGE));
    fallocate(this.fd, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, first, end - first);
    this.#clear(pa, first - pa);
    this.#clear(end, pa + length - end);
  }

  /**
   * Takes memory for a range now, so that a full file system is an error here and not a SIGBUS later (fallocate). What is there stays.
   * About 0.4 s per GiB (0.04 s where it was there); touching the pages first then costs 0.6 s per GiB, without this 1.1 s.
   * What was taken before a failure stays taken.
   *
   * @throws KernelError ENOSPC: the file system or the pool of huge pages has not so much. ENOMEM: the machine or the memory group has
   * not. EFAULT: not inside RAM. EINVAL: not whole pages. EBADF: closed. EOPNOTSUPP: not on this file system.
   */
  reserve(pa: number, length: number): void {
    this.#open();
    checkPages(this.size, pa, length);
    for (let at = pa; at < pa + length; at += RESERVE_STEP) {
      fallocate(this.fd, FALLOC_KEEP_SIZE, at, Math.min(RESERVE_STEP, pa + length - at));
    }
  }

  /**
   * Takes the memory of a whole huge page in one piece (MADV_COLLAPSE), for which neither privilege nor a setting of the host is needed: 0.1 s per GiB,
   * where `reserve` takes 0.4 s and the first touch 0.6 s more. What is there stays; where that is much, it is copied, 0.5 s per GiB. Then
   * RAM lies in page tables of 2 MiB: a first read of 1 GiB takes 60 ms instead of 170 ms, and taking it out of them next to nothing.
   *
   * @param pa a multiple of 2 MiB
   * @returns whether RAM has a huge page there now. False: the file system is full, the system has no huge page, it had none or took more than 20 ms to
   * find one within the last second (then it is not asked), kernels before 6.1, or less than 2 MiB of RAM there. At most one page was taken then.
   * @throws KernelError EFAULT: not inside RAM. EINVAL: no multiple of 2 MiB. EBADF: closed.
   */
  populateHuge(pa: number): boolean {
    const { address } = this.#open();
    checkPages(this.size, pa, 0);
    if (pa % HUGE_PAGE !== 0) throw new KernelError('EINVAL', `0x${pa.toString(16)} is no multiple of 2 MiB`);
    if (this.#huge[pa / HUGE_PAGE] === 1) return true;
    const start = performance.now();
    if (this.#granule !== PAGE_SIZE || pa + HUGE_PAGE > this.size || start < this.#noHugeUntil) return false;
    let isDone = false;
    try {
      this.reserve(pa, PAGE_SIZE); // where there is nothing at all, there is nothing to be made one
      madvise(address + BigInt(pa), HUGE_PAGE, MADV_COLLAPSE);
      this.#huge[pa / HUGE_PAGE] = 1;
      isDone = true;
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
    }
    const end = performance.now();
    if (!isDone || end - start > SLOW_HUGE_MS) this.#noHugeUntil = end + NO_HUGE_MS;
    return isDone;
  }

  /** Whether all of a range was taken in huge pages. */
  #isHuge(pa: number, length: number): boolean {
    const end = Math.ceil((pa + length) / HUGE_PAGE);
    for (let i = Math.floor(pa / HUGE_PAGE); i < end; i++) if (this.#huge[i] === 0) return false;
    return true;
  }

  /**
   * Copies bytes to `pa` by a system call, which takes the memory as it goes: for memory that is not there yet that is quicker than `reserve` and a
   * store through a view. Memory in huge pages is stored to; hugetlb memory, which has no such call, is reserved and stored to.
   *
   * @throws KernelError ENOSPC, ENOMEM: as `reserve`. EFAULT: not inside RAM. EBADF: closed.
   */
  write(pa: number, bytes: Uint8Array): void {
    this.#open();
    checkRange(this.size, pa, bytes.length);
    const isHugetlb = this.#granule !== PAGE_SIZE;
    if (isHugetlb) {
      const first = Math.floor(pa / PAGE_SIZE) * PAGE_SIZE;
      this.reserve(first, pagesFor(pa + bytes.length - first) * PAGE_SIZE);
    }
    if (isHugetlb || this.#isHuge(pa, bytes.length)) {
      this.bytes(pa, bytes.length).set(bytes);
      return;
    }
    for (let done = 0; done < bytes.length;)
      done += callFs('writing to RAM', () =>
        fs.writeSync(this.fd, bytes, done, bytes.length - done, pa + done),
      );
  }

  /**
   * Takes memory for a range and maps it, so that no later touch faults (MADV_POPULATE_WRITE): 1.0 s per GiB that was not there,
   * 0.1 s where it was. Takes huge pages where `adviseHuge` has an effect, then 0.14 s per GiB; `reserve` never does.
   * Kernels before 5.14 only reserve.
   *
   * @throws KernelError ENOSPC: the file system or the pool of huge pages has not so much. Others: as `reserve`.
   */
  populate(pa: number, length: number): void {
    const { address } = this.#open();
    checkPages(this.size, pa, length);
    if (length === 0) return;
    try {
      madvise(address + BigInt(pa), length, MADV_POPULATE_WRITE);
    } catch (cause) {
      if (!(cause instanceof KernelError)) throw cause;
      if (cause.code === 'EINVAL') {
        this.reserve(pa, length);
        return;
      }
      if (cause.code !== 'EFAULT') throw cause;
      // The kernel's answer where a touch would have been a SIGBUS.
      const why = `no memory for ${length} bytes: the file system or the pool of huge pages is full; free some, or make it larger`;
      throw new KernelError('ENOSPC', why, { cause });
    }
  }

  /**
   * Asks for transparent huge pages in a range (MADV_HUGEPAGE). Says whether the kernel took the advice; whether it has an effect is
   * the host's setting: a memfd needs `shmem_enabled` at advise, a file in /dev/shm the mount option huge=advise (see `hostFacts`).
   *
   * @throws KernelError EFAULT: not inside RAM. EINVAL: not whole pages. EBADF: closed.
   */
  adviseHuge(pa: number, length: number): boolean {
    const { address } = this.#open();
    checkPages(this.size, pa, length);
    try {
      madvise(address + BigInt(pa), length, MADV_HUGEPAGE);
      return true;
    } catch (error) {
      if (error instanceof KernelError && error.code === 'EINVAL') return false; // a kernel without them, or hugetlb memory
      throw error;
    }
  }

  /**
   * One contiguous live view over pieces of RAM, in their order: the pieces of the file are mapped side by side. About 7 µs per piece
   * that does not continue the one before; every such piece is one of the process's vm.max_map_count mappings (65530 by default).
   *
   * @throws KernelError ENOMEM: no address space, or too many mappings. EFAULT: a piece is not inside RAM. EINVAL: a piece is not made
   * of whole pages (of hugetlb memory: of whole huge pages), or there is none. EBADF: closed.
   */
  gather(pieces: readonly RamPiece[]): GatheredView {
    this.#open();
    const runs = mergeAdjacent(pieces);
    if (runs.length === 0) throw new KernelError('EINVAL', 'nothing to gather: give at least one page');
    for (const { pa, length } of runs) {
      checkPages(this.size, pa, length);
      if (pa % this.#granule !== 0 || length % this.#granule !== 0) {
        const why = `a piece of ${length} bytes at ${pa} is not made of huge pages of ${this.#granule} bytes`;
        throw new KernelError('EINVAL', why);
      }
    }
    const mapping = mapRuns(this.#mapFd, runs, this.#granule);
    let bytes: Uint8Array;
    try {
      bytes = mapping.bytes(0, mapping.length);
    } catch (error) {
      mapping.unmap();
      throw error;
    }
    this.#gathered.add(mapping);
    return {
      bytes,
      release: () => {
        if (this.#gathered.delete(mapping)) mapping.unmap();
      },
    };
  }

  /**
   * Takes all pages out of this process's page tables, some at each step of the generator (0.5 ms where all are there); between the steps
   * other work can go on. Nothing is lost: the pages stay in the file, and whoever touches one again has it mapped again, for about 1 µs.
   *
   * The end of the process and exec do the same at once, and for 50 ms per GiB of 4 KiB pages nobody is served. Done beforehand, that is
   * short. Costs by what is in the file, however large that is. The generator ends early where the kernel does not take the advice (locked memory).
   *
   * @throws KernelError EBADF: closed, at whatever step
   */
  *dropPageTables(): Generator<undefined, void> {
    for (const mapping of [this.#open(), ...this.#gathered]) {
      for (let at = 0; at < mapping.length;) {
        const isWhole = mapping === this.#open();
        if (!isWhole && !this.#gathered.has(mapping)) break; // released between two steps
        // What the file has not is in no page table: one step, however long it is.
        const to = Math.min(mapping.length, Math.max(at + DROP_STEP, isWhole ? this.#nextData(at) : 0));
        try {
          madvise(mapping.address + BigInt(at), to - at, MADV_DONTNEED);
        } catch (error) {
          if (codeOf(error) === 'EINVAL') return;
          throw error;
        }
        at = to;
        yield;
        this.#open();
      }
    }
  }

  /** The first page from `at` on that the file has: what it has not is in no page table. Infinity where none follows. */
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
    this.#open();
    return callFs('looking at RAM', () => fs.fstatSync(this.fd)).blocks * 512;
  }

  /**
   * The ranges that were touched, ascending; all else reads as zeros (what was reserved and never touched too). True at the time of
   * asking.
   *
   * @throws KernelError EBADF: closed. EINVAL: the file system does not know (hugetlbfs).
   */
  dataPieces(): RamPiece[] {
    this.#open();
    const pieces: RamPiece[] = [];
    for (let pa = seekTo('data', this.fd, 0); pa !== undefined; pa = seekTo('data', this.fd, pa)) {
      if (pa >= this.size) break; // the file may be longer than its RAM
      const end = Math.min(seekTo('hole', this.fd, pa) ?? this.size, this.size);
      pieces.push({ pa, length: end - pa });
      pa = end;
    }
    return pieces;
  }

  /** Detaches every view (gathered ones too), unmaps and closes. The file stays where it has a name. Idempotent. */
  close(): void {
    const mapping = this.#mapping;
    if (!mapping) return;
    this.#mapping = undefined;
    for (const gathered of this.#gathered) gathered.unmap();
    this.#gathered.clear();
    mapping.unmap();
    fs.closeSync(this.#mapFd);
    this.#file.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #open(): Mapping {
    if (!this.#mapping) throw new KernelError('EBADF', 'this RAM is closed');
    return this.#mapping;
  }

  /** Zeros part of a huge page. It is brought in first: if that cannot be done it is not there, and there is nothing to clear. */
  #clear(pa: number, length: number): void {
    if (length === 0) return;
    const page = Math.floor(pa / this.#granule) * this.#granule;
    try {
      this.populate(page, this.#granule);
    } catch {
      return;
    }
    this.bytes(pa, length).fill(0);
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
