/**
 * Listening sockets as bare descriptors: made before there is a server, kept where the server is
 * replaced, given away. Node serves one by `server.listen({ fd })`.
 */
import { checkFlag, checkOptions, checkText, checkWhole, KernelError, Undo } from '@liveupdate/base';
import { callFs } from './call-fs.ts';
import { c, failed, lastError } from './native.ts';
import { fs } from './node-fs.ts';
import {
  AF_INET6,
  AF_UNIX,
  familyOf,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  ipAddress,
  isAbstract,
  shownPath,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  unixAddress,
} from './sockets-abi.ts';
import { newSocket } from './sockets.ts';

/** Connections that may wait, as Node has it; the system caps it at net.core.somaxconn. */
const BACKLOG = 511;
const MOST_BACKLOG = 2 ** 31 - 1;
const MOST_PORT = 65_535;

const O_PATH = 0o10000000;

/** Where TCP connections are taken. */
export interface ListenTcpOptions {
  /** An IPv4 or IPv6 address in digits; `::` and `0.0.0.0` are all of this machine's. */
  readonly host: string;
  /** 0 for any that is free: `localAddress` tells it. */
  readonly port: number;
  /** Connections that may wait. Default: 511, as in Node. */
  readonly backlog?: number;
  /** No IPv4 connections on `::`. It changes nothing for an IPv4 address. Default: false. */
  readonly ipv6Only?: boolean;
  /** Other sockets with this option may listen there too (SO_REUSEPORT). Default: false. */
  readonly reusePort?: boolean;
}

/** Where connections of this machine are taken. */
export interface ListenUnixOptions {
  /** At most 107 bytes; a name after a NUL is abstract, and needs no file. */
  readonly path: string;
  /** Connections that may wait. Default: 511, as in Node. */
  readonly backlog?: number;
  /**
   * Permissions of the file, whatever the umask; to connect is to write. Default: 0o777 without the
   * umask.
   */
  readonly mode?: number;
}

/**
 * A socket that listens for TCP connections: close-on-exec, non-blocking, and bound as Node does it
 * (SO_REUSEADDR; `::` takes IPv4 too).
 *
 * @returns its descriptor, which is the caller's to close
 * @throws KernelError EADDRINUSE: another socket listens there. EADDRNOTAVAIL: the address is none
 * of this machine. EACCES: a port below net.ipv4.ip_unprivileged_port_start. EAFNOSUPPORT: this
 * system has no IPv6, or no IPv4. EINVAL: a wrong kind of option, no address in digits, or a
 * link-local one, which would need a scope. EMFILE, ENFILE: too many open files. ENOMEM, ENOBUFS:
 * no memory. EOPNOTSUPP: koffi or this runtime cannot (`checkRuntime`)
 */
export function listenTcp(options: ListenTcpOptions): number {
  checkOptions(options, 'listenTcp', ['host', 'port', 'backlog', 'ipv6Only', 'reusePort']);
  const { host, port, backlog = BACKLOG, ipv6Only = false, reusePort = false } = options;
  checkText(host, 'an address');
  checkWhole(port, 'a port', { max: MOST_PORT });
  checkBacklog(backlog);
  checkFlag(ipv6Only, 'whether IPv4 is left out');
  checkFlag(reusePort, 'whether others may listen there');
  const address = ipAddress(host, port);
  const family = familyOf(address);

  using undo = new Undo();
  const fd = newSocket(family, SOCK_STREAM | SOCK_NONBLOCK);
  undo.add(() => {
    fs.closeSync(fd);
  });
  setOption(fd, SOL_SOCKET, SO_REUSEADDR, true);
  if (reusePort) setOption(fd, SOL_SOCKET, SO_REUSEPORT, true);
  if (family === AF_INET6) setOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, ipv6Only);
  if (c('bind')(fd, address, address.length) < 0) {
    throw failed(`binding ${host} port ${port}`, {
      EACCES: 'ports below net.ipv4.ip_unprivileged_port_start are for root: choose a higher one',
      EINVAL: 'an address of a single link needs a scope: choose another one',
    });
  }
  listen(fd, backlog, `${host} port ${port}`);
  undo.keep();
  return fd;
}

