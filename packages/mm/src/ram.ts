/**
 * RAM: bytes with physical addresses. Backends differ in where the bytes live (an ArrayBuffer, a mapped file, a memory image), not in
 * what they promise; ram-suite tests hold for all of them.
 */
import { formatSize, KernelError, MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';

/** Bytes in a huge page of the system: one entry of the page tables' second level. */
export const HUGE_PAGE = 2 * 2 ** 20;

/**
 * Bytes of the largest RAM, 16 TiB: frames are numbered in 32 bits, in the typed arrays that hold the state
 * of memory and lists of folios, and 2^32 frames of 4 KiB are 2^44 bytes.
 */
export const MAX_RAM_SIZE = 2 ** 32 * PAGE_SIZE;

/** A range of physical memory: both numbers are bytes and multiples of the page size. */
export interface RamPiece {
  readonly pa: number;
  readonly length: number;
}

/** One contiguous live view over memory that lies in pieces. */
export interface GatheredView {
  readonly bytes: Uint8Array;
  /** Takes the view down: afterwards `bytes` has length 0. */
  release(): void;
}

export interface Ram {
  /** Bytes; physical addresses run from 0 to size - 1. A multiple of the page size. */
  readonly size: number;

  /** The ranges that are memory, ascending and apart, where not all addresses are; anything outside is EFAULT. Absent: all of RAM. */
  readonly memory?: readonly RamPiece[];

  /**
   * A live view: no copy, writes are in RAM at once. A range within one aligned block of 4 MiB (any folio) can be viewed in every
   * backend, larger ranges in those that are contiguous themselves.
   *
   * @throws KernelError EFAULT: not inside RAM. ERANGE: the backend cannot show so large a range in one piece. EBADF: closed.
   */
  bytes(pa: number, length: number): Uint8Array;

  /**
   * Gives the memory of a page-aligned range back: its content is gone and reads as zeros.
   *
   * @throws KernelError EFAULT: not inside RAM. EINVAL: not whole pages. EBADF: closed.
   */
  discard(pa: number, length: number): void;

  /**
   * Takes the memory of a page-aligned range from the system now, so that a system that has no more is an error here and not the end of the
   * process at the first write. Only where the backend is sparse; elsewhere the memory is there.
   *
   * @throws KernelError ENOSPC, ENOMEM: the system has not so much
   */
  reserve?(pa: number, length: number): void;

  /** As `reserve`, and in such a way that the first touch takes no time either. Only where a touch of new memory does. */
  populate?(pa: number, length: number): void;

  /**
   * Takes the memory of a whole huge page (`HUGE_PAGE` bytes, `pa` a multiple of that) in one piece: what is there stays, all else is zeros. Each of
   * its pages then costs a fraction of what it costs alone, to take and to touch. Says whether that was done; the system may not give huge pages, or
   * have none left. Only where the backend is sparse.
   */
  populateHuge?(pa: number): boolean;

  /**
   * Copies bytes to `pa`, taking memory that is not there yet from the system on the way: a system that has no more is an error here. For memory
   * that is new this is quicker than a store through a view, which is interrupted at every page. Only where the backend is sparse.
   *
   * @throws KernelError ENOSPC, ENOMEM: the system has not so much. EFAULT: not inside RAM. EBADF: closed.
   */
  write?(pa: number, bytes: Uint8Array): void;

  /**
   * One contiguous live view over scattered pieces, in their order; only where the backend can map memory.
   *
   * @throws KernelError ENOMEM: no address space or too many mappings
   */
  gather?(pieces: readonly RamPiece[]): GatheredView;

  /** Lets go of the memory. Idempotent; views taken before have length 0 afterwards. */
  close(): void;
}

/** Throws EFAULT unless [pa, pa + length) lies inside RAM of `size` bytes. A fraction of a byte lies nowhere. */
export function checkRange(size: number, pa: number, length: number): void {
  const whole = Number.isInteger(pa) && Number.isInteger(length);
  if (!(whole && pa >= 0 && length >= 0 && pa + length <= size)) {
    throw new KernelError(
      'EFAULT',
      `0x${pa.toString(16)} + ${length} bytes is not inside RAM of ${size} bytes`,
    );
  }
}

/** Throws EFAULT or EINVAL unless the range is inside RAM and made of whole pages. */
export function checkPages(size: number, pa: number, length: number): void {
  checkRange(size, pa, length);
  if (pa % PAGE_SIZE !== 0 || length % PAGE_SIZE !== 0) {
    throw new KernelError('EINVAL', `0x${pa.toString(16)} + ${length} bytes is not made of whole pages`);
  }
}

/** Throws EINVAL unless `size` is a whole number of pages, at least `least` of them, at most MAX_RAM_SIZE. */
export function checkRamSize(size: number, least = 1): void {
  if (size > MAX_RAM_SIZE) {
    throw new KernelError(
      'EINVAL',
      `${size} bytes are too much for one RAM: give at most ${MAX_RAM_SIZE} (${formatSize(MAX_RAM_SIZE)})`,
    );
  }
  if (!Number.isSafeInteger(size) || size < least * PAGE_SIZE || size % PAGE_SIZE !== 0) {
    throw new KernelError(
      'EINVAL',
      `${size} is no size of RAM: give a multiple of ${PAGE_SIZE}, at least ${least * PAGE_SIZE}`,
    );
  }
}

/** Calls `visit` for each part of a range that every backend can view in one piece. */
export function forEachBlock(pa: number, length: number, visit: (pa: number, length: number) => void): void {
  let at = pa;
  const end = pa + length;
  while (at < end) {
    const next = Math.min(end, (Math.floor(at / MAX_FOLIO_SIZE) + 1) * MAX_FOLIO_SIZE);
    visit(at, next - at);
    at = next;
  }
}
