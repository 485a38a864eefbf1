import * as fs from 'node:fs';
import { expect, test } from 'vitest';
import {
  isListening,
  listenTcp,
  listenUnix,
  localAddress,
  receiveFds,
  sendFds,
  socketPair,
  type SocketAddress,
} from './index.ts';
import { SOCK_STREAM } from './sockets-abi.ts';
import { newSocket } from './sockets.ts';
import {
  bindDatagram,
  bindUnix,
  CLOEXEC,
  expectNothingLeaked,
  Fds,
  flagsOf,
  HAS_IPV6,
  temporaryFolder,
} from './test-sockets.ts';
import { codeOfThrown } from './test-thrown.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;

expectNothingLeaked();

test.each([
  ['packets', ['a', 'bc']],
  ['stream', ['abc']],
] as const)('a pair for %s', (kind, arrive) => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair(kind));
  expect([a, b].map(flagsOf)).toEqual([CLOEXEC, CLOEXEC]);
  for (const [from, to] of [
    [a, b],
    [b, a],
  ]) {
    sendFds(from, [], Buffer.from('a'));
    sendFds(from, [], Buffer.from('bc'));
    for (const text of arrive)
      expect(receiveFds(to)).toEqual({ fds: [], bytes: Uint8Array.from(Buffer.from(text)) });
    expect(receiveFds(to)).toBeUndefined();
  }
});

test.each<[string, string]>([
  ['127.0.0.1', '127.0.0.1'],
  ['0.0.0.0', '0.0.0.0'],
  ...(HAS_IPV6
    ? ([
        ['::1', '::1'],
        ['0:0::0:0', '::'],
        ['::ffff:127.0.0.1', '::ffff:127.0.0.1'],
      ] as [string, string][])
    : []),
])('a socket at %s has its address', (host, shown) => {
  using fds = new Fds();
  const fd = fds.add(listenTcp({ host, port: 0 }));
  const address = localAddress(fd);
  const port = address.family === 'unix' ? 0 : address.port;
  expect(address).toEqual({ family: host.includes(':') ? 'IPv6' : 'IPv4', host: shown, port });
  // As the kernel lists it, in hexadecimal digits.
  const list = fs.readFileSync(host.includes(':') ? '/proc/self/net/tcp6' : '/proc/self/net/tcp', 'utf8');
  const inode = fs.fstatSync(fd).ino;
  const line = list.split('\n').find((each) => each.includes(` ${inode} `));
  expect(Number.parseInt(/:([\dA-F]{4}) /.exec(line ?? '')?.[1] ?? '', 16)).toBe(port);
});

test.each([
  ['of a path', 'socket'],
  ['of a path beyond ASCII', 'süßes'],
  ['of an abstract name', `\0liveupdate-${process.pid}-ä`],
])('a Unix socket %s has its address', (_, name) => {
  using folder = temporaryFolder();
  using fds = new Fds();
  const path = name.startsWith('\0') ? name : folder.at(name);
  const expected: SocketAddress = { family: 'unix', path };
  expect(localAddress(fds.add(listenUnix({ path })))).toEqual(expected);
});

test('a Unix socket without a name has an empty path', () => {
  using fds = new Fds();
  const [a] = fds.pair(socketPair('stream'));
  expect(localAddress(a)).toEqual({ family: 'unix', path: '' });
});

test('which sockets listen', () => {
  using folder = temporaryFolder();
  using fds = new Fds();
  const [a] = fds.pair(socketPair('stream'));
  const states = [
    a,
    fds.add(bindDatagram(folder.at('datagrams'))),
    fds.add(bindUnix(folder.at('bound'), SOCK_STREAM)),
    fds.add(listenUnix({ path: folder.at('unix') })),
    fds.add(listenTcp({ host: '127.0.0.1', port: 0 })),
  ].map(isListening);
  expect(states).toEqual([false, false, false, true, true]);
});

test.each<[string, (fd: number) => unknown]>([
  ['localAddress', localAddress],
  ['isListening', isListening],
])('%s of no socket', (_, call) => {
  using fds = new Fds();
  const file = fds.add(fs.openSync('/dev/null', 'r'));
  expect(codeOfThrown(() => call(file))).toBe('ENOTSOCK');
  expect(codeOfThrown(() => call(999_999))).toBe('EBADF');
});

test('an address that is neither IP nor Unix', () => {
  using fds = new Fds();
  const fd = fds.add(newSocket(AF_NETLINK, SOCK_RAW));
  expect(codeOfThrown(() => localAddress(fd))).toBe('EAFNOSUPPORT');
});
