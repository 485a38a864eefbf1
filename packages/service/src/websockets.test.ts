/** WebSockets over upgrades: real ones, of each major version of `ws` that is there, numbered. */
import * as fs from 'node:fs';
import { createServer, IncomingMessage } from 'node:http';
import * as net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { openService } from './open-service.ts';
import { ProgramFile, Supervised } from './test-service.ts';
import { serveWebSockets } from './websockets.ts';

const running: AsyncDisposable[] = [];
const files: ProgramFile[] = [];

afterEach(async () => {
  for (const each of running.splice(0)) await each[Symbol.asyncDispose]();
});

/** Says numbers, and how many it has heard; and both go on in the next generation. */
const program = (options: string, onMessage = ''): string => `
import { createServer } from 'node:http';
import { openService, serveWebSockets } from '@liveupdate/service';
const ws = await import(process.env.TEST_WS);
const service = await openService({ name: process.env.TEST_NAME, size: '64MiB' });
const server = createServer((request, response) => response.end('no websocket'));
serveWebSockets(service, {
  server,
  acceptor: new (ws.WebSocketServer ?? ws.default.Server)({ noServer: true, ${options} }),
  serve: (socket, request, state) => {
    const [said, heard] = state ? JSON.parse(Buffer.from(state)) : [0, 0];
    const counts = { said, heard };
    let timer;
    const start = () => {
      timer = setInterval(() => {
        counts.said += 1;
        socket.send(JSON.stringify({ said: counts.said, pid: process.pid, url: request.url }));
      }, 5);
    };
    start();
    socket.on('message', (data) => {
      counts.heard += 1;
      socket.send(JSON.stringify({ heard: counts.heard, text: String(data) }));
      ${onMessage}
    });
    socket.on('close', () => clearInterval(timer));
    return {
      state: () => {
        clearInterval(timer);
        return Buffer.from(JSON.stringify([counts.said, counts.heard]));
      },
      resume: start,
    };
  },
});
await service.listen(server, { port: 0, host: '127.0.0.1' });
await service.ready();
process.on('SIGTERM', () => service.close().then(() => process.exit(0)));
`;

function start(ws: string, options = '', onMessage = ''): Promise<Supervised> {
  return startProgram(program(options, onMessage), 'mjs', { TEST_WS: ws });
}

interface Said {
  readonly said?: number;
  readonly heard?: number;
  readonly pid?: number;
  readonly url?: string;
  readonly text?: string;
}

/** A client of a library, which notes what it is told. */
class Client {
  readonly socket: WebSocket;
  readonly told: Said[] = [];
  hasEnded = false;

  constructor(port: number, options: object) {
    this.socket = new WebSocket(`ws://127.0.0.1:${port}/some/path?q=1`, options);
    this.socket.on('message', (data: Buffer) => this.told.push(JSON.parse(data.toString()) as Said));
    this.socket.on('close', () => (this.hasEnded = true));
    this.socket.on('error', () => undefined);
  }

  async until(has: (told: readonly Said[]) => boolean): Promise<void> {
    while (!this.hasEnded && !has(this.told)) await delay(5);
  }
}

const SEPARATE =
  'perMessageDeflate: { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: 0 }';

/** A block of the README, by words in it, as a program of this test. */
function fromReadme(words: string, port: number): string {
  const readme = fs.readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const block = [...readme.matchAll(/```(?:ts|js)\n([^]*?)```/g)].find(([, code]) => code.includes(words));
  return block![1]
    .replace(/name: '\w+'/, 'name: process.env.TEST_NAME')
    .replace(`port: ${port}`, "port: 0, host: '127.0.0.1'")
    .concat("process.on('SIGTERM', () => service.close().then(() => process.exit(0)));");
}

async function startProgram(code: string, extension: string, env = {}): Promise<Supervised> {
  const file = new ProgramFile(code, extension);
  files.push(file);
  const supervised = new Supervised(file, {}, env);
  running.push({
    [Symbol.asyncDispose]: async () => {
      await supervised.stop();
      file[Symbol.dispose]();
    },
  });
  await supervised.event('ready');
  return supervised;
}

test('a program that returns nothing for one is told what it is to return', async () => {
  const service = await openService({ name: 'a', size: '16MiB', ram: 'heap' });
  const server = createServer();
  const request = new IncomingMessage(new net.Socket());
  const acceptor = {
    handleUpgrade: (...args: unknown[]) =>
      (args[3] as (...given: unknown[]) => void)({ on: () => 0 }, request),
    on: () => undefined,
  };
  serveWebSockets(service, { server, acceptor, serve: (() => undefined) as never });
  expect(() => server.emit('upgrade', request, request.socket, Buffer.of())).toThrow('EINVAL');
  await service.close();
});

