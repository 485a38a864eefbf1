/** Connections go along with an upgrade, whatever was said on them: on a stage, in one process. */
import { setTimeout as delay } from 'node:timers/promises';
import { Stage } from '@liveupdate/service';
import { afterEach, expect, test } from 'vitest';
import { serveCache, type RunningCache } from './cache-service.ts';
import type { CacheOptions } from './options.ts';
import { TestConnection } from './test-client.ts';
import { encode } from './test-resp.ts';

const OPTIONS: CacheOptions = {
  size: 16 * 2 ** 20,
  host: '127.0.0.1',
  port: 0,
  socket: undefined,
  name: 'test',
  evicts: false,
};

const stages: Stage[] = [];
const connections: TestConnection[] = [];
const caches: RunningCache[] = [];

afterEach(async () => {
  for (const connection of connections.splice(0)) connection.end();
  for (const cache of caches.splice(0)) await cache.close();
  for (const stage of stages.splice(0)) stage[Symbol.dispose]();
});

interface Played {
  readonly stage: Stage;
  readonly port: number;
  readonly connect: () => TestConnection;
  /** @param whenTaken is called when the next generation has taken over, and is not ready yet */
  readonly upgrade: (whenTaken?: () => Promise<void>) => Promise<void>;
}

async function play(options: Partial<CacheOptions> = {}): Promise<Played> {
  const stage = new Stage();
  stages.push(stage);
  const all = { ...OPTIONS, ...options };
  let cache = await serveCache(all, stage.open);
  caches.push(cache);
  const { address } = cache;
  const port = 'port' in address ? address.port : 0;
  return {
    stage,
    port,
    connect: () => {
      const connection = new TestConnection({ port, host: '127.0.0.1' });
      connections.push(connection);
      return connection;
    },
    upgrade: async (whenTaken) => {
      caches.splice(caches.indexOf(cache), 1);
      const before = cache;
      const open: typeof stage.open = async (asked) => {
        const service = await stage.open(asked);
        before.map.close();
        await whenTaken?.();
        return service;
      };
      cache = await stage.upgrade(() => serveCache(all, open));
      caches.push(cache);
    },
  };
}

const SET = encode('SET', 'key', 'a long value, of which a part has come');

test.each(Array.from({ length: 8 }, (_, i) => Math.floor((i * SET.length) / 8)))(
  'half a request goes along, cut at byte %i',
  async (cut) => {
    const { connect, upgrade } = await play();
    const client = connect();
    await client.ask('PING');
    client.socket.write(SET.subarray(0, cut));
    await delay(20);
    await upgrade();
    client.socket.write(SET.subarray(cut));
    expect(await client.reply()).toBe('OK');
    expect(await client.ask('GET', 'key')).toBe('a long value, of which a part has come');
  },
);

test('a large value of which a part has come goes along', async () => {
  const { connect, upgrade } = await play({ size: 64 * 2 ** 20 });
  const client = connect();
  await client.ask('PING');
  const value = Buffer.alloc(8 * 2 ** 20, 'x');
  const request = encode('SET', 'key', value);
  client.socket.write(request.subarray(0, 5 * 2 ** 20));
  await delay(200);
  await upgrade();
  client.socket.write(request.subarray(5 * 2 ** 20));
  expect(await client.reply()).toBe('OK');
  expect(await client.ask('STRLEN', 'key')).toBe(value.length);
});

test('who has sent more than 64 MiB of a request is closed, and holds up nobody', async () => {
  const { connect, upgrade } = await play();
  const client = connect();
  const other = connect();
  await Promise.all([client.ask('PING'), other.ask('SET', 'key', 1)]);
  const request = encode('SET', 'key', Buffer.alloc(80 * 2 ** 20, 'x'));
  await new Promise((resolve) => client.socket.write(request.subarray(0, 70 * 2 ** 20), resolve));
  await delay(200);
  await upgrade();
  expect(await other.ask('GET', 'key')).toBe('1');
  await expect(client.reply()).rejects.toThrow('the connection ended');
});

