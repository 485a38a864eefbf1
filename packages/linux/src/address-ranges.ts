/**
 * Address space for views, which outlives them: a view that is taken down leaves memory of nobody
 * behind, so that a thread that still has the address meets that, and neither a fault nor a page of
 * RAM.
 *
 * - Ranges lie side by side, the room between them included, and what is retired is of one kind: so
 *   it is one mapping to the system, and a hundred thousand retired views are no more than one.
 * - A range is used again only when nobody can have its address any more: see
 *   `giveBackOnceCollected`.
 */
import { codeOf, KernelError } from '@liveupdate/base';
import {
  MADV_DONTNEED,
  madvise,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  mmap,
  munmap,
  PROT_NONE,
  PROT_READ,
  PROT_READ_WRITE,
  type Address,
} from './libc.ts';
import { fs } from './node-fs.ts';

/** Bytes of an area that small ranges are cut from. */
const AREA = 64 * 2 ** 20;
/**
 * A range below this is cut from an area. Any other is asked of the system, and goes back to it.
 */
const SMALL = 256 * 1024;
const NOBODYS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
/** Mappings that are left to the engine and others. */
const OTHERS = 5000;
/** What Linux allows where /proc does not tell. */
const DEFAULT_MAX_MAPS = 65_530;

/** A stretch of this process's address space, in bytes. */
export interface Range {
  readonly address: Address;
  readonly length: number;
  /**
   * What was asked of the system for it: room before and behind it, so that it lies where huge
   * pages suit.
   */
  readonly from: Address;
  readonly total: number;
}

/** A stretch of address space as numbers; addresses of programs fit in 53 bits. */
interface Stretch {
  from: number;
  length: number;
}

/** What `viewSpace` tells. */
export interface ViewSpace {
  /** Bytes of address space that views and RAMs show, room between them included. */
  readonly live: number;
  /**
   * Bytes of address space that wait for a collection, or stay mapped over for good. They take no
   * memory.
   */
  readonly retired: number;
  /** Mappings that live views have, of those that vm.max_map_count allows. */
  readonly mappings: number;
  readonly mostMappings: number;
}

/** Parts of the areas that are free, ascending, none touching another. Truly one per process. */
const free: Stretch[] = [];
const space = { live: 0, retired: 0, mappings: 0, mostMappings: 0 };

/** A range that was retired, and how many of the buffers over it are still to be collected. */
interface Waiting {
  readonly range: Range;
  buffers: number;
}

const collected = new FinalizationRegistry<Waiting>((waiting) => {
  waiting.buffers -= 1;
  if (waiting.buffers === 0) giveBack(waiting.range);
});

/**
 * A range of whole pages that nothing of ours lies in.
 *
 * @param place bytes behind a multiple of `step` where a range that is not small begins
 * @throws KernelError ENOMEM: no address space, or too many mappings
 */
export function takeRange(length: number, step: number, place: number): Range {
  const range = length < SMALL ? cut(length) : reserve(length, step, place);
  space.live += range.total;
  return range;
}

/**
 * Maps memory of nobody over a range: it reads as zeros, and what is stored there reaches nobody.
 * (Where the system promises no more memory than it has, and has promised all of it, a store there
 * is a fault.)
 */
export function retire({ from, total }: Range): void {
  space.live -= total;
  space.retired += total;
  try {
    mmap(from, total, PROT_READ_WRITE, NOBODYS | MAP_FIXED, -1, 0);
  } catch (error) {
    if (codeOf(error) !== 'ENOMEM') throw error;
    mmap(from, total, PROT_READ, NOBODYS | MAP_FIXED, -1, 0); // counts as nothing
  }
}

/**
 * Makes a range free that was retired, or that nobody was ever shown: nobody may have its address.
 */
export function giveBack({ address, length, from, total }: Range): void {
  try {
    if (length >= SMALL) {
      munmap(from, total);
    } else {
      madvise(address, length, MADV_DONTNEED); // what was stored there since
      put(Number(address), length);
    }
    space.retired -= total;
  } catch (error) {
    // A hole in a mapping makes it two, and there may be too many: then it stays as it is.
    if (codeOf(error) !== 'ENOMEM') throw error;
  }
}

/**
 * Gives a range that was retired back once these buffers, which we detached, were collected. Only
 * where no other buffer can have its memory: one that somebody else detached may live on as
 * another.
 */
export function giveBackOnceCollected(range: Range, buffers: readonly ArrayBuffer[]): void {
  if (buffers.length === 0) {
    giveBack(range);
    return;
  }
  const waiting = { range, buffers: buffers.length };
  for (const buffer of buffers) collected.register(buffer, waiting);
}

/**
 * What the views of this process take of its address space. A range that is retired and never given
 * back was shared with workers, or its buffer was given away.
 */
export function viewSpace(): ViewSpace {
  space.mostMappings ||= maxMaps() - OTHERS;
  return { ...space };
}

/**
 * Counts mappings that are about to be made, or were taken down. Where too many are wanted that is
 * told before the system refuses, so that taking one down never fails for want of them.
 *
 * @throws KernelError ENOMEM: more mappings than vm.max_map_count allows
 */
export function countMappings(change: number): void {
  space.mostMappings ||= maxMaps() - OTHERS;
  if (change > 0 && space.mappings + change > space.mostMappings) {
    throw new KernelError(
      'ENOMEM',
      `views have ${space.mappings} mappings, and ${change} more are beyond vm.max_map_count: unmap some, or raise it with sysctl`,
    );
  }
  space.mappings += change;
}

function maxMaps(): number {
  try {
    return Number(fs.readFileSync('/proc/sys/vm/max_map_count', 'latin1')) || DEFAULT_MAX_MAPS;
  } catch {
    return DEFAULT_MAX_MAPS;
  }
}

/** A range out of an area. */
function cut(length: number): Range {
  for (let i = 0; i < free.length; i++) {
    const stretch = free[i];
    if (stretch.length < length) continue;
    const address = BigInt(stretch.from);
    stretch.from += length;
    stretch.length -= length;
    if (stretch.length === 0) free.splice(i, 1);
    return { address, length, from: address, total: length };
  }
  put(Number(mmap(null, AREA, PROT_READ_WRITE, NOBODYS, -1, 0)), AREA);
  return cut(length);
}

/** Adds a stretch to the free ones, joined with those that it touches. */
function put(from: number, length: number): void {
  let at = 0;
  for (let end = free.length; at < end;) {
    const middle = (at + end) >> 1;
    if (free[middle].from < from) at = middle + 1;
    else end = middle;
  }
  const before = at > 0 ? free[at - 1] : undefined;
  const after = at < free.length ? free[at] : undefined;
  const end = from + length;
  if (before && before.from + before.length === from) {
    before.length += length;
    if (after?.from === end) {
      before.length += after.length;
      free.splice(at, 1);
    }
  } else if (after?.from === end) {
    after.from = from;
    after.length += length;
  } else {
    free.splice(at, 0, { from, length });
  }
}

/**
 * Address space of the system, with room for `length` bytes `place` bytes behind a multiple of
 * `step`.
 */
function reserve(length: number, step: number, place: number): Range {
  const total = length + step;
  const from = mmap(null, total, PROT_NONE, NOBODYS, -1, 0);
  const lead = (step + place - Number(from % BigInt(step))) % step;
  return { address: from + BigInt(lead), length, from, total };
}
