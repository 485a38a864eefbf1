/** A line to QEMU itself (the QEMU machine protocol): one command after the other. */
import { once } from 'node:events';
import * as net from 'node:net';

interface Answer {
  readonly return?: unknown;
  readonly error?: { readonly desc: string };
}

export class Qmp implements Disposable {
  readonly #socket: net.Socket;
  #received = '';

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      this.#received += text;
    });
  }

  /** @param path of the socket */
  static async connect(path: string): Promise<Qmp> {
    const socket = net.connect(path);
    await once(socket, 'connect');
    const it = new Qmp(socket);
    await it.execute('qmp_capabilities');
    return it;
  }

  /** What a command answers. @throws Error QEMU refuses it */
  async execute(command: string, args: object = {}): Promise<unknown> {
    this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    for (;;) {
      const line = await this.#line();
      const { return: result, error } = JSON.parse(line) as Answer;
      if (error) throw new Error(`${command}: ${error.desc}`);
      if (result !== undefined) return result; // all else is a greeting, or tells of something
    }
  }

  async #line(): Promise<string> {
    while (!this.#received.includes('\n')) await once(this.#socket, 'data');
    const end = this.#received.indexOf('\n');
    const line = this.#received.slice(0, end);
    this.#received = this.#received.slice(end + 1);
    return line;
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