test('who a connection is, and how it speaks, goes along', async () => {
  const { connect, upgrade } = await play();
  const client = connect();
  await client.ask('HELLO', 3, 'SETNAME', 'me');
  await client.ask('CLIENT', 'SETINFO', 'LIB-NAME', 'test');
  const id = await client.ask('CLIENT', 'ID');
  await upgrade();
  await upgrade();
  expect(await client.ask('CLIENT', 'ID')).toBe(id);
  expect(await client.ask('GET', 'nothing')).toBeNull();
  expect(await client.ask('CONFIG', 'GET', 'save')).toEqual({ map: [['save', '']] });
  expect(await client.ask('CLIENT', 'INFO')).toMatch(/ name=me .* resp=3 lib-name=test /);
  const other = connect();
  expect(await other.ask('CLIENT', 'ID')).not.toBe(id);
  expect(await other.ask('INFO', 'server')).toMatch(/liveupdate_generation:3\r\n/);
});

test('CLIENT REPLY OFF goes along', async () => {
  const { connect, upgrade } = await play();
  const client = connect();
  client.socket.write(encode('CLIENT', 'REPLY', 'OFF'));
  await delay(20);
  await upgrade();
  client.socket.write(encode('SET', 'key', 1));
  expect(await client.ask('CLIENT', 'REPLY', 'ON')).toBe('OK');
  expect(await client.ask('GET', 'key')).toBe('1');
});

test('what MULTI has gathered goes along', async () => {
  const { connect, upgrade } = await play();
  const client = connect();
  await client.ask('MULTI');
  await client.ask('SET', 'key', Buffer.from('\0\xff', 'latin1'));
  await upgrade();
  expect(await client.ask('APPEND', 'key', 'x')).toBe('QUEUED');
  expect(await client.ask('EXEC')).toEqual(['OK', 3]);
  expect(await client.ask('GET', 'key')).toBe('\0\xffx');
});

test('and that something in it was wrong', async () => {
  const { connect, upgrade } = await play();
  const client = connect();
  await client.ask('MULTI');
  await client.ask('NOTHING');
  await upgrade();
  expect(await client.ask('EXEC')).toEqual({ error: expect.stringMatching(/^EXECABORT/) as string });
});

test.each<[when: string, changes: 'before' | 'after' | 'never']>([
  ['a change before the upgrade', 'before'],
  ['a change after it', 'after'],
  ['no change', 'never'],
])('what is watched goes along: %s', async (_, changes) => {
  const { connect, upgrade } = await play();
  const client = connect();
  const other = connect();
  await other.ask('SET', 'key', 1);
  await client.ask('WATCH', 'key');
  if (changes === 'before') await other.ask('SET', 'key', 2);
  await upgrade();
  if (changes === 'after') await other.ask('SET', 'key', 2);
  await client.ask('MULTI');
  await client.ask('GET', 'key');
  expect(await client.ask('EXEC')).toEqual(changes === 'never' ? ['1'] : null);
});

test('who is adopted first may change what those watch that come later: they know', async () => {
  const { connect, upgrade } = await play();
  const writer = connect(); // of the first that are adopted
  await writer.ask('SET', 'key', 1);
  const watchers = Array.from({ length: 300 }, connect);
  await Promise.all(watchers.map((client) => client.ask('WATCH', 'key')));
  await upgrade(async () => {
    writer.socket.write(encode('SET', 'key', 2)); // when the generation before has stopped
    await delay(20);
  });
  expect(await writer.reply()).toBe('OK');
  for (const client of watchers) {
    await client.ask('MULTI');
    expect(await client.ask('EXEC')).toBeNull();
  }
});

