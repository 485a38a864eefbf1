/** A connection to a server of ours, on a socket in the file system. */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { PATIENCE, within } from './patience.ts';

/** What is said, piece by piece. */
export type Pieces = readonly (string | Uint8Array)[];

export class SocketClient implements Disposable {
  readonly #socket: Socket;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => undefined); // an answer that does not come tells it
  }

  /** @throws Error with the code of connecting: see isNotThere */
  static async connect(path: string): Promise<SocketClient> {
    const socket = createConnection(path);
    await once(socket, 'connect');
    return new SocketClient(socket);
  }

  say(pieces: Pieces): void {
    for (const piece of pieces) this.#socket.write(piece);
  }

  /**
   * Says something, and gives the answer, which ends with `end`.
   *
   * @throws Error ECONNRESET: the server closes the connection
   * @throws KernelError ETIMEDOUT: it does not answer
   */
  ask(pieces: Pieces, end: string): Promise<string> {
    const answering = new Promise<string>((resolve, reject) => {
      const heard: Buffer[] = [];
      const hear = (piece: Buffer): void => {
        heard.push(piece);
        if (!piece.subarray(-end.length).equals(Buffer.from(end))) return;
        this.#socket.off('data', hear).off('close', closed);
        resolve(Buffer.concat(heard).toString('latin1'));
      };
      const closed = (): void => {
        reject(Object.assign(new Error('the server closes the connection'), { code: 'ECONNRESET' }));
      };
      this.#socket.on('data', hear).on('close', closed);
    });
    this.say(pieces);
    return within(answering, PATIENCE.server, 'the server does not answer');
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}

/** Whether a server that is not there yet, or not any more, explains an error. */
export function isNotThere(error: unknown): boolean {
  const { code } = error as { code?: unknown };
  return code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ECONNRESET';
}
