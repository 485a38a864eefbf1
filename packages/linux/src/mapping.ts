/**
 * Mappings of a file with ArrayBuffers over them: undone in one step, in the only order that is safe.
 *
 * - Every view is over a buffer of its mapping: detaching the buffers detaches them all.
 * - V8 counts a buffer as external memory, whatever its file really takes: making one above about 2 GiB costs one full collection
 *   (15 to 25 ms in a process that just started). So there is a buffer over the whole only when somebody wants so much at once, and before
 *   that small ones over the windows that are looked at. Later collections do not become more frequent.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import type { RamPiece } from '@liveupdate/mm';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  mmap,
  munmap,
  PROT_NONE,
  PROT_READ_WRITE,
  viewOf,
  type Address,
} from './libc.ts';

/** Bytes under a small buffer: a view that lies in one window does not need the large one. Any folio lies in one. */
const WINDOW = 8 * 2 ** 20;

/** Pages of a file, side by side in the address space of this process. */
export class Mapping {
  /** Where it begins. */
  readonly address: Address;
  /** Bytes. */
  readonly length: number;
  /** The address space that is ours, the mapping inside it. */
  readonly #reserved: { readonly address: Address; readonly length: number };
  /** By the number of their window. */
  readonly #windows: (ArrayBuffer | undefined)[] = [];
  #whole: ArrayBuffer | undefined;

  constructor(address: Address, length: number, reserved = { address, length }) {
    this.address = address;
    this.length = length;
    this.#reserved = reserved;
  }

  /** A live view of a range that lies inside. */
  bytes(at: number, length: number): Uint8Array {
    if (length === 0) return new Uint8Array(0);
    const window = Math.floor(at / WINDOW);
    const inWindow = at - window * WINDOW;
    if (this.#whole || inWindow + length > WINDOW || length === 0)
      return new Uint8Array(this.buffer, at, length);
    return new Uint8Array((this.#windows[window] ??= this.#view(window)), inWindow, length);
  }

  /** One buffer over everything. */
  get buffer(): ArrayBuffer {
    return (this.#whole ??= viewOf(this.address, this.length));
  }

  #view(window: number): ArrayBuffer {
    const from = window * WINDOW;
    return viewOf(this.address + BigInt(from), Math.min(WINDOW, this.length - from));
  }

  /**
   * Detaches, then unmaps. `transfer(0)` takes a buffer from every view without touching the memory (structuredClone refuses such a
   * buffer, `transfer()` would copy it). The buffers have no finalizer, so this order is all there is to safety.
   */
  unmap(): void {
    this.#whole?.transfer(0);
    for (const window of this.#windows) window?.transfer(0);
    munmap(this.#reserved.address, this.#reserved.length);
  }
}

/** Maps `length` bytes of a file from its start. */
export function mapFile(fd: number, length: number): Mapping {
  return new Mapping(mmap(null, length, PROT_READ_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0), length);
}

/**
 * Maps runs of a file side by side. Address space in one piece comes first and the runs over it, so that nothing else can come between
 * them. All runs are whole granules.
 */
export function mapRuns(fd: number, runs: readonly RamPiece[], granule: number): Mapping {
  let length = 0;
  for (const run of runs) length += run.length;
  // hugetlb mappings begin at a multiple of their page; one more of address space makes room for that.
  const reserved = length + granule - PAGE_SIZE;
  const start = mmap(null, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  const step = BigInt(granule);
  const address = ((start + step - 1n) / step) * step;
  try {
    let at = address;
    for (const run of runs) {
      mmap(at, run.length, PROT_READ_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, run.pa);
      at += BigInt(run.length);
    }
  } catch (error) {
    munmap(start, reserved);
    throw error;
  }
  return new Mapping(address, length, { address: start, length: reserved });
}

/** Private memory, zeroed, for system calls that read and write structures by address. */
export function mapPrivate(length: number): Mapping {
  return new Mapping(mmap(null, length, PROT_READ_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), length);
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