describe("the README's", () => {
  test('WebSockets go on', async () => {
    const supervised = await startProgram(fromReadme('WebSocketServer', 8082), 'mjs');
    const socket = new WebSocket(`ws://127.0.0.1:${supervised.port}/room`);
    const told: string[] = [];
    socket.on('message', (data: Buffer) => told.push(data.toString()));
    await new Promise((resolve) => socket.once('open', resolve));
    for (let i = 1; i <= 3; i++) {
      socket.send(`hello ${i}`);
      while (told.length < i) await delay(5);
      await supervised.supervisor.upgrade();
    }
    expect(told).toEqual([1, 2, 3].map((i) => `message ${i} at /room: hello ${i}`));
    socket.terminate();
  });

  test('events go on', async () => {
    const code = fromReadme('text/event-stream', 8081).replaceAll('say, 1000', 'say, 20');
    const supervised = await startProgram(code, 'mts');
    const socket = net.connect(supervised.port, '127.0.0.1');
    let text = '';
    socket.setEncoding('latin1').on('data', (some: string) => (text += some));
    socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
    for (let i = 0; i < 3; i++) {
      const { length } = text;
      while (text.length < length + 100) await delay(5);
      await supervised.supervisor.upgrade();
    }
    const ids = [...text.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));
    expect(ids.length).toBeGreaterThan(5);
    expect(ids).toEqual(ids.map((_, i) => i + 1));
    socket.destroy();
  });
});

