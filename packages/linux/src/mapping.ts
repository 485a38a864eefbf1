/**
 * Mappings of a file, and ArrayBuffers over them.
 *
 * V8 counts a buffer as external memory, whatever its file really takes: making one above about 2
 * GiB costs one full collection (15 to 25 ms in a process that just started). So there is a buffer
 * over the whole only when somebody wants so much at once, and before that small ones over the
 * windows that are looked at.
 */
import { KernelError } from '@liveupdate/base';
import { HUGE_PAGE, type RamPiece } from '@liveupdate/mm';
import { giveBack, retire, takeRange, type Range } from './address-ranges.ts';
import {
  madvise,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  mmap,
  munmap,
  PROT_READ_WRITE,
  viewOf,
  type Address,
} from './libc.ts';

/**
 * Bytes under a small buffer: a view that lies in one window does not need the large one. Any folio
 * lies in one.
 */
const WINDOW = 8 * 2 ** 20;

/** Taken once: a program may put another in its place. */
const transfer: unknown = Reflect.get(ArrayBuffer.prototype, 'transfer');

/**
 * Detaches a buffer, and with it every view of it, without touching the memory (structuredClone
 * refuses a buffer of ours, `transfer()` alone may copy it).
 *
 * @returns whether it was attached
 */
export function detach(buffer: ArrayBuffer): boolean {
  if (buffer.detached) return false;
  Reflect.apply(transfer as () => ArrayBuffer, buffer, [0]);
  return true;
}

/**
 * The same memory in a buffer that a transfer list takes, as it takes any other: those that an
 * add-on makes are refused (DataCloneError), and what `transfer()` gives is none of them.
 */
export function transferable(buffer: ArrayBuffer): ArrayBuffer {
  return Reflect.apply(transfer as () => ArrayBuffer, buffer, []);
}

/** Buffers over one mapping. Another set over the same address knows nothing of this one. */
export class Windows {
  /** Where it begins. */
  readonly address: Address;
  /** Bytes. */
  readonly length: number;
  /** By the number of their window. */
  readonly #windows: (ArrayBuffer | undefined)[] = [];
  #whole: ArrayBuffer | undefined;
  /** Somebody else detached a buffer, so its memory may live on in another. */
  #wasTaken = false;

  constructor(address: Address, length: number) {
    this.address = address;
    this.length = length;
  }

