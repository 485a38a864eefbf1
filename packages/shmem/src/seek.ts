/** lseek(2): where a file position goes (kernel: shmem_file_llseek). */
import { checkWhole, KernelError, PAGE_SIZE, pagesFor, shown } from '@liveupdate/base';
import type { ShmemInode } from './inode.ts';

export const SEEK_SET = 0;
export const SEEK_CUR = 1;
export const SEEK_END = 2;
export const SEEK_DATA = 3;
export const SEEK_HOLE = 4;

/**
 * The position that a seek leads to.
 *
 * @param position where the description is now
 * @throws KernelError EINVAL: no such way of seeking, no whole number, before the start or beyond
 * 2^53. ENXIO: SEEK_DATA or SEEK_HOLE from before the start or from the end on, or no data follows
 */
export function seekTarget(inode: ShmemInode, position: number, offset: number, whence: number): number {
  checkWhole(offset, 'a position in a file', { min: Number.MIN_SAFE_INTEGER });
  switch (whence) {
    case SEEK_SET:
      return checked(offset);
    case SEEK_CUR:
      return checked(position + offset);
    case SEEK_END:
      return checked(inode.size + offset);
    case SEEK_DATA:
    case SEEK_HOLE:
      return seekContent(inode, offset, whence);
    default:
      throw new KernelError('EINVAL', `there is no way of seeking ${shown(whence)}`);
  }
}

function seekContent({ size, cache }: ShmemInode, offset: number, whence: number): number {
  if (offset < 0 || offset >= size)
    throw new KernelError('ENXIO', `the file has ${size} bytes: nothing to seek from ${offset} on`);
  const from = Math.floor(offset / PAGE_SIZE);
  const end = pagesFor(size);
  if (whence === SEEK_HOLE) return Math.min(size, Math.max(offset, cache.nextHole(from, end) * PAGE_SIZE));
  const at = cache.nextData(from, end);
  if (at === end) throw new KernelError('ENXIO', `no data follows position ${offset}`);
  return Math.max(offset, at * PAGE_SIZE);
}

function checked(position: number): number {
  if (!Number.isSafeInteger(position) || position < 0) throw noPosition(position);
  return position;
}

function noPosition(position: number): KernelError {
  return new KernelError('EINVAL', `${position} is no position in a file`);
}
