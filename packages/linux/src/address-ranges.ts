/**
 * Address space for views, which outlives them: a view that is taken down leaves memory of nobody behind, so
 * that a thread that still has the address meets that, and neither a fault nor a page of RAM.
 *
 * - Small ranges are cut from areas of one kind of mapping. So ranges that lie side by side are one mapping to
 *   the system, and a hundred thousand of them are no more than one.
 * - A range is used again only after `giveBack`, which is called when nobody can have its address any more.
 */
import { KernelError } from '@liveupdate/base';
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
  PROT_READ_WRITE,
  type Address,
} from './libc.ts';
import { fs } from './node-fs.ts';

/** Bytes of an area that small ranges are cut from. */
const AREA = 64 * 2 ** 20;
/** A range below this is small. Any other is cut out of the address space where huge pages suit, and given back to it. */
const SMALL = 256 * 1024;
const NOBODYS = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
/** Mappings that are left to the engine and others. */
const OTHERS = 5000;
/** What Linux allows where /proc does not tell. */
const DEFAULT_MAX_MAPS = 65_530;

/** A stretch of address space, in bytes; addresses of programs fit in 53 bits. */
interface Stretch {
  from: number;
  length: number;
}

/** Parts of the areas that are free, ascending, none touching another. Truly one per process. */
const free: Stretch[] = [];
let mappings = 0;
let mostMappings = 0;

/**
 * A range of whole pages that nothing of ours lies in.
 *
 * @param place bytes behind a multiple of `step` where a range that is not small begins
 * @throws KernelError ENOMEM: no address space, or too many mappings
 */
export function takeRange(length: number, step: number, place: number): Address {
  if (length >= SMALL) return reserve(length, step, place);
  const found = free.findIndex((stretch) => stretch.length >= length);
  if (found < 0) {
    put(Number(mmap(null, AREA, PROT_READ_WRITE, NOBODYS, -1, 0)), AREA);
    return takeRange(length, step, place);
  }
  const stretch = free[found];
  const { from } = stretch;
  stretch.from += length;
  stretch.length -= length;
  if (stretch.length === 0) free.splice(found, 1);
  return BigInt(from);
}

/** Maps memory of nobody over a range: it reads as zeros, and what is stored there reaches nobody. */
export function retire(address: Address, length: number): void {
  mmap(address, length, PROT_READ_WRITE, NOBODYS | MAP_FIXED, -1, 0);
}

/** Makes a range that was retired free: nobody may have its address any more. */
export function giveBack(address: Address, length: number): void {
  if (length >= SMALL) {
    munmap(address, length);
    return;
  }
  madvise(address, length, MADV_DONTNEED); // what was stored there since
  put(Number(address), length);
}

/**
 * Counts mappings that are about to be made, or were taken down. Where too many are wanted that is told before
 * the system refuses, so that taking one down never fails for want of them.
 *
 * @throws KernelError ENOMEM: more mappings than vm.max_map_count allows
 */
export function countMappings(change: number): void {
  mostMappings ||= maxMaps() - OTHERS;
  if (change > 0 && mappings + change > mostMappings) {
    throw new KernelError(
      'ENOMEM',
      `views have ${mappings} mappings, and ${change} more are beyond vm.max_map_count: unmap some, or raise it with sysctl`,
    );
  }
  mappings += change;
}

function maxMaps(): number {
  try {
    return Number(fs.readFileSync('/proc/sys/vm/max_map_count', 'latin1')) || DEFAULT_MAX_MAPS;
  } catch {
    return DEFAULT_MAX_MAPS;
  }
}

/** Adds a stretch to the free ones, joined with those that it touches. */
function put(from: number, length: number): void {
  let at = free.length;
  while (at > 0 && free[at - 1].from > from) at -= 1;
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

/** Address space of ours that nothing lies in, `place` bytes behind a multiple of `step`. */
function reserve(length: number, step: number, place: number): Address {
  const start = mmap(null, length + step, PROT_NONE, NOBODYS, -1, 0);
  const lead = (step + place - Number(start % BigInt(step))) % step;
  const address = start + BigInt(lead);
  if (lead > 0) munmap(start, lead);
  if (step > lead) munmap(address + BigInt(length), step - lead);
  return address;
}
