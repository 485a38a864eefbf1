/**
 * WebSockets of the package `ws` (7 and 8) that go along with an upgrade: their clients notice
 * nothing. By public ways of `ws` alone: the next generation lets it accept the same request once
 * more, and keeps the answer to itself.
 */
import { IncomingMessage, Server, type IncomingHttpHeaders } from 'node:http';
import type * as net from 'node:net';
import type { Duplex } from 'node:stream';
import { checkFunction, checkInstance, checkObject, checkOptions, checkText } from '@liveupdate/base';
import type { Service } from './service.ts';
import { FrameReader } from './websocket-frames.ts';

/** What is used of a `WebSocket` of `ws`. */
export interface CarriedWebSocket {
  readonly readyState: number;
  /** Bytes that have not left. */
  readonly bufferedAmount: number;
  on(event: 'message', listener: () => void): unknown;
}

/** What is used of a `WebSocketServer` of `ws`, made with `noServer: true`. */
export interface WebSocketAcceptor<W> {
  handleUpgrade(
    request: IncomingMessage,
    socket: Duplex,
    head: Buffer,
    callback: (socket: W, request: IncomingMessage) => void,
  ): void;
  on(event: 'headers', listener: (headers: string[], request: IncomingMessage) => void): unknown;
}

/** What a program tells of a WebSocket that it serves. */
export interface ServedWebSocket {
  /**
   * Called at an upgrade, when all messages that have come were told: stops whatever sends on it,
   * and tells the next generation all that it must know. Undefined: it cannot go, and is closed.
   */
  state(): Uint8Array | undefined;
  /** Called before: resolves when what the messages that have come began is done. */
  settle?(): Promise<void>;
  /** Called where the upgrade did not come about: it goes on here. */
  resume?(): void;
}

/**
 * Serves one WebSocket. It is called for each that connects, and in each next generation once more.
 *
 * @param state what the generation before told of it; undefined where it has just connected
 */
export type ServeWebSocket<W> = (
  socket: W,
  request: IncomingMessage,
  state: Uint8Array | undefined,
) => ServedWebSocket;

export interface WebSocketsOptions<W extends CarriedWebSocket> {
  /** Whose upgrades are accepted. */
  readonly server: Server;
  readonly acceptor: WebSocketAcceptor<W>;
  readonly serve: ServeWebSocket<W>;
  /** Tells them from others of the same service; default `'websocket'`. */
  readonly kind?: string;
}

/** As the other generation gets it, in JSON. */
interface Left {
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  /** Bytes, in base64: of a message that is not all there, and the program's own. */
  readonly rest: string;
  readonly state: string;
}

const OPEN = 1;

/**
 * Accepts WebSockets, and carries them over upgrades. Call it before `ready`.
 *
 * Compression: without, or without context takeover on both sides
 * (`perMessageDeflate: { serverNoContextTakeover: true, clientNoContextTakeover: true }`). Other
 * connections, and encrypted ones, are closed with an upgrade.
 *
 * @throws KernelError EINVAL: no server, acceptor or function. EEXIST: others are of this kind
 */
