/**
 * The cache as people run it, under the programs of Redis itself: upgraded twenty times under load,
 * killed at whatever moment, and asked by hand.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { askSupervisor } from '@liveupdate/service';
import { expect, test } from 'vitest';
import { TestConnection } from './test-client.ts';
import { encode, type Value } from './test-resp.ts';
import { run, TestServer, whyNo } from './test-server.ts';

const UPGRADES = 20;
const CONNECTIONS = 50;

test('redis-benchmark with 50 connections, upgraded 20 times: it ends without an error', async (context) => {
  const why = whyNo('redis-benchmark');
  if (why !== undefined) context.skip(why);
  await using server = await TestServer.start();
  const options = ['-p', String(server.port), '-c', String(CONNECTIONS), '-r', '10000', '-q'];
  const over = new AbortController();
  const rounds = (async () => {
    const reports = [];
    for (let i = 0; !over.signal.aborted; i++) {
      const pipelined = i % 2 === 0 ? ['-P', '16', '-n', '200000'] : ['-n', '40000'];
      reports.push(await run('redis-benchmark', [...options, ...pipelined, '-t', 'set,get,incr,mset']));
    }
    return reports;
  })();
  await delay(300);
  for (let i = 0; i < UPGRADES; i++) await server.upgrade();
  over.abort();
  const reports = await rounds;
  for (const { code, text } of reports) {
    expect(code).toBe(0);
    expect(text).not.toMatch(/error|closed|refused/i);
    expect(text.match(/requests per second/g)).toHaveLength(4);
  }
  expect(await server.status()).toMatchObject({ upgrades: UPGRADES, crashes: 0, generation: UPGRADES + 1 });
});

/** Writes numbers that grow, each to a key of its own, and notes what was acknowledged. */
class Writer {
  readonly acknowledged = new Map<string, number>();
  readonly #name: string;
  readonly #port: number;
  readonly over = new AbortController();
  readonly done: Promise<void>;
  ended = 0;

  constructor(port: number, name: string) {
    this.#port = port;
    this.#name = name;
    this.done = this.#run();
  }

  async #run(): Promise<void> {
    for (let next = 1; ;) {
      const connection = new TestConnection({ port: this.#port, host: '127.0.0.1' });
      try {
        for (; ; next++) {
          if (this.over.signal.aborted) return;
          const keys = Array.from({ length: 8 }, (_, i) => `${this.#name}-${(next + i) % 100}`);
          connection.socket.write(Buffer.concat(keys.map((key) => encode('SET', key, next))));
          for (const key of keys) if ((await connection.reply()) === 'OK') this.acknowledged.set(key, next);
        }
      } catch {
        this.ended += 1;
        next += 1;
        await delay(2);
      } finally {
        connection.end();
      }
    }
  }
}

test('kill -9, ten times under load: nobody is refused, all that was acknowledged is there', async () => {
  await using server = await TestServer.start();
  const writers = Array.from({ length: 10 }, (_, i) => new Writer(server.port, `writer${i}`));
  for (let i = 0; i < 10; i++) {
    await delay(1000 + 37 * i); // one that dies sooner is one that dies at its start
    await server.crash();
  }
  await delay(100);
  for (const writer of writers) writer.over.abort();
  await Promise.all(writers.map(({ done }) => done));
  const connection = new TestConnection({ port: server.port, host: '127.0.0.1' });
  let checked = 0;
  for (const { acknowledged } of writers) {
    for (const [key, value] of acknowledged) {
      expect(Number(await connection.ask('GET', key))).toBeGreaterThanOrEqual(value);
      checked += 1;
    }
  }
  connection.end();
  expect(checked).toBe(1000);
  expect(await server.status()).toMatchObject({ crashes: 10, upgrades: 0 });
});

test('a counter is neither lost nor counted twice in upgrades', async () => {
  await using server = await TestServer.start();
  const connections = Array.from(
    { length: 20 },
    () => new TestConnection({ port: server.port, host: '127.0.0.1' }),
  );
  const last: Value[] = [];
  const over = new AbortController();
  const counting = connections.map(async (connection, i) => {
    let count = 0;
    for (; !over.signal.aborted; count++) last[i] = await connection.ask('INCR', `counter${i}`);
    return count;
  });
  for (let i = 0; i < 5; i++) await server.upgrade();
  over.abort();
  expect(await Promise.all(counting)).toEqual(last);
  for (const connection of connections) connection.end();
});

test('a supervisor that is replaced by the version that is installed: the cache goes on', async () => {
  await using server = await TestServer.start();
  const connection = new TestConnection({ port: server.port, host: '127.0.0.1' });
  await connection.ask('SET', 'key', 1);
  expect(await askSupervisor(server.name, 'renew')).toMatchObject({ ok: true });
  await server.upgrade();
  expect(await connection.ask('GET', 'key')).toBe('1');
  expect(await server.status()).toMatchObject({ renewals: 1, upgrades: 1 });
  connection.end();
});

test('it is stopped and started again, and has its memory', async () => {
  await using server = await TestServer.start();
  const connection = new TestConnection({ port: server.port, host: '127.0.0.1' });
  await connection.ask('SET', 'key', 'value');
  await server.stop();
  await using again = await TestServer.start('--name', server.name);
  const other = new TestConnection({ port: again.port, host: '127.0.0.1' });
  expect(await other.ask('GET', 'key')).toBe('value');
  other.end();
});

test('the command says what is wrong', async () => {
  const wrong = async (...args: string[]): Promise<string> => TestServer.start(...args).then(() => 'started', (error: unknown) => String(error));
  expect(await wrong('--size', '1')).toContain("liveupdate-cache: --size: '1' is no size from 1 MiB to 16 GiB: write one such as 512MiB or 2GiB");
  expect(await wrong('--port', 'x')).toMatch(/--port: 'x' is no port/);
  expect(await wrong('--nothing')).toMatch(/Unknown option '--nothing'/);
  expect(await wrong('start')).toMatch(/'start' is no option/);
}); // prettier-ignore

test('redis-cli: by hand, in RESP3, in a transaction, and a pipe of a hundred thousand commands', async (context) => {
  const why = whyNo('redis-cli');
  if (why !== undefined) context.skip(why);
  await using server = await TestServer.start();
  const cli = async (args: string[], input = ''): Promise<string> =>
    (await run('redis-cli', ['-p', String(server.port), ...args], input)).text;
  expect(await cli(['SET', 'a b', 'x y'])).toBe('OK\n');
  expect(await cli([], 'GET "a b"\nMULTI\nINCR n\nINCR n\nEXEC\nLPUSH a b\n')).toBe(
    "x y\nOK\nQUEUED\nQUEUED\n1\n2\nERR unknown command 'LPUSH', with args beginning with: 'a' 'b' (this cache has strings, counters and expiry: see COMMAND LIST)\n\n",
  );
  expect(await cli(['-3', 'CONFIG', 'GET', 'save'])).toBe('save \n');
  expect(await cli(['--no-raw', 'HELP'])).toContain('redis-cli');
  const many = Array.from({ length: 100_000 }, (_, i) => encode('SET', `key${i}`, i).toString()).join('');
  const piped = cli(['--pipe'], many);
  await server.upgrade();
  expect(await piped).toMatch(/errors: 0, replies: 100000/);
  expect(await cli(['DBSIZE'])).toBe('100002\n');
  expect((await cli(['--scan', '--pattern', 'key9999?'])).trim().split('\n')).toHaveLength(10);
  expect(await cli(['--bigkeys'])).toMatch(/Sampled 100002 keys/);
});
