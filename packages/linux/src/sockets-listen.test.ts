import { once } from 'node:events';
import * as fs from 'node:fs';
import * as net from 'node:net';
import { afterEach, expect, test, vi } from 'vitest';
import { isListening, listenTcp, listenUnix, localAddress, pollNow, type ListenTcpOptions } from './index.ts';
import { c } from './native.ts';
import { AF_UNIX, SOCK_NONBLOCK, SOCK_SEQPACKET, SOCK_STREAM, unixAddress } from './sockets-abi.ts';
import { newSocket } from './sockets.ts';
import { runLimited } from './test-child.ts';
import {
  bindDatagram,
  bindUnix,
  CLOEXEC,
  expectNothingLeaked,
  Fds,
  flagsOf,
  HAS_IPV6,
  NONBLOCK,
  openFds,
  temporaryFolder,
} from './test-sockets.ts';
import { codeOfThrown } from './test-thrown.ts';

const POLLIN = 1;
const V4 = '127.0.0.1';

expectNothingLeaked();

afterEach(() => {
  vi.restoreAllMocks();
});

function portOf(fd: number): number {
  const address = localAddress(fd);
  if (address.family === 'unix') throw new Error('no port');
  return address.port;
}

/** What a server at `fd` answers to one connection. The server closes `fd`. */
async function answer(fd: number, connectTo: net.NetConnectOpts): Promise<string> {
  const server = net.createServer((connection) => connection.end('served'));
  server.listen({ fd });
  await once(server, 'listening');
  try {
    const connection = net.connect(connectTo);
    return (await connection.toArray()).join('');
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  } finally {
    server.close();
    await once(server, 'close');
  }
}

/** The code of a call that fails, and leaves no descriptor. */
function failure(call: () => number): string {
  const before = openFds();
  const code = codeOfThrown(call);
  expect(openFds()).toBe(before);
  return code;
}

test.each<
  [what: string, options: Omit<ListenTcpOptions, 'port'>, to: string, answer: string, needsV6: boolean]
>([
  ['IPv4', { host: V4 }, V4, 'served', false],
  ['every address of IPv4', { host: '0.0.0.0' }, V4, 'served', false],
  ['IPv4 where IPv6 only is asked for', { host: V4, ipv6Only: true }, V4, 'served', false],
  ['IPv6', { host: '::1' }, '::1', 'served', true],
  ['IPv4 on all addresses', { host: '::' }, V4, 'served', true],
  ['IPv6 on all addresses', { host: '::' }, '::1', 'served', true],
  ['IPv4 where there is IPv6 only', { host: '::', ipv6Only: true }, V4, 'ECONNREFUSED', true],
  ['IPv6 where there is IPv6 only', { host: '::', ipv6Only: true }, '::1', 'served', true],
])('a connection by %s', async (_, options, host, expected, needsV6) => {
  if (needsV6 && !HAS_IPV6) return;
  const fd = listenTcp({ ...options, port: 0 });
  expect([isListening(fd), flagsOf(fd)]).toEqual([true, CLOEXEC | NONBLOCK]);
  expect(await answer(fd, { port: portOf(fd), host })).toBe(expected);
});

test('a port that is taken, and one that several share', () => {
  using fds = new Fds();
  const alone = portOf(fds.add(listenTcp({ host: V4, port: 0 })));
  expect(failure(() => listenTcp({ host: V4, port: alone }))).toBe('EADDRINUSE');
  expect(failure(() => listenTcp({ host: V4, port: alone, reusePort: true }))).toBe('EADDRINUSE');
  const shared = portOf(fds.add(listenTcp({ host: V4, port: 0, reusePort: true })));
  expect(portOf(fds.add(listenTcp({ host: V4, port: shared, reusePort: true })))).toBe(shared);
  expect(failure(() => listenTcp({ host: V4, port: shared }))).toBe('EADDRINUSE');
});

test('a port whose connections have just ended is free', async () => {
  const first = listenTcp({ host: V4, port: 0 });
  const port = portOf(first);
  await answer(first, { port, host: V4 }); // the server ends them: they wait there, as TCP wants it
  using fds = new Fds();
  expect(portOf(fds.add(listenTcp({ host: V4, port })))).toBe(port);
});

