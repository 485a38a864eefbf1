/**
 * File seals and memfd_create flags, with the numbers that Linux uses (uapi: linux/fcntl.h,
 * linux/memfd.h).
 */

import { checkWhole } from '@liveupdate/base';

export const SEAL_SEAL = 1;
export const SEAL_SHRINK = 2;
export const SEAL_GROW = 4;
export const SEAL_WRITE = 8;
export const SEAL_FUTURE_WRITE = 16;
export const SEAL_EXEC = 32;
/** Every seal there is. */
export const SEAL_ALL = 63;

/**
 * What SEAL_EXEC brings along where the file is executable, as memfds are unless made with
 * MFD_NOEXEC_SEAL.
 */
export const SEALS_WITH_EXEC = SEAL_SHRINK | SEAL_GROW | SEAL_WRITE | SEAL_FUTURE_WRITE;

export const MFD_CLOEXEC = 1;
export const MFD_ALLOW_SEALING = 2;
export const MFD_HUGETLB = 4;
export const MFD_NOEXEC_SEAL = 8;
export const MFD_EXEC = 16;

/** Bytes of a memfd's name, without its NUL. */
export const MAX_MEMFD_NAME = 249;

const NAMES = [
  [SEAL_SEAL, 'seal'],
  [SEAL_SHRINK, 'shrink'],
  [SEAL_GROW, 'grow'],
  [SEAL_WRITE, 'write'],
  [SEAL_FUTURE_WRITE, 'future-write'],
  [SEAL_EXEC, 'exec'],
] as const;

/**
 * Names of the seals in a mask, such as `['shrink', 'grow']`.
 *
 * @throws KernelError EINVAL: no mask of 32 bits
 */
export function sealNames(seals: number): string[] {
  checkWhole(seals, 'a mask of seals', { max: 0xffff_ffff });
  return NAMES.filter(([bit]) => (seals & bit) !== 0).map(([, name]) => name);
}
