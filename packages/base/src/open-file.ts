/**
 * Who keeps a file open: its users, each of whom closes it once, and those who hold it meanwhile
 * (live update, a stream).
 *
 * Always: what a user closes is a user's reference. One closed once too often is told so, and takes
 * nothing away from who holds the file.
 */
import { assert } from './assert.ts';
import { KernelError } from './errors.ts';

export abstract class OpenFile {
  /** References of users: the first is that of whoever made the file. */
  #users = 1;
  #holders = 0;

  /** What messages call it. */
  protected abstract get title(): string;

  /** Nobody has it open any more: called once. */
  protected abstract freed(): void;

  /** Whether anybody has it open, or holds it. */
  get isOpen(): boolean {
    return this.#users + this.#holders > 0;
  }

  /**
   * Another reference of a user, as dup() gives; drop it with put() or close().
   *
   * @throws KernelError EBADF: closed, and nobody holds it
   */
  get(): void {
    this.checkOpen();
    this.#users += 1;
  }

  /**
   * Drops a reference of a user. With the last one of all the file is freed.
   *
   * @throws KernelError EBADF: closed by all its users already; who holds it goes on doing so
   */
  put(): void {
    if (this.#users === 0) throw this.#closed();
    this.#users -= 1;
    if (!this.isOpen) this.freed();
  }

  /** The same as put(). */
  close(): void {
    this.put();
  }

  /**
   * Keeps the file open until unhold(), whatever its users close: for live update and others who
   * lend a file out.
   *
   * @throws KernelError EBADF: closed, and nobody holds it
   */
  hold(): void {
    this.checkOpen();
    this.#holders += 1;
  }

  /** Takes back one hold(). Who holds nothing must not call it. */
  unhold(): void {
    assert(this.#holders > 0, `${this.title} is let go by one who does not hold it`);
    this.#holders -= 1;
    if (!this.isOpen) this.freed();
  }

  /** @throws KernelError EBADF: closed, and nobody holds it */
  protected checkOpen(): void {
    if (!this.isOpen) throw this.#closed();
  }

  #closed(): KernelError {
    return new KernelError('EBADF', `${this.title} is closed`);
  }
}
