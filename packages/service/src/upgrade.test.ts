/** Upgrades of a real service under a supervisor, with clients that look at every answer. */
import * as fs from 'node:fs';
import * as http from 'node:http';
import * as https from 'node:https';
import * as net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { readBootPage, type BootPage } from '@liveupdate/kexec';
import { duplicateFrom } from '@liveupdate/linux';
import { afterEach, describe, expect, test } from 'vitest';
import { CERTIFICATE, KEY } from './test-certificate.ts';
import { Load } from './test-load.ts';
import { NUMBERS, ProgramFile, Supervised } from './test-service.ts';

const CONNECTIONS = 50;

const running: Supervised[] = [];
const programs: ProgramFile[] = [];

afterEach(async () => {
  for (const supervised of running.splice(0)) await supervised.stop();
  for (const program of programs.splice(0)) program[Symbol.dispose]();
});

async function start(
  code = NUMBERS,
  options: ConstructorParameters<typeof Supervised>[1] = {},
): Promise<{ supervised: Supervised; program: ProgramFile }> {
  const program = new ProgramFile(code);
  programs.push(program);
  const supervised = new Supervised(program, options);
  running.push(supervised);
  await supervised.event('ready');
  return { supervised, program };
}

async function failure(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'nothing',
    (error: unknown) => (error as Error).message,
  );
}

const CLEAN = { failed: 0, closed: 0, refused: 0, failures: [] };

test('back to back under load: no request fails, no connection ends, nothing is lost', async () => {
  const { supervised } = await start();
  const load = new Load({ port: supervised.port, connections: CONNECTIONS });
  await load.start();
  const before = supervised.pid;
  for (let i = 0; i < 8; i++) await supervised.supervisor.upgrade();
  const report = await load.stop();
  expect(report).toMatchObject(CLEAN);
  expect(report.gaps).toHaveLength(8);
  expect(report.answered).toBeGreaterThan(CONNECTIONS * 8);
  expect(supervised.supervisor.status).toMatchObject({ generation: 9, upgrades: 8, crashes: 0 });
  expect(supervised.pid).not.toBe(before);
});

test('the old version ends when the new one has all connections', async () => {
  // Who is replaced notes its pid. Who comes after waits at its first request, so that an end has
  // time to come, and notes whether that one is there.
  const { supervised } = await start(
    NUMBERS.replace('const key =', 'noteFirst?.();\n  const key =').replace(
      'const server',
      `const isThere = (pid) => { try { return process.kill(pid, 0); } catch { return false; } };
let noteFirst = service.generation === 1 ? undefined : () => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
  numbers[1001] = Number(isThere(numbers[1000]));
  noteFirst = undefined;
};
if (service.generation === 1) numbers[1000] = process.pid;
const server`,
    ),
  );
  const load = new Load({ port: supervised.port, connections: CONNECTIONS });
  await load.start();
  await supervised.supervisor.upgrade();
  expect(await load.stop()).toMatchObject(CLEAN);
  expect(await (await fetch(`http://127.0.0.1:${supervised.port}/1001`)).text()).toBe('1');
});

test('a thousand connections go along', async () => {
  const { supervised } = await start();
  const load = new Load({ port: supervised.port, connections: 1000, keys: 1 });
  await load.start();
  for (let i = 0; i < 2; i++) await supervised.supervisor.upgrade();
  expect(await load.stop()).toMatchObject({ ...CLEAN });
});

test('kill -9: nobody is refused, what was acknowledged is there', async () => {
  const { supervised } = await start();
  const load = new Load({ port: supervised.port, connections: CONNECTIONS });
  await load.start();
  for (let i = 1; i <= 5; i++) {
    await delay(100);
    process.kill(supervised.pid, 'SIGKILL');
    await supervised.event('ready', i + 1);
  }
  await delay(100);
  const report = await load.stop();
  expect(report.refused).toBe(0);
  expect(report.failures.filter((why) => why !== 'a connection ended with a request under way')).toEqual([]);
  expect(report.failed).toBeLessThanOrEqual(5 * CONNECTIONS);
  expect(supervised.events.filter(({ text }) => text.includes('recovered'))).toHaveLength(5);
});

