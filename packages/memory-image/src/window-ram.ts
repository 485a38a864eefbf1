/**
 * RAM that is only read, and forgets: blocks are loaded when looked at, and when there are many of
 * them all are dropped. So reading 64 GiB of files does not take 64 GiB of memory. Views that
 * somebody still holds stay valid, since nobody writes through them.
 */
import { KernelError, MAX_FOLIO_SIZE } from '@liveupdate/base';
import type { Ram } from '@liveupdate/mm';

/** Blocks of 4 MiB that are kept, at most: 256 MiB. */
const MAX_BLOCKS = 64;

export class WindowRam implements Ram {
  readonly size: number;
  readonly #make: () => Ram;
  readonly #seen = new Set<number>();
  #ram: Ram;

  /**
   * @param make a RAM that loads its blocks when they are first looked at; called again for each
   * new window
   */
  constructor(make: () => Ram) {
    this.#make = make;
    this.#ram = make();
    this.size = this.#ram.size;
  }

  bytes(pa: number, length: number): Uint8Array {
    const block = Math.floor(pa / MAX_FOLIO_SIZE);
    if (!this.#seen.has(block) && this.#seen.size === MAX_BLOCKS) {
      this.#seen.clear();
      this.#ram = this.#make(); // the old one is not closed: views of it may be in use
    }
    const bytes = this.#ram.bytes(pa, length);
    this.#seen.add(block);
    return bytes;
  }

  discard(): never {
    throw new KernelError('EROFS', 'an image that is inspected is not changed');
  }

  close(): void {
    this.#ram.close();
  }
}
