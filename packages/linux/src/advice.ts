/** What to do about a refusal of the system, where whoever asked has nothing better to say. */
import type { ErrnoCode } from '@liveupdate/base';

export const ADVICE: Readonly<Partial<Record<ErrnoCode, string>>> = {
  ENOSPC: 'the file system is full: free some of it, or make it larger',
  ENOMEM: 'the system has no memory for it: free some, or raise the limit of its cgroup',
  EMFILE: 'too many descriptors are open: close some, or raise `ulimit -n`',
  ENFILE: 'the system has too many files open: close some, or raise fs.file-max',
  EBADF: 'the descriptor is not open',
  ENOENT: 'there is no such file or directory',
  ENOTDIR: 'a part of the path is no directory',
  EACCES: 'the permissions of the file, or of a directory above it, do not allow it',
  EROFS: 'the file system is mounted read-only: choose another place',
  EFBIG: 'the file would be larger than the limit (`ulimit -f`) or the file system allows',
};
