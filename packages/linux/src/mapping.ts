/**
 * Mappings of a file with ArrayBuffers over them: undone in one step, in the only order that is safe.
 *
 * - Every view is over a buffer of its mapping: detaching the buffers detaches them all.
 * - V8 counts a buffer as external memory, whatever its file really takes: making one above about 2 GiB costs one full collection
 *   (15 to 25 ms in a process that just started). So there is a buffer over the whole only when somebody wants so much at once, and before
 *   that small ones over the windows that are looked at. Later collections do not become more frequent.
 */
import { HUGE_PAGE, type RamPiece } from '@liveupdate/mm';
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
  /** By the number of their window. */
  readonly #windows: (ArrayBuffer | undefined)[] = [];
  #whole: ArrayBuffer | undefined;

  constructor(address: Address, length: number) {
    this.address = address;
    this.length = length;
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
    munmap(this.address, this.length);
  }
}

/** Maps `length` bytes of a file from its start. */
export function mapFile(fd: number, length: number, granule: number): Mapping {
  return mapRuns(fd, [{ pa: 0, length }], granule);
}

/**
 * Maps runs of a file side by side. Address space in one piece comes first and the runs over it, so that nothing else can come between
 * them. All runs are whole granules.
 */
export function mapRuns(fd: number, runs: readonly RamPiece[], granule: number): Mapping {
  let length = 0;
  for (const run of runs) length += run.length;
  const address = reserveSpace(length, Math.max(granule, HUGE_PAGE), placeOf(runs));
  try {
    let at = address;
    for (const run of runs) {
      mmap(at, run.length, PROT_READ_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, run.pa);
      at += BigInt(run.length);
    }
  } catch (error) {
    munmap(address, length);
    throw error;
  }
  return new Mapping(address, length);
}

/**
 * Where runs should begin in the address space, in bytes behind a multiple of a huge page: a huge page of the file is one entry of the page tables
 * only where its address is such a multiple, so the first run with room for one lies there as it does in the file. (hugetlb memory, of which all runs
 * are huge pages, knows no other place.)
 */
function placeOf(runs: readonly RamPiece[]): number {
  let before = 0;
  for (const { pa, length } of runs) {
    if (length >= HUGE_PAGE) return (((pa - before) % HUGE_PAGE) + HUGE_PAGE) % HUGE_PAGE;
    before += length;
  }
  return 0;
}

/** Address space of ours that nothing lies in, `place` bytes behind a multiple of `step`. */
function reserveSpace(length: number, step: number, place: number): Address {
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  const start = mmap(null, length + step, PROT_NONE, flags, -1, 0);
  const lead = (step + place - Number(start % BigInt(step))) % step;
  const address = start + BigInt(lead);
  if (lead > 0) munmap(start, lead);
  munmap(address + BigInt(length), step - lead);
  return address;
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
