/** Clients of every kind, at a service on a stage: what they get, and what becomes of them. */
import { createServer, type Server } from 'node:http';
import { createServer as createSecure } from 'node:https';
import * as net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import * as tls from 'node:tls';
import { afterEach, describe, expect, test } from 'vitest';
import type { Service } from './service.ts';
import { Stage } from './stage.ts';

let stage: Stage;
const sockets: net.Socket[] = [];

afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  stage[Symbol.dispose]();
});

interface App {
  readonly service: Service;
  readonly server: Server;
  readonly port: number;
}

let number = 0;

/** Answers with the number of its generation. */
async function start(prepare: (server: Server) => void = () => undefined): Promise<App> {
  const service = await stage.open({ name: 'app', size: '16MiB', drain: 2000 });
  const generation = (number += 1);
  const server = createServer((request, response) => {
    request.resume().on('end', () => response.end(`by ${generation}`));
  });
  prepare(server);
  const address = await service.listen(server, { port: 0, host: '127.0.0.1' });
  await service.ready();
  return { service, server, port: 'port' in address ? address.port : 0 };
}

async function begin(prepare?: (server: Server) => void): Promise<App> {
  stage = new Stage();
  number = 0;
  return start(prepare);
}

class Client {
  readonly socket: net.Socket;
  text = '';
  hasEnded = false;

  constructor(port: number, allowHalfOpen = false) {
    this.socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen });
    sockets.push(this.socket);
    this.socket.on('data', (data: Buffer) => (this.text += data.toString('latin1')));
    this.socket.on('error', () => undefined);
    this.socket.on('close', () => (this.hasEnded = true));
  }

  send(text: string): void {
    this.socket.write(text);
  }

  /** Waits for a text, a second at most. */
  async gets(text: string): Promise<string> {
    for (let i = 0; i < 500 && !this.text.includes(text); i++) await delay(2);
    return this.text;
  }
}

describe('what Node.js does with a request is the same as without a service', () => {
  const H = ' HTTP/1.1\r\nHost: a\r\n';
  test.each([
    ['an upgrade that nobody listens for', `GET /${H}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n`, 'by 1'],
    ['Expect: 100-continue', `PUT /${H}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab`, 'by 1'],
  ])('%s', async (_, request, answer) => {
    const { port } = await begin();
    const client = new Client(port);
    client.send(request);
    expect(await client.gets(answer)).toContain(answer);
    await stage.upgrade(() => start());
    client.send(`GET /${H}\r\n`);
    await client.gets('by 2');
    expect(
      client.text
        .split('HTTP/1.1 ')
        .slice(1)
        .filter((part) => !part.startsWith('100')),
    ).toHaveLength(2);
  });

  test('a request that Node.js answers itself is not read twice', async () => {
    const { port } = await begin();
    const client = new Client(port);
    client.send(`PUT /${H}Expect: more\r\nContent-Length: 0\r\n\r\n`);
    expect(await client.gets(' 417 ')).toContain(' 417 ');
    await stage.upgrade(() => start());
    await delay(50);
    expect(client.text.split(' 417 ')).toHaveLength(2);
  });

  test('CONNECT', async () => {
    const { port } = await begin();
    const client = new Client(port);
    client.send(`CONNECT a:1${H}\r\n`);
    for (let i = 0; i < 500 && !client.hasEnded; i++) await delay(2);
    expect(client.hasEnded).toBe(true);
  });
});

test('connections that came along are counted as others are', async () => {
  const { port } = await begin();
  const client = new Client(port);
  client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.gets('by 1');
  const { server } = await stage.upgrade(() => start());
  const count = (): Promise<number> =>
    new Promise((resolve) => {
      server.getConnections((_, connections) => {
        resolve(connections);
      });
    });
  expect(await count()).toBe(1);
  client.socket.destroy();
  await delay(50);
  expect(await count()).toBe(0);
});

test('an answer before all of the request has come: both ends are let come', async () => {
  const { port } = await begin((server) => {
    server.removeAllListeners('request');
    server.on('request', (_, response) => response.end('early'));
  });
  const client = new Client(port);
  client.send('PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc');
  await client.gets('early');
  const upgraded = stage.upgrade(() => start());
  await delay(100);
  client.send('defghij');
  await upgraded;
  client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  expect(await client.gets('by 2')).toContain('by 2');
});

