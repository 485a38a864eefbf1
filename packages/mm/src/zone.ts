/**
 * The free memory of one zone, as a buddy system has it: blocks of 1 << order frames, aligned to their size, by order.
 *
 * Always: two free buddies are one block, so the blocks follow from which frames are free.
 */
import { AssertionError, log2Floor, MAX_ORDER, trailingZeros, type Pfn } from '@liveupdate/base';
import { FreeSet } from './free-set.ts';

export class Zone {
  /** Free blocks by order; member i of order n is the block that begins at frame i << n. */
  readonly blocks: FreeSet[] = [];
  freePages = 0;

  constructor(frames: number) {
    for (let order = 0; order <= MAX_ORDER; order++)
      this.blocks.push(new FreeSet(Math.ceil(frames / (1 << order))));
  }

  /** Takes out a block of exactly `order`, splitting a larger one. -1 where there is none. */
  take(order: number): Pfn {
    for (let from = order; from <= MAX_ORDER; from++) {
      const index = this.blocks[from].first();
      if (index < 0) continue;
      this.blocks[from].remove(index);
      let at = index;
      for (let o = from - 1; o >= order; o--) {
        at *= 2;
        this.blocks[o].add(at + 1);
      }
      this.freePages -= 1 << order;
      return at * (1 << order);
    }
    return -1;
  }

  /** Takes out a block of `order`, or the largest smaller one where there is none. The zone must not be empty. */
  takeNear(order: number): { pfn: Pfn; order: number } {
    const whole = this.take(order);
    if (whole >= 0) return { pfn: whole, order };
    for (let o = order - 1; o >= 0; o--) {
      const index = this.blocks[o].first();
      if (index < 0) continue;
      this.blocks[o].remove(index);
      this.freePages -= 1 << o;
      return { pfn: index * (1 << o), order: o };
    }
    throw new AssertionError('an empty zone was asked for memory');
  }

  /** Puts back one block and joins it with its free buddies. */
  put(pfn: Pfn, order: number): void {
    this.freePages += 1 << order;
    let index = pfn / (1 << order);
    let o = order;
    while (o < MAX_ORDER && this.blocks[o].has(index ^ 1)) {
      this.blocks[o].remove(index ^ 1);
      index >>>= 1;
      o += 1;
    }
    this.blocks[o].add(index);
  }

  /** Puts back `count` frames in a row, as the largest aligned blocks. */
  putRange(pfn: Pfn, count: number): void {
    let at = pfn;
    let left = count;
    while (left > 0) {
      const order = Math.min(at === 0 ? MAX_ORDER : trailingZeros(at), log2Floor(left), MAX_ORDER);
      this.put(at, order);
      at += 1 << order;
      left -= 1 << order;
    }
  }
}