/** Those that hang are waited for; all others may take their time, on a busy machine. */
function limitsOf(name: string): { armLimit: number; readyLimit: number } {
  return {
    armLimit: name === 'hangs' ? 15_000 : 300_000,
    readyLimit: name === 'hangs when it has taken over' ? 10_000 : 150_000,
  };
}

describe('a new version that is bad leaves the one before', () => {
  const THROWS = "throw new Error('bad');\n";
  const openAnd = (then: string): string =>
    NUMBERS.replace('const state = await', `${then}\nconst state = await`);
  const BAD: [name: string, code: string, why: RegExp][] = [
    ['throws at its start', THROWS, /ended with code 1/],
    ['is no program', 'this is no program', /ended with code 1/],
    ['throws after an await', `await new Promise((r) => setTimeout(r, 20));\n${THROWS}`, /ended with code 1/],
    ['ends', 'process.exit(0);', /ended with code 0/],
    ['hangs', 'setInterval(() => undefined, 1000);', /was not armed/],
    [
      'lacks a handler',
      NUMBERS.replace('{ name, size }', '{ name, size, handlers: () => [] }'),
      /ended with code 1/,
    ],
    ['throws when it has taken over', openAnd(THROWS), /ended with code 1/],
    ['is killed when it has taken over', openAnd("process.kill(process.pid, 'SIGKILL');"), /SIGKILL/],
    ['hangs when it has taken over', openAnd('await new Promise((r) => setInterval(r, 1e6));'), /was not ready/],
    ['wants more memory than there is', openAnd("await service.file('more', { size: '1TiB' });"), /ended with code 1/],
    ['wants another version of a file', NUMBERS.replace("size: '1MiB'", "size: '1MiB', version: 2"), /code 1/],
    ['calls itself otherwise', NUMBERS.replace('{ name,', "{ name: 'other',"), /this is an upgrade of/],
    ['cannot listen', NUMBERS.replace('127.0.0.1', '192.0.2.1'), /ended with code 1/],
    ['throws before it is ready', NUMBERS.replace('await service.ready', `${THROWS}await service.ready`), /code 1/],
  ]; // prettier-ignore

  test.each(BAD)('%s', async (name, code, why) => {
    const { supervised, program } = await start(NUMBERS, limitsOf(name));
    const load = new Load({ port: supervised.port, connections: 10 });
    await load.start();
    const { pid } = supervised;
    program.write(code);
    expect(await failure(supervised.supervisor.upgrade())).toMatch(why);
    expect(supervised.pid).toBe(pid);
    program.write(NUMBERS);
    await supervised.supervisor.upgrade();
    expect(await load.stop()).toMatchObject(CLEAN);
    expect(supervised.pid).not.toBe(pid);
  });

  test('crashes after it was ready, again and again: the version before is tried', async () => {
    const good = new ProgramFile(NUMBERS);
    const bad = new ProgramFile(`${NUMBERS}\nsetTimeout(() => { throw new Error('bad'); }, 20);`);
    programs.push(good, bad);
    const link = `${good.path}.link.mjs`;
    fs.symlinkSync(good.path, link);
    try {
      const supervised = new Supervised(good, { command: [...good.command.slice(0, -1), link] });
      running.push(supervised);
      await supervised.event('ready');
      await fetch(`http://127.0.0.1:${supervised.port}/3`, { method: 'PUT', body: '17' });
      fs.rmSync(link);
      fs.symlinkSync(bad.path, link);
      await supervised.supervisor.upgrade();
      const tried = await supervised.event('note');
      expect(tried.text).toContain('the version before is tried');
      const ready = supervised.events.filter(({ event }) => event === 'ready').length;
      await supervised.event('ready', ready + 1);
      expect(supervised.events.filter(({ event }) => event === 'crashed').length).toBeGreaterThan(5);
      expect(await (await fetch(`http://127.0.0.1:${supervised.port}/3`)).text()).toBe('17');
    } finally {
      fs.rmSync(link, { force: true });
    }
  });
});

