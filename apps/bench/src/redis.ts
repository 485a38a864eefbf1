/**
 * A Redis server of our own, as somebody would use one to keep memory over a restart: values of 1
 * MiB, saved and loaded again with the server. It listens on a socket in a directory of ours and
 * nowhere else, writes its file to tmpfs, without compression, and ends with us.
 */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { KernelError } from '@liveupdate/base';
import { PATIENCE, within } from './patience.ts';
import { isNotThere, ServerProcess, versionOf } from './server-process.ts';

const VALUE = 2 ** 20;

/** The server's version, such as `7.0.15`; undefined where there is none. */
export function redisVersion(): string | undefined {
  return versionOf('redis-server', /v=(\S+)/);
}

export const NO_REDIS = 'redis-server is not installed; on Debian: apt-get install redis-server';

export class Redis implements AsyncDisposable {
  readonly #socket: string;
  readonly #server: ServerProcess;
  #values = 0;

  private constructor(directory: string) {
    this.#socket = join(directory, 'redis.sock');
    const settings = {
      dir: directory,
      dbfilename: 'dump.rdb',
      port: '0',
      unixsocket: this.#socket,
      unixsocketperm: '700',
      save: '',
      appendonly: 'no',
      rdbcompression: 'no',
      daemonize: 'no',
    };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    this.#server = new ServerProcess('redis-server', args);
  }

  /** Starts a server whose file and socket are in `directory`, and gives it `source`. */
  static async start(directory: string, source: Uint8Array): Promise<Redis> {
    const redis = new Redis(directory);
    try {
      await redis.#server.until(() => redis.#hasAll());
      await redis.#load(source);
    } catch (error) {
      await redis[Symbol.asyncDispose]();
      throw error;
    }
    return redis;
  }

  /** Saves and ends the server, starts another, and waits until it has all values again. */
  async saveAndReload(): Promise<void> {
    using client = await this.#connect();
    await this.#server.stop(() => {
      client.send('SHUTDOWN', 'SAVE');
    });
    this.#server.start();
    await this.#server.until(() => this.#hasAll());
  }

  /** Ends the server. What it keeps goes with the directory. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#server[Symbol.asyncDispose]();
  }

  /** While it loads, every command but a few is answered with an error. */
  async #hasAll(): Promise<boolean> {
    try {
      using client = await this.#connect();
      return (await client.ask('DBSIZE')) === `:${this.#values}`;
    } catch (error) {
      if (isNotThere(error)) return false;
      throw error;
    }
  }

  async #load(source: Uint8Array): Promise<void> {
    using client = await this.#connect();
    for (let at = 0; at < source.length; at += VALUE) {
      const answer = await client.ask('SET', `bench:${at}`, source.subarray(at, at + VALUE));
      if (answer !== '+OK') throw new KernelError('EIO', `Redis does not take a value: ${answer}`);
      this.#values += 1;
    }
  }

  async #connect(): Promise<Client> {
    const socket = createConnection(this.#socket);
    await once(socket, 'connect');
    return new Client(socket);
  }
}

/** As much of the protocol as is needed: commands with arguments, answers of one line. */
class Client implements Disposable {
  readonly #socket: Socket;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('error', () => undefined); // an answer that does not come tells it
  }

  send(...parts: readonly (string | Uint8Array)[]): void {
    this.#socket.write(`*${parts.length}\r\n`);
    for (const part of parts) {
      this.#socket.write(`$${part.length}\r\n`);
      this.#socket.write(part);
      this.#socket.write('\r\n');
    }
  }

  async ask(...parts: readonly (string | Uint8Array)[]): Promise<string> {
    this.send(...parts);
    const answering = once(this.#socket, 'data') as Promise<[Buffer]>;
    const [answer] = await within(answering, PATIENCE.server, 'the Redis server does not answer');
    return answer.toString('latin1').trimEnd();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
