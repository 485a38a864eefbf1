/**
 * What Node.js knows of a connection and offers no public way to. All of it stands here, and
 * node-internals.test.ts tells when a version of Node.js has it no more.
 */
import * as net from 'node:net';

interface Handle {
  readonly fd: number;
  reading: boolean;
  readStop: () => number;
  readStart: () => number;
}

interface WithHandle {
  readonly _handle?: Handle | null;
}

function handleOf(socket: net.Socket): Handle | undefined {
  return (socket as unknown as WithHandle)._handle ?? undefined;
}

/** The descriptor of a connection; undefined where it is closed. */
export function descriptorOf(socket: net.Socket): number | undefined {
  const fd = handleOf(socket)?.fd;
  return fd === undefined || fd < 0 ? undefined : fd;
}

const stopped = new WeakSet<Handle>();

/**
 * From now on what comes stays in the kernel, where whoever has the connection next finds it;
 * whatever is done with the stream here. (It is told that it reads, so it does not begin to.)
 */
export function stopReading(socket: net.Socket): void {
  const handle = handleOf(socket);
  if (!handle) return;
  handle.readStop();
  handle.reading = true;
  stopped.add(handle);
}

/** The inverse. */
export function startReading(socket: net.Socket): void {
  const handle = handleOf(socket);
  if (!handle || (handle.reading && !stopped.has(handle))) return;
  stopped.delete(handle);
  handle.reading = true;
  handle.readStart();
}

interface Connecting {
  connecting: boolean;
}

/**
 * From now on nothing is read of a connection, and what is written to it waits here, as it does
 * until a connection is there. (To cork it would not do: http uncorks with each answer.)
 */
export function holdBack(socket: net.Socket): void {
  stopReading(socket);
  if (handleOf(socket)) (socket as Connecting).connecting = true;
}

/** The inverse. */
export function letOn(socket: net.Socket): void {
  if (socket.connecting && handleOf(socket)) {
    (socket as Connecting).connecting = false;
    socket.emit('connect');
  }
  startReading(socket);
}

interface Counting {
  _connections: number;
}

/** Counts a connection that a server did not accept itself: its `close` waits for it. */
export function countConnection(server: net.Server, socket: net.Socket): void {
  (server as unknown as Counting)._connections += 1;
  Object.assign(socket, { server, _server: server });
}

/**
 * Closes the listening socket and nothing else: http's own `close` ends idle connections, too.
 * Returns when it is closed to new connections; those that there are go on.
 */
export function stopListening(server: net.Server): void {
  Reflect.apply(Reflect.get(net.Server.prototype, 'close') as () => void, server, []);
}
