/**
 * A Redis server of our own, as somebody would use one to keep memory over a restart: values of 1
 * MiB, saved and loaded again with the server. It listens on a socket in a directory of ours and
 * nowhere else, writes its file to tmpfs, without compression, and ends with us.
 */
import { join } from 'node:path';
import { KernelError } from '@liveupdate/base';
import { setUp } from './ends.ts';
import { ServerProcess, versionOf } from './server-process.ts';
import { isNotThere, SocketClient, type Pieces } from './socket-client.ts';

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
  static start(directory: string, source: Uint8Array): Promise<Redis> {
    return setUp(new Redis(directory), async (redis) => {
      await redis.#server.until(() => redis.#hasAll());
      await redis.#load(source);
    });
  }

  /** Saves and ends the server, starts another, and waits until it has all values again. */
  async saveAndReload(): Promise<void> {
    using client = await SocketClient.connect(this.#socket);
    await this.#server.stop(() => {
      client.say([...command('SHUTDOWN', 'SAVE')]);
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
      using client = await SocketClient.connect(this.#socket);
      return (await client.ask([...command('DBSIZE')], '\r\n')) === `:${this.#values}\r\n`;
    } catch (error) {
      if (isNotThere(error)) return false;
      throw error;
    }
  }

  async #load(source: Uint8Array): Promise<void> {
    using client = await SocketClient.connect(this.#socket);
    for (let at = 0; at < source.length; at += VALUE) {
      const set = command('SET', `bench:${at}`, source.subarray(at, at + VALUE));
      const answer = (await client.ask([...set], '\r\n')).trimEnd();
      if (answer !== '+OK') throw new KernelError('EIO', `Redis does not take a value: ${answer}`);
      this.#values += 1;
    }
  }
}

/** A command of the protocol, as an array of strings. */
function* command(...parts: Pieces): Generator<string | Uint8Array> {
  yield `*${parts.length}\r\n`;
  for (const part of parts) {
    yield `$${part.length}\r\n`;
    yield part;
    yield '\r\n';
  }
}
