/**
 * Does what an upgrade does, on memory and sockets of its own, so that its code is compiled when
 * all wait for it: the first call of much of it takes a millisecond, and all of it together ten.
 */
import { createServer, type Server } from 'node:http';
import * as net from 'node:net';
import { drill } from '@liveupdate/kexec';
import { duplicateFrom, socketPair } from '@liveupdate/linux';
import { Channel, type Message } from './channel.ts';
import { Connections, type Departing } from './connections.ts';
import { addressOfListener, makeListener } from './listening.ts';
import type { PassedConnection } from './protocol.ts';
import { StateFiles } from './state-file.ts';

const fs = process.getBuiltinModule('node:fs');

/** Connections, and how often each changes hands. */
const CLIENTS = 8;
const ROUNDS = 12;
const DRILL_FILE = 2 ** 20;
/**
 * How often each connection asks in a process that serves nobody yet: so Node.js's own code is
 * compiled, and does not begin with half as many answers as it gives later.
 */
export const STANDBY_ASKS = 100;
const LIMIT_MS = 1000;

/** Descriptors that the table of this process gets room for. */
const TABLE = 2048;

interface Drilled extends Message {
  readonly connections: readonly PassedConnection[];
}

/** @param asks requests of each connection at the end, beside one at each server */
export async function warmUp(asks = 0): Promise<void> {
  await drill(async (machine) => {
    const files = new StateFiles(machine);
    await files.file('drill', { size: DRILL_FILE });
    machine.commit();
    await files.keep();
  });
  await drillSockets(asks);
}

/** Connections go from one server to the next, and are asked at each. */
async function drillSockets(asks: number): Promise<void> {
  const fd = await makeListener({ host: '127.0.0.1', port: 0 });
  addressOfListener(fd);
  await turn();
  const pairs = Array.from({ length: CLIENTS }, () => socketPair('stream'));
  const clients = pairs.map(([, client]) => new net.Socket({ fd: client }));
  let came: readonly PassedConnection[] = pairs.map(() => ({ to: 'drill' }));
  let fds: readonly number[] = pairs.map(([ours]) => ours);
  try {
    for (let round = 0; round < ROUNDS; round++) {
      const connections = new Connections();
      connections.add(drillServer(), 'drill', fd);
      await turn();
      await connections.open(came, fds);
      const times = round === ROUNDS - 1 ? 1 + asks : 1;
      for (let i = 0; i < times; i++) await askAll(clients);
      await connections.stop(LIMIT_MS);
      const left = connections.departing();
      came = left.connections;
      fds = await sentOver(left);
      connections.letGo();
    }
  } finally {
    for (const client of clients) client.destroy();
    for (const left of fds) fs.closeSync(left);
    fs.closeSync(fd);
  }
}

function drillServer(): Server {
  return createServer((request, response) => {
    request.resume();
    response.setHeader('x', 'y');
    response.end('z');
  });
}

/** What else this process does has its turn: the first call of each step takes milliseconds. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/**
 * Makes room for descriptors when nobody waits yet: the system takes 15 ms to enlarge the table of
 * a process with threads.
 */
export function growTable(): void {
  try {
    fs.closeSync(duplicateFrom(0, TABLE));
  } catch {
    // fewer are allowed
  }
}

/** One request of each, and its answer. */
async function askAll(sockets: readonly net.Socket[]): Promise<void> {
  await Promise.all(
    sockets.map(
      (socket) =>
        new Promise((resolve) => {
          socket.once('data', resolve);
          socket.write('GET / HTTP/1.1\r\nHost: a\r\n\r\n');
        }),
    ),
  );
}

/** Sends connections to ourselves. */
async function sentOver({ connections, fds }: Departing): Promise<readonly number[]> {
  const [stream, otherStream] = socketPair('stream');
  const [packets, otherPackets] = socketPair('packets');
  const from = new Channel<Message, Drilled>(new net.Socket({ fd: stream }), packets);
  const to = new Channel<Drilled, Message>(new net.Socket({ fd: otherStream }), otherPackets);
  const got = new Promise<readonly number[]>((resolve) => {
    to.listen(
      (_, came) => {
        resolve(came);
      },
      () => undefined,
    );
  });
  await from.send({ type: 'drill', connections }, fds);
  const came = await got;
  from.close();
  to.close();
  return came;
}
