/** Descriptors of all kinds, in real programs that are replaced by exec; and what is refused. */
import { once } from 'node:events';
import * as net from 'node:net';
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { Program, removeRam, testName } from '@liveupdate/kexec/test-process';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

const FOLDER = fileURLToPath(new URL('..', import.meta.url));

let name: string;

beforeEach(() => {
  name = testName();
});

afterEach(() => {
  removeRam(name);
});

/** A program whose machine carries descriptors. */
const program = (code: string): Program =>
  new Program(
    `
import * as fs from 'node:fs';
import * as net from 'node:net';
import { once } from 'node:events';
import { FdFile, fdHandler } from '@liveupdate/fd-handler';
import { Memfd, eventfd, isOpen, duplicateFrom } from '@liveupdate/linux';
const handlers = ({ kho, fds }) => [fdHandler({ kho, fds })];
const machine = await Machine.open({ name: NAME, size: '16MiB', handlers });
const { luo, pages } = machine.kernel;
const isFirst = machine.origin === 'cold';
process.stdout.write(''); // opens what it needs, before descriptors are counted
const carry = async (numbers) => {
  const session = luo.createSession('fds');
  for (const [i, fd] of numbers.entries()) await session.preserve(new FdFile(fd), i);
};
const carried = async (count) => {
  const session = luo.retrieveSession('fds');
  const files = [];
  for (let i = 0; i < count; i++) files.push(await session.retrieve(i, FdFile));
  await session.finish();
  pages.assertConsistent();
  return files;
};
const openFds = () => fs.readdirSync('/proc/self/fd').length;
const closesOnExec = (fd) =>
  (Number.parseInt(/flags:\\s*(\\d+)/.exec(fs.readFileSync('/proc/self/fdinfo/' + fd, 'utf8'))[1], 8) & 0o2000000) !== 0;
` + code,
    FOLDER,
  );

/** Runs a program, all its generations, and gives its lines. */
function linesOf(code: string): string[] {
  using running = program(code);
  const { lines, status, stderr } = running.run(name);
  expect(stderr).toBe('');
  expect(status).toBe(0);
  return lines;
}

test('a pipe, a memfd, an eventfd, a file: each goes on where it was', () => {
  const lines = linesOf(`
if (isFirst) {
  const memfd = Memfd.create('m', 0);
  fs.writeSync(memfd.fd, 'in memory');
  const event = eventfd(40, 0);
  fs.writeFileSync('/dev/shm/' + NAME + '.txt', 'on disk');
  const file = fs.openSync('/dev/shm/' + NAME + '.txt', 'r');
  fs.readSync(file, Buffer.alloc(3)); // the position goes along
  const [r, w] = pipe();
  fs.writeSync(w, 'in the pipe');
  await carry([memfd.fd, event, file, r, w]);
  for (const fd of [memfd.fd, event, file, r, w]) fs.closeSync(fd); // what is kept stays open
  await machine.kexec();
}
const [memfd, event, file, r, w] = (await carried(5)).map(({ fd }) => fd);
const text = Buffer.alloc(9);
fs.readSync(memfd, text, 0, 9, 0);
const count = Buffer.alloc(8);
fs.readSync(event, count);
const rest = Buffer.alloc(9);
const length = fs.readSync(file, rest);
fs.writeSync(w, ', still');
const piped = Buffer.alloc(99);
say(text, count.readBigUInt64LE(), rest.subarray(0, length), piped.subarray(0, fs.readSync(r, piped)));
say([memfd, event, file, r, w].every(closesOnExec));
machine.remove();
fs.rmSync('/dev/shm/' + NAME + '.txt');
function pipe() {
  // Node makes no pipes: the ends of a named one, opened in the order that does not wait.
  const path = '/dev/shm/' + NAME + '.pipe';
  process.getBuiltinModule('node:child_process').execFileSync('mkfifo', [path]);
  const read = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  const write = fs.openSync(path, 'w');
  fs.rmSync(path);
  return [read, write];
}
`);
  expect(lines).toEqual(['in memory 40 disk in the pipe, still', 'true']);
});

