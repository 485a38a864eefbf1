/**
 * Vmalloc areas: memory of any length from scattered pages, read and written as one range (kernel:
 * mm/vmalloc.c). There is no page table to make it contiguous, so an area is shown page by page.
 */
import {
  bytesOf,
  checkInstance,
  checkWhole,
  KernelError,
  MAX_ORDER,
  PAGE_SIZE,
  pagesFor,
  pfnToPhys,
  type Bytes,
} from '@liveupdate/base';
import { PageAllocator } from './page-allocator.ts';

const ORDERS = { max: MAX_ORDER };

export class VmallocArea {
  readonly #pages: PageAllocator;
  /** First frame of each piece. */
  readonly pfns: Uint32Array;
  /** Order of each piece. */
  readonly order: number;

  /**
   * An area over pieces in use, which it then owns.
   *
   * @throws KernelError EINVAL: no pages, no frames, or no order of a piece
   */
  constructor(pages: PageAllocator, pfns: Uint32Array, order: number) {
    this.#pages = checkInstance(pages, 'pages', PageAllocator);
    this.pfns = checkInstance(pfns, 'a list of frames', Uint32Array);
    this.order = checkWhole(order, 'an order', ORDERS);
  }

  /** Bytes in each piece. */
  get pieceSize(): number {
    return PAGE_SIZE << this.order;
  }

  /** Bytes in the whole area. */
  get length(): number {
    return this.pfns.length * this.pieceSize;
  }

  /** Number of 4 KiB pages. */
  get pageCount(): number {
    return this.pfns.length << this.order;
  }

  /** A live view of piece `i`, over a buffer of its own where RAM can map one. */
  piece(i: number): Uint8Array {
    return this.#pages.folioBytes(this.pfns[i]);
  }

  /**
   * Copies out of the area.
   *
   * @throws KernelError EFAULT: the range leaves the area. EINVAL: nothing that has bytes, or no
   * offset.
   */
  read(given: Bytes, offset = 0): void {
    const target = bytesOf(given);
    this.#each(offset, target.length, (piece, at) => {
      target.set(piece, at);
    });
  }

  /**
   * Copies into the area.
   *
   * @throws KernelError EFAULT: the range leaves the area. EINVAL: nothing that has bytes, or no
   * offset.
   */
  write(given: Bytes, offset = 0): void {
    const source = bytesOf(given);
    this.#each(offset, source.length, (piece, at) => {
      piece.set(source.subarray(at, at + piece.length));
    });
  }

  /** Frees the pages. The area must not be used afterwards. */
  free(): void {
    this.#pages.putBulk(this.pfns, 0, this.pfns.length);
  }

  #each(offset: number, length: number, visit: (part: Uint8Array, at: number) => void): void {
    if (checkWhole(offset, 'an offset') + length > this.length) {
      throw new KernelError(
        'EFAULT',
        `${offset} + ${length} bytes leave a vmalloc area of ${this.length} bytes`,
      );
    }
    let at = 0;
    while (at < length) {
      const position = offset + at;
      const inPiece = position % this.pieceSize;
      const bytes = Math.min(this.pieceSize - inPiece, length - at);
      const pa = pfnToPhys(this.pfns[Math.floor(position / this.pieceSize)]) + inPiece;
      visit(this.#pages.ram.bytes(pa, bytes), at);
      at += bytes;
    }
  }
}

/**
 * An area of at least `bytes` bytes.
 *
 * @param order pieces of 1 << order contiguous pages
 * @param zero whether it reads as zeros; else it may hold anything, and is written whole before
 * anybody else may look
 * @throws KernelError ENOMEM: not enough free memory; nothing is kept. EINVAL: no pages, no size or
 * no order
 */
export function vmalloc(pages: PageAllocator, bytes: number, order = 0, zero = true): VmallocArea {
  checkInstance(pages, 'pages', PageAllocator);
  checkWhole(bytes, 'a size of an area', { min: 1 });
  checkWhole(order, 'an order', ORDERS);
  const count = Math.ceil(pagesFor(bytes) / (1 << order));
  // Asked before the list of frames is made: that of an absurd length would be refused by the
  // engine, not by us.
  if (!pages.hasFree(count * (1 << order))) {
    throw new KernelError(
      'ENOMEM',
      `${bytes} bytes wanted, ${pages.freePages * PAGE_SIZE} free: make RAM larger or free files`,
    );
  }
  const pfns = new Uint32Array(count);
  if (order === 0) {
    pages.allocBulk(pfns, 0, pfns.length, { zero });
    return new VmallocArea(pages, pfns, 0);
  }
  let done = 0;
  try {
    for (; done < pfns.length; done++) pfns[done] = pages.alloc(order, { zero });
  } catch (error) {
    pages.putBulk(pfns, 0, done);
    throw error;
  }
  return new VmallocArea(pages, pfns, order);
}
