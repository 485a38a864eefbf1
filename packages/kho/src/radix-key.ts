/**
 * Keys of the preserved memory map. A key holds order and address in one number: bit 52 - order,
 * then pa >> (12 + order) below it. Keys are at most 53 bits here, exact as JavaScript numbers;
 * wider ones are refused (ERANGE).
 */
import { KernelError, log2Floor, MAX_ORDER, type Pfn } from '@liveupdate/base';
import { RADIX_LEAF_BITS, RADIX_ORDER_0_BIT } from './abi.ts';

/** log2 of the bits of a leaf. */
export const LEAF_SHIFT = 15;

/**
 * Number of the leaf that holds a folio's key; its 45 bits are the path through the tables.
 *
 * @throws KernelError ERANGE: the address needs more than the 52 bits below the order bit
 */
export function radixLeaf(pfn: Pfn, order: number): number {
  const index = Math.floor(pfn / 2 ** order);
  const top = 2 ** (RADIX_ORDER_0_BIT - order);
  if (!(index < top)) throw new KernelError('ERANGE', `frame ${pfn} does not fit in a key of order ${order}`);
  return Math.floor((top + index) / RADIX_LEAF_BITS);
}

/** Frames below this are cut up with shifts, for which a number must be a 32-bit one. */
const SMALL = 2 ** 31;

/** Number of the leaf among those of its order. Any frame has one, whether it has a key or not. */
export function leafOfOrder(pfn: Pfn, order: number): number {
  if (pfn < SMALL && order <= MAX_ORDER) return pfn >>> (order + LEAF_SHIFT);
  return Math.floor(pfn / 2 ** (order + LEAF_SHIFT));
}

/** Bit within its leaf. */
export function radixBit(pfn: Pfn, order: number): number {
  if (pfn < SMALL && order <= MAX_ORDER) return (pfn >>> order) & (RADIX_LEAF_BITS - 1);
  return Math.floor(pfn / 2 ** order) % RADIX_LEAF_BITS;
}

/**
 * Order that all keys of a leaf stand for.
 *
 * @throws KernelError EINVAL: no order that a kernel writes
 */
export function leafOrder(leaf: number): number {
  const order = leaf < 1 ? -1 : RADIX_ORDER_0_BIT - LEAF_SHIFT - log2Floor(leaf);
  if (order < 0 || order > MAX_RUN_ORDER)
    throw new KernelError('EINVAL', `leaf 0x${leaf.toString(16)} of the memory map stands for no order`);
  return order;
}

/**
 * Largest order of a run of preserved pages that is written and accepted: 4 TiB. Folios end at
 * order 10; runs of pages do not.
 */
export const MAX_RUN_ORDER = 30;

/** First frame of key bit 0 of a leaf of this order. */
export function leafBasePfn(leaf: number, order: number): Pfn {
  return (leaf * RADIX_LEAF_BITS - 2 ** (RADIX_ORDER_0_BIT - order)) * 2 ** order;
}

/**
 * Calls `visit` with the part of a run of folios that each leaf holds: which leaf of its order, the
 * first bit, the number of bits.
 */
export function forEachLeafPart(
  pfn: Pfn,
  count: number,
  order: number,
  visit: (place: number, bit: number, bits: number) => void,
): void {
  let at = pfn;
  let left = count;
  while (left > 0) {
    const bit = radixBit(at, order);
    const bits = Math.min(left, RADIX_LEAF_BITS - bit);
    visit(leafOfOrder(at, order), bit, bits);
    at += bits * 2 ** order;
    left -= bits;
  }
}