export function serveWebSockets<W extends CarriedWebSocket>(
  service: Service,
  options: WebSocketsOptions<W>,
): void {
  checkOptions(options, 'serveWebSockets', ['server', 'acceptor', 'serve', 'kind']);
  const { server, acceptor, serve, kind = 'websocket' } = options;
  checkInstance(server, 'a server of HTTP', Server);
  checkObject(acceptor, 'a WebSocketServer');
  for (const method of ['handleUpgrade', 'on'])
    checkFunction(Reflect.get(acceptor, method), `${method} of a WebSocketServer`);
  checkFunction(serve, 'what serves a WebSocket');
  checkText(kind, 'a kind of connections');
  /** Requests that were answered with a compression that remembers what was said before. */
  const remembering = new WeakSet<IncomingMessage>();
  acceptor.on('headers', (headers, request) => {
    if (headers.some(remembers)) remembering.add(request);
  });
  const begin = (socket: W, request: IncomingMessage, state: Uint8Array | undefined): void => {
    const { socket: connection } = request;
    const frames = new FrameReader();
    connection.prependListener('data', (chunk: Buffer) => {
      frames.add(chunk);
    });
    let delivered = 0;
    socket.on('message', () => {
      delivered += 1;
    });
    const served = serve(socket, request, state);
    checkObject(served, 'what serve returns for a WebSocket');
    checkFunction(Reflect.get(served, 'state'), 'what tells the state of a WebSocket');
    if (remembering.has(request) || 'encrypted' in connection) return;
    let said: Uint8Array | undefined;
    let attempt = 0;
    /** What was read of the connection, and not told to the program. */
    let unread: Buffer | undefined;
    service.carry(connection, {
      kind,
      settle: async () => {
        attempt += 1;
        const mine = attempt;
        said = undefined;
        const goesOn = (): boolean => mine === attempt && socket.readyState === OPEN;
        const isBehind = (): boolean => delivered < frames.messages && goesOn();
        do {
          while (isBehind()) await soon();
          await served.settle?.();
        } while (isBehind());
        if (!goesOn()) return;
        unread = takeUnread(connection); // of one that is paused: nothing of it comes any more
        said = served.state();
        while (socket.bufferedAmount > 0 && goesOn()) await soon();
      },
      state: () => {
        const rest = frames.rest();
        const isAtRest = socket.bufferedAmount === 0 && delivered === frames.messages;
        if (!said || !rest || !isAtRest || socket.readyState !== OPEN) return undefined;
        const all = unread ? Buffer.concat([rest, unread]) : rest;
        return Buffer.from(JSON.stringify(leftOf(request, all, said)));
      },
      resume: () => {
        attempt += 1;
        if (unread) connection.unshift(unread);
        unread = undefined;
        served.resume?.();
      },
    });
  };
  service.adopt(kind, (connection, bytes) => {
    const { url, headers, rest, state } = JSON.parse(Buffer.from(bytes).toString()) as Left;
    const request = Object.assign(new IncomingMessage(connection), { method: 'GET', url, headers });
    const answered = keepsSilent(connection);
    connection.pause(); // who accepts it may take its time
    acceptor.handleUpgrade(request, connection, Buffer.from(rest, 'base64'), (socket) => {
      answered();
      connection.resume(); // in the next turn
      begin(socket, request, Buffer.from(state, 'base64'));
    });
  });
  server.on('upgrade', (request: IncomingMessage, connection: Duplex, head: Buffer) => {
    acceptor.handleUpgrade(request, connection, head, (socket) => {
      begin(socket, request, undefined);
    });
  });
}

function leftOf({ url = '/', headers }: IncomingMessage, rest: Buffer, state: Uint8Array): Left {
  return {
    url,
    headers,
    rest: rest.toString('base64'),
    state: Buffer.from(state).toString('base64'),
  };
}

/** What is compressed or read by threads is there a little later. */
function soon(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 1));
}

/** Whether a line of an answer agrees on a compression with context takeover. */
function remembers(line: string): boolean {
  if (!/^sec-websocket-extensions:.*permessage-deflate/i.test(line)) return false;
  return !(line.includes('server_no_context_takeover') && line.includes('client_no_context_takeover'));
}

/**
 * Nothing is written to a connection until the function is called that this returns; where it is
 * refused instead, it is closed.
 */
function keepsSilent(connection: net.Socket): () => void {
  const end = (): net.Socket => connection.destroy();
  Object.assign(connection, { write: () => true, end });
  return () => {
    for (const name of ['write', 'end']) Reflect.deleteProperty(connection, name);
  };
}

/** Takes what a stream has read and told nobody. */
function takeUnread(connection: net.Socket): Buffer | undefined {
  if (connection.readableLength === 0) return undefined;
  const listeners = connection.rawListeners('data') as ((chunk: Buffer) => void)[];
  connection.removeAllListeners('data'); // reading would tell them
  const chunk = connection.read() as Buffer | null;
  for (const listener of listeners) connection.on('data', listener);
  return chunk ?? undefined;
}
