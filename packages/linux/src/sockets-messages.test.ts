import * as fs from 'node:fs';
import * as net from 'node:net';
import { BYTES_IN_ALL_SHAPES, FORTY_BYTES } from '@liveupdate/base/test-inputs';
import { expect, test } from 'vitest';
import {
  fileBehind,
  listenTcp,
  listenUnix,
  localAddress,
  MOST_FDS_PER_MESSAGE,
  receiveFds,
  sendDatagram,
  sendFds,
  socketPair,
  type ReceivedFds,
} from './index.ts';
import { c } from './native.ts';
import { SOCK_SEQPACKET, SOCK_STREAM, SOL_SOCKET } from './sockets-abi.ts';
import { newSocket } from './sockets.ts';
import { Child, runLimited } from './test-child.ts';
import {
  bindDatagram,
  CLOEXEC,
  expectNothingLeaked,
  Fds,
  flagsOf,
  openFds,
  temporaryFolder,
} from './test-sockets.ts';
import { codeOfThrown } from './test-thrown.ts';

const KINDS = ['packets', 'stream'] as const;
const SO_SNDBUF = 7;
const X = Uint8Array.of(120);

expectNothingLeaked();

/** The next message, which must be there; its descriptors are closed at the end. */
function take(socket: number, fds: Fds, mostBytes?: number): ReceivedFds {
  const got = receiveFds(socket, mostBytes);
  if (got === undefined || got === 'ended') throw new Error(`a message is missing: ${String(got)}`);
  for (const fd of got.fds) fds.add(fd);
  return got;
}

/** Different files, so that their order shows. */
function files(fds: Fds, count: number): number[] {
  return Array.from({ length: count }, (_, i) =>
    fds.add(fs.openSync(['/dev/null', '/dev/zero', '/dev/full'][i % 3], 'r')),
  );
}

/** The code of a call that fails, and leaves no descriptor open or closed. */
function failure(call: () => unknown): string {
  const before = openFds();
  const code = codeOfThrown(call);
  expect(openFds()).toBe(before);
  return code;
}

test.each(KINDS)('descriptors arrive in their order, with the bytes, closed on exec: %s', (kind) => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair(kind));
  const sent = files(fds, 5);
  expect(sendFds(a, sent, Buffer.from('hello'))).toBe(true);
  for (const fd of sent) fds.close(fd); // on its way it is open by itself
  const got = take(b, fds);
  expect(Buffer.from(got.bytes).toString()).toBe('hello');
  const expected = [...files(fds, 5)].map(fileBehind);
  expect(got.fds.map(fileBehind)).toEqual(expected);
  expect(got.fds.map((fd) => flagsOf(fd) & CLOEXEC)).toEqual(sent.map(() => CLOEXEC));
  expect(receiveFds(b)).toBeUndefined();
});

test.each(KINDS)('what a message had is not in the next: %s', (kind) => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair(kind));
  const [file] = files(fds, 1);
  sendFds(a, [file, file, file], Buffer.from('three'));
  expect(take(b, fds).fds).toHaveLength(3);
  sendFds(a, [], Buffer.from('no'));
  expect(take(b, fds)).toEqual({ fds: [], bytes: Uint8Array.from(Buffer.from('no')) });
  sendFds(a, [file], X);
  const last = take(b, fds);
  expect([last.fds.length, last.bytes]).toEqual([1, X]);
});

test('what arrived stays as it is when more arrives', () => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair('packets'));
  sendFds(a, [], FORTY_BYTES);
  const { bytes } = take(b, fds);
  sendFds(a, [], new Uint8Array(40));
  take(b, fds);
  expect(bytes).toEqual(FORTY_BYTES);
});

