/**
 * The map of preserved pages: a radix tree whose nodes are pages of RAM, read by the next kernel
 * before it allocates anything (kernel: kernel/liveupdate/kexec_handover.c, kho_radix_tree).
 *
 * Always: a node is complete before the one word that links it is written, so a reader may come at
 * any instant. Nodes are never freed while the tree lives, and are not marked in the tree
 * themselves.
 */
import {
  assert,
  AssertionError,
  clearBits,
  findBit,
  setBits,
  type Pfn,
  type PhysAddr,
  PAGE_SIZE,
  pfnToPhys,
  physToPfn,
  checkInstance,
} from '@liveupdate/base';
import { inARow, PageAllocator } from '@liveupdate/mm';
import { RADIX_FANOUT, RADIX_LEAF_BITS, RADIX_LEVELS, RADIX_ORDER_0_BIT } from './abi.ts';
import { forEachLeafPart, LEAF_SHIFT, leafOfOrder, radixBit, radixLeaf } from './radix-key.ts';

/** Index into the table of `level` (1..5) on the way to a leaf. */
function tableIndex(leaf: number, level: number): number {
  return Math.floor(leaf / RADIX_FANOUT ** (level - 1)) % RADIX_FANOUT;
}

/** Is told of keys as they come into a map and go. */
export interface KeyWatcher {
  /**
   * Just before they come: nothing is in the way any more.
   *
   * @throws KernelError why they must not: then they do not come
   */
  adding(pfn: Pfn, count: number, order: number): void;
  deleted(pfn: Pfn, count: number, order: number): void;
}

export class RadixTree {
  readonly #pages: PageAllocator;
  /** Is told of every key from now on. */
  watcher: KeyWatcher | undefined;
  /** pa of the root node. */
  readonly root: PhysAddr;
  /**
   * Live views of the leaves by order, then by number among those of the order: a view per 128 MiB
   * of pages, not per page.
   */
  readonly #leaves: (Uint32Array | undefined)[][] = Array.from({ length: RADIX_ORDER_0_BIT + 1 }, () => []);

  /** @throws KernelError ENOMEM: no page for the root. EINVAL: no page allocator */
  constructor(pages: PageAllocator) {
    checkInstance(pages, 'a page allocator', PageAllocator);
    this.#pages = pages;
    this.root = pfnToPhys(pages.alloc(0, { zero: true }));
  }

  /** Whether this folio is in the map. */
  has(pfn: Pfn, order: number): boolean {
    const words = this.#find(leafOfOrder(pfn, order), order);
    const bit = radixBit(pfn, order);
    return words !== undefined && (words[bit >>> 5] & (1 << (bit & 31))) !== 0;
  }

  /**
   * Adds `count` folios of one order that lie side by side and are not in the map.
   *
   * @throws KernelError ENOMEM: no page for a node; the map is as before. ERANGE: an address beyond
   * the keys. Whatever the watcher throws.
   */
  addRun(pfn: Pfn, count: number, order: number): void {
    // Most calls stay within one leaf that is there already: nothing is made for them.
    const bit = radixBit(pfn, order);
    const words = bit + count <= RADIX_LEAF_BITS ? this.#find(leafOfOrder(pfn, order), order) : undefined;
    if (words === undefined) {
      this.#addToNewLeaves(pfn, count, order);
      return;
    }
    this.watcher?.adding(pfn, count, order);
    setBits(words, bit, count);
  }

