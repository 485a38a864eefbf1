/**
 * RAM in an ArrayBuffer: for tests and simulations. It lives as long as the object; untouched parts
 * cost the system nothing.
 */
import { KernelError } from '@liveupdate/base';
import { detach } from './detach.ts';
import { checkPages, checkRamSize, checkRange, type Ram } from './ram.ts';

export class HeapRam implements Ram {
  #buffer: ArrayBuffer | undefined;
  readonly size: number;

  /**
   * @param size bytes, a multiple of the page size
   * @throws KernelError EINVAL: no such size. ENOMEM: the JavaScript engine refuses so large a
   * buffer.
   */
  constructor(size: number) {
    checkRamSize(size);
    this.size = size;
    try {
      this.#buffer = new ArrayBuffer(size);
    } catch (cause) {
      throw new KernelError(
        'ENOMEM',
        `no ArrayBuffer of ${size} bytes to be had: choose a smaller RAM, or a mapped one`,
        { cause },
      );
    }
  }

  bytes(pa: number, length: number): Uint8Array {
    const buffer = this.#open();
    checkRange(this.size, pa, length);
    return new Uint8Array(buffer, pa, length);
  }

  discard(pa: number, length: number): void {
    const buffer = this.#open();
    checkPages(this.size, pa, length);
    new Uint8Array(buffer, pa, length).fill(0);
  }

  close(): void {
    if (this.#buffer) detach(this.#buffer); // as an unmapped RAM must
    this.#buffer = undefined;
  }

  #open(): ArrayBuffer {
    if (!this.#buffer) throw new KernelError('EBADF', 'this RAM is closed');
    return this.#buffer;
  }
}