test('a message takes 253 descriptors, and no more', () => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair('packets'));
  const [file] = files(fds, 1);
  expect(MOST_FDS_PER_MESSAGE).toBe(253);
  const many = (count: number): number[] => Array.from({ length: count }, () => file);
  expect(sendFds(a, many(253), X)).toBe(true);
  expect(new Set(take(b, fds).fds).size).toBe(253);
  for (const count of [254, 300]) expect(failure(() => sendFds(a, many(count), X))).toBe('EINVAL');
  expect(receiveFds(b)).toBeUndefined();
});

test.each(BYTES_IN_ALL_SHAPES)('the bytes of a %s are sent whole', (_, given) => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair('packets'));
  sendFds(a, [], given);
  expect(take(b, fds).bytes).toEqual(FORTY_BYTES);
  const path = `\0liveupdate-shapes-${process.pid}`;
  const manager = fds.add(bindDatagram(path));
  sendDatagram(path, given);
  expect(take(manager, fds).bytes).toEqual(FORTY_BYTES);
});

test.each(KINDS)('a full buffer is told, and takes more when it is read: %s', (kind) => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair(kind));
  const [file] = files(fds, 1);
  const bytes = new Uint8Array(5000).fill(1);
  let sent = 0;
  while (sendFds(a, [file], bytes)) expect(++sent).toBeLessThan(1000);
  expect(sent).toBeGreaterThan(5);
  expect(sendFds(a, [file], bytes)).toBe(false);
  for (let i = 0; i < sent; i++) take(b, fds);
  expect(receiveFds(b)).toBeUndefined();
  expect(sendFds(a, [file], bytes)).toBe(true);
  take(b, fds);
});

test.each(KINDS)('what nobody took is closed with the socket: %s', (kind) => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair(kind));
  const [read, write] = fds.pair(socketPair('stream'));
  sendFds(a, [write], X);
  fds.close(write);
  expect(receiveFds(read)).toBeUndefined(); // it is open: on its way
  fds.close(a);
  fds.close(b);
  expect(receiveFds(read)).toBe('ended');
});

test.each(KINDS)('a peer that is gone: %s', (kind) => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair(kind));
  const [file] = files(fds, 1);
  sendFds(b, [file], X);
  fds.close(b);
  expect(failure(() => sendFds(a, [file], X))).toBe('EPIPE');
  expect(take(a, fds).fds).toHaveLength(1); // it was sent before
  expect([receiveFds(a), receiveFds(a)]).toEqual(['ended', 'ended']);
});

test('a peer that is gone does not end a process that does not ignore SIGPIPE', () => {
  const code = `
    import * as fs from 'node:fs';
    import { codeOf } from '@liveupdate/base';
    import { sendFds, socketPair } from './src/index.ts';
    import { c } from './src/native.ts';
    c('sigaction')(13, new Uint8Array(152), null); // SIGPIPE, SIG_DFL
    const [a, b] = socketPair('stream');
    fs.closeSync(b);
    try { sendFds(a, [], Uint8Array.of(1)); } catch (error) { console.log(codeOf(error)); }`;
  expect(runLimited(100, code)).toMatchObject({ stderr: '', stdout: 'EPIPE\n', signal: null });
});

test.each(KINDS)('a peer that left unread what was sent to it is told once: %s', (kind) => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair(kind));
  const [file] = files(fds, 1);
  sendFds(a, [file], X);
  sendFds(b, [file], X);
  fds.close(b);
  const seen: unknown[] = [];
  for (let i = 0; i < 3; i++) {
    const code = codeOfThrown(() => {
      const got = receiveFds(a);
      if (typeof got === 'object') for (const fd of got.fds) fds.add(fd);
      seen.push(typeof got === 'object' ? 'a message' : got);
    });
    if (code !== 'nothing thrown') seen.push(code);
  }
  const order = { packets: ['ECONNRESET', 'a message'], stream: ['a message', 'ECONNRESET'] }[kind];
  expect(seen).toEqual([...order, 'ended']);
});

