/**
 * A generation's lines: to its supervisor, to the generation before it while that one waits, and to
 * the one after it.
 */
import * as net from 'node:net';
import { KernelError } from '@liveupdate/base';
import { isOpen, setClosesOnExec } from '@liveupdate/linux';
import { Channel } from './channel.ts';
import type { Duties, Hello, Line, Predecessor, ReadyInfo, Successor } from './line.ts';
import {
  SUPERVISOR_FDS,
  SUPERVISOR_VARIABLE,
  type Committed,
  type ToGeneration,
  type ToSupervisor,
  type Word,
} from './protocol.ts';

/** The generation before this one, which waits until this one is ready. */
class PreviousProcess implements Predecessor {
  readonly #channel: Channel<Word, Committed>;

  constructor(stream: number, packets: number) {
    this.#channel = new Channel(new net.Socket({ fd: stream }), packets);
  }

  word(): Promise<{ readonly word: Word | undefined; readonly fds: readonly number[] }> {
    return new Promise((resolve, reject) => {
      this.#channel.listen(
        (word, fds) => {
          this.#channel.unref();
          if (fds.length === word.connections.length) resolve({ word, fds });
          else reject(tooMany('connections'));
        },
        () => {
          resolve({ word: undefined, fds: [] });
        },
      );
    });
  }

  committed(): void {
    this.#channel.sendNow({ type: 'committed' });
  }
}

/** The generation after this one, which waits for its word. */
class NextProcess implements Successor {
  readonly gone: Promise<string>;
  readonly #channel: Channel<Committed, Word>;
  readonly #committed: Promise<string>;

  constructor(stream: number, packets: number) {
    this.#channel = new Channel(new net.Socket({ fd: stream }), packets);
    const committed = Promise.withResolvers<string>();
    const gone = Promise.withResolvers<string>();
    this.#committed = committed.promise;
    this.gone = gone.promise;
    this.#channel.listen(
      () => {
        committed.resolve('');
      },
      () => {
        gone.resolve('the new version ended before it was ready');
      },
    );
  }

  async give(word: Omit<Word, 'type'>, fds: readonly number[]): Promise<string> {
    await this.#channel.send({ type: 'word', ...word }, fds);
    return Promise.race([this.#committed, this.gone]);
  }

  refuse(): void {
    this.#channel.close();
  }
}

/** Descriptors of a standby's line to its predecessor. */
const LINK_FDS = 2;

export class SupervisorLine implements Line {
  readonly #channel: Channel<ToGeneration, ToSupervisor>;
  #isOpen = true;
  #hello: ((hello: Hello) => void) | undefined;
  #duties: Duties | undefined;

  constructor(stream: number, packets: number) {
    this.#channel = new Channel(new net.Socket({ fd: stream }), packets);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  async hello(name: string): Promise<Hello> {
    process.on('uncaughtExceptionMonitor', (error: unknown) => {
      const [why] = (error instanceof Error ? error.message : String(error)).split('\n');
      this.#channel.sendNow({ type: 'failed', why });
    });
    const hello = new Promise<Hello>((resolve) => {
      this.#hello = resolve;
    });
    this.#channel.listen(
      (message, fds) => {
        this.#get(message, fds);
      },
      () => {
        this.#isOpen = false;
        // A standby is nobody's then; who serves goes on.
        if (!this.#duties) process.exit(1);
      },
    );
    await this.#channel.send({ type: 'name', name });
    return hello;
  }

  serve(duties: Duties): void {
    this.#duties = duties;
    this.#channel.unref();
  }

  owned(): void {
    this.#channel.sendNow({ type: 'owned' });
  }

  armed(): void {
    void this.#channel.send({ type: 'armed' });
  }

  listens(key: string, fd: number): void {
    void this.#channel.send({ type: 'listens', key }, [fd]);
  }

  holds(fd: number): Promise<void> {
    return this.#channel.send({ type: 'memory' }, [fd]);
  }

  dropped(key: string): void {
    void this.#channel.send({ type: 'dropped', key });
  }

  ready(info: ReadyInfo): void {
    void this.#channel.send({ type: 'ready', ...info });
  }

  gave(): void {
    void this.#channel.send({ type: 'gave' });
  }

  resumed(why: string): void {
    void this.#channel.send({ type: 'resumed', why });
  }

  upgrade(): void {
    void this.#channel.send({ type: 'upgrade' });
  }

  over(): void {
    process.exit(0);
  }

  #get(message: ToGeneration, fds: readonly number[]): void {
    switch (message.type) {
      case 'hello': {
        const { listeners, role, hasMemory, name } = message;
        const count = listeners.length + (hasMemory ? 1 : 0) + (role === 'standby' ? LINK_FDS : 0);
        if (fds.length < count) throw tooMany('listening sockets');
        const more = fds.slice(listeners.length);
        const memory = hasMemory ? more.shift() : undefined;
        this.#hello?.({
          listeners: listeners.map((key, i) => ({ key, fd: fds[i] })),
          predecessor: role === 'standby' ? new PreviousProcess(more[0], more[1]) : undefined,
          memory,
          name,
        });
        break;
      }
      case 'prepare':
        this.#duties?.prepare().catch(() => undefined); // it shows again when it counts
        break;
      case 'hand-over':
        if (fds.length === 2) void this.#duties?.handOver(new NextProcess(fds[0], fds[1]));
        else this.resumed(tooMany('files').message);
        break;
    }
  }
}

function tooMany(what: string): KernelError {
  return new KernelError(
    'EMFILE',
    `there are more ${what} than may be open here: raise the limit (ulimit -n)`,
  );
}

/** The line to the supervisor that started this process; undefined where none did. */
export function supervisorOfThis(
  env: Record<string, string | undefined> = process.env,
): SupervisorLine | undefined {
  const given = env[SUPERVISOR_VARIABLE];
  if (given === undefined || given === '') return undefined;
  Reflect.deleteProperty(env, SUPERVISOR_VARIABLE); // children of this process have none
  const [stream, packets] = SUPERVISOR_FDS;
  if (given !== String(process.ppid) || !isOpen(stream) || !isOpen(packets)) {
    throw new KernelError(
      'EINVAL',
      `${SUPERVISOR_VARIABLE}=${given} is of another process: unset it, or start this one by 'liveupdate run'`,
    );
  }
  setClosesOnExec(stream, true);
  setClosesOnExec(packets, true);
  return new SupervisorLine(stream, packets);
}