  /**
   * A live view of a range that lies inside. Where somebody detached the buffer, there is a new
   * one.
   */
  bytes(at: number, length: number): Uint8Array<ArrayBuffer> {
    if (length === 0) return new Uint8Array(0);
    const window = Math.floor(at / WINDOW);
    const inWindow = at - window * WINDOW;
    if (this.#whole || inWindow + length > WINDOW) return new Uint8Array(this.buffer, at, length);
    let buffer = this.#windows[window];
    if (buffer === undefined || buffer.detached) {
      this.#wasTaken ||= buffer !== undefined;
      const from = window * WINDOW;
      buffer = viewOf(this.address + BigInt(from), Math.min(WINDOW, this.length - from));
      this.#windows[window] = buffer;
    }
    return new Uint8Array(buffer, inWindow, length);
  }

  /** Where the windows begin that somebody looked through. */
  get opened(): number[] {
    return [...this.#windows.keys()].filter((i) => this.#windows[i]).map((i) => i * WINDOW);
  }

  /** One buffer over everything. */
  get buffer(): ArrayBuffer {
    if (this.#whole === undefined || this.#whole.detached) {
      this.#wasTaken ||= this.#whole !== undefined;
      this.#whole = viewOf(this.address, this.length);
    }
    return this.#whole;
  }

  /**
   * Every view has length 0 from now on.
   *
   * @returns the buffers that may still be at work somewhere; undefined where others may, that
   * nobody knows
   */
  detach(): ArrayBuffer[] | undefined {
    const buffers = [this.#whole, ...this.#windows].filter((buffer) => buffer !== undefined);
    for (const buffer of buffers) if (!detach(buffer)) this.#wasTaken = true;
    return this.#wasTaken ? undefined : buffers;
  }
}

/** Maps runs of a file side by side in a range of address space. All are whole granules. */
export function mapRuns(
  fd: number,
  runs: readonly RamPiece[],
  granule: number,
  sharing: typeof MAP_SHARED | typeof MAP_PRIVATE = MAP_SHARED,
): Range {
  let length = 0;
  for (const run of runs) length += run.length;
  const range = takeRange(length, Math.max(granule, HUGE_PAGE), placeOf(runs));
  try {
    let at = range.address;
    for (const run of runs) {
      mmap(at, run.length, PROT_READ_WRITE, sharing | MAP_FIXED | MAP_NORESERVE, fd, run.pa);
      at += BigInt(run.length);
    }
  } catch (error) {
    retire(range);
    giveBack(range);
    throw error;
  }
  return range;
}

/**
 * Where runs should begin in the address space, in bytes behind a multiple of a huge page: a huge
 * page of the file is one entry of the page tables only where its address is such a multiple, so
 * the first run with room for one lies there as it does in the file. (hugetlb memory, of which all
 * runs are huge pages, knows no other place.)
 */
function placeOf(runs: readonly RamPiece[]): number {
  let before = 0;
  for (const { pa, length } of runs) {
    if (length >= HUGE_PAGE) return (((pa - before) % HUGE_PAGE) + HUGE_PAGE) % HUGE_PAGE;
    before += length;
  }
  return 0;
}

/** Private memory, zeroed, for system calls that read and write structures by address. */
export class PrivateMemory {
  readonly address: Address;
  readonly buffer: ArrayBuffer;
  readonly #length: number;

  constructor(length: number) {
    this.#length = length;
    this.address = mmap(null, length, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    this.buffer = viewOf(this.address, length);
  }

  /** Detaches, then unmaps. */
  unmap(): void {
    detach(this.buffer);
    munmap(this.address, this.#length);
  }
}

/** Pieces that continue the one before are joined to it; empty ones are left out. */
export function mergeAdjacent(pieces: readonly RamPiece[]): RamPiece[] {
  const runs: { pa: number; length: number }[] = [];
  let last: { pa: number; length: number } | undefined;
  for (const { pa, length } of pieces) {
    if (length === 0) continue;
    if (last && last.pa + last.length === pa) {
      last.length += length;
    } else {
      last = { pa, length };
      runs.push(last);
    }
  }
  return runs;
}

/**
 * Takes memory for a range of a mapping and maps it, so that no later touch faults. False on
 * kernels before 5.14: nothing was done.
 *
 * @throws KernelError ENOSPC: the file system or the pool of huge pages has not so much. ENOMEM:
 * the machine has not.
 */
export function populateRange(address: Address, length: number): boolean {
  return populate(address, length, MADV_POPULATE_WRITE);
}

/**
 * Maps what is there in a range of a shared mapping, so that no later touch faults, be it a store;
 * what is not there is taken. Pages that are there come 16 at a time, which populateRange takes one
 * by one: 40 ms a GiB, not 70.
 *
 * @throws KernelError ENOSPC, ENOMEM: as populateRange
 */
export function bringIn(address: Address, length: number): boolean {
  return populate(address, length, MADV_POPULATE_READ);
}

function populate(
  address: Address,
  length: number,
  advice: typeof MADV_POPULATE_READ | typeof MADV_POPULATE_WRITE,
): boolean {
  try {
    madvise(address, length, advice);
    return true;
  } catch (cause) {
    if (!(cause instanceof KernelError)) throw cause;
    if (cause.code === 'EINVAL') return false;
    if (cause.code !== 'EFAULT') throw cause;
    // The kernel's answer where a touch would have been a SIGBUS.
    const why = `no memory for ${length} bytes: the file system or the pool of huge pages is full; free some, or make it larger`;
    throw new KernelError('ENOSPC', why, { cause });
  }
}