test('the generation that runs is killed when an upgrade comes: the new one recovers', async () => {
  const { supervised } = await start(
    NUMBERS.replace(
      'await service.ready',
      "service.beforeUpgrade(() => process.kill(process.pid, 'SIGKILL'));\nawait service.ready",
    ),
  );
  await fetch(`http://127.0.0.1:${supervised.port}/3`, { method: 'PUT', body: '17' });
  await supervised.supervisor.upgrade();
  const last = supervised.events.filter(({ event }) => event === 'ready').at(-1);
  expect(last?.text).toContain('recovered');
  expect(await (await fetch(`http://127.0.0.1:${supervised.port}/3`)).text()).toBe('17');
});

test('an upgrade during an upgrade is refused with a sentence', async () => {
  const { supervised } = await start();
  const first = supervised.supervisor.upgrade();
  expect(await failure(supervised.supervisor.upgrade())).toMatch(/an upgrade is under way/);
  await first;
});

/** A client that is looked at byte by byte. */
class Client {
  readonly socket: net.Socket;
  text = '';
  hasEnded = false;

  constructor(port: number) {
    this.socket = net.connect(port, '127.0.0.1');
    this.socket.on('data', (data: Buffer) => (this.text += data.toString('latin1')));
    this.socket.on('close', () => (this.hasEnded = true));
  }

  async send(text: string): Promise<void> {
    await new Promise((resolve) => this.socket.write(text, resolve));
  }

  async answers(count: number): Promise<string[]> {
    const all = (): string[] => this.text.split('HTTP/1.1 ').slice(1);
    while (all().length < count && !this.hasEnded) await delay(2);
    return all().map((answer) => answer.slice(answer.indexOf('\r\n\r\n') + 4));
  }
}

test('half a head and what is pipelined are answered by the next one', async () => {
  const { supervised } = await start();
  const half = new Client(supervised.port);
  await half.send('PUT /7 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n42');
  await half.answers(1);
  await half.send('GET /7 HTTP/1.1\r\nHo');
  await delay(50);
  const { pid } = supervised;
  await supervised.supervisor.upgrade();
  await half.send('st: a\r\n\r\nGET /7 HTTP/1.1\r\nHost: a\r\n\r\n');
  expect((await half.answers(3)).slice(1)).toEqual(['42', '42']);
  expect(half.text).toContain(`x-pid: ${pid}`);
  expect(half.text).toContain(`x-pid: ${supervised.pid}`);
  half.socket.destroy();
});

test('a request that is being answered is let end, and its connection goes on', async () => {
  const slow = NUMBERS.replace(
    "if (request.method === 'GET')",
    "if (request.url === '/slow') return setTimeout(() => answer('slow'), 400);\n  if (request.method === 'GET')",
  );
  const { supervised } = await start(slow);
  const load = new Load({ port: supervised.port, connections: 10 });
  const client = new Client(supervised.port);
  await load.start();
  const { pid } = supervised;
  const upgraded = supervised.supervisor.upgrade();
  await client.send('GET /slow HTTP/1.1\r\nHost: a\r\n\r\n');
  await upgraded;
  expect(await client.answers(1)).toEqual(['slow']);
  await client.send('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n');
  expect(await client.answers(2)).toHaveLength(2);
  expect(client.text).toContain(`x-pid: ${supervised.pid}`);
  expect(supervised.pid).not.toBe(pid);
  expect(await load.stop()).toMatchObject(CLEAN);
  client.socket.destroy();
});

