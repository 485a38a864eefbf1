/**
 * What Node does not tell about sockets: a connected pair of them, the address that a descriptor is
 * bound to, and whether it listens.
 */
import { checkOneOf, KernelError } from '@liveupdate/base';
import { checkFd } from './inputs.ts';
import { c, failed } from './native.ts';
import {
  ADDRESS_BYTES,
  AF_INET,
  AF_INET6,
  AF_UNIX,
  familyOf,
  ipOf,
  SO_ACCEPTCONN,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
  unixPathOf,
} from './sockets-abi.ts';

/** What a socket is bound to. */
export type SocketAddress =
  | {
      readonly family: 'IPv4' | 'IPv6';
      /** In digits, without a scope. */
      readonly host: string;
      readonly port: number;
    }
  | {
      readonly family: 'unix';
      /** A path, a name after a NUL, or nothing where it has no name. */
      readonly path: string;
    };

/**
 * Two sockets of this machine that are connected to one another (socketpair(2)). Both are closed on
 * exec, and both block: Node makes those that it reads non-blocking itself, and `sendFds` and
 * `receiveFds` never wait.
 *
 * @param kind `'packets'` keeps messages apart (SOCK_SEQPACKET), `'stream'` does not (SOCK_STREAM)
 * @throws KernelError EINVAL: neither kind. EMFILE, ENFILE: too many open files. ENOMEM, ENOBUFS:
 * no memory. EOPNOTSUPP: koffi or this runtime cannot (`checkRuntime`)
 */
export function socketPair(kind: 'stream' | 'packets'): [number, number] {
  checkOneOf(kind, 'a kind of socket', ['stream', 'packets']);
  const type = kind === 'stream' ? SOCK_STREAM : SOCK_SEQPACKET;
  const pair = new Int32Array(2);
  if (c('socketpair')(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0) throw failed('making a pair of sockets');
  return [pair[0], pair[1]];
}

/**
 * The address that a socket is bound to (getsockname(2)).
 *
 * @throws KernelError EBADF: not open. ENOTSOCK: no socket. EAFNOSUPPORT: neither IP nor Unix.
 * EINVAL: no number of a descriptor. ENOBUFS: no memory. EOPNOTSUPP: koffi or this runtime cannot
 * (`checkRuntime`)
 */
export function localAddress(fd: number): SocketAddress {
  checkFd(fd);
  const storage = new Uint8Array(ADDRESS_BYTES);
  const length = Uint32Array.of(ADDRESS_BYTES);
  if (c('getsockname')(fd, storage, length) < 0) throw failed(`reading the address of descriptor ${fd}`);
  const address = storage.subarray(0, length[0]);
  const family = familyOf(address);
  if (family === AF_UNIX) return { family: 'unix', path: unixPathOf(address) };
  if (family === AF_INET) return { family: 'IPv4', ...ipOf(address) };
  if (family === AF_INET6) return { family: 'IPv6', ...ipOf(address) };
  throw new KernelError(
    'EAFNOSUPPORT',
    `the socket with descriptor ${fd} has an address of family ${family}: neither IP nor Unix`,
  );
}

/**
 * Whether connections to a socket can be made (SO_ACCEPTCONN).
 *
 * @throws KernelError EBADF: not open. ENOTSOCK: no socket. EINVAL: no number of a descriptor.
 * EOPNOTSUPP: koffi or this runtime cannot (`checkRuntime`)
 */
export function isListening(fd: number): boolean {
  return socketOption(checkFd(fd), SO_ACCEPTCONN) !== 0;
}

/**
 * @internal A number that the system knows of a socket.
 *
 * @throws KernelError EBADF: not open. ENOTSOCK: no socket
 */
export function socketOption(fd: number, option: number): number {
  const value = new Int32Array(1);
  if (c('getsockopt')(fd, SOL_SOCKET, option, value, Uint32Array.of(value.byteLength)) < 0)
    throw failed(`reading option ${option} of descriptor ${fd}`);
  return value[0];
}

/**
 * @internal A new socket, closed on exec.
 *
 * @throws KernelError EAFNOSUPPORT: no such family. EMFILE, ENFILE, ENOMEM, ENOBUFS: as socket(2)
 * has them
 */
export function newSocket(family: number, type: number): number {
  const fd = c('socket')(family, type | SOCK_CLOEXEC, 0);
  if (fd < 0) throw failed('making a socket');
  return fd;
}
