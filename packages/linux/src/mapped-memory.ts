/**
 * The system's memory under a mapped RAM: taking it page by page or in huge pages, giving it back,
 * and asking what is there. What a page costs, and who may touch it, is known by `Residency` of
 * `@liveupdate/mm`.
 */
import { bytesOf, KernelError, PAGE_SIZE, pagesFor, type Bytes } from '@liveupdate/base';
import { checkPages, checkRange, HUGE_PAGE, type RamPiece, type SystemMemory } from '@liveupdate/mm';
import {
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  fallocate,
  madvise,
  MADV_COLLAPSE,
  MADV_HUGEPAGE,
  seekTo,
} from './libc.ts';
import { populateRange, type Windows } from './mapping.ts';
import { fs } from './node-fs.ts';
import { callFs } from './call-fs.ts';

/**
 * Bytes reserved by one system call: a signal makes the kernel take back and redo at most so much.
 */
const RESERVE_STEP = 256 * 2 ** 20;
/**
 * How long the system is not asked for huge pages after it had none, or one took so long: where
 * memory is scattered it moves others' to make one.
 */
const NO_HUGE_MS = 1000;
const SLOW_HUGE_MS = 20;

/** Where the memory is. */
export interface MappedFile {
  readonly fd: number;
  /** Bytes of RAM. */
  readonly size: number;
  /** Bytes in the pages that the file system gives and takes. */
  readonly granule: number;
  /** Where the file is mapped. */
  readonly windows: Windows;
  /** @throws KernelError EBADF: closed */
  readonly checkOpen: () => void;
}

export class MappedMemory implements SystemMemory {
  readonly #file: MappedFile;
  /** Which huge pages' worth of RAM were taken in one piece, by their number. */
  readonly #huge = new Set<number>();
  /** Until then (performance.now()) the system is not asked for huge pages: it had none. */
  #noHugeUntil = 0;

  /** @internal Made by MappedRam. */
  constructor(file: MappedFile) {
    this.#file = file;
  }

  /**
   * Takes memory for a range now, so that a full file system is an error here and not a SIGBUS
   * later (fallocate). What is there stays. About 0.4 s per GiB (0.04 s where it was there);
   * touching the pages first then costs 0.6 s per GiB, without this 1.1 s. Of more than 256 MiB,
   * what was taken before a failure stays taken.
   *
   * @throws KernelError ENOSPC: the file system or the pool of huge pages has not so much. ENOMEM:
   * the machine or the memory group has not. EFAULT: not inside RAM. EINVAL: not whole pages.
   * EBADF: closed. EOPNOTSUPP: not on this file system.
   */
  reserve(pa: number, length: number): void {
    const { fd } = this.#checked(pa, length);
    for (let at = pa; at < pa + length; at += RESERVE_STEP)
      fallocate(fd, FALLOC_KEEP_SIZE, at, Math.min(RESERVE_STEP, pa + length - at));
  }

  /**
   * Takes memory for a range and maps it, so that no later touch faults (MADV_POPULATE_WRITE): 1.0
   * s per GiB that was not there, 0.1 s where it was. Takes huge pages where `adviseHuge` has an
   * effect, then 0.14 s per GiB; `reserve` never does. Kernels before 5.14 only reserve.
   *
   * @throws KernelError ENOSPC: the file system or the pool of huge pages has not so much. Others:
   * as `reserve`.
   */
  populate(pa: number, length: number): void {
    const { address } = this.#checked(pa, length).windows;
    if (length === 0) return;
    if (!populateRange(address + BigInt(pa), length)) this.reserve(pa, length);
  }

