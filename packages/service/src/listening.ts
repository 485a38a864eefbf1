/**
 * Where a service listens: a text for each place, by which every generation finds the socket that
 * the first one made.
 */
import * as dns from 'node:dns/promises';
import * as net from 'node:net';
import { resolve } from 'node:path';
import { checkOptions, checkText, checkWhole, codeOf, KernelError } from '@liveupdate/base';
import { listenTcp, listenUnix, localAddress } from '@liveupdate/linux';

/** As `server.listen` of Node.js has them. */
export interface ListenOptions {
  /** 0: any that is free, the same for all generations. */
  readonly port?: number;
  /** Default: all addresses. */
  readonly host?: string;
  /** A Unix socket. */
  readonly path?: string;
  /** Connections that wait at most; default 511. */
  readonly backlog?: number;
  readonly ipv6Only?: boolean;
}

/** Where a server can be reached. */
export type ListenAddress = { readonly port: number; readonly host: string } | { readonly path: string };

const BACKLOG = 511;
const MOST_PORT = 65_535;

/** @throws KernelError EINVAL: no such options */
export function checkListenOptions(options: ListenOptions): void {
  checkOptions(options, 'listen', ['port', 'host', 'path', 'backlog', 'ipv6Only']);
  const { port, host, path, backlog } = options;
  if ((port === undefined) === (path === undefined))
    throw new KernelError('EINVAL', 'give a port, or the path of a Unix socket');
  if (port !== undefined) checkWhole(port, 'a port', { max: MOST_PORT });
  if (path !== undefined) checkText(path, 'a path');
  if (host !== undefined) checkText(host, 'a host');
  if (backlog !== undefined) checkWhole(backlog, 'a backlog', { min: 1, max: 2 ** 31 - 1 });
}

/** What a place is called among the generations of a service. */
export function keyOf({ port, host = '', path }: ListenOptions): string {
  return path === undefined ? `tcp:${host}:${port ?? 0}` : `unix:${resolve(path)}`;
}

/**
 * Makes a listening socket.
 *
 * @throws KernelError EADDRINUSE, EACCES, EADDRNOTAVAIL, EINVAL, EMFILE: as listenTcp and
 * listenUnix have them. ENOENT: no such host
 */
export async function makeListener(options: ListenOptions): Promise<number> {
  const { port = 0, host, path, backlog = BACKLOG, ipv6Only } = options;
  if (path !== undefined) return listenUnix({ path: resolve(path), backlog });
  const more = { port, backlog, ...(ipv6Only === undefined ? {} : { ipv6Only }) };
  if (host !== undefined) return listenTcp({ host: await addressOf(host), ...more });
  try {
    return listenTcp({ host: '::', ...more });
  } catch (error) {
    if (!['EAFNOSUPPORT', 'EADDRNOTAVAIL'].includes(codeOf(error))) throw error;
    return listenTcp({ host: '0.0.0.0', ...more }); // a host without IPv6
  }
}

async function addressOf(host: string): Promise<string> {
  if (net.isIP(host) !== 0) return host;
  try {
    return (await dns.lookup(host)).address;
  } catch (cause) {
    throw new KernelError('ENOENT', `no address is known of '${host}'`, { cause });
  }
}

/** Where the clients of a listening socket find it. */
export function addressOfListener(fd: number): ListenAddress {
  const address = localAddress(fd);
  return address.family === 'unix' ? { path: address.path } : { port: address.port, host: address.host };
}
