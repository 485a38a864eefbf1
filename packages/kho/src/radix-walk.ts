/**
 * Walks a preserved memory map that another kernel wrote. Nothing in it is trusted: a node outside
 * RAM, met twice, or a key of no order ends the walk with EINVAL, so a walk is bounded by the size
 * of RAM.
 */
import {
  findBit,
  KernelError,
  PAGE_SIZE,
  physToPfn,
  type Pfn,
  type PhysAddr,
  readU64,
  checkFunction,
  checkWhole,
} from '@liveupdate/base';
import { checkRam, type Ram } from '@liveupdate/mm';
import { RADIX_FANOUT, RADIX_LEAF_BITS, RADIX_LEVELS } from './abi.ts';
import { leafBasePfn, leafOrder } from './radix-key.ts';
import type { OnDamage } from './on-damage.ts';
import { shownAddress } from './shown-address.ts';

/** Damage of a map that is told, at most: a page of noise is five hundred wrong addresses. */
const MOST_TOLD = 50;

/** `count` folios of `order` side by side, the first at `pfn`. */
export type RunVisitor = (pfn: Pfn, count: number, order: number) => void;

/**
 * Calls `visit` for each run of preserved folios, in ascending order of keys: high orders first,
 * then by address.
 *
 * @param node called with the frame of each node of the tree
 * @param onDamage for tools: is told of a node that cannot be read, or of a run that `visit`
 * refuses, and the walk goes on beside it; after fifty of them it ends. Default: it is thrown.
 * @throws KernelError EINVAL: the map is damaged; or no RAM, address or function
 */
export function walkRadixTree(
  ram: Ram,
  root: PhysAddr,
  visit: RunVisitor,
  node?: (pfn: Pfn) => void,
  onDamage?: OnDamage,
): void {
  checkRam(ram);
  checkWhole(root, 'the address of a memory map');
  checkFunction(visit, 'what visits the runs');
  if (onDamage !== undefined) checkFunction(onDamage, 'what is told of damage');
  const seen = new Set<number>();
  let told = 0;
  /** Does one thing; whether the walk is to go on. */
  const goOn = (step: () => void): boolean => {
    if (!onDamage) {
      step();
      return true;
    }
    try {
      step();
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      told += 1;
      if (told <= MOST_TOLD) onDamage(error);
      if (told === MOST_TOLD)
        onDamage(new KernelError('EINVAL', 'the preserved memory map is damaged in more places: left out'));
    }
    return told < MOST_TOLD;
  };
  const enter = (pa: PhysAddr): Uint8Array => {
    if (!(pa > 0 && pa % PAGE_SIZE === 0 && pa + PAGE_SIZE <= ram.size)) {
      throw new KernelError('EINVAL', `the preserved memory map is damaged: a node at ${shownAddress(pa)}`);
    }
    if (seen.has(pa))
      throw new KernelError(
        'EINVAL',
        `the preserved memory map is damaged: node 0x${pa.toString(16)} is linked twice`,
      );
    seen.add(pa);
    node?.(physToPfn(pa));
    return ram.bytes(pa, PAGE_SIZE);
  };
  const descend = (pa: PhysAddr, level: number, path: number): void => {
    const bytes = enter(pa);
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset, PAGE_SIZE / 4);
    if (level === 0) {
      walkLeaf(words, path, onDamage ? (pfn, count, order) => goOn(() => visit(pfn, count, order)) : visit);
      return;
    }
    // Most entries are empty, and a table is looked through once, before anything is compiled.
    const table = new DataView(bytes.buffer, bytes.byteOffset, PAGE_SIZE);
    for (let word = nonZero(words, 0); word < words.length;) {
      const i = word >>> 1;
      const below = (): void => {
        descend(readU64(table, i * 8), level - 1, path * RADIX_FANOUT + i);
      };
      if (!goOn(below)) return;
      word = nonZero(words, (i + 1) * 2);
    }
  };
  goOn(() => {
    descend(root, RADIX_LEVELS - 1, 0);
  });
}

/**
 * Index of the first word from `from` on that is not 0; the number of words where there is none.
 */
function nonZero(words: Uint32Array, from: number): number {
  let at = from;
  while (at < words.length && words[at] === 0) at += 1;
  return at;
}

function walkLeaf(words: Uint32Array, leaf: number, visit: RunVisitor): void {
  if (findBit(words, 0, RADIX_LEAF_BITS, true) === RADIX_LEAF_BITS) return; // also of no order
  const order = leafOrder(leaf);
  const base = leafBasePfn(leaf, order);
  forEachBitRun(words, RADIX_LEAF_BITS, (bit, count) => {
    visit(base + bit * 2 ** order, count, order);
  });
}

/** Calls `visit` with each run of the first `end` bits that are set. */
export function forEachBitRun(
  words: Uint32Array,
  end: number,
  visit: (bit: number, count: number) => void,
): void {
  for (let bit = findBit(words, 0, end, true); bit < end;) {
    const to = findBit(words, bit, end, false);
    visit(bit, to - bit);
    bit = findBit(words, to, end, true);
  }
}