test('a connection that came along and says nothing lives as long as any other', async () => {
  const idle = (keepAliveMs: number): string =>
    NUMBERS.replace(
      'const { port }',
      `server.keepAliveTimeout = ${keepAliveMs}; server.headersTimeout = 300; server.connectionsCheckingInterval = 100;\nconst { port }`,
    );
  const { supervised, program } = await start(idle(600_000));
  const client = new Client(supervised.port);
  await client.send('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.answers(1);
  await supervised.supervisor.upgrade();
  await delay(800);
  expect([client.hasEnded, client.text.includes('408')]).toEqual([false, false]);
  await client.send('GET /1 HTTP/1.1\r\nHost: a\r\n\r\n');
  expect(await client.answers(2)).toHaveLength(2);
  program.write(idle(1500));
  await supervised.supervisor.upgrade();
  while (!client.hasEnded) await delay(20); // keepAliveTimeout holds for it, too
  expect(client.text).not.toContain('408');
});

test('requests that take longer than a new version may are waited for, by the time that they have', async () => {
  const slow = NUMBERS.replace(
    "if (request.method === 'GET')",
    "if (request.url === '/slow') return setTimeout(() => answer('slow'), 4000);\n  if (request.method === 'GET')",
  );
  const { supervised, program } = await start(slow, { readyLimit: 2000 });
  const answer = fetch(`http://127.0.0.1:${supervised.port}/slow`).then((response) => response.text());
  await delay(100);
  await supervised.supervisor.upgrade();
  expect(await answer).toBe('slow');
  program.write(
    NUMBERS.replace('await service.ready()', 'await new Promise(() => setInterval(() => 1, 1000))'),
  );
  expect(await failure(supervised.supervisor.upgrade())).toMatch(/was not ready after 2000 ms/);
});

describe('connections that the program carries', () => {
  const LINES = `
import { createServer } from 'node:net';
import { openService } from '@liveupdate/service';
const service = await openService({ name: process.env.TEST_NAME, size: '64MiB' });
const serve = (socket, count) => {
  const timer = setInterval(() => socket.write(\`\${++count} \${process.pid}\\n\`), 5);
  socket.on('close', () => clearInterval(timer));
  socket.on('error', () => undefined);
  service.carry(socket, {
    kind: 'lines',
    state: () => {
      clearInterval(timer);
      return Buffer.from(String(count));
    },
  });
};
const server = createServer((socket) => serve(socket, 0));
await service.listen(server, { port: 0, host: '127.0.0.1' });
if (!process.env.TEST_REFUSES) service.adopt('lines', (socket, state) => serve(socket, Number(state)));
await service.ready();
process.on('SIGTERM', () => service.close().then(() => process.exit(0)));
`;

  test('go on where they were, without a gap', async () => {
    const { supervised } = await start(LINES);
    const client = new Client(supervised.port);
    for (let i = 0; i < 3; i++) {
      await delay(100);
      await supervised.supervisor.upgrade();
    }
    await delay(100);
    const lines = client.text.trim().split('\n');
    expect(client.hasEnded).toBe(false);
    expect(lines.map((line) => Number(line.split(' ')[0]))).toEqual(lines.map((_, i) => i + 1));
    expect(new Set(lines.map((line) => line.split(' ')[1])).size).toBe(4);
    client.socket.destroy();
  });

  test('go on here where the upgrade fails', async () => {
    const { supervised, program } = await start(
      LINES.replace('const timer = setInterval(', 'let timer; const begin = () => (timer = setInterval(')
        .replace('`), 5);', '`), 5)); begin();')
        .replace("kind: 'lines',", "kind: 'lines', resume: begin,"),
    );
    const client = new Client(supervised.port);
    await delay(50);
    program.write(LINES.replace('await service.ready()', "throw new Error('bad')"));
    expect(await failure(supervised.supervisor.upgrade())).toContain('bad');
    const { length } = client.text;
    while (client.text.length < length + 50 && !client.hasEnded) await delay(5);
    const lines = client.text.trim().split('\n');
    expect(lines.map((line) => Number(line.split(' ')[0]))).toEqual(lines.map((_, i) => i + 1));
    expect(new Set(lines.map((line) => line.split(' ')[1])).size).toBe(1);
    client.socket.destroy();
  });

  test.each([
    ['rejects', "() => Promise.reject(new Error('no rest'))"],
    ['throws', "() => { throw new Error('no rest'); }"],
    ['never resolves', '() => new Promise(() => undefined)'],
  ])('one whose settling %s is closed and told of; the others go on', async (_, settle) => {
    const { supervised } = await start(
      LINES.replace(
        'const serve = (socket, count) => {',
        'let first = true;\nconst serve = (socket, count) => {',
      )
        .replace(
          "kind: 'lines',",
          `kind: 'lines', settle: first && service.generation === 1 ? ${settle} : async () => undefined,`,
        )
        .replace(
          'const server = createServer((socket) => serve(socket, 0));',
          'const server = createServer((socket) => { serve(socket, 0); first = false; });',
        ),
    );
    const bad = new Client(supervised.port);
    await delay(100);
    const good = new Client(supervised.port);
    await delay(100);
    await supervised.supervisor.upgrade();
    while (!bad.hasEnded) await delay(5);
    await delay(100);
    expect(good.hasEnded).toBe(false);
    expect((await supervised.event('ready', 2)).text).toMatch(/1 connections came along, 1 could not/);
    const lines = good.text.trim().split('\n');
    expect(lines.map((line) => Number(line.split(' ')[0]))).toEqual(lines.map((__, i) => i + 1));
    good.socket.destroy();
  });

  test('with much state each: in one go', async () => {
    const { supervised } = await start(
      LINES.replace(
        'return Buffer.from(String(count));',
        'return Buffer.from(String(count).padEnd(200_000));',
      ).replace('Number(state)', 'Number(Buffer.from(state).toString().trim())'),
    );
    const clients = Array.from({ length: 100 }, () => new Client(supervised.port));
    while (clients.some(({ text }) => text === '')) await delay(20);
    await supervised.supervisor.upgrade();
    const { length } = clients[99].text;
    while (clients[99].text.length < length + 20) await delay(5);
    for (const { hasEnded, socket } of clients) {
      expect(hasEnded).toBe(false);
      socket.destroy();
    }
  });

  test('and that nobody adopts are closed', async () => {
    const { supervised, program } = await start(LINES);
    const client = new Client(supervised.port);
    await delay(50);
    program.write(LINES.replace('!process.env.TEST_REFUSES', 'false'));
    await supervised.supervisor.upgrade();
    while (!client.hasEnded) await delay(5);
  });
});

describe('another version of a file', () => {
  const TWO = NUMBERS.replace(
    "{ size: '1MiB' }",
    `{
      size: '2MiB',
      version: 2,
      migrate: (old, bytes) => {
        const from = new Uint32Array(old.bytes.buffer);
        const to = new Uint32Array(bytes.buffer);
        for (let i = 0; i < from.length; i++) to[i] = from[i] + 1000 * old.version;
      },
    }`,
  );

  test('is made of the one before, which is given up when it is ready', async () => {
    const { supervised, program } = await start();
    const url = `http://127.0.0.1:${supervised.port}/5`;
    await fetch(url, { method: 'PUT', body: '5' });
    // One that fails after it has made the new file leaves the old one, with what was stored since.
    program.write(TWO.replace('await service.ready', "throw new Error('bad');\nawait service.ready"));
    expect(await failure(supervised.supervisor.upgrade())).toMatch(/code 1/);
    expect(await (await fetch(url)).text()).toBe('5');
    await fetch(url, { method: 'PUT', body: '6' });
    program.write(TWO);
    await supervised.supervisor.upgrade();
    expect(await (await fetch(url)).text()).toBe('1006');
    process.kill(supervised.pid, 'SIGKILL');
    await supervised.event('ready', 3);
    expect(await (await fetch(url)).text()).toBe('1006');
    program.write(NUMBERS); // the version before does not know it
    expect(await failure(supervised.supervisor.upgrade())).toMatch(/code 1/);
  });
});

test('a listening socket that the new version does not want is closed', async () => {
  const two = NUMBERS.replace(
    'await service.ready',
    "await service.listen(createServer(), { path: process.env.TEST_NAME + '.sock' });\nawait service.ready",
  );
  const { supervised, program } = await start(two);
  expect(supervised.supervisor.status.listeners).toHaveLength(2);
  program.write(NUMBERS);
  await supervised.supervisor.upgrade();
  expect(supervised.supervisor.status.listeners).toHaveLength(1);
});

test('one that never calls ready() counts as crashed, at its start and after a crash', async () => {
  const { supervised, program } = await start(NUMBERS, { armLimit: 12_000 });
  program.write(
    NUMBERS.replace('await service.ready()', 'await new Promise(() => setInterval(() => 1, 1000))'),
  );
  process.kill(supervised.pid, 'SIGKILL');
  await supervised.event('crashed', 2);
  program.write(NUMBERS);
  await supervised.event('ready', 2);
  const [, second] = supervised.events.filter(({ event }) => event === 'crashed');
  expect(second.text).toMatch(/was ended by SIGKILL \(it has not called ready\(\) after 12000 ms\)/);
});

test('one that crashes again and again is given up', async () => {
  const program = new ProgramFile("throw new Error('bad');");
  programs.push(program);
  const supervised = new Supervised(program);
  await supervised.event('ended');
  expect(supervised.events.filter(({ event }) => event === 'crashed')).toHaveLength(6);
});

describe('memory without a name, which the supervisor holds', () => {
  const MEMFD = NUMBERS.replace('{ name, size }', "{ name, size, ram: 'memfd' }");

  test('goes along with upgrades, and over a crash; nothing is left behind', async () => {
    const { supervised } = await start(MEMFD);
    const load = new Load({ port: supervised.port, connections: 10 });
    await load.start();
    await supervised.supervisor.upgrade();
    await supervised.supervisor.upgrade();
    expect(await load.stop()).toMatchObject(CLEAN);
    const url = `http://127.0.0.1:${supervised.port}/3`;
    await fetch(url, { method: 'PUT', body: '17' });
    process.kill(supervised.pid, 'SIGKILL');
    await supervised.event('ready', 4);
    expect(await (await fetch(url)).text()).toBe('17');
    expect(fs.existsSync(`/dev/shm/liveupdate.${supervised.name}`)).toBe(false);
  });

  test('outlives the supervisor where somebody keeps it', async () => {
    let kept = -1;
    const program = new ProgramFile(MEMFD);
    programs.push(program);
    const one = new Supervised(program, { holds: (fd) => (kept = duplicateFrom(fd, 64)) });
    await one.event('ready');
    await fetch(`http://127.0.0.1:${one.port}/3`, { method: 'PUT', body: '17' });
    await one.stop();
    const two = new Supervised(program, { memory: kept });
    running.push(two);
    await two.event('ready');
    expect(await (await fetch(`http://127.0.0.1:${two.port}/3`)).text()).toBe('17');
  });
});

test('encrypted connections are ended as their protocol has it, and told of', async () => {
  const code = NUMBERS.replace("from 'node:http'", "from 'node:https'").replace(
    'createServer((',
    `createServer(${JSON.stringify({ key: KEY, cert: CERTIFICATE })}, (`,
  );
  const { supervised } = await start(code);
  const agent = new https.Agent({ keepAlive: true, ca: CERTIFICATE });
  const ask = (): Promise<{ text: string; socket: net.Socket }> =>
    new Promise((resolve, reject) => {
      const options = {
        port: supervised.port,
        host: '127.0.0.1',
        path: '/3',
        agent,
        servername: 'localhost',
      };
      https
        .get(options, (response) => {
          const { socket } = response;
          let text = '';
          response.on('data', (some: Buffer) => (text += some.toString()));
          response.on('end', () => {
            resolve({ text, socket });
          });
        })
        .on('error', reject);
    });
  const { text, socket } = await ask();
  expect(text).toBe('0');
  let end = 'nothing';
  socket.once('close', (isError: boolean) => (end = isError ? 'error' : 'end'));
  await supervised.supervisor.upgrade();
  while (end === 'nothing') await delay(5);
  expect(end).toBe('end');
  expect((await supervised.event('ready', 2)).text).toContain('0 connections came along, 1 could not');
  expect((await ask()).text).toBe('0');
  agent.destroy();
});

describe('events for a browser (Server-Sent Events)', () => {
  const SSE = (isChunked: boolean): string => `
import { createServer } from 'node:http';
import { openService } from '@liveupdate/service';
const service = await openService({ name: process.env.TEST_NAME, size: '64MiB' });
const frame = (text) => ${isChunked ? '`${text.length.toString(16)}\\r\\n${text}\\r\\n`' : 'text'};
const serve = (socket, count) => {
  // Whole events, written to the socket: nothing of one is left behind.
  const timer = setInterval(() => socket.write(frame(\`id: \${++count}\\ndata: \${process.pid}\\n\\n\`)), 5);
  socket.on('close', () => clearInterval(timer));
  socket.on('error', () => undefined);
  service.carry(socket, {
    kind: 'events',
    state: () => {
      clearInterval(timer);
      return Buffer.from(String(count));
    },
  });
};
const server = createServer((request, response) => {
  const { socket } = response;
  socket.write('HTTP/1.1 200 OK\\r\\nContent-Type: text/event-stream\\r\\n${isChunked ? 'Transfer-Encoding: chunked' : 'Connection: close'}\\r\\n\\r\\n');
  serve(socket, 0);
});
await service.listen(server, { port: 0, host: '127.0.0.1' });
service.adopt('events', (socket, state) => serve(socket, Number(state)));
await service.ready();
process.on('SIGTERM', () => service.close().then(() => process.exit(0)));
`;

  test.each([
    ['raw', false],
    ['in chunks', true],
  ])('%s: no gap', async (_, isChunked) => {
    const { supervised } = await start(SSE(isChunked));
    const response = await fetch(`http://127.0.0.1:${supervised.port}/`);
    const reader = (response.body as ReadableStream<Uint8Array>).getReader();
    let text = '';
    const decoder = new TextDecoder();
    const read = (async () => {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return;
        text += decoder.decode(value, { stream: true });
      }
    })().catch(() => undefined);
    for (let i = 0; i < 3; i++) {
      await delay(100);
      await supervised.supervisor.upgrade();
    }
    await delay(100);
    await reader.cancel();
    await read;
    const events = [...text.matchAll(/id: (\d+)\ndata: (\d+)\n\n/g)];
    expect(events.map(([, id]) => Number(id))).toEqual(events.map((__, i) => i + 1));
    expect(new Set(events.map(([, , pid]) => pid)).size).toBe(4);
  });
});