test('sending packets to a peer that left some unread', () => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair('packets'));
  sendFds(a, [], X);
  fds.close(b);
  expect([1, 2].map(() => failure(() => sendFds(a, [], X)))).toEqual(['ECONNRESET', 'EPIPE']);
});

test('a packet that is longer than the room for it is lost, with its descriptors', () => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair('packets'));
  const sent = files(fds, 3);
  sendFds(a, sent, new Uint8Array(11));
  sendFds(a, sent, new Uint8Array(10));
  expect(failure(() => receiveFds(b, 10))).toBe('EMSGSIZE');
  const got = take(b, fds, 10);
  expect([got.fds.length, got.bytes.length]).toEqual([3, 10]);
});

test('of a stream the rest waits, without descriptors', () => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair('stream'));
  sendFds(a, files(fds, 3), FORTY_BYTES);
  const got = [take(b, fds, 30), take(b, fds, 30)];
  expect(got.map((each) => [each.fds.length, each.bytes.length])).toEqual([
    [3, 30],
    [0, 10],
  ]);
  expect(got[1].bytes).toEqual(FORTY_BYTES.subarray(30));
});

test('how large a message may be', () => {
  using fds = new Fds();
  const [file] = files(fds, 1);
  const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => i);
  const [a, b] = fds.pair(socketPair('packets'));
  for (const length of [64 * 1024, 150_000, 3]) {
    expect(sendFds(a, [file], bytes(length))).toBe(true);
    expect(Buffer.compare(take(b, fds, 200_000).bytes, bytes(length))).toBe(0);
  }
  expect(failure(() => sendFds(a, [file], bytes(2 ** 20)))).toBe('EMSGSIZE');
  expect(failure(() => sendFds(a, [file], bytes(2 ** 20 + 1)))).toBe('EMSGSIZE');
  const [c1, d] = fds.pair(socketPair('stream'));
  expect(sendFds(c1, [file], bytes(32 * 1024))).toBe(true);
  expect(take(d, fds).bytes).toHaveLength(32 * 1024);
  expect(failure(() => sendFds(c1, [file], bytes(32 * 1024 + 1)))).toBe('EMSGSIZE');
  expect(receiveFds(d)).toBeUndefined();
});

test('a stream whose buffer takes a part of the message only', () => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair('stream'));
  c('setsockopt')(a, SOL_SOCKET, SO_SNDBUF, Int32Array.of(1), 4);
  expect(failure(() => sendFds(a, files(fds, 0), new Uint8Array(32 * 1024)))).toBe('EMSGSIZE');
  expect(take(b, fds).bytes.length).toBeLessThan(32 * 1024);
});

test('sockets that pass nothing on', () => {
  using fds = new Fds();
  const [a, b] = fds.pair(socketPair('packets'));
  const [file] = files(fds, 1);
  const tcp = fds.add(listenTcp({ host: '127.0.0.1', port: 0 }));
  const unconnected = [SOCK_STREAM, SOCK_SEQPACKET].map((type) => fds.add(newSocket(1, type)));
  expect(failure(() => sendFds(tcp, [file], X))).toBe('EINVAL');
  expect(unconnected.map((fd) => failure(() => sendFds(fd, [file], X)))).toEqual(['ENOTCONN', 'ENOTCONN']);
  expect(unconnected.map((fd) => failure(() => receiveFds(fd)))).toEqual(['EINVAL', 'ENOTCONN']);
  for (const call of [(fd: number) => sendFds(fd, [], X), receiveFds]) {
    expect(failure(() => call(file))).toBe('ENOTSOCK');
    expect(failure(() => call(999_999))).toBe('EBADF');
  }
  expect(() => sendFds(a, [file, 999_999], X)).toThrow('descriptor 999999 is not open');
  expect(receiveFds(b)).toBeUndefined(); // nothing was sent
});

