/**
 * RAM in blocks that exist once touched: the base of memory images and of the overlay that boots
 * one without changing it. Each block is as large as the largest folio, so that every folio is one
 * view.
 */
import { checkFunction, KernelError, MAX_FOLIO_SIZE } from '@liveupdate/base';
import { detach } from './detach.ts';
import { memoryOf, withMemoryMap } from './memory-map.ts';
import { checkPages, checkRam, checkRamSize, checkRange, forEachBlock, type Ram } from './ram.ts';

/** Puts the first content into a new block, which is zero. `pa` is where the block begins. */
export type BlockLoader = (block: Uint8Array, pa: number) => void;

export class SparseRam implements Ram {
  readonly size: number;
  readonly #load: BlockLoader | undefined;
  #blocks: Map<number, Uint8Array> | undefined = new Map();
  /**
   * Blocks that were discarded whole before anyone looked: zeros, whatever the loader would say.
   */
  readonly #blank = new Set<number>();

  /**
   * @param size bytes, a multiple of the page size
   * @param load absent: all of it is zero
   * @throws KernelError EINVAL: no such size, or a loader that is no function
   */
  constructor(size: number, load?: BlockLoader) {
    checkRamSize(size);
    if (load !== undefined) checkFunction(load, 'what fills a block');
    this.size = size;
    this.#load = load;
  }

  bytes(pa: number, length: number): Uint8Array {
    const blocks = this.#open();
    checkRange(this.size, pa, length);
    const start = blockStart(pa);
    if (pa - start + length > MAX_FOLIO_SIZE) {
      throw new KernelError(
        'ERANGE',
        `0x${pa.toString(16)} + ${length} bytes crosses a 4 MiB block: view it block by block`,
      );
    }
    let block = blocks.get(start);
    if (!block) {
      block = new Uint8Array(this.#blockSize(start));
      if (!this.#blank.has(start)) this.#load?.(block, start);
      blocks.set(start, block);
    }
    return block.subarray(pa - start, pa - start + length);
  }

  /**
   * Blocks that nobody looked at are not made for it: discarding all of a large image costs
   * nothing.
   */
  discard(pa: number, length: number): void {
    const blocks = this.#open();
    checkPages(this.size, pa, length);
    forEachBlock(pa, length, (at, bytes) => {
      const start = blockStart(at);
      const isThere = blocks.has(start) || (this.#load !== undefined && !this.#blank.has(start));
      if (!isThere) return;
      if (!blocks.has(start) && bytes === this.#blockSize(start)) this.#blank.add(start);
      else this.bytes(at, bytes).fill(0);
    });
  }

  close(): void {
    for (const block of this.#blocks?.values() ?? []) detach(block.buffer as ArrayBuffer);
    this.#blocks = undefined;
  }

  #open(): Map<number, Uint8Array> {
    if (!this.#blocks) throw new KernelError('EBADF', 'this RAM is closed');
    return this.#blocks;
  }

  #blockSize(start: number): number {
    return Math.min(MAX_FOLIO_SIZE, this.size - start);
  }
}

function blockStart(pa: number): number {
  return Math.floor(pa / MAX_FOLIO_SIZE) * MAX_FOLIO_SIZE;
}

/**
 * A copy-on-write overlay: reads show `under` as it was when its block was first touched, writes
 * stay in the overlay.
 *
 * @throws KernelError EINVAL: no RAM
 */
export function overlayRam(under: Ram): Ram {
  checkRam(under);
  const memory = memoryOf(under);
  const overlay = new SparseRam(under.size, (block, pa) => {
    for (const range of memory) {
      const from = Math.max(range.pa, pa);
      const to = Math.min(range.pa + range.length, pa + block.length);
      if (from < to) block.set(under.bytes(from, to - from), from - pa);
    }
  });
  return under.memory
    ? withMemoryMap(
        overlay,
        under.memory.map((range) => ({ ...range, kind: 'usable' })),
      )
    : overlay;
}