/**
 * A Unix socket that listens: close-on-exec, non-blocking. Where a socket stands that no process
 * has any more, which is what a death leaves, that is removed first. Nothing else ever is. Two that
 * find the same one in the same few microseconds may both listen, and the later has the path: who
 * may come second holds a lock.
 *
 * @returns its descriptor, which is the caller's to close, as the path is to remove
 * @throws KernelError EADDRINUSE: something is there: a socket that a process has, a file of
 * another kind, or a link. ENOENT, ENOTDIR, ELOOP: no such directory. EACCES, EROFS, ENOSPC, EPERM:
 * no file can be made there, or the socket that is there cannot be removed. ENAMETOOLONG: above 107
 * bytes. EINVAL: a wrong kind of option, or a mode for an abstract name. EMFILE, ENFILE: too many
 * open files. ENOMEM, ENOBUFS: no memory. EOPNOTSUPP: koffi or this runtime cannot (`checkRuntime`)
 */
export function listenUnix(options: ListenUnixOptions): number {
  checkOptions(options, 'listenUnix', ['path', 'backlog', 'mode']);
  const { path, backlog = BACKLOG, mode } = options;
  const address = unixAddress(path);
  checkBacklog(backlog);
  if (mode !== undefined) {
    checkWhole(mode, 'permissions', { max: 0o777 });
    if (isAbstract(path)) throw new KernelError('EINVAL', 'an abstract name has no file: leave out its mode');
  }

  using undo = new Undo();
  const fd = newSocket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK);
  undo.add(() => {
    fs.closeSync(fd);
  });
  bindUnix(fd, path, address);
  if (!isAbstract(path)) {
    undo.add(() => {
      fs.rmSync(path, { force: true });
    });
  }
  // Nobody can connect before it listens, so none comes in by what the umask allows.
  if (mode !== undefined) callFs(`setting the mode of '${path}'`, () => fs.chmodSync(path, mode));
  listen(fd, backlog, `'${shownPath(path)}'`);
  undo.keep();
  return fd;
}

function checkBacklog(backlog: number): void {
  checkWhole(backlog, 'a number of connections that may wait', { max: MOST_BACKLOG });
}

function setOption(fd: number, level: number, option: number, on: boolean): void {
  if (c('setsockopt')(fd, level, option, Int32Array.of(Number(on)), 4) < 0)
    throw failed(`setting option ${option} of a socket`);
}

function listen(fd: number, backlog: number, where: string): void {
  if (c('listen')(fd, backlog) < 0) throw failed(`listening at ${where}`);
}

function bindUnix(fd: number, path: string, address: Uint8Array): void {
  for (let again = false; c('bind')(fd, address, address.length) < 0; again = true) {
    const error = failed(`binding '${shownPath(path)}'`, {
      EADDRINUSE: 'a process has a socket there, or it is no socket: end that one, or choose another path',
    });
    if (error.code !== 'EADDRINUSE' || again || isAbstract(path) || !removeDead(path)) throw error;
  }
}

/** Removes a socket that no process has any more. False where it is anything else. */
function removeDead(path: string): boolean {
  return callFs(`looking at the socket '${path}'`, () => {
    // While it is held, its inode is nobody else's: what is removed is what was looked at.
    const held = hold(path);
    if (held === undefined) return true; // gone by now
    try {
      const { dev, ino } = fs.fstatSync(held, { bigint: true });
      if (!fs.fstatSync(held).isSocket() || hasOwner(held)) return false;
      const now = fs.lstatSync(path, { bigint: true, throwIfNoEntry: false });
      if (now?.dev === dev && now.ino === ino) fs.unlinkSync(path);
      return true;
    } finally {
      fs.closeSync(held);
    }
  });
}

/** A descriptor that stands for what is at a path and opens nothing; of a link for itself. */
function hold(path: string): number | undefined {
  try {
    return fs.openSync(path, O_PATH | fs.constants.O_NOFOLLOW);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/**
 * Whether a process has the socket that `held` stands for. A socket for datagrams asks: it cannot
 * be connected to one for connections, so whoever listens there notices nothing, and one that is
 * bound and does not listen yet is found too. Only where nobody has it the answer is ECONNREFUSED.
 */
function hasOwner(held: number): boolean {
  const asking = newSocket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK);
  try {
    const address = unixAddress(`/proc/self/fd/${held}`);
    return c('connect')(asking, address, address.length) === 0 || lastError() !== 'ECONNREFUSED';
  } finally {
    fs.closeSync(asking);
  }
}