/** Where no more than a few descriptors may be open. `fill()` opens all but so many. */
const LIMITED = `
  import * as fs from 'node:fs';
  import { codeOf } from '@liveupdate/base';
  import { listenTcp, listenUnix, receiveFds, sendDatagram, sendFds, socketPair } from './src/index.ts';
  const X = Uint8Array.of(1);
  const code = (call) => { try { return call(); } catch (error) { return codeOf(error); } };
  const open = () => fs.readdirSync('/proc/self/fd').length - 1; // without the one that looks
  const fill = (free) => {
    const fds = [];
    try { for (;;) fds.push(fs.openSync('/dev/null')); } catch {}
    for (const fd of fds.splice(0, free)) fs.closeSync(fd);
    return () => fds.forEach((fd) => fs.closeSync(fd));
  };
  const [a, b] = socketPair('packets');
`;

test('descriptors beyond the limit of open files: those that arrived are closed', () => {
  const code = `${LIMITED}
    const many = Array.from({ length: 20 }, () => 0);
    sendFds(a, many, X); sendFds(a, many, X);
    const release = fill(5);
    const before = open();
    const failed = code(() => receiveFds(b));
    console.log(failed, open() - before);
    release();
    console.log(receiveFds(b).fds.length, receiveFds(b));`;
  expect(runLimited(64, code)).toMatchObject({ stderr: '', stdout: 'EMFILE 0\n20 undefined\n' });
});

test('no socket is made beyond the limit of open files', () => {
  const code = `${LIMITED}
    const calls = [
      () => socketPair('stream'),
      () => listenTcp({ host: '127.0.0.1', port: 0 }),
      () => listenUnix({ path: '\\0liveupdate-' + process.pid }),
      () => sendDatagram('\\0liveupdate-' + process.pid, X),
    ];
    const release = fill(1); // a pair needs two
    const codes = [code(calls[0])];
    const releaseLast = fill(0);
    codes.push(...calls.map(code));
    releaseLast();
    release();
    console.log(codes.join());`;
  expect(runLimited(64, code)).toMatchObject({ stderr: '', stdout: 'EMFILE,EMFILE,EMFILE,EMFILE,EMFILE\n' });
});

test('too many descriptors on their way', () => {
  // Who may exceed limits is not held to this one.
  const code = `${LIMITED}
    if (process.getuid() === 0) { process.setgroups([]); process.setgid(65534); process.setuid(65534); }
    const many = Array.from({ length: 50 }, () => 0);
    const before = open();
    console.log([1, 2, 3].map(() => code(() => sendFds(a, many, X))).join(), open() - before);`;
  expect(runLimited(64, code)).toMatchObject({ stderr: '', stdout: 'true,true,ETOOMANYREFS 0\n' });
});

test.each(['TCP', 'unix'] as const)(
  'another process serves a listening socket that it was sent: %s',
  async (kind) => {
    using fds = new Fds();
    using folder = temporaryFolder();
    const path = folder.at('socket');
    const [ours, theirs] = fds.pair(socketPair('packets'));
    const code = `
    import * as net from 'node:net';
    import { setTimeout } from 'node:timers/promises';
    import { receiveFds, sendFds } from './src/index.ts';
    let got;
    while ((got = receiveFds(3)) === undefined) await setTimeout(2);
    const server = net.createServer((connection) => connection.end(Buffer.from(got.bytes)));
    server.listen({ fd: got.fds[0] }, () => console.log('listening', process.pid));`;
    await using child = new Child(code, {}, [theirs]);
    const listening = kind === 'unix' ? listenUnix({ path }) : listenTcp({ host: '127.0.0.1', port: 0 });
    const address = localAddress(listening);
    expect(sendFds(ours, [listening], Buffer.from(`served ${kind}`))).toBe(true);
    fs.closeSync(listening);
    expect(await child.line()).toBe(`listening ${child.process.pid}`);
    const connection =
      address.family === 'unix' ? net.connect(address.path) : net.connect(address.port, address.host);
    expect((await connection.toArray()).join('')).toBe(`served ${kind}`);
  },
);

