/**
 * An eventfd: a counter that is waited for (kernel: fs/eventfd.c). A write adds to it; a read takes
 * all of it, or one in semaphore mode.
 *
 * Always: the counter is at most 2^64 - 2; nobody waits for what could be done now.
 */
import {
  checkFlag,
  checkWhole,
  KernelError,
  OpenFile,
  shown,
  isBranded,
  type Branded,
} from '@liveupdate/base';
import { COPY } from './package-copy.ts';

/** A read takes one and leaves the rest. */
export const EFD_SEMAPHORE = 0o1;
/** What would have to wait fails with EAGAIN. */
export const EFD_NONBLOCK = 0o4000;

/** There is something to read. */
export const POLLIN = 1;
/** At least 1 can be written. */
export const POLLOUT = 4;

/** The largest counter; 2^64 - 1 is what no read may ever give. */
const MAX_COUNT = 0xffff_ffff_ffff_fffen;

const FLAGS = EFD_SEMAPHORE | EFD_NONBLOCK;

/** A read or write that waits. */
interface Waiter {
  /** Does it, where that is possible now. */
  attempt(): boolean;
  fail(error: KernelError): void;
}

const BRAND: Branded = { className: 'EventFd', copy: COPY };

export class EventFd extends OpenFile {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to objects of other copies too. */
  static override [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  #count: bigint;
  #flags: number;
  /** Who waits, the longest first. */
  #waiters: Waiter[] = [];

  /**
   * @param initial the counter; the system call takes 32 bits, a handover all of them
   * @param flags EFD_SEMAPHORE, EFD_NONBLOCK
   * @throws KernelError EINVAL: other flags, or no counter from 0 to 2^64 - 2
   */
  constructor(initial: bigint | number = 0n, flags = 0) {
    super();
    if (checkWhole(flags, 'flags of an eventfd') !== (flags & FLAGS))
      throw new KernelError('EINVAL', `an eventfd has no flags 0x${flags.toString(16)}`);
    this.#count = checkCount(initial);
    this.#flags = flags;
  }

  /** The counter, as /proc/self/fdinfo shows it. */
  get count(): bigint {
    return this.#count;
  }

  /** EFD_SEMAPHORE and EFD_NONBLOCK, where they are set. */
  get flags(): number {
    return this.#flags;
  }

  get isSemaphore(): boolean {
    return (this.#flags & EFD_SEMAPHORE) !== 0;
  }

  /** Can be changed at any time, as fcntl(F_SETFL) does; who waits already goes on waiting. */
  get isNonBlocking(): boolean {
    return (this.#flags & EFD_NONBLOCK) !== 0;
  }

  /** @throws KernelError EINVAL: neither true nor false */
  set isNonBlocking(value: boolean) {
    this.#flags = checkFlag(value, 'isNonBlocking')
      ? this.#flags | EFD_NONBLOCK
      : this.#flags & ~EFD_NONBLOCK;
  }

  /**
   * Takes the counter, which is 0 then; in semaphore mode 1 of it. Happens before the call returns
   * where it can; else, and in blocking mode, as soon as something is written.
   *
   * @throws KernelError EAGAIN: the counter is 0, in non-blocking mode. EBADF: closed, also while
   * waiting.
   */
  read(): Promise<bigint> {
    return this.#perform('there is nothing to read', () => {
      if (this.#count === 0n) return undefined;
      const taken = this.isSemaphore ? 1n : this.#count;
      this.#count -= taken;
      return taken;
    });
  }

  /**
   * Adds to the counter. Happens before the call returns where it can; else, and in blocking mode,
   * as soon as enough was read.
   *
   * @throws KernelError EINVAL: not a whole number from 0 to 2^64 - 2. EAGAIN: the counter would
   * exceed 2^64 - 2, in non-blocking mode. EBADF: closed, also while waiting.
   */
  async write(value: bigint | number): Promise<void> {
    const added = checkCount(value);
    await this.#perform('the counter would overflow', () => {
      if (this.#count + added > MAX_COUNT) return undefined;
      this.#count += added;
      return added;
    });
  }

  /** What can be done without waiting: POLLIN, POLLOUT. @throws KernelError EBADF: closed */
  poll(): number {
    this.checkOpen();
    return (this.#count > 0n ? POLLIN : 0) | (this.#count < MAX_COUNT ? POLLOUT : 0);
  }

  protected override get title(): string {
    return 'the eventfd';
  }

  /** Who waits gets EBADF. */
  protected override freed(): void {
    for (const waiter of this.#waiters.splice(0))
      waiter.fail(new KernelError('EBADF', 'the eventfd was closed'));
  }

  /** @param attempt undefined where it must wait */
  #perform(reason: string, attempt: () => bigint | undefined): Promise<bigint> {
    return new Promise((resolve, reject) => {
      this.checkOpen();
      const waiter = {
        attempt: () => {
          const result = attempt();
          if (result !== undefined) resolve(result);
          return result !== undefined;
        },
        fail: reject,
      };
      if (waiter.attempt()) this.#wake();
      else if (this.isNonBlocking) throw new KernelError('EAGAIN', `${reason}: try again later`);
      else this.#waiters.push(waiter);
    });
  }

  /** Lets go on who can: what one does may be what another waits for. */
  #wake(): void {
    for (let at = this.#waiters.findIndex(ready); at >= 0; at = this.#waiters.findIndex(ready))
      this.#waiters.splice(at, 1);
  }
}

function ready(waiter: Waiter): boolean {
  return waiter.attempt();
}

function checkCount(given: bigint | number): bigint {
  const value = typeof given === 'number' && Number.isSafeInteger(given) ? BigInt(given) : given;
  if (typeof value === 'bigint' && value >= 0n && value <= MAX_COUNT) return value;
  throw new KernelError('EINVAL', `an eventfd counts from 0 to 2^64 - 2, not ${shown(given)}`);
}
