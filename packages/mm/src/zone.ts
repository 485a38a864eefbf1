/**
 * The free memory of one zone, as a buddy system has it: blocks of 1 << order frames, aligned to
 * their size, by order.
 *
 * Always: two free buddies are one block, so the blocks follow from which frames are free.
 */
import { AssertionError, log2Floor, MAX_ORDER, trailingZeros, type Pfn } from '@liveupdate/base';
import { FreeSet } from './free-set.ts';

/** Pages in the largest blocks. */
const MOST_PAGES = 1 << MAX_ORDER;

export class Zone {
  /** Free blocks by order; member i of order n is the block that begins at frame i << n. */
  readonly blocks: FreeSet[] = [];
  freePages = 0;

  constructor(frames: number) {
    // In one piece: the system gives large memory as zeros that cost nothing until they are
    // touched, but takes a while for each piece.
    let bytes = 0;
    for (let order = 0; order <= MAX_ORDER; order++) bytes += FreeSet.bytesFor(blocksOf(frames, order));
    const memory = new ArrayBuffer(bytes);
    let at = 0;
    for (let order = 0; order <= MAX_ORDER; order++) {
      const length = blocksOf(frames, order);
      this.blocks.push(new FreeSet(length, memory, at));
      at += FreeSet.bytesFor(length);
    }
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

  /**
   * Takes out a block of `order`, or the largest smaller one where there is none. The zone must not
   * be empty.
   */
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
    const end = pfn + count;
    const first = Math.ceil(pfn / MOST_PAGES);
    const largest = Math.floor(end / MOST_PAGES) - first;
    if (largest <= 0) {
      this.#putBlocks(pfn, end);
      return;
    }
    this.#putBlocks(pfn, first * MOST_PAGES);
    this.blocks[MAX_ORDER].addRange(first, largest); // they have no buddies
    this.freePages += largest * MOST_PAGES;
    this.#putBlocks((first + largest) * MOST_PAGES, end);
  }

  #putBlocks(from: Pfn, end: Pfn): void {
    for (let at = from; at < end;) {
      const most = log2Floor(end - at);
      const order = Math.min(at === 0 ? most : trailingZeros(at), most, MAX_ORDER);
      this.put(at, order);
      at += 1 << order;
    }
  }
}

function blocksOf(frames: number, order: number): number {
  return Math.ceil(frames / (1 << order));
}
