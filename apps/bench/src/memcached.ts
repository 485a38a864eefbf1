/**
 * A memcached of our own that keeps its values over a restart (`-e`, in a file on tmpfs): values of
 * 1 MiB, asked to end by SIGUSR1, and started again on the same file. It listens on a socket in a
 * directory of ours and nowhere else, and ends with us.
 */
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { KernelError } from '@liveupdate/base';
import { timed } from './baselines.ts';
import { setUp } from './ends.ts';
import { ServerProcess, versionOf } from './server-process.ts';
import { isNotThere, SocketClient } from './socket-client.ts';

const VALUE = 2 ** 20;
const MiB = 2 ** 20;
const SECOND = 1000;

/** Such as `1.6.18`; undefined where there is none. */
export function memcachedVersion(): string | undefined {
  return versionOf('memcached', /memcached (\S+)/);
}

export class Memcached implements AsyncDisposable {
  readonly #socket: string;
  readonly #server: ServerProcess;
  #values = 0;

  private constructor(directory: string, size: number) {
    this.#socket = join(directory, 'memcached.sock');
    // Half as much again: it keeps a value in chunks of half a MiB, and a little beside it.
    const room = Math.ceil((size * 1.6) / MiB) + 128;
    const asRoot = process.getuid?.() === 0 ? ['-u', 'root'] : [];
    const file = join(directory, 'memcached.values');
    this.#server = new ServerProcess('memcached', [
      ...asRoot,
      ...['-s', this.#socket, '-m', String(room), '-I', '2m', '-e', file],
    ]);
  }

  /** Starts a server whose file and socket are in `directory`, and gives it `source`. */
  static start(directory: string, source: Uint8Array): Promise<Memcached> {
    return setUp(new Memcached(directory, source.length), async (memcached) => {
      await memcached.#server.until(() => memcached.#hasFirst());
      await memcached.#load(source);
    });
  }

  /**
   * Ends the server, and starts another on the same file: milliseconds until it has ended, and
   * until the other gives the first value. It throws its values away where it starts in the second
   * in which it ended; the wait for the next one is not counted.
   */
  async restart(): Promise<number> {
    const ending = await timed(() =>
      this.#server.stop(() => {
        this.#server.signal('SIGUSR1');
      }),
    );
    await setTimeout(SECOND - (Date.now() % SECOND) + 1);
    const starting = await timed(async () => {
      this.#server.start();
      await this.#server.until(() => this.#hasFirst());
    });
    return ending + starting;
  }

  /** How many values it says that it has. */
  async #count(): Promise<number> {
    using client = await SocketClient.connect(this.#socket);
    return Number(/STAT curr_items (\d+)/.exec(await client.ask(['stats\r\n'], 'END\r\n'))?.[1]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#server[Symbol.asyncDispose]();
  }

  /** Whether it answers, with the first value if there should be one. */
  async #hasFirst(): Promise<boolean> {
    try {
      using client = await SocketClient.connect(this.#socket);
      const answer = await client.ask(['get bench-0\r\n'], 'END\r\n');
      return this.#values === 0 || answer.length > VALUE;
    } catch (error) {
      if (isNotThere(error)) return false;
      throw error;
    }
  }

  async #load(source: Uint8Array): Promise<void> {
    using client = await SocketClient.connect(this.#socket);
    for (let at = 0; at < source.length; at += VALUE) {
      const value = source.subarray(at, at + VALUE);
      const command = `set bench-${this.#values} 0 0 ${value.length}\r\n`;
      const answer = await client.ask([command, value, '\r\n'], '\r\n');
      if (!answer.startsWith('STORED'))
        throw new KernelError('EIO', `memcached does not take a value: ${answer.trimEnd()}`);
      this.#values += 1;
    }
    const kept = await this.#count();
    if (kept !== this.#values)
      throw new KernelError('ENOMEM', `memcached kept ${kept} of ${this.#values} values`);
  }
}