describe.each(['ws', 'ws-7'])('%s', (ws) => {
  test.each([
    ['without compression', '', {}],
    ['compressed, each message by itself', SEPARATE, { perMessageDeflate: { threshold: 0 } }],
  ])('%s: no message is lost, in either direction, and none comes twice', async (_, options, client) => {
    const supervised = await start(ws, options);
    const clients = [0, 1, 2].map(() => new Client(supervised.port, client));
    await Promise.all(clients.map((each) => each.until((told) => told.length > 0)));
    let sent = 0;
    const timer = setInterval(() => {
      sent += 1;
      for (const { socket } of clients) socket.send(`message ${sent}`);
    }, 3);
    for (let i = 0; i < 3; i++) {
      await supervised.supervisor.upgrade();
      await delay(50);
    }
    clearInterval(timer);
    for (const each of clients) {
      await each.until((told) => told.at(-1)?.said !== undefined && told.some(({ heard }) => heard === sent));
      expect([each.hasEnded, each.socket.readyState]).toEqual([false, WebSocket.OPEN]);
      const said = each.told.filter((told) => told.said !== undefined);
      expect(said.map((told) => told.said)).toEqual(said.map((__, i) => i + 1));
      expect(new Set(said.map(({ pid }) => pid)).size).toBe(4);
      expect(new Set(said.map(({ url }) => url))).toEqual(new Set(['/some/path?q=1']));
      const heard = each.told.filter((told) => told.heard !== undefined);
      expect(heard).toEqual(heard.map((__, i) => ({ heard: i + 1, text: `message ${i + 1}` })));
      expect(heard.length).toBe(sent);
      each.socket.terminate();
    }
  });

  test('after an upgrade that fails they go on here', async () => {
    const supervised = await start(ws);
    const client = new Client(supervised.port, {});
    await client.until((told) => told.length > 0);
    // Late: it has taken over by then, and all was told to it.
    files.at(-1)?.write(program('').replace('await service.ready()', "throw new Error('bad')"));
    await expect(supervised.supervisor.upgrade()).rejects.toThrow('bad');
    const { length } = client.told;
    client.socket.send('still there?');
    await client.until((told) => told.length > length + 5 && told.some(({ heard }) => heard === 1));
    const said = client.told.filter((told) => told.said !== undefined);
    expect(said.map((told) => told.said)).toEqual(said.map((_, i) => i + 1));
    expect(new Set(said.map(({ pid }) => pid)).size).toBe(1);
    client.socket.terminate();
  });

  test('under a load that it cannot keep up with: no message is lost, and none comes twice', async () => {
    const options = ws === 'ws' ? 'allowSynchronousEvents: false' : '';
    const supervised = await start(ws, options);
    const clients = [0, 1].map(() => new Client(supervised.port, {}));
    await Promise.all(clients.map((each) => each.until((told) => told.length > 0)));
    let sent = 0;
    const over = new AbortController();
    const isBehind = ({ told }: Client): boolean =>
      (told.findLast(({ heard }) => heard !== undefined)?.heard ?? 0) < sent - 300;
    const flood = (async () => {
      while (!over.signal.aborted) {
        if (clients.some(isBehind)) {
          await delay(1);
          continue;
        }
        for (let i = 0; i < 200; i++) {
          sent += 1;
          for (const { socket } of clients) socket.send(`message ${sent} `.padEnd(3000, '.'));
        }
      }
    })();
    for (let i = 0; i < 3; i++) {
      await delay(100);
      await supervised.supervisor.upgrade();
    }
    over.abort();
    await flood;
    for (const each of clients) {
      await each.until((told) => told.some(({ heard }) => heard === sent));
      expect(each.hasEnded).toBe(false);
      const heard = each.told.flatMap((told) => (told.heard === undefined ? [] : [told.text?.split(' ')[1]]));
      expect(heard).toEqual(heard.map((_, i) => String(i + 1)));
      each.socket.terminate();
    }
  });

  test('that the program has paused: what has come is there afterwards', async () => {
    const supervised = await start(ws, '', "if (data.toString() === 'pause') request.socket.pause();");
    const client = new Client(supervised.port, {});
    await client.until((told) => told.length > 0);
    client.socket.send('pause');
    await client.until((told) => told.some(({ heard }) => heard === 1));
    for (let i = 2; i <= 5; i++) client.socket.send(`message ${i}`);
    await delay(50);
    await supervised.supervisor.upgrade();
    client.socket.send('message 6');
    await client.until((told) => told.some(({ heard }) => heard === 6));
    const texts = client.told.flatMap(({ text }) => (text === undefined ? [] : [text]));
    expect(texts).toEqual(['pause', ...[2, 3, 4, 5, 6].map((i) => `message ${i}`)]);
    client.socket.terminate();
  });

  test('whoever accepts them may take its time, and may refuse', async () => {
    const supervised = await start(
      ws,
      'verifyClient: (info, done) => setTimeout(() => done(globalThis.accepts ?? true), 100)',
    );
    const client = new Client(supervised.port, {});
    await client.until((told) => told.length > 0);
    let sent = 0;
    const timer = setInterval(() => client.socket.send(`message ${(sent += 1)}`), 3);
    for (let i = 0; i < 2; i++) {
      await supervised.supervisor.upgrade();
      await delay(200);
    }
    clearInterval(timer);
    await client.until((told) => told.some(({ heard }) => heard === sent));
    expect(client.hasEnded).toBe(false);
    const heard = client.told.filter((told) => told.heard !== undefined);
    expect(heard).toEqual(heard.map((_, i) => ({ heard: i + 1, text: `message ${i + 1}` })));
    const frames: unknown[] = [];
    client.socket.on('message', (data: Buffer) => frames.push(data.toString()));
    files.at(-1)?.write(`globalThis.accepts = false;${program('verifyClient: (info, done) => done(false)')}`);
    await supervised.supervisor.upgrade();
    while (!client.hasEnded) await delay(5);
    for (const frame of frames) expect(frame).toMatch(/^\{/); // no answer of HTTP in between
  });

  test('a client that does not read is left behind, and the others do not wait for it', async () => {
    const supervised = await start(
      ws,
      '',
      "if (data.toString() === 'much') socket.send('x'.repeat(8_000_000));",
    );
    const slow = new Client(supervised.port, {});
    const good = new Client(supervised.port, {});
    await Promise.all([slow, good].map((each) => each.until((told) => told.length > 0)));
    slow.socket.pause();
    slow.socket.send('much');
    await delay(100);
    await supervised.supervisor.upgrade();
    const { length } = good.told;
    await good.until((told) => told.length > length + 5);
    expect(good.hasEnded).toBe(false);
    good.socket.terminate();
    slow.socket.terminate();
  });

  test('close() does not wait for those that are open', async () => {
    const supervised = await start(ws);
    const client = new Client(supervised.port, {});
    await client.until((told) => told.length > 0);
    const begin = performance.now();
    process.kill(supervised.pid, 'SIGTERM');
    await supervised.event('ended');
    expect(performance.now() - begin).toBeLessThan(4000); // drain is 5000
    while (!client.hasEnded) await delay(5);
  });

  test('compressed with what was said before: closed by its protocol, and counted', async () => {
    const supervised = await start(ws, 'perMessageDeflate: { threshold: 0 }');
    const client = new Client(supervised.port, { perMessageDeflate: { threshold: 0 } });
    await client.until((told) => told.length > 0);
    await supervised.supervisor.upgrade();
    while (!client.hasEnded) await delay(5);
  });

  test('a message of which a part has come goes on, from its first byte', async () => {
    const supervised = await start(ws);
    const socket = net.connect(supervised.port, '127.0.0.1');
    let text = '';
    socket.setEncoding('latin1').on('data', (some: string) => (text += some));
    const until = async (pattern: RegExp): Promise<void> => {
      while (!pattern.test(text)) await delay(5);
    };
    const key = Buffer.alloc(16, 1).toString('base64');
    socket.write(
      `GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`,
    );
    await until(/101 Switching Protocols[^]*"said":1,/);
    // A message of three frames, masked with zeros, cut into parts wherever an upgrade comes.
    const frame = (first: number, body: string): Buffer => {
      const length = Buffer.alloc(2);
      length.writeUInt16BE(body.length);
      return Buffer.concat([Buffer.of(first, 0x80 | 126), length, Buffer.alloc(4), Buffer.from(body)]);
    };
    const bodies = ['one ', 'two ', 'three'].map((word) => word.repeat(10_000));
    const message = Buffer.concat([frame(0x01, bodies[0]), frame(0x00, bodies[1]), frame(0x80, bodies[2])]);
    for (const [from, to] of [
      [0, 3],
      [3, 8],
      [8, 45_003],
      [45_003, message.length],
    ]) {
      socket.write(message.subarray(from, to));
      await delay(50);
      if (to < message.length) await supervised.supervisor.upgrade();
    }
    await until(new RegExp(`"heard":1,"text":"${bodies.join('')}"`));
    socket.destroy();
  });
});
