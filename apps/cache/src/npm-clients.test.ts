/**
 * The clients that programs of Node.js use, with their own ways to connect again: in upgrades they
 * notice nothing; when the server is killed they come back by themselves.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { expect, test } from 'vitest';
import { TestServer } from './test-server.ts';

/** What both have, with what was met beside the answers. */
interface Client {
  readonly events: string[];
  set(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<string | null>;
  /** Adds one to each of two keys, together. */
  transaction(first: string, second: string): Promise<unknown>;
  /** Many at once. */
  pipeline(keys: readonly string[]): Promise<unknown[]>;
  scan(pattern: string): Promise<string[]>;
  binary(key: string, value: Buffer): Promise<Buffer | null>;
  end(): Promise<unknown>;
}

function throughIoredis(port: number): Client {
  const events: string[] = [];
  const client = new Redis({ port, host: '127.0.0.1', retryStrategy: () => 10, maxRetriesPerRequest: null });
  for (const event of ['connect', 'ready', 'error', 'close', 'reconnecting', 'end'])
    client.on(event, () => events.push(event));
  return {
    events,
    set: (key, value) => client.set(key, value, 'EX', 1000),
    get: (key) => client.get(key),
    transaction: (first, second) => client.multi().incr(first).incr(second).exec(),
    pipeline: async (keys) => {
      const pipeline = client.pipeline();
      for (const key of keys) pipeline.get(key);
      return ((await pipeline.exec()) ?? []).map(([, value]) => value);
    },
    scan: async (pattern) => {
      const found: string[] = [];
      for await (const keys of client.scanStream({ match: pattern })) found.push(...(keys as string[]));
      return found;
    },
    binary: async (key, value) => {
      await client.set(key, value);
      return client.getBuffer(key);
    },
    end: () => client.quit(),
  };
}

async function throughNodeRedis(port: number, version: 2 | 3): Promise<Client> {
  const events: string[] = [];
  const client = createClient({ RESP: version, socket: { port, host: '127.0.0.1', reconnectStrategy: 10 } });
  for (const event of ['connect', 'ready', 'error', 'reconnecting', 'end'])
    client.on(event, () => events.push(event));
  await client.connect();
  return {
    events,
    set: (key, value) => client.set(key, value, { expiration: { type: 'EX', value: 1000 } }),
    get: (key) => client.get(key),
    transaction: (first, second) => client.multi().incr(first).incr(second).exec(),
    pipeline: (keys) => Promise.all(keys.map((key) => client.get(key))),
    scan: async (pattern) => {
      const found: string[] = [];
      for await (const keys of client.scanIterator({ MATCH: pattern })) found.push(...keys);
      return found;
    },
    binary: async (key, value) => {
      await client.set(key, value);
      const { RESP_TYPES } = await import('redis');
      return client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).get(key);
    },
    end: () => client.close(),
  };
}

const CLIENTS: Record<string, (port: number) => Client | Promise<Client>> = {
  ioredis: throughIoredis,
  'redis, RESP2': (port) => throughNodeRedis(port, 2),
  'redis, RESP3': (port) => throughNodeRedis(port, 3),
};

test.each(Object.entries(CLIENTS))('%s', async (_, connect) => {
  await using server = await TestServer.start();
  const client = await connect(server.port);
  const bytes = Buffer.from([0, 255, 13, 10, 128]);
  expect(await client.set('key', 'value')).toBe('OK');
  expect(await client.get('key')).toBe('value');
  expect(await client.get('nothing')).toBeNull();
  expect(await client.binary('bytes', bytes)).toEqual(bytes);
  expect(JSON.stringify(await client.transaction('a', 'b'))).toMatch(/1.*1/);
  expect(await client.pipeline(['key', 'a', 'nothing'])).toEqual(['value', '1', null]);
  expect((await client.scan('*')).sort()).toEqual(['a', 'b', 'bytes', 'key']);

  const connected = [...client.events];
  let written = 0;
  let failed = 0;
  const over = new AbortController();
  const writing = (async () => {
    while (!over.signal.aborted) {
      try {
        await client.set(`key${written % 100}`, String(written));
        expect(await client.get(`key${written % 100}`)).toBe(String(written));
        written += 1;
      } catch {
        failed += 1; // a request that was under way: whether to ask again the program decides
        await delay(5);
      }
    }
  })();
  for (let i = 0; i < 5; i++) await server.upgrade();
  expect(client.events).toEqual(connected); // it has noticed nothing
  expect(failed).toBe(0);

  await delay(1000);
  await server.crash();
  const before = written;
  while (written < before + 10) await delay(5);
  over.abort();
  await writing;
  expect(client.events.length).toBeGreaterThan(connected.length); // it has come back
  for (let i = written - 10; i < written; i++) expect(await client.get(`key${i % 100}`)).toBe(String(i));
  await client.end();
});