  /**
   * Takes the memory of a whole huge page in one piece (MADV_COLLAPSE), for which neither privilege
   * nor a setting of the host is needed: 0.1 s per GiB, where `reserve` takes 0.4 s and the first
   * touch 0.6 s more. What is there stays; where that is much, it is copied, 0.5 s per GiB. Then
   * RAM lies in page tables of 2 MiB: a first read of 1 GiB takes 60 ms instead of 170 ms, and
   * taking it out of them next to nothing.
   *
   * @param pa a multiple of 2 MiB
   * @param isEmpty whether nothing of it is there, as the caller knows. Default false
   * @returns whether RAM has a huge page there now. False: the file system is full, the system has
   * no huge page, it had none or took more than 20 ms to find one within the last second (then it
   * is not asked), kernels before 6.1, or less than 2 MiB of RAM there. Then nothing was taken
   * where it was empty, else at most one page.
   * @throws KernelError EFAULT: not inside RAM. EINVAL: no multiple of 2 MiB. EBADF: closed.
   */
  populateHuge(pa: number, isEmpty = false): boolean {
    const { windows, granule, size } = this.#checked(pa, 0);
    if (pa % HUGE_PAGE !== 0) throw new KernelError('EINVAL', `0x${pa.toString(16)} is no multiple of 2 MiB`);
    if (this.#huge.has(pa / HUGE_PAGE)) return true;
    const start = performance.now();
    if (granule !== PAGE_SIZE || pa + HUGE_PAGE > size || start < this.#noHugeUntil) return false;
    let isDone = false;
    try {
      this.reserve(pa, PAGE_SIZE); // where there is nothing at all, there is nothing to be made one
      madvise(windows.address + BigInt(pa), HUGE_PAGE, MADV_COLLAPSE);
      this.#huge.add(pa / HUGE_PAGE);
      isDone = true;
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      if (isEmpty) this.discard(pa, PAGE_SIZE);
    }
    const end = performance.now();
    if (!isDone || end - start > SLOW_HUGE_MS) this.#noHugeUntil = end + NO_HUGE_MS;
    return isDone;
  }

  /**
   * Copies bytes out of RAM by a system call: a hole takes nothing, where a load through a mapping
   * would.
   *
   * @throws KernelError EFAULT: not inside RAM. EINVAL: nothing that has bytes. EBADF: closed.
   */
  read(pa: number, given: Bytes): void {
    const target = bytesOf(given);
    const { fd } = this.#inside(pa, target.length);
    for (let done = 0; done < target.length;) {
      const length = callFs('reading RAM', () =>
        fs.readSync(fd, target, done, target.length - done, pa + done),
      );
      if (length === 0) throw new KernelError('EIO', 'the file of this RAM was cut short');
      done += length;
    }
  }

  /**
   * Copies bytes to `pa` by a system call, which takes the memory as it goes: for memory that is
   * not there yet that is quicker than `reserve` and a store through a view. Memory in huge pages
   * is stored to; hugetlb memory, which has no such call, is reserved and stored to.
   *
   * @throws KernelError ENOSPC, ENOMEM: as `reserve`. EFAULT: not inside RAM. EINVAL: nothing that
   * has bytes. EBADF: closed.
   */
  write(pa: number, given: Bytes): void {
    const bytes = bytesOf(given);
    const { fd, granule } = this.#inside(pa, bytes.length);
    if (granule !== PAGE_SIZE) {
      const first = Math.floor(pa / PAGE_SIZE) * PAGE_SIZE;
      this.reserve(first, pagesFor(pa + bytes.length - first) * PAGE_SIZE);
      this.#store(pa, bytes);
      return;
    }
    for (let done = 0; done < bytes.length;)
      done += callFs('writing to RAM', () => fs.writeSync(fd, bytes, done, bytes.length - done, pa + done));
  }

  /**
   * The ranges that were touched, ascending; all else reads as zeros (what was reserved and never
   * touched too). True at the time of asking.
   *
   * @throws KernelError EBADF: closed. EINVAL: the file system does not know (hugetlbfs).
   */
  dataPieces(pa: number, length: number): RamPiece[] {
    const { fd } = this.#inside(pa, length);
    const end = pa + length;
    const pieces: RamPiece[] = [];
    for (let at = seekTo('data', fd, pa); at !== undefined && at < end; at = seekTo('data', fd, at)) {
      const to = Math.min(end, seekTo('hole', fd, at) ?? end);
      pieces.push({ pa: at, length: to - at });
      if (to >= end) break;
      at = to;
    }
    return pieces;
  }

  /**
   * Gives memory back to the system; it reads as zeros afterwards. 4 KiB cost about 7 µs, 1 GiB
   * about 280 ms. Of hugetlb memory whole huge pages go back, and the rest of the range is cleared.
   *
   * @throws KernelError EFAULT: not inside RAM. EINVAL: not whole pages. EBADF: closed. EPERM:
   * sealed against writing. EOPNOTSUPP: the file system cannot punch holes.
   */
  discard(pa: number, length: number): void {
    const { fd, granule } = this.#checked(pa, length);
    const first = Math.ceil(pa / granule) * granule;
    const end = Math.floor((pa + length) / granule) * granule;
    if (first >= end) {
      this.#clear(pa, length);
      return;
    }
    if (this.#huge.size > 0) this.#forgetHuge(first, end);
    fallocate(fd, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, first, end - first);
    this.#clear(pa, first - pa);
    this.#clear(end, pa + length - end);
  }

  /**
   * Asks for transparent huge pages in a range (MADV_HUGEPAGE). Says whether the kernel took the
   * advice; whether it has an effect is the host's setting: a memfd needs `shmem_enabled` at
   * advise, a file in /dev/shm the mount option huge=advise (see `hostFacts`).
   *
   * @throws KernelError EFAULT: not inside RAM. EINVAL: not whole pages. EBADF: closed.
   */
  adviseHuge(pa: number, length: number): boolean {
    const { address } = this.#checked(pa, length).windows;
    try {
      madvise(address + BigInt(pa), length, MADV_HUGEPAGE);
      return true;
    } catch (error) {
      if (error instanceof KernelError && error.code === 'EINVAL') return false; // a kernel without them, or hugetlb memory
      throw error;
    }
  }

  #forgetHuge(first: number, end: number): void {
    const [from, to] = [Math.floor(first / HUGE_PAGE), Math.ceil(end / HUGE_PAGE)];
    if (to - from < this.#huge.size) for (let page = from; page < to; page++) this.#huge.delete(page);
    else for (const page of this.#huge) if (page >= from && page < to) this.#huge.delete(page);
  }

  /**
   * Zeros part of a huge page. It is brought in first: if that cannot be done it is not there, and
   * there is nothing to clear.
   */
  #clear(pa: number, length: number): void {
    if (length === 0) return;
    const { granule } = this.#file;
    const page = Math.floor(pa / granule) * granule;
    try {
      this.populate(page, granule);
    } catch {
      return;
    }
    this.#store(pa, new Uint8Array(length));
  }

  #store(pa: number, bytes: Uint8Array): void {
    this.#file.windows.bytes(pa, bytes.length).set(bytes);
  }

  #checked(pa: number, length: number): MappedFile {
    this.#file.checkOpen();
    checkPages(this.#file.size, pa, length);
    return this.#file;
  }

  #inside(pa: number, length: number): MappedFile {
    this.#file.checkOpen();
    checkRange(this.#file.size, pa, length);
    return this.#file;
  }
}