describe('worker threads', () => {
  /** In a file of its own: one that the new version replaced could not be started again. */
  const WORKER = `
import { workerData, parentPort } from 'node:worker_threads';
import { openSharedView } from '@liveupdate/linux';
const { view, number } = workerData;
const counts = new Int32Array(openSharedView(view).bytes.buffer);
const timer = setInterval(() => Atomics.add(counts, number, 1), 1);
parentPort.once('message', () => clearInterval(timer)); // told: it ends by itself
`;
  const service = (worker: string): string => `
import { createServer } from 'node:http';
import { Worker } from 'node:worker_threads';
import { openService } from '@liveupdate/service';
const service = await openService({ name: process.env.TEST_NAME, size: '64MiB' });
const state = await service.file('counts', { size: 4096 });
const counts = new Int32Array(state.bytes.buffer);
let workers = [];
const start = () => {
  workers = [0, 1, 2, 3].map(
    (number) => new Worker(${JSON.stringify(worker)}, { workerData: { view: state.share(), number } }),
  );
};
const stop = async () => {
  const ended = workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve)));
  for (const worker of workers) worker.postMessage('stop');
  const late = setTimeout(() => workers.forEach((worker) => worker.terminate()), 1000);
  await Promise.all(ended);
  clearTimeout(late);
};
service.beforeUpgrade(stop);
service.afterFailedUpgrade(start);
const server = createServer((_, response) => response.end(JSON.stringify([...counts.subarray(0, 4)])));
await service.listen(server, { port: 0, host: '127.0.0.1' });
await service.ready();
start();
process.on('SIGTERM', () => stop().then(() => service.close()).then(() => process.exit(0)));
`;

  test('are stopped before an upgrade, and there is nothing that they miscount', async () => {
    const worker = new ProgramFile(WORKER);
    programs.push(worker);
    const code = service(worker.path);
    const { supervised, program } = await start(code);
    const counts = async (): Promise<number[]> =>
      (await (await fetch(`http://127.0.0.1:${supervised.port}/`)).json()) as number[];
    const grown = async (before: readonly number[]): Promise<number[]> => {
      for (;;) {
        const now = await counts();
        for (const [i, count] of before.entries()) expect(now[i]).toBeGreaterThanOrEqual(count);
        if (before.every((count, i) => now[i] > count)) return now;
        await delay(5);
      }
    };
    let before = await grown([0, 0, 0, 0]);
    await supervised.supervisor.upgrade();
    before = await grown(before);
    program.write("throw new Error('bad');");
    await failure(supervised.supervisor.upgrade());
    before = await grown(before);
    program.write(code.replace('await service.ready()', "throw new Error('bad')"));
    await failure(supervised.supervisor.upgrade());
    await grown(before);
  });
});

