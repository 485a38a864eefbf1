/**
 * One owner at a time: a write lock on a byte of the RAM file, of the kind that belongs to the open
 * file description (F_OFD_SETLK).
 *
 * - It goes with the descriptor through exec, and the kernel drops it when the owner dies, however
 *   it dies: there is no stale lock.
 * - It ends when the last descriptor and the last mapping of that description are gone. A child
 *   that inherited the descriptor holds it too; so RAM descriptors are close-on-exec but at the
 *   moment of a replacement.
 * - Every open() makes a description of its own: two opens of one file conflict also inside one
 *   process, two duplicates do not.
 */
import { checkFd } from './inputs.ts';
import { isByteLocked, lockByte, unlockByte } from './libc.ts';

/** The byte that stands for ownership. Locks do not touch memory: any offset would do. */
const OWNER_BYTE = 0;

/**
 * Takes the lock, or says false where another owner has it. True also where this description has it
 * already.
 *
 * @throws KernelError EBADF: not open for writing. EINVAL: no number of a descriptor. EIO: the
 * kernel has no memory for locks
 */
export function tryLock(fd: number): boolean {
  return lockByte(checkFd(fd), OWNER_BYTE);
}

/**
 * Lets go of the lock; nothing happens where it was not held.
 *
 * @throws KernelError EBADF: not open. EINVAL: no number of a descriptor.
 */
export function unlock(fd: number): void {
  unlockByte(checkFd(fd), OWNER_BYTE);
}

/**
 * Whether another owner has the lock now. Whoever wants it calls tryLock: the answer may be old
 * when it arrives.
 *
 * @throws KernelError EBADF: not open. EINVAL: no number of a descriptor.
 */
export function isLockedByOther(fd: number): boolean {
  return isByteLocked(checkFd(fd), OWNER_BYTE);
}
