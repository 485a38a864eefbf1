/** What a descriptor stands for: a number may stand for something else by the next look. */
import { checkFd } from './inputs.ts';
import { fs } from './node-fs.ts';

/**
 * What tells one open file from another: device, inode and mode. Undefined where the number is
 * free.
 *
 * @throws KernelError EINVAL: no number of a descriptor
 */
export function fileBehind(fd: number): string | undefined {
  checkFd(fd);
  try {
    const { dev, ino, mode } = fs.fstatSync(fd, { bigint: true });
    return `${dev}:${ino}:${mode}`;
  } catch {
    return undefined;
  }
}
