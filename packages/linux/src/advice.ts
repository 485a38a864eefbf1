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
  ENOTSOCK: 'the descriptor is no socket',
  EPIPE: 'the peer has closed its end',
  ECONNRESET: 'the peer closed its end before it had read everything that was sent to it',
  ENOTCONN: 'the socket is not connected: connect it first, or use a pair',
  ETOOMANYREFS:
    'more descriptors are on their way than may be open (`ulimit -n`): let the receivers take theirs first, or raise it',
  EMSGSIZE: 'the message is larger than the buffer of the socket: send it in parts',
  ENOBUFS: 'the system has no memory for the message: free some, and try again',
  ECONNREFUSED: 'nobody listens there',
  EPROTOTYPE: 'the socket there is of another kind',
  EAFNOSUPPORT: 'the system does not have this family of addresses: choose an address of another one',
  EADDRINUSE: 'another socket has that address: end its owner, or choose another',
  EADDRNOTAVAIL: 'the address is none of this machine: choose one of its own, or 0.0.0.0 or :: for all',
};