test('close() ends politely, however often it is called', async () => {
  const twice = NUMBERS.replace(
    "process.on('SIGTERM', () =>",
    "process.on('SIGTERM', () => void service.close());\nprocess.on('SIGTERM', () =>",
  ).replace(
    "if (request.method === 'GET')",
    "if (request.url === '/slow') return setTimeout(() => answer('slow'), 400);\n  if (request.method === 'GET')",
  );
  const { supervised } = await start(twice);
  const url = `http://127.0.0.1:${supervised.port}/`;
  await fetch(url + '3', { method: 'PUT', body: '17' });
  const slow = fetch(url + 'slow');
  const busy = (async () => {
    const answers = { good: 0, reset: 0 };
    const agent = new http.Agent({ keepAlive: true, maxSockets: 5 });
    const ask = (): Promise<boolean> =>
      new Promise((resolve) => {
        http
          .get({ port: supervised.port, host: '127.0.0.1', path: '/1', agent }, (response) => {
            response.resume().on('end', () => {
              answers.good += 1;
              resolve(true);
            });
          })
          .on('error', ({ message }) => {
            if (!message.includes('ECONNREFUSED')) answers.reset += 1;
            resolve(false);
          });
      });
    await Promise.all(
      [1, 2, 3, 4, 5].map(async () => {
        while (await ask());
      }),
    );
    agent.destroy();
    return answers;
  })();
  await delay(100);
  running.splice(running.indexOf(supervised), 1);
  supervised.supervisor.signal('SIGTERM');
  await delay(50);
  supervised.supervisor.signal('SIGTERM');
  expect(await (await slow).text()).toBe('slow');
  const { good, reset } = await busy;
  expect(good).toBeGreaterThan(5);
  expect(reset).toBeLessThanOrEqual(5); // an idle one that is closed as its client asks, as with Node.js
  await supervised.event('ended');
  const { openPage } = await ramOf(supervised.name);
  expect(openPage.state).toBe('handed-over');
  await supervised.stop();
});

/** What the boot page of a service's memory says. */
async function ramOf(name: string): Promise<{ openPage: BootPage }> {
  const bytes = await fs.promises.readFile(`/dev/shm/liveupdate.${name}`);
  return { openPage: readBootPage(bytes.subarray(0, 4096), bytes.length) };
}
