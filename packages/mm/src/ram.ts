/**
 * RAM: bytes with physical addresses. Backends differ in where the bytes live (an ArrayBuffer, a
 * mapped file, a memory image), not in what they promise; ram-suite tests hold for all of them.
 */
import { formatSize, KernelError, MAX_FOLIO_SIZE, MAX_ORDER, PAGE_SIZE, shown } from '@liveupdate/base';

/** Bytes in a huge page of the system: one entry of the page tables' second level. */
export const HUGE_PAGE = 2 * 2 ** 20;

/**
 * Bytes of the largest RAM, 16 TiB: frames are numbered in 32 bits, in the typed arrays that hold
 * the state of memory and lists of folios, and 2^32 frames of 4 KiB are 2^44 bytes.
 */
export const MAX_RAM_SIZE = 2 ** 32 * PAGE_SIZE;

/** A range of physical memory: both numbers are bytes and multiples of the page size. */
export interface RamPiece {
  readonly pa: number;
  readonly length: number;
}

/**
 * What a worker thread is sent of a view: plain data for `postMessage`. Who opens it is told there.
 */
export interface SharedView {
  /** Where the bytes lie in the address space of this process. */
  readonly address: bigint;
  /** Bytes. */
  readonly length: number;
  /** One shared word, an Int32: 1 while the view is live, 0 when its memory was retired. */
  readonly live: SharedArrayBuffer;
}

/** One contiguous live view over memory that lies in pieces: a buffer of its own. */
export interface RamView {
  /**
   * `byteOffset` 0, in a buffer of exactly so many bytes. Whatever detaches it ends this view
   * alone.
   */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /**
   * Brings all pages in ahead of the first touch, some at a time; between them other work goes on.
   *
   * @throws KernelError ENOSPC, ENOMEM: the system has no memory for a hole. EBADF: released.
   */
  populate(): Promise<void>;
  /**
   * The same bytes for worker threads. Retired when the view is released.
   *
   * @param readOnly what is stored there reaches nobody
   * @throws KernelError ENOMEM: no address space. EBADF: released.
   */
  share(readOnly: boolean): SharedView;
  /**
   * Takes the view down: `bytes` has length 0 afterwards. Who still has the address, a thread of
   * the pool or a worker, meets memory of nobody. A second call does nothing.
   */
  release(): void;
}

export interface ViewOptions {
  /** Bytes that are shown: less than the pieces have where a file ends in the midst of a page. */
  readonly size: number;
  /**
   * All of it is in memory: it is mapped at once, up to some size, so that the first touch takes no
   * time.
   */
  readonly populate: boolean;
}

/**
 * The system under a sparse RAM, which gives memory page by page. Only `Residency` calls it: it
 * knows what was given already. Ranges are whole pages inside RAM; EBADF: closed.
 */
export interface SystemMemory {
  /**
   * Takes the memory of a range now; what is there stays. All or nothing for 256 MiB at most.
   *
   * @throws KernelError ENOSPC, ENOMEM: the system has not so much
   */
  reserve(pa: number, length: number): void;
  /** As `reserve`, and the first touch takes no time either. Some may be taken where it throws. */
  populate(pa: number, length: number): void;
  /**
   * Takes the memory of a whole huge page (`HUGE_PAGE` bytes, `pa` a multiple of that) in one
   * piece: what is there stays, all else is zeros. Each of its pages then costs a fraction of what
   * it costs alone, to take and to touch. Whether that was done: the system may not give huge
   * pages, or have none left.
   *
   * @param isEmpty whether none of it is there: then nothing is taken where it was not done, else
   * at most one page
   */
  populateHuge(pa: number, isEmpty?: boolean): boolean;
  /**
   * Copies bytes out of RAM by a system call, for any range: a hole reads as zeros and takes
   * nothing.
   */
  read(pa: number, target: Uint8Array): void;
  /**
   * Copies bytes to RAM by a system call, for any range, which takes memory that is not there on
   * the way. Some may be written where it throws.
   *
   * @throws KernelError ENOSPC, ENOMEM: the system has not so much
   */
  write(pa: number, bytes: Uint8Array): void;
  /** The parts of a range that were written, ascending; all else reads as zeros. */
  dataPieces(pa: number, length: number): RamPiece[];
}

export interface Ram {
  /** Bytes; physical addresses run from 0 to size - 1. A multiple of the page size. */
  readonly size: number;

  /**
   * The ranges that are memory, ascending and apart, where not all addresses are; anything outside
   * is EFAULT. Absent: all of RAM.
   */
  readonly memory?: readonly RamPiece[];