  /**
   * Makes the leaf for a folio, where there is none.
   *
   * @throws KernelError ENOMEM: no page for a node; the map is as before. ERANGE: an address beyond
   * the keys.
   */
  prepare(pfn: Pfn, order: number): void {
    if (!this.#find(leafOfOrder(pfn, order), order)) this.#create(pfn, order);
  }

  #addToNewLeaves(pfn: Pfn, count: number, order: number): void {
    const made: (() => void)[] = [];
    try {
      forEachLeafPart(pfn, count, order, (place) => {
        if (!this.#find(place, order)) made.push(this.#create(firstOf(place, order), order));
      });
      this.watcher?.adding(pfn, count, order);
    } catch (error) {
      while (made.length > 0) made.pop()?.();
      throw error;
    }
    forEachLeafPart(pfn, count, order, (place, bit, bits) => {
      const words = this.#find(place, order);
      assert(words !== undefined, 'a leaf that was just made is gone');
      setBits(words, bit, bits);
    });
  }

  /** Takes out `count` folios of one order that lie side by side and are in the map. */
  deleteRun(pfn: Pfn, count: number, order: number): void {
    const bit = radixBit(pfn, order);
    if (bit + count <= RADIX_LEAF_BITS) {
      clearBits(this.#haveAll(leafOfOrder(pfn, order), bit, count, order), bit, count);
    } else {
      forEachLeafPart(pfn, count, order, (place, first, bits) => {
        this.#haveAll(place, first, bits, order);
      });
      forEachLeafPart(pfn, count, order, (place, first, bits) => {
        clearBits(this.#haveAll(place, first, bits, order), first, bits);
      });
    }
    this.watcher?.deleted(pfn, count, order);
  }

  /** The leaf of `count` keys that are all in the map. */
  #haveAll(place: number, bit: number, count: number, order: number): Uint32Array {
    const words = this.#find(place, order);
    if (!words || findBit(words, bit, bit + count, false) !== bit + count)
      throw new AssertionError(
        `frame ${firstOf(place, order) + bit * 2 ** order} of order ${order} is not in the map`,
      );
    return words;
  }

  /**
   * Adds the pages of order 0 `pfns[from .. from + count - 1]`, which are not in the map. All or
   * none.
   *
   * @throws KernelError as addRun
   */
  addSingles(pfns: Uint32Array, from: number, count: number): void {
    const leaves = this.#leaves[0];
    const end = from + count;
    let at = from;
    let set = from;
    try {
      while (at < end) {
        set = setSingles(leaves, pfns, at, end);
        for (const { watcher } = this; watcher && at < set;) {
          const row = inARow(pfns, at, set, 1);
          watcher.adding(pfns[at], row, 0);
          at += row;
        }
        at = set;
        if (at === end) return;
        this.addRun(pfns[at], 1, 0); // into a leaf that is not there yet
        set = ++at;
      }
    } catch (error) {
      clearSingles(leaves, pfns, at, set); // of these nobody was told
      this.deleteSingles(pfns, from, at - from);
      throw error;
    }
  }

  /**
   * Takes out the pages of order 0 `pfns[from .. from + count - 1]`, which are in the map. All or
   * none.
   */
  deleteSingles(pfns: Uint32Array, from: number, count: number): void {
    const leaves = this.#leaves[0];
    const cleared = clearSingles(leaves, pfns, from, from + count);
    if (cleared === from + count) {
      for (let at = from; this.watcher && at < cleared;) {
        const row = inARow(pfns, at, cleared, 1);
        this.watcher.deleted(pfns[at], row, 0);
        at += row;
      }
      return;
    }
    setSingles(leaves, pfns, from, cleared);
    throw new AssertionError(`frame ${pfns[cleared]} is not in the map`);
  }

  /** Number of pages that the nodes take. */
  nodePages(): number {
    return countNodes(this.#pages, this.root, RADIX_LEVELS - 1);
  }

  #find(leaf: number, order: number): Uint32Array | undefined {
    return this.#leaves[order][leaf];
  }

  /**
   * Makes the leaf of a frame and the tables above it that are missing. Returns what takes them
   * back.
   */
  #create(pfn: Pfn, order: number): () => void {
    const leaf = radixLeaf(pfn, order);
    const leaves = this.#leaves[order];
    const key = leafOfOrder(pfn, order);
    let level = RADIX_LEVELS - 1;
    let table = this.#table(this.root);
    for (
      let child = table[tableIndex(leaf, level)];
      child !== 0n && level > 1;
      child = table[tableIndex(leaf, level)]
    ) {
      table = this.#table(Number(child));
      level -= 1;
    }
    assert(table[tableIndex(leaf, level)] === 0n, 'a leaf of this map is not among its views');
    const made: Pfn[] = [];
    try {
      while (made.length < level) made.push(this.#pages.alloc(0, { zero: true }));
    } catch (error) {
      for (const pfn of made) this.#pages.put(pfn);
      throw error;
    }
    // made[0] is the leaf, made[i] the table of level i; they are linked bottom up, and last of all
    // into the tree.
    for (let i = 1; i < made.length; i++) {
      this.#table(pfnToPhys(made[i]))[tableIndex(leaf, i)] = BigInt(pfnToPhys(made[i - 1]));
    }
    const slot = tableIndex(leaf, level);
    table[slot] = BigInt(pfnToPhys(made[made.length - 1]));
    const bytes = this.#pages.folioWindow(made[0]);
    leaves[key] = new Uint32Array(bytes.buffer, bytes.byteOffset, PAGE_SIZE / 4);
    return () => {
      table[slot] = 0n;
      leaves[key] = undefined;
      for (const pfn of made) this.#pages.put(pfn);
    };
  }

  #table(pa: PhysAddr): BigUint64Array {
    const bytes = this.#pages.ram.bytes(pa, PAGE_SIZE);
    return new BigUint64Array(bytes.buffer, bytes.byteOffset, RADIX_FANOUT);
  }
}

// Loops over single pages in any order: what bounds them is where the next page's leaf and flags
// lie, in which cache.

/** Sets the bits of these pages; the index of the first that has no leaf, or `end`. */
function setSingles(
  leaves: readonly (Uint32Array | undefined)[],
  pfns: Uint32Array,
  from: number,
  end: number,
): number {
  for (let at = from; at < end; at++) {
    const pfn = pfns[at];
    const words = leaves[pfn >>> LEAF_SHIFT];
    if (words === undefined) return at;
    words[(pfn >>> 5) & (RADIX_LEAF_BITS / 32 - 1)] |= 1 << (pfn & 31);
  }
  return end;
}

/** Clears the bits of these pages; the index of the first whose bit is not set, or `end`. */
function clearSingles(
  leaves: readonly (Uint32Array | undefined)[],
  pfns: Uint32Array,
  from: number,
  end: number,
): number {
  for (let at = from; at < end; at++) {
    const pfn = pfns[at];
    const words = leaves[pfn >>> LEAF_SHIFT];
    const word = (pfn >>> 5) & (RADIX_LEAF_BITS / 32 - 1);
    const bit = 1 << (pfn & 31);
    if (words === undefined || (words[word] & bit) === 0) return at;
    words[word] &= ~bit;
  }
  return end;
}

/** First frame of the keys of a leaf. */
function firstOf(place: number, order: number): Pfn {
  return place * 2 ** (order + LEAF_SHIFT);
}

function countNodes(pages: PageAllocator, pa: PhysAddr, level: number): number {
  if (level === 0) return 1;
  assert(pages.isHead(physToPfn(pa)), 'a node of the map is not in use');
  const bytes = pages.ram.bytes(pa, PAGE_SIZE);
  let nodes = 1;
  for (const child of new BigUint64Array(bytes.buffer, bytes.byteOffset, RADIX_FANOUT)) {
    if (child !== 0n) nodes += countNodes(pages, Number(child), level - 1);
  }
  return nodes;
}