test('a listening socket and a connection: the client of both notices nothing', async () => {
  using running = program(`
const serve = (socket) => socket.on('data', async (data) => {
  if (String(data) !== 'update') return socket.write(machine.generation + ':' + data);
  socket.pause();
  await carry([server._handle.fd, socket._handle.fd]);
  server.close(); // who connects from here on waits for the next generation, which has the socket
  socket.write('closed', () => machine.kexec());
});
const server = net.createServer(serve);
if (isFirst) {
  server.listen(0, '127.0.0.1', () => say(server.address().port));
} else {
  const [listener, connection] = await carried(2);
  server.listen({ fd: listener.fd });
  const socket = new net.Socket({ fd: connection.fd, readable: true, writable: true });
  server.emit('connection', socket);
  await luo.createSession('kept for the next');
}
process.on('SIGTERM', () => { machine.remove(); process.exit(); });
`);
  const child = spawn(...running.command(name));
  const [port] = (await once(child.stdout, 'data')) as [Buffer];
  const client = net.connect(Number(String(port)), '127.0.0.1');
  const ask = async (socket: net.Socket, text: string): Promise<string> => {
    socket.write(text);
    const [data] = (await once(socket, 'data')) as [Buffer];
    return String(data);
  };
  expect(await ask(client, 'one')).toBe('1:one');
  for (let generation = 2; generation < 5; generation++) {
    expect(await ask(client, 'update')).toBe('closed');
    const late = net.connect(Number(String(port)), '127.0.0.1'); // while nobody serves
    expect(await ask(late, 'late')).toBe(`${generation}:late`);
    late.destroy();
    expect(await ask(client, 'again')).toBe(`${generation}:again`);
  }
  client.destroy();
  child.kill('SIGTERM');
  await once(child, 'exit');
});

test('the same number again, and where it is taken: EBUSY', () => {
  const lines = linesOf(`
if (isFirst) {
  const { fd } = Memfd.create('m', 0);
  fs.writeSync(fd, 'here');
  const far = duplicateFrom(fd, 200);
  await carry([far]);
  await machine.kexec();
}
const [file] = await carried(1);
say(file.before, file.fd !== file.before);
const taken = duplicateFrom(file.fd, 300);
const { fd } = file;
try { file.moveTo(taken); } catch (error) { say(error.code, file.fd === fd, isOpen(fd), isOpen(taken)); }
const copy = file.duplicate();
file.moveTo(file.before);
say(copy !== file.fd, isOpen(copy), closesOnExec(copy));
say(file.fd, isOpen(fd), closesOnExec(file.fd), fs.readFileSync(file.fd).length);
machine.remove();
`);
  expect(lines).toEqual(['200 true', 'EBUSY true true true', 'true true true', '200 false true 0']);
});

describe('nothing is left open', () => {
  test('where it was unpreserved, not asked for, or the machine is closed', () => {
    const lines = linesOf(`
const { fd } = Memfd.create('m', 1);
const isMine = (each) => fs.existsSync('/proc/self/fd/' + each) && fs.readlinkSync('/proc/self/fd/' + each).includes('memfd:m');
const open = () => fs.readdirSync('/proc/self/fd').filter(isMine).length;
if (isFirst) {
  await carry([fd, fd, fd]);
  say(open());
  const [session] = luo.outgoingSessions;
  await session.unpreserve(1);
  say(open());
  await session.close();
  say(open());
  await carry([fd, fd]);
  await machine.kexec();
}
say(open()); // one of its own, and two that came along
const session = luo.retrieveSession('fds');
await session.finish(); // nobody asked for them
say(open());
await carry([fd, fd]);
machine.remove();
say(open());
`);
    expect(lines).toEqual(['4', '3', '1', '3', '1', '1']);
  });

  test('a child gets none of them', () => {
    const lines = linesOf(`
if (isFirst) {
  const { fd } = Memfd.create('liveupdate-kept', 1);
  await carry([fd]);
  await machine.kexec();
}
const [file] = await carried(1);
const { execFileSync } = process.getBuiltinModule('node:child_process');
say(/liveupdate-kept/.test(execFileSync('ls', ['-l', '/proc/self/fd'])), fs.readlinkSync('/proc/self/fd/' + file.fd));
machine.remove();
`);
    expect(lines).toEqual(['false /memfd:liveupdate-kept (deleted)']);
  });
});