test.each([
  ['a path', (at: (name: string) => string) => [at('notify'), at('notify')]],
  ['an abstract name', () => [`\0liveupdate-notify-${process.pid}`, `\0liveupdate-notify-${process.pid}`]],
  [
    'a name as systemd writes it',
    () => [`\0liveupdate-notify-${process.pid}`, `@liveupdate-notify-${process.pid}`],
  ],
])('a datagram to %s', (_, name) => {
  using folder = temporaryFolder();
  using fds = new Fds();
  const [bound, path] = name(folder.at);
  const manager = fds.add(bindDatagram(bound));
  const sent = files(fds, 3);
  sendDatagram(path, Buffer.from('FDSTORE=1'), sent);
  sendDatagram(path, Buffer.from('READY=1'));
  const first = take(manager, fds);
  expect(Buffer.from(first.bytes).toString()).toBe('FDSTORE=1');
  expect(first.fds.map(fileBehind)).toEqual(sent.map(fileBehind));
  expect(take(manager, fds)).toEqual({ fds: [], bytes: Uint8Array.from(Buffer.from('READY=1')) });
  const [a, b] = fds.pair(socketPair('stream')); // the address of the datagram is forgotten
  expect(sendFds(a, [], X)).toBe(true);
  take(b, fds);
});

test.each<[what: string, code: string, send: (at: (name: string) => string, fds: Fds) => void]>([
  [
    'to nothing',
    'ENOENT',
    (at) => {
      sendDatagram(at('nothing'), X);
    },
  ],
  [
    'below no folder',
    'ENOTDIR',
    (at) => {
      fs.writeFileSync(at('file'), '');
      sendDatagram(at('file/x'), X);
    },
  ],
  [
    'to a file',
    'ECONNREFUSED',
    (at) => {
      fs.writeFileSync(at('file'), '');
      sendDatagram(at('file'), X);
    },
  ],
  [
    'to an abstract name that nobody has',
    'ECONNREFUSED',
    () => {
      sendDatagram('@liveupdate-nobody', X);
    },
  ],
  [
    'to a socket that nobody has',
    'ECONNREFUSED',
    (at) => {
      fs.closeSync(bindDatagram(at('dead')));
      sendDatagram(at('dead'), X);
    },
  ],
  [
    'to a listening socket',
    'EPROTOTYPE',
    (at, fds) => {
      fds.add(listenUnix({ path: at('stream') }));
      sendDatagram(at('stream'), X);
    },
  ],
  [
    'to a path that is too long',
    'ENAMETOOLONG',
    () => {
      sendDatagram('/'.padEnd(108, 'a'), X);
    },
  ],
  [
    'with a descriptor that is not open',
    'EBADF',
    (at, fds) => {
      fds.add(bindDatagram(at('a')));
      sendDatagram(at('a'), X, [999_999]);
    },
  ],
  [
    'with 254 descriptors',
    'EINVAL',
    (at, fds) => {
      fds.add(bindDatagram(at('a')));
      sendDatagram(
        at('a'),
        X,
        Array.from({ length: 254 }, () => 0),
      );
    },
  ],
  [
    'that is too large for the system',
    'EMSGSIZE',
    (at, fds) => {
      fds.add(bindDatagram(at('a')));
      sendDatagram(at('a'), new Uint8Array(2 ** 20));
    },
  ],
  [
    'to a full queue',
    'EAGAIN',
    (at, fds) => {
      fds.add(bindDatagram(at('a')));
      for (let i = 0; i < 10_000; i++) sendDatagram(at('a'), X);
    },
  ],
])('a datagram %s is %s', (_, code, send) => {
  using folder = temporaryFolder();
  using fds = new Fds();
  expect(
    codeOfThrown(() => {
      send(folder.at, fds);
    }),
  ).toBe(code);
});