test.each([
  ['of another machine', '192.0.2.1', 'EADDRNOTAVAIL'],
  ['that is a name', 'localhost', 'EINVAL'],
  ['with a part too many', '1.2.3.4.5', 'EINVAL'],
  ['that goes on behind a NUL', '127.0.0.1\0.5', 'EINVAL'],
  ['with a scope', 'fe80::1%lo', 'EINVAL'],
  ['of a link, without a scope', 'fe80::1', 'EINVAL'],
  ['that is empty', '', 'EINVAL'],
])('an address %s', (_, host, code) => {
  if (host === 'fe80::1' && !HAS_IPV6) return;
  expect(failure(() => listenTcp({ host, port: 0 }))).toBe(code);
});

const FIRST_FREE_PORT = Number(fs.readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'));

test.skipIf(FIRST_FREE_PORT === 0)('a port for which we have no permission', () => {
  const code = `
    import { codeOf } from '@liveupdate/base';
    import { listenTcp } from './src/index.ts';
    listenTcp({ host: '127.0.0.1', port: 0 });
    if (process.getuid() === 0) { process.setgroups([]); process.setgid(65534); process.setuid(65534); }
    try { listenTcp({ host: '127.0.0.1', port: ${FIRST_FREE_PORT - 1} }); } catch (error) { console.log(codeOf(error)); }`;
  expect(runLimited(100, code)).toMatchObject({ stderr: '', stdout: 'EACCES\n' });
});

/** Connections that a listening socket takes before one is refused by a full queue. */
function waiting(path: string, fds: Fds): number {
  const address = unixAddress(path);
  for (let count = 0; ; count++) {
    const fd = fds.add(newSocket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK));
    if (c('connect')(fd, address, address.length) < 0) return count;
  }
}

test('so many connections wait as the backlog says', () => {
  using folder = temporaryFolder();
  using fds = new Fds();
  const most = Number(fs.readFileSync('/proc/sys/net/core/somaxconn', 'utf8'));
  for (const [backlog, expected] of [
    [{ backlog: 3 }, 3],
    [{}, 511],
  ] as const) {
    const path = folder.at(String(expected));
    fds.add(listenUnix({ path, ...backlog }));
    expect(waiting(path, fds)).toBe(Math.min(expected, most) + 1);
  }
});

test.each([
  ['a path', (at: (name: string) => string) => at('socket')],
  ['a path of 107 bytes', (at: (name: string) => string) => at('').padEnd(107, 'a')],
  ['an abstract name', () => `\0liveupdate-${process.pid}`],
  ['an abstract name of 107 bytes', () => `\0liveupdate-${process.pid}`.padEnd(108, 'a')],
])('a connection by %s', async (_, name) => {
  using folder = temporaryFolder();
  const path = name((file) => `${folder.at('x').slice(0, -1)}${file || 'a'}`);
  const fd = listenUnix({ path });
  expect([isListening(fd), flagsOf(fd)]).toEqual([true, CLOEXEC | NONBLOCK]);
  expect(localAddress(fd)).toEqual({ family: 'unix', path });
  expect(failure(() => listenUnix({ path }))).toBe('EADDRINUSE');
  expect(pollNow(fd, POLLIN)).toBe(0); // it was not connected to
  expect(await answer(fd, { path })).toBe('served');
});

test.each(['/'.padEnd(108, 'a'), `\0${'a'.repeat(108)}`, 'ä'.repeat(54)])(
  'a path or name of 108 bytes',
  (path) => {
    expect(failure(() => listenUnix({ path }))).toBe('ENAMETOOLONG');
  },
);

test.each([
  ['that listened', (path: string) => listenUnix({ path })],
  ['for datagrams', bindDatagram],
  ['for packets', (path: string) => bindUnix(path, SOCK_SEQPACKET)],
])('a socket %s and that nobody has any more is replaced', async (_, make) => {
  using folder = temporaryFolder();
  const path = folder.at('socket');
  fs.closeSync(make(path));
  expect(fs.lstatSync(path).isSocket()).toBe(true);
  expect(await answer(listenUnix({ path }), { path })).toBe('served');
});