describe('where they cannot go', () => {
  test('handOver() is EOPNOTSUPP, and everything goes on', () => {
    const lines = linesOf(`
const { fd } = Memfd.create('m', 0);
await carry([fd]);
try { await machine.handOver(); } catch (error) { say(error.code, error.message.includes('kexec()')); }
const [session] = luo.outgoingSessions;
await session.unpreserve(0);
say(luo.state, isOpen(fd));
await machine.handOver();
const again = await Machine.open({ name: NAME, handlers });
say(again.origin);
again.remove();
`);
    expect(lines).toEqual(['EOPNOTSUPP true', 'running true', 'handover']);
  });

  test('handOver() with what is kept at the last moment, in freeze: the same', () => {
    const code = `
import * as fs from 'node:fs';
const file = {};
const handlers = ({ fds }) => [{
  compatible: 'late-v1',
  canPreserve: (given) => given === file,
  preserve: () => ({ data: 1 }),
  unpreserve: () => undefined,
  freeze: () => ({ data: fds.keep(2) }),
  unfreeze: ({ data }) => fds.drop(Number(data)),
  retrieve: () => ({}),
  finish: () => undefined,
}];
const machine = await Machine.open({ name: NAME, size: '16MiB', handlers });
const { luo } = machine.kernel;
await luo.createSession('s').preserve(file, 1);
process.stdout.write('');
const open = () => fs.readdirSync('/proc/self/fd').length;
const before = open();
const code = await machine.handOver().then(() => 'ok', codeOf);
say(code, luo.state, open() - before);
machine.remove();
`;
    using running = new Program(code, FOLDER);
    expect(running.run(name).lines).toEqual(['EOPNOTSUPP running 0']);
  });

  test('a worker of node:cluster: preserve is EOPNOTSUPP', () => {
    const code = `
import cluster from 'node:cluster';
import { FdFile, fdHandler } from '@liveupdate/fd-handler';
if (cluster.isPrimary) {
  cluster.fork();
  await new Promise((resolve) => cluster.once('exit', resolve));
} else {
  const machine = await Machine.open({ size: '16MiB', handlers: ({ kho, fds }) => [fdHandler({ kho, fds })] });
  const session = machine.kernel.luo.createSession('fds');
  try { await session.preserve(new FdFile(2), 1); } catch (error) { say(error.code, session.fileCount); }
  machine.close();
  process.exit();
}
`;
    using running = new Program(code, FOLDER);
    expect(running.run(name).lines).toEqual(['EOPNOTSUPP 0']);
  });

  test('an exec that is refused changes nothing: closed on exec again, and preserved still', () => {
    const lines = linesOf(`
if (isFirst) {
  const { fd } = Memfd.create('m', 0);
  fs.writeSync(fd, 'kept');
  const before = new Set(fs.readdirSync('/proc/self/fd'));
  await carry([fd]);
  const kept = fs.readdirSync('/proc/self/fd').filter((each) => !before.has(each) && isOpen(Number(each)));
  try { await machine.kexec(undefined, { file: '/no/such/program' }); } catch (error) { say(error.code); }
  say(kept.length, kept.every((each) => closesOnExec(Number(each))), luo.outgoingSessions[0].fileCount);
  await machine.kexec();
}
const [file] = await carried(1);
say(fs.readlinkSync('/proc/self/fd/' + file.fd));
machine.remove();
`);
    expect(lines).toEqual(['ENOENT', '1 true 1', '/memfd:m (deleted)']);
  });

  test('a next generation that refuses the handover: the one after it gets none, and is told', async () => {
    // The program is replaced by one that dies before it owns anything; then another opens the RAM.
    using running = program(`
if (isFirst) {
  const { fd } = Memfd.create('m', 0);
  await carry([fd, fd]);
  await machine.kexec(['-e', 'process.exit(0)']);
}
const session = luo.retrieveSession('fds');
try { await session.retrieve(0); } catch (error) { say(error.code); }
await session.finish(); // the other one, too, is nothing to close
pages.assertConsistent();
machine.remove();
`);
    expect((await running.runBeside(name)).lines).toEqual([]);
    expect((await running.runBeside(name)).lines).toEqual(['ENOENT']);
  });

  test('a descriptor that is closed: EBADF, also between the file and its preserve', () => {
    const lines = linesOf(`
const { fd } = Memfd.create('m', 0);
const file = new FdFile(fd);
fs.closeSync(fd);
const session = luo.createSession('fds');
const before = openFds();
const codes = [await session.preserve(file, 1).catch((error) => error.code)];
try { new FdFile(fd); } catch (error) { codes.push(error.code); }
say(...codes, openFds() - before);
machine.remove();
`);
    expect(lines).toEqual(['EBADF EBADF 0']);
  });
});

