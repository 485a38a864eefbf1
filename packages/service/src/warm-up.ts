/**
 * Does what an upgrade does, on memory and sockets of its own, so that its code is compiled when
 * all wait for it: the first call of much of it takes a millisecond, and all of it together ten.
 */
import { createServer } from 'node:http';
import * as net from 'node:net';
import { Machine } from '@liveupdate/kexec';
import { duplicateFrom, socketPair } from '@liveupdate/linux';
import { Channel, type Message } from './channel.ts';
import { Connections } from './connections.ts';
import { addressOfListener, makeListener } from './listening.ts';
import { StateFiles } from './state-file.ts';

const fs = process.getBuiltinModule('node:fs');

/** Connections, and how often each changes hands. */
const CLIENTS = 8;
const ROUNDS = 8;
const DRILL_FILE = 2 ** 20;
/**
 * Descriptors that the table of this process gets room for: to enlarge it takes 15 ms where it
 * comes unexpected.
 */
const TABLE = 2048;

export async function warmUp(): Promise<void> {
  await Machine.drill(async (machine) => {
    const files = new StateFiles(machine);
    await files.file('drill', { size: DRILL_FILE });
    machine.commit();
    await files.keep();
  });
  await drillSockets();
}

async function drillSockets(): Promise<void> {
  growTable();
  const fd = await makeListener({ host: '127.0.0.1', port: 0 });
  addressOfListener(fd);
  const connections = new Connections();
  const server = createServer((request, response) => {
    request.resume();
    response.setHeader('x', 'y');
    response.end('z');
  });
  connections.add(server, 'drill', fd);
  const clients = Array.from({ length: CLIENTS }, () => socketPair('stream'));
  const others = clients.map(([, client]) => new net.Socket({ fd: client }));
  try {
    const first = clients.map(([ours]) => ours);
    await connections.open(
      first.map(() => ({ to: 'drill' })),
      first,
    );
    for (let round = 0; round < ROUNDS; round++) {
      await askAll(others);
      await connections.stop(1000);
      const { connections: left, fds } = connections.departing();
      const came = await sentOver(left, fds);
      for (const copy of came) fs.closeSync(copy);
      await connections.resume();
    }
  } finally {
    for (const socket of others) socket.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
    fs.closeSync(fd);
  }
}

function growTable(): void {
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

/** Sends descriptors to ourselves. */
async function sentOver(left: unknown, fds: readonly number[]): Promise<readonly number[]> {
  const [stream, otherStream] = socketPair('stream');
  const [packets, otherPackets] = socketPair('packets');
  const from = new Channel<Message, Message & { left: unknown }>(new net.Socket({ fd: stream }), packets);
  const to = new Channel<Message, Message>(new net.Socket({ fd: otherStream }), otherPackets);
  const got = new Promise<readonly number[]>((resolve) => {
    to.listen(
      (_, came) => {
        resolve(came);
      },
      () => undefined,
    );
  });
  await from.send({ type: 'drill', left }, fds);
  const came = await got;
  from.close();
  to.close();
  return came;
}
