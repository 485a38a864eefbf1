/** Clients that see nothing would find every upgrade perfect: what a server does wrong is seen. */
import { createServer, type RequestListener, type Server } from 'node:http';
import type * as net from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { Child } from './child-process.ts';
import { answers, HOST, MOST_KEYS } from './numbers-server.ts';
import type { LoadArgument, LoadLine, LoadReport } from './upgrade-load.ts';

const CONNECTIONS = 10;

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections();
});

async function listening(listener: RequestListener, port = 0): Promise<number> {
  const server = createServer(listener);
  servers.push(server);
  await new Promise<void>((resolve) => {
    server.listen(port, HOST, resolve);
  });
  return (server.address() as net.AddressInfo).port;
}

/** What clients meet while `upgrade` is done. */
async function load(port: number, upgrade: () => unknown): Promise<LoadReport> {
  const argument = { port, connections: CONNECTIONS, least: 1000 } satisfies LoadArgument;
  await using clients = new Child<LoadLine>('upgrade-load', { argument });
  await clients.line();
  await delay(20);
  clients.go();
  await upgrade();
  clients.go();
  await delay(20);
  clients.go();
  return (await clients.line()).report!;
}

const numbers = new Uint32Array(MOST_KEYS);
const good = answers({ get: (key) => numbers[key], put: (key, value) => void (numbers[key] = value) });
/** The same, as another process would answer. */
const next: RequestListener = (request, response) => {
  const set = response.setHeader.bind(response);
  response.setHeader = (name, value) => set(name, name === 'x-pid' ? '1-1' : value);
  good(request, response);
};

test('where nothing happens, nothing is noticed', async () => {
  const report = await load(await listening(good), () => delay(20));
  expect(report).toMatchObject({ failed: 0, closed: 0, gap: 0, failures: [] });
  expect(report.moments.at(-1)).toBeGreaterThan(0);
  for (const value of [report.wait, report.before, report.after]) expect(value).toBeGreaterThan(0);
});

test('a number that is lost, and an answer that is none', async () => {
  let isNext = false;
  const forgets: RequestListener = (request, response) => {
    if (isNext) numbers.fill(0);
    good(request, response);
  };
  const lost = await load(await listening(forgets), () => {
    isNext = true;
  });
  expect(lost.failures.join()).toMatch(/key \d+ is 0, and \d+ was acknowledged/);
  let isBroken = false;
  const broken: RequestListener = (request, response) => {
    if (isBroken && request.method === 'GET') {
      response.statusCode = 503;
      isBroken = false;
    }
    good(request, response);
  };
  const failed = await load(await listening(broken), () => {
    isBroken = true;
  });
  expect(failed).toMatchObject({
    failed: 1,
    closed: 0,
    failures: ['an answer: HTTP/1.1 503 Service Unavailable'],
  });
});

test('connections that end with requests under way, and the gap until a next process answers', async () => {
  const port = await listening(good);
  const report = await load(port, async () => {
    servers.splice(0)[0].close().closeAllConnections();
    await delay(50);
    await listening(next, port);
  });
  expect(report).toMatchObject({ failed: CONNECTIONS, closed: CONNECTIONS });
  expect(report.failures[0]).toBe('a connection ended with a request under way');
  expect(report.gap).toBeGreaterThanOrEqual(50);
  expect(report.wait).toBeGreaterThanOrEqual(report.gap);
  expect(report.silence).toBeGreaterThanOrEqual(report.gap);
  expect(report.silenceEnd).toBeGreaterThan(0);

  expect(report.moments).toContainEqual(expect.toSatisfy((answers: number) => answers > 0));
});

test('connections that the server ends between two requests: no request fails', async () => {
  let count = 0;
  const ending: RequestListener = (request, response) => {
    response.shouldKeepAlive = count > CONNECTIONS || count === 0;
    if (count > 0) count += 1;
    good(request, response);
  };
  const report = await load(await listening(ending), () => {
    count = 1;
  });
  expect(report).toMatchObject({ failed: 0, closed: CONNECTIONS, gap: 0 });
});
