/** Tells when Node.js has no more what node-internals.ts takes from its inside. */
import { createServer, type Server } from 'node:http';
import * as net from 'node:net';
import { fileBehind } from '@liveupdate/linux';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  countConnection,
  descriptorOf,
  holdBack,
  letOn,
  startReading,
  stopListening,
  stopReading,
} from './node-internals.ts';

let server: Server;
let client: net.Socket;
let accepted: net.Socket;

beforeEach(async () => {
  server = createServer((_, response) => response.end('answer'));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const connection = new Promise<net.Socket>((resolve) => server.once('connection', resolve));
  client = net.connect((server.address() as net.AddressInfo).port, '127.0.0.1');
  client.setEncoding('utf8');
  accepted = await connection;
});

afterEach(() => {
  client.destroy();
  accepted.destroy();
  server.close();
});

test('a connection has a descriptor, until it is closed', async () => {
  const fd = descriptorOf(accepted);
  expect(fileBehind(fd ?? -1)).toMatch(/socket|sock|\d/);
  accepted.destroy();
  await new Promise((resolve) => accepted.once('close', resolve));
  expect(descriptorOf(accepted)).toBeUndefined();
  stopReading(accepted);
  startReading(accepted);
});

test('what comes while it is not read waits, and is read then', async () => {
  stopReading(accepted);
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(accepted.bytesRead).toBe(0);
  const answer = new Promise<string>((resolve) => client.once('data', resolve));
  startReading(accepted);
  startReading(accepted);
  expect(await answer).toContain('answer');
});

test('what is held back waits on both sides, and goes on', async () => {
  holdBack(accepted);
  accepted.write('said');
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  let text = '';
  client.on('data', (some: string) => (text += some));
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect([accepted.bytesRead, text]).toEqual([0, '']);
  letOn(accepted);
  while (!text.includes('answer')) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(text).toMatch(/^said/);
  const closed = new Promise((resolve) => client.once('close', resolve));
  holdBack(accepted);
  accepted.destroy();
  await closed;
  letOn(accepted);
});

test('a server that stops to listen keeps its connections, idle ones too', async () => {
  const first = new Promise((resolve) => client.once('data', resolve));
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  await first;
  const { port } = server.address() as net.AddressInfo;
  stopListening(server);
  expect(server.listening).toBe(false);
  const refused = await new Promise((resolve) => {
    net.connect(port, '127.0.0.1').once('error', ({ message }) => {
      resolve(message);
    });
  });
  expect(refused).toContain('ECONNREFUSED');
  const answer = new Promise((resolve) => client.once('data', resolve));
  client.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
  expect(await answer).toContain('answer');
});

test('a connection that was not accepted is counted', async () => {
  const count = (): Promise<number> =>
    new Promise((resolve) => {
      server.getConnections((_, connections) => {
        resolve(connections);
      });
    });
  const before = await count();
  countConnection(server, new net.Socket());
  expect(await count()).toBe(before + 1);
});