test.each<[what: string, make: (path: string, at: (name: string) => string) => number | undefined]>([
  ['a socket that listens', (path) => listenUnix({ path })],
  ['a socket that is bound, and will listen', (path) => bindUnix(path, SOCK_STREAM)],
  ['a socket for datagrams', bindDatagram],
  ['a socket for packets', (path) => bindUnix(path, SOCK_SEQPACKET)],
  [
    'a file',
    (path) => {
      fs.writeFileSync(path, 'text');
      return undefined;
    },
  ],
  [
    'a directory',
    (path) => {
      fs.mkdirSync(path);
      return undefined;
    },
  ],
  [
    'a link to nothing',
    (path, at) => {
      fs.symlinkSync(at('nothing'), path);
      return undefined;
    },
  ],
  [
    'a link to a socket that nobody has',
    (path, at) => {
      fs.closeSync(bindUnix(at('dead'), SOCK_STREAM));
      fs.symlinkSync('dead', path);
      return undefined;
    },
  ],
])('%s stays', (_, make) => {
  using folder = temporaryFolder();
  using fds = new Fds();
  const path = folder.at('taken');
  const owner = make(path, folder.at);
  if (owner !== undefined) fds.add(owner);
  const before = [fs.readdirSync(folder.at('.')), fs.lstatSync(path, { bigint: true }).ino];
  expect(failure(() => listenUnix({ path }))).toBe('EADDRINUSE');
  expect([fs.readdirSync(folder.at('.')), fs.lstatSync(path, { bigint: true }).ino]).toEqual(before);
});

test('a socket that came in the place of a dead one stays', () => {
  using folder = temporaryFolder();
  using fds = new Fds();
  const path = folder.at('socket');
  fs.closeSync(listenUnix({ path }));
  const { lstatSync } = fs;
  // The last look before it would be removed: another process was quicker.
  vi.spyOn(process.getBuiltinModule('node:fs'), 'lstatSync').mockImplementationOnce((...args) => {
    fs.unlinkSync(path);
    fds.add(listenUnix({ path }));
    return lstatSync(...args);
  });
  const before = openFds();
  expect(codeOfThrown(() => listenUnix({ path }))).toBe('EADDRINUSE');
  expect(openFds()).toBe(before + 1);
  expect(fs.lstatSync(path).isSocket()).toBe(true);
});

test('a dead one that does not go away is told, and not tried for ever', () => {
  using folder = temporaryFolder();
  const path = folder.at('socket');
  fs.closeSync(listenUnix({ path }));
  vi.spyOn(process.getBuiltinModule('node:fs'), 'lstatSync').mockImplementation(() => undefined);
  expect(failure(() => listenUnix({ path }))).toBe('EADDRINUSE');
});

test.each([0o600, 0o666, 0o777, 0])('the permissions of a path, whatever the umask', (mode) => {
  using folder = temporaryFolder();
  using fds = new Fds();
  const path = folder.at('socket');
  fds.add(listenUnix({ path, mode }));
  expect(fs.statSync(path).mode & 0o7777).toBe(mode);
});

test('a failure behind the binding leaves no path', () => {
  using folder = temporaryFolder();
  const path = folder.at('socket');
  vi.spyOn(process.getBuiltinModule('node:fs'), 'chmodSync').mockImplementation(() => {
    throw Object.assign(new Error(), { code: 'EPERM' });
  });
  expect(failure(() => listenUnix({ path, mode: 0o600 }))).toBe('EPERM');
  expect(fs.readdirSync(folder.at('.'))).toEqual([]);
});

test('a folder that is not there, or is none', () => {
  using folder = temporaryFolder();
  fs.writeFileSync(folder.at('file'), '');
  expect(failure(() => listenUnix({ path: folder.at('nothing/socket') }))).toBe('ENOENT');
  expect(failure(() => listenUnix({ path: folder.at('file/socket') }))).toBe('ENOTDIR');
});

test('an abstract name has no mode', () => {
  expect(failure(() => listenUnix({ path: '\0liveupdate-mode', mode: 0o600 }))).toBe('EINVAL');
});
