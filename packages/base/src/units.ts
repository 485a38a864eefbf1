/**
 * Branded numbers, so that an address is never taken for a frame number. All are plain JavaScript
 * numbers at run time and exact up to 2^53: 8 PiB of physical address space.
 */
import { shown } from './checks.ts';
import { KernelError } from './errors.ts';

declare const unit: unique symbol;

/** Physical address: bytes from the start of RAM. 0 stands for 'none' in the handover ABI. */
export type PhysAddr = number & { readonly [unit]?: 'PhysAddr' };
/** Page frame number: physical address >> 12. 0 stands for 'none' in the handover ABI. */
export type Pfn = number & { readonly [unit]?: 'Pfn' };
/** Index of a 4 KiB page within a file. */
export type PageIndex = number & { readonly [unit]?: 'PageIndex' };

export const PAGE_SHIFT = 12;
/** Bytes in a page. */
export const PAGE_SIZE = 1 << PAGE_SHIFT;
/** Largest order of a folio: 1 << 10 pages, 4 MiB. */
export const MAX_ORDER = 10;
/**
 * Bytes in the largest folio, 4 MiB. A range within one aligned block of this size is contiguous in
 * every RAM.
 */
export const MAX_FOLIO_SIZE = PAGE_SIZE << MAX_ORDER;
/** Order of a 2 MiB folio. */
export const HUGE_ORDER = 9;

/**
 * Physical address of a frame. Multiplication, not a shift: frames above 4 GiB do not fit in 32
 * bits.
 */
export function pfnToPhys(pfn: Pfn): PhysAddr {
  return pfn * PAGE_SIZE;
}

/** Frame that holds a physical address. */
export function physToPfn(pa: PhysAddr): Pfn {
  return Math.floor(pa / PAGE_SIZE);
}

/** Pages needed for `bytes` bytes. */
export function pagesFor(bytes: number): number {
  return Math.ceil(bytes / PAGE_SIZE);
}

const SUFFIX = new Map<string, number>([
  ['', 1],
  ['b', 1],
  ['k', 2 ** 10],
  ['m', 2 ** 20],
  ['g', 2 ** 30],
  ['t', 2 ** 40],
]);

/**
 * Bytes of a size such as `2GiB`, `512M`, `1.5g`, `4096`. Suffixes are binary; `K`, `KB` and `KiB`
 * are the same, in any case.
 *
 * @throws KernelError EINVAL: not a size, negative, not a whole number of bytes, or above 2^53
 */
export function parseSize(text: string | number): number {
  if (typeof text !== 'string' && typeof text !== 'number')
    throw new KernelError(
      'EINVAL',
      `${shown(text)} is not a size: write a number of bytes, or a text such as 2GiB`,
    );
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(String(text));
  const suffix = match?.[2]?.toLowerCase().replace(/^([kmgt])(?:i?b)?$/, '$1');
  const factor = suffix === undefined ? undefined : SUFFIX.get(suffix);
  const bytes = Number(match?.[1]) * (factor ?? Number.NaN);
  if (!Number.isSafeInteger(bytes)) {
    throw new KernelError(
      'EINVAL',
      `${shown(text)} is not a size: write a number of bytes, or one such as 512MiB or 2GiB`,
    );
  }
  return bytes;
}

/**
 * A size for people: `2 GiB`, `1.5 GiB`, `12 KiB`, `0 B`.
 *
 * @throws KernelError EINVAL: no number
 */
export function formatSize(bytes: number): string {
  if (!Number.isFinite(bytes)) throw new KernelError('EINVAL', `${shown(bytes)} is no number of bytes`);
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let value = bytes;
  let at = 0;
  // From half a unit below 1024 on it would be rounded to '1024 KiB'.
  while (value >= 1023.5 && at < units.length - 1) {
    value /= 1024;
    at += 1;
  }
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return `${Number(value.toFixed(digits))} ${units[at]}`;
}