test('a machine that only looks, and is abandoned, leaves them to the next', () => {
  const code = `
import * as fs from 'node:fs';
import { FdFile, fdHandler } from '@liveupdate/fd-handler';
import { Memfd } from '@liveupdate/linux';
const handlers = ({ kho, fds }) => [fdHandler({ kho, fds })];
const open = (keepHandover) => Machine.open({ name: NAME, size: '16MiB', handlers, keepHandover });
let machine = await open(process.env.LOOK === 'yes');
if (machine.origin === 'cold') {
  const { fd } = Memfd.create('m', 1);
  await machine.kernel.luo.createSession('fds').preserve(new FdFile(fd), 1);
  await machine.kexec(undefined, { env: { ...process.env, LOOK: 'yes' } });
}
machine.abandon();
machine = await open(false);
const session = machine.kernel.luo.retrieveSession('fds');
const file = await session.retrieve(1, FdFile);
await session.finish();
say(fs.readlinkSync('/proc/self/fd/' + file.fd));
machine.remove();
`;
  using running = new Program(code, FOLDER);
  expect(running.run(name).lines).toEqual(['/memfd:m (deleted)']);
});

test('a thousand descriptors, told of in one short variable', () => {
  const lines = linesOf(`
if (isFirst) {
  const { fd } = Memfd.create('m', 1);
  await carry(Array(1000).fill(fd));
  await machine.kexec();
}
const files = await carried(1000);
say(files.length, new Set(files.map(({ fd }) => fs.readlinkSync('/proc/self/fd/' + fd))).size);
machine.remove();
`);
  expect(lines).toEqual(['1000 1']);
});

test('another descriptor under a key of the record: EIO, and it is closed', () => {
  const lines = linesOf(`
if (isFirst) {
  const [a, b] = [Memfd.create('a', 0), Memfd.create('b', 0)];
  await carry([a.fd, b.fd]);
  const keys = luo.outgoingSessions[0].files.map(({ data }) => machine.kernel.kho.recordAt(data));
  const first = keys[0].getU32({ at: 0, bytes: 4 });
  keys[0].setU32({ at: 0, bytes: 4 }, keys[1].getU32({ at: 0, bytes: 4 }));
  keys[1].setU32({ at: 0, bytes: 4 }, first);
  await machine.kexec();
}
const session = luo.retrieveSession('fds');
const before = openFds();
for (const token of [0, 1])
  await session.retrieve(token).catch((error) => say(error.code, openFds() - before));
await session.finish();
machine.remove();
`);
  expect(lines).toEqual(['EIO -1', 'EIO -2']);
});
