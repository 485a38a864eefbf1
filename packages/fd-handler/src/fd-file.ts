/**
 * An open descriptor as a file that can be preserved: a number, and nothing more. Whoever has it
 * open here goes on using and closing it as before; what is preserved is a duplicate.
 */
import { isBranded, KernelError, type Branded } from '@liveupdate/base';
import { checkFd, duplicateFrom, isOpen } from '@liveupdate/linux';
import { COPY } from './package-copy.ts';

const BRAND: Branded = { className: 'FdFile', copy: COPY };

const fs = process.getBuiltinModule('node:fs');

export class FdFile {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to objects of other copies too. */
  static [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  #fd: number;
  /**
   * The number that it had in the generation that preserved it; the one that it has, where this
   * generation made it.
   */
  readonly before: number;

  /**
   * @param fd an open descriptor: a listening socket, a connection, a pipe, a memfd, an eventfd
   * @throws KernelError EBADF: not open. EINVAL: no number of a descriptor
   */
  constructor(fd: number, before = fd) {
    checkFd(fd);
    checkFd(before);
    if (!isOpen(fd)) throw new KernelError('EBADF', `descriptor ${fd} is not open`);
    this.#fd = fd;
    this.before = before;
  }

  /**
   * The number. Of a retrieved one it is yours, closed on exec: give it to who shall have it
   * (`server.listen({ fd })`, `new net.Socket({ fd })`), or close it.
   */
  get fd(): number {
    return this.#fd;
  }

  /**
   * Another number for the same, closed on exec and yours: to go on with where a kexec was refused
   * and this one is closed by then.
   *
   * @throws KernelError EBADF: it is closed. EMFILE: no number is free
   */
  duplicate(): number {
    return duplicateFrom(this.#fd, 0);
  }

  /**
   * Gives it another number, such as the one `before`, and frees the one that it has.
   *
   * @throws KernelError EBUSY: the number is taken. EINVAL: no number of a descriptor. EBADF: it is
   * closed. EMFILE: beyond the limit of open files. Then it stays as it is.
   */
  moveTo(number: number): void {
    checkFd(number);
    if (number === this.#fd) return;
    const moved = duplicateFrom(this.#fd, number);
    if (moved !== number) {
      fs.closeSync(moved);
      throw new KernelError('EBUSY', `descriptor ${number} is taken: close it first, or use another`);
    }
    fs.closeSync(this.#fd);
    this.#fd = number;
  }
}
