/**
 * What a change does to the map of preserved keys on the whole: keys that came and went again
 * within it are not in it.
 *
 * Most changes only add, or only remove: then it is a list of rows. Others are worked out in bits.
 */
import { clearBits, findBit, setBits, type Pfn } from '@liveupdate/base';
import { FolioRuns } from '@liveupdate/mm';
import { RADIX_LEAF_BITS } from './abi.ts';
import { forEachLeafPart, LEAF_SHIFT } from './radix-key.ts';
import { forEachBitRun } from './radix-walk.ts';

/** Keys of one leaf that came, and that went. */
interface NetLeaf {
  readonly order: number;
  readonly place: number;
  readonly added: Uint32Array;
  readonly removed: Uint32Array;
}

export class NetKeys {
  readonly #added = new FolioRuns();
  readonly #removed = new FolioRuns();
  readonly #rows = { added: this.#added, removed: this.#removed };
  /** There where keys were added and removed. */
  #leaves: Map<string, NetLeaf> | undefined;
  /** While they are worked out in bits: see mostRows. */
  #most = 0;

  /** So many rows there are at most. */
  get mostRows(): number {
    return this.#leaves ? this.#most : this.#added.length + this.#removed.length;
  }

  add(pfn: Pfn, count: number, order: number): void {
    if (this.#removed.length > 0) this.#mix();
    if (this.#leaves) this.#change(pfn, count, order, 'added', 'removed');
    else this.#added.pushRow(pfn, count, order);
  }

  remove(pfn: Pfn, count: number, order: number): void {
    if (this.#added.length > 0) this.#mix();
    if (this.#leaves) this.#change(pfn, count, order, 'removed', 'added');
    else this.#removed.pushRow(pfn, count, order);
  }

  /** The keys that are new and those that are gone. Valid until the next call of anything. */
  rows(): { readonly added: FolioRuns; readonly removed: FolioRuns } {
    if (!this.#leaves) return this.#rows;
    const added = new FolioRuns();
    const removed = new FolioRuns();
    for (const { order, place, ...bits } of this.#leaves.values()) {
      const first = place * 2 ** LEAF_SHIFT;
      forEachBitRun(bits.added, RADIX_LEAF_BITS, (bit, count) => {
        added.pushRow((first + bit) * 2 ** order, count, order);
      });
      forEachBitRun(bits.removed, RADIX_LEAF_BITS, (bit, count) => {
        removed.pushRow((first + bit) * 2 ** order, count, order);
      });
    }
    return { added, removed };
  }

  clear(): void {
    this.#added.clear();
    this.#removed.clear();
    this.#leaves = undefined;
    this.#most = 0;
  }

  /** Goes over to bits. */
  #mix(): void {
    const { added, removed } = { added: this.#added, removed: this.#removed };
    this.#leaves = new Map();
    for (let i = 0; i < added.length; i++)
      this.#change(added.pfns[i], added.counts[i], added.orders[i], 'added', 'removed');
    for (let i = 0; i < removed.length; i++)
      this.#change(removed.pfns[i], removed.counts[i], removed.orders[i], 'removed', 'added');
    added.clear();
    removed.clear();
  }

  /** Takes keys out of one set as far as they are in it, and puts the others into the other one. */
  #change(
    pfn: Pfn,
    count: number,
    order: number,
    into: 'added' | 'removed',
    outOf: 'added' | 'removed',
  ): void {
    forEachLeafPart(pfn, count, order, (place, bit, bits) => {
      this.#most += 1; // what is split, or left, is one row more
      const leaf = this.#leafAt(order, place);
      const end = bit + bits;
      for (let at = bit; at < end;) {
        const to = findBit(leaf[outOf], at, end, true);
        if (to > at) setBits(leaf[into], at, to - at);
        const next = findBit(leaf[outOf], to, end, false);
        if (next > to) clearBits(leaf[outOf], to, next - to);
        at = next;
      }
    });
  }

  #leafAt(order: number, place: number): NetLeaf {
    this.#leaves ??= new Map();
    const name = `${order}/${place}`;
    let leaf = this.#leaves.get(name);
    if (!leaf) {
      const [added, removed] = [0, 0].map(() => new Uint32Array(RADIX_LEAF_BITS / 32));
      leaf = { order, place, added, removed };
      this.#leaves.set(name, leaf);
    }
    return leaf;
  }
}