test('who does not read holds no more than a socket, and goes on when he reads', async () => {
  const { connect, port, stage, upgrade } = await play({ size: 64 * 2 ** 20 });
  expect(port).toBeGreaterThan(0);
  const client = connect();
  await client.ask('SET', 'key', Buffer.alloc(2 ** 20, 'x'));
  client.socket.pause();
  const count = 60;
  const gets = Buffer.concat(Array.from({ length: count }, () => encode('STRLEN', 'key')));
  client.socket.write(Buffer.concat(Array.from({ length: count }, () => encode('GET', 'key'))));
  await delay(300);
  const other = connect();
  const line = (await other.ask('CLIENT', 'LIST')) as string;
  const waiting = [...line.matchAll(/ omem=(\d+) /g)].map(([, bytes]) => Number(bytes));
  expect(Math.max(...waiting)).toBeGreaterThan(0);
  expect(Math.max(...waiting)).toBeLessThan(3 * 2 ** 20);
  client.socket.resume();
  for (let i = 0; i < count; i++) expect(await client.reply()).toHaveLength(2 ** 20);
  await upgrade();
  client.socket.write(gets);
  for (let i = 0; i < count; i++) expect(await client.reply()).toBe(2 ** 20);
  expect(stage.service?.generation).toBe(2);
});

test('requests that wait for a slow reader go along, whether they were read or not', async () => {
  const { connect, stage, upgrade } = await play({ size: 64 * 2 ** 20 });
  const client = connect();
  await client.ask('SET', 'key', Buffer.alloc(2 ** 20, 'x'));
  const count = 40;
  client.socket.pause();
  client.socket.write(Buffer.concat(Array.from({ length: count }, () => encode('GET', 'key'))));
  await delay(200);
  client.socket.write(encode('ECHO', 'last')); // nobody reads it: the stream has it
  await delay(100);
  stage.service?.beforeUpgrade(() => {
    client.socket.resume();
  });
  const upgraded = upgrade();
  for (let i = 0; i < count; i++) expect(await client.reply()).toHaveLength(2 ** 20);
  expect(await client.reply()).toBe('last');
  await upgraded;
  expect(await client.ask('PING')).toBe('PONG');
});

test('who reads nothing while answers wait for him is closed, and holds up nobody', async () => {
  const { connect, upgrade } = await play({ size: 64 * 2 ** 20 });
  const client = connect();
  const other = connect();
  await client.ask('SET', 'key', Buffer.alloc(2 ** 20, 'x'));
  await other.ask('PING');
  client.socket.pause();
  client.socket.write(Buffer.concat(Array.from({ length: 40 }, () => encode('GET', 'key'))));
  await delay(200);
  await upgrade();
  expect(await other.ask('STRLEN', 'key')).toBe(2 ** 20);
  client.socket.resume();
  const all = (async () => {
    for (let i = 0; i < 40; i++) await client.reply();
  })();
  await expect(all).rejects.toThrow('the connection ended');
});

test('where an upgrade fails all goes on: connections, and keys that end', async () => {
  const { connect, stage } = await play();
  const client = connect();
  await client.ask('MULTI');
  client.socket.write(SET.subarray(0, 20));
  await delay(20);
  const failed = stage.upgrade(async () => {
    await serveCache({ ...OPTIONS, size: 2 ** 40 }, stage.open);
  });
  await expect(failed).rejects.toThrow();
  client.socket.write(SET.subarray(20));
  expect(await client.reply()).toBe('QUEUED');
  expect(await client.ask('EXEC')).toEqual(['OK']);
  await client.ask('SET', 'ends', 1, 'PX', 1);
  await expect.poll(() => client.ask('DBSIZE'), { timeout: 60_000 }).toBe(1);
});

test('a Unix socket beside the port', async () => {
  const path = `/tmp/liveupdate-cache-${process.pid}.sock`;
  const { upgrade } = await play({ socket: path });
  const client = new TestConnection({ path });
  connections.push(client);
  expect(await client.ask('SET', 'key', 1)).toBe('OK');
  await upgrade();
  expect(await client.ask('GET', 'key')).toBe('1');
});
