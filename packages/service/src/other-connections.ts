/**
 * The connections of a server that cannot go to another process: encrypted ones, for their keys
 * stay here; HTTP/2; and plain ones of which only the program knows what was said. When the next
 * generation serves they are ended as their protocol has it, and their clients connect anew.
 */
import type { ServerHttp2Session } from 'node:http2';
import type * as net from 'node:net';
import { Server as TlsServer } from 'node:tls';

/** Milliseconds for what was said last to leave. */
const END_MS = 200;

export class OtherConnections {
  readonly #sockets = new Set<net.Socket>();
  readonly #sessions = new Set<ServerHttp2Session>();

  constructor(server: net.Server) {
    const event = server instanceof TlsServer ? 'secureConnection' : 'connection';
    // Before the program's own, which may carry it.
    server.prependListener(event, (socket: net.Socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
    server.on('session', (session: ServerHttp2Session) => {
      this.#sessions.add(session);
      session.once('close', () => this.#sessions.delete(session));
    });
  }

  get count(): number {
    return this.#sockets.size;
  }

  /** The program carries it: it is none of these. */
  delete(socket: net.Socket): void {
    this.#sockets.delete(socket);
  }

  /** Ends them all. Resolves when their clients were told, or after some time. */
  async end(): Promise<void> {
    const ended = [...this.#sockets].map(
      (socket) =>
        new Promise((resolve) => {
          socket.once('close', resolve).once('finish', resolve).once('error', resolve);
        }),
    );
    for (const session of this.#sessions) session.close();
    if (this.#sessions.size === 0) for (const socket of this.#sockets) socket.end();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, END_MS);
    });
    await Promise.race([Promise.all(ended), late]);
    clearTimeout(timer);
    for (const socket of this.#sockets) socket.destroy();
  }
}