test('the end of a body is not taken for what looks like it', async () => {
  const { port } = await begin((server) => {
    server.removeAllListeners('request');
    server.on('request', (_, response) => response.end('early'));
  });
  const client = new Client(port);
  client.send('PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n30\r\n0\r\n\r\n');
  await client.gets('early');
  const upgraded = stage.upgrade(() => start());
  await delay(100);
  client.send('GET /evil HTTP/1.1\r\nHost: a\r\n\r\n'.padEnd(48 - 5, 'x') + '\r\n0\r\nTrailer: a\r\n\r\n');
  await upgraded;
  client.send('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await client.gets('by 2');
  expect(client.text.split('HTTP/1.1 ')).toHaveLength(3);
});

test('a client that always has a request under way', async () => {
  const { port } = await begin((server) => {
    server.removeAllListeners('request');
    server.on('request', (_, response) => setTimeout(() => response.end('slow'), 15));
  });
  const client = new Client(port);
  let sent = 0;
  const timer = setInterval(() => {
    sent += 1;
    client.send(`GET /${sent} HTTP/1.1\r\nHost: a\r\n\r\n`);
  }, 5);
  await delay(100);
  await stage.upgrade(() => start());
  await delay(100);
  clearInterval(timer);
  await delay(200);
  expect(client.hasEnded).toBe(false);
  expect(client.text.split('HTTP/1.1 ').length - 1).toBe(sent);
});

test('a new file survives kill -9 before anybody hears that something is stored in it', async () => {
  const { port } = await begin();
  const clients = Array.from({ length: 30 }, () => new Client(port));
  const get = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';
  for (const client of clients) client.send(get);
  for (const client of clients) await client.gets('by 1');
  let answered = 0;
  let answeredBefore: number | undefined;
  await stage.upgrade(async () => {
    const service = await stage.open({ name: 'app', size: '16MiB' });
    await service.file('new', { size: 4096 });
    const server = createServer((_, response) => {
      answered += 1;
      response.end('by 2');
    });
    await service.listen(server, { port: 0, host: '127.0.0.1' });
    const { luo } = service.machine.kernel;
    const create = luo.createSession.bind(luo);
    luo.createSession = (name) => {
      answeredBefore ??= answered;
      return create(name);
    };
    for (const client of clients) client.send(get);
    await delay(20);
    await service.ready();
  });
  for (const client of clients) await client.gets('by 2');
  expect([answeredBefore, answered]).toEqual([0, 30]);
});

describe('while the next one takes over, the one before answers nobody', () => {
  const GET = 'GET / HTTP/1.1\r\nHost: a\r\n\r\n';

  /** An upgrade that has sealed the generation before, and ends in one way or the other. */
  async function sealed(): Promise<{ fail: () => Promise<void>; succeed: () => Promise<void> }> {
    const end = Promise.withResolvers<boolean>();
    const taken = Promise.withResolvers<undefined>();
    const upgraded = stage.upgrade(async () => {
      const service = await stage.open({ name: 'app', size: '16MiB' });
      taken.resolve(undefined);
      if (!(await end.promise)) throw new Error('bad');
      await service.ready();
    });
    await taken.promise;
    return {
      fail: async () => {
        end.resolve(false);
        await expect(upgraded).rejects.toThrow('bad');
      },
      succeed: async () => {
        end.resolve(true);
        await upgraded;
      },
    };
  }

  test.each(['fails', 'succeeds'])('a request that took longer than drain; the upgrade %s', async (how) => {
    let answer = (): void => undefined;
    stage = new Stage();
    const service = await stage.open({ name: 'app', size: '16MiB', drain: 50 });
    const server = createServer((_, response) => {
      answer = () => response.end('late');
    });
    const address = await service.listen(server, { port: 0, host: '127.0.0.1' });
    await service.ready();
    const client = new Client('port' in address ? address.port : 0);
    client.send(GET);
    await delay(50);
    const { fail, succeed } = await sealed();
    answer();
    await delay(50);
    expect(client.text).toBe('');
    if (how === 'fails') {
      await fail();
      expect(await client.gets('late')).toContain('late');
      client.send(GET);
      await delay(50);
      answer();
      await delay(50);
      expect(client.text.split('late')).toHaveLength(3);
    } else {
      await succeed();
      for (let i = 0; i < 100 && !client.hasEnded; i++) await delay(5);
      expect([client.hasEnded, client.text]).toEqual([true, '']);
    }
  });

  test('a server of lines, whose connections nobody carries', async () => {
    stage = new Stage();
    const service = await stage.open({ name: 'app', size: '16MiB' });
    const echo = net.createServer((socket) => socket.on('data', (data) => socket.write(data)));
    const address = await service.listen(echo, { port: 0, host: '127.0.0.1' });
    await service.ready();
    const client = new Client('port' in address ? address.port : 0);
    client.send('one');
    await client.gets('one');
    const { fail } = await sealed();
    client.send('two');
    await delay(50);
    expect(client.text).toBe('one');
    await fail();
    expect(await client.gets('two')).toBe('onetwo');
  });

  test('an encrypted server: answers are let end, and what is asked then waits', async () => {
    const TLS = { ciphers: 'PSK', maxVersion: 'TLSv1.2' } as const;
    const psk = Buffer.alloc(16, 1);
    stage = new Stage();
    const service = await stage.open({ name: 'app', size: '16MiB' });
    const server = createSecure({ ...TLS, pskCallback: () => psk }, (request, response) => {
      setTimeout(() => response.end(`got ${request.url}`), 60);
    });
    const address = await service.listen(server, { port: 0, host: '127.0.0.1' });
    await service.ready();
    const socket = tls.connect({
      port: 'port' in address ? address.port : 0,
      ...TLS,
      pskCallback: () => ({ psk, identity: 'a' }),
      checkServerIdentity: () => undefined,
    });
    sockets.push(socket);
    let text = '';
    socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
    const gets = async (what: string): Promise<string> => {
      for (let i = 0; i < 500 && !text.includes(what); i++) await delay(2);
      return text;
    };
    socket.write(GET.replace('/', '/one'));
    await gets('got /one');
    socket.write(GET.replace('/', '/two'));
    await delay(20);
    const { fail } = await sealed();
    expect(text).toContain('got /two');
    socket.write(GET.replace('/', '/three'));
    await delay(150);
    expect(text).not.toContain('got /three');
    await fail();
    expect(await gets('got /three')).toContain('got /three');
  });
});