  /**
   * A live view: no copy, writes are in RAM at once. It is a window on a buffer that others use
   * too: do not detach it, and give none away. A range within one aligned block of 4 MiB (any
   * folio) can be viewed in every backend, larger ranges in those that are contiguous themselves.
   *
   * @throws KernelError EFAULT: not inside RAM. EINVAL: no whole numbers. ERANGE: the backend
   * cannot show so large a range in one piece. EBADF: closed.
   */
  bytes(pa: number, length: number): Uint8Array;

  /**
   * Gives the memory of a page-aligned range back: its content is gone and reads as zeros.
   *
   * @throws KernelError EFAULT: not inside RAM. EINVAL: not whole pages, or no whole numbers.
   * EBADF: closed.
   */
  discard(pa: number, length: number): void;

  /**
   * The same RAM over buffers that nobody else gets, for a kernel: whatever a program detaches, it
   * goes on. Absent where memory has one buffer.
   */
  readonly inner?: Ram;

  /** How memory is taken from the system, where RAM is sparse; absent where all of it is there. */
  readonly system?: SystemMemory;

  /**
   * A live view over scattered pieces, in their order, that may be given away; only where the
   * backend can map memory.
   *
   * @throws KernelError ENOMEM: no address space or too many mappings. ENOSPC: no memory for a
   * hole.
   */
  view?(pieces: readonly RamPiece[], options: ViewOptions): RamView;

  /**
   * As `bytes`, over a buffer of its own of exactly this length: for those who may detach or copy
   * it. Absent where memory has one buffer.
   */
  ownBytes?(pa: number, length: number): Uint8Array;

  /** Lets go of the memory. Idempotent; views taken before have length 0 afterwards. */
  close(): void;
}

/**
 * Whether something is a RAM, as far as that can be seen.
 *
 * @throws KernelError EINVAL: it has no size, or shows no bytes
 */
export function checkRam(ram: Ram): void {
  const { size, bytes } = Object(ram) as Partial<Ram>; // a caller in JavaScript may pass anything
  if (Number.isSafeInteger(size) && typeof bytes === 'function') return;
  throw new KernelError('EINVAL', `${shown(ram)} is no RAM: it has a size and bytes()`);
}

/**
 * Throws EFAULT unless [pa, pa + length) lies inside RAM of `size` bytes, EINVAL where one of them
 * is no whole number.
 */
export function checkRange(size: number, pa: number, length: number): void {
  const whole = Number.isInteger(pa) && Number.isInteger(length);
  if (!(whole && pa >= 0 && length >= 0 && pa + length <= size)) throw notInside(size, pa, length);
}

function notInside(size: number, pa: number, length: number): KernelError {
  for (const given of [pa, length]) {
    if (!Number.isInteger(given))
      return new KernelError('EINVAL', `${shown(given)} is no address and no length: both are whole numbers`);
  }
  const from = `${pa < 0 ? '-' : ''}0x${Math.abs(pa).toString(16)}`;
  return new KernelError('EFAULT', `${from} + ${length} bytes is not inside RAM of ${size} bytes`);
}

/** Throws EFAULT or EINVAL unless the range is inside RAM and made of whole pages. */
export function checkPages(size: number, pa: number, length: number): void {
  checkRange(size, pa, length);
  if (pa % PAGE_SIZE !== 0 || length % PAGE_SIZE !== 0) {
    throw new KernelError('EINVAL', `0x${pa.toString(16)} + ${length} bytes is not made of whole pages`);
  }
}

/**
 * Throws EINVAL unless `size` is a whole number of pages, at least `least` of them, at most
 * MAX_RAM_SIZE.
 */
export function checkRamSize(size: number, least = 1): void {
  if (typeof size === 'number' && size > MAX_RAM_SIZE) {
    throw new KernelError(
      'EINVAL',
      `${size} bytes are too much for one RAM: give at most ${MAX_RAM_SIZE} (${formatSize(MAX_RAM_SIZE)})`,
    );
  }
  if (!Number.isSafeInteger(size) || size < least * PAGE_SIZE || size % PAGE_SIZE !== 0) {
    throw new KernelError(
      'EINVAL',
      `${shown(size)} is no size of RAM: give a multiple of ${PAGE_SIZE}, at least ${least * PAGE_SIZE}`,
    );
  }
}

/** The error for an order that folios do not have. */
export function noOrder(order: number): KernelError {
  return new KernelError('EINVAL', `${shown(order)} is no order of a folio: 0 to ${MAX_ORDER}`);
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
