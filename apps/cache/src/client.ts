/**
 * One connection: requests come in, replies go out in the order of their requests, and all of it
 * goes along with an upgrade.
 *
 * Always: what a reply acknowledges was stored before it is written. The replies to requests that
 * came together leave together. For one who does not read, nothing more is performed: what waits
 * for him is what a socket holds, and one reply.
 */
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Carrying } from '@liveupdate/service';
import type { ClientState } from './client-state.ts';
import { packState, sizeOf } from './client-state.ts';
import type { Command, CommandClient, CommandServer, Transaction } from './command.ts';
import { forget } from './commands/transactions.ts';
import { commandFor, errorText, isImmediate } from './dispatch.ts';
import type { ProtocolVersion, Reply } from './reply.ts';
import { ProtocolError, RequestParser, type Request } from './request-parser.ts';
import type { Store } from './store.ts';

/** By which the next generation knows these connections. */
export const KIND = 'client';

/** Bytes of replies that leave without waiting for those of the next requests. */
const FLUSH = 2 ** 16;

/** Bytes of requests that go along for one connection. With more it is closed. */
const MOST_CARRIED = 2 ** 26;

const NO_LIBRARY = { name: '', version: '' };

export class Client implements CommandClient {
  readonly id: number;
  readonly server: CommandServer;
  readonly reply: Reply;
  readonly store: Store;
  readonly address: string;
  readonly #socket: Socket;
  readonly #parser = new RequestParser();
  name = '';
  library = NO_LIBRARY;
  replies: CommandClient['replies'] = 'on';
  transaction: Transaction | undefined;
  isDirty = false;
  #version: ProtocolVersion = 2;
  #connectedAt = Date.now();
  #usedAt = Date.now();
  #lastCommand = 'NULL';
  /** While requests of this client are performed: it ends when it was answered. */
  #isRunning = false;
  /**
   * Whether requests are performed as they come: not while what was said has not left, not while
   * an upgrade is under way, and never again when the connection is to end.
   */
  #state: 'open' | 'stalled' | 'resting' | 'ending' = 'open';

  constructor(server: CommandServer, socket: Socket, id: number) {
    this.server = server;
    this.reply = server.reply;
    this.store = server.store;
    this.id = id;
    this.#socket = socket;
    const { remoteAddress = 'unix', remotePort = 0 } = socket;
    this.address = remoteAddress.includes(':')
      ? `[${remoteAddress}]:${remotePort}`
      : `${remoteAddress}:${remotePort}`;
    socket.on('data', (chunk) => {
      this.#parser.push(chunk);
      this.#run();
    });
    socket.on('drain', () => {
      if (this.#state === 'stalled') this.#goOn();
    });
    socket.on('error', () => undefined); // 'close' follows
    socket.on('close', () => {
      this.#state = 'ending';
      forget(this);
    });
  }

  get version(): ProtocolVersion {
    return this.#version;
  }

  set version(version: ProtocolVersion) {
    this.#version = version;
    this.reply.version = version;
  }

  /** Goes on where the generation before stopped. */
  takeUp(state: ClientState): void {
    this.name = state.name;
    this.library = state.library;
    this.replies = state.replies;
    this.#version = state.version;
    this.#connectedAt = state.connectedAt;
    this.isDirty = state.isDirty;
    for (const { key, wasThere } of state.watched) this.store.watches.watchAgain(this, key, wasThere);
    if (state.transaction) {
      const queue = state.transaction.queue.map((args) => ({
        command: commandFor(this.server.commands, args),
        args,
      }));
      this.transaction = { queue, isBroken: state.transaction.isBroken };
    }
    this.#parser.push(state.rest);
    this.#run();
  }

  /** How it goes along with an upgrade: between two requests. */
  get carrying(): Carrying {
    return {
      kind: KIND,
      settle: async () => {
        if (this.#state !== 'ending') this.#state = 'resting';
        while (this.#socket.writableLength > 0 && !this.#socket.destroyed) await delay(1);
      },
      state: () => {
        if (this.#state === 'ending') return undefined;
        while (this.#socket.read() !== null); // what the stream holds comes as 'data'
        const state = this.#leave();
        return sizeOf(state) > MOST_CARRIED ? undefined : packState(state);
      },
      resume: () => {
        if (this.#state === 'resting') this.#goOn();
      },
    };
  }

  #leave(): ClientState {
    const { id, name, library, version, replies, isDirty, transaction } = this;
    const { queue = [], isBroken = false } = transaction ?? {};
    return {
      ...{ id, name, library, version, isDirty, connectedAt: this.#connectedAt },
      replies: replies === 'skip-next' ? 'skip' : replies,
      ...(transaction && { transaction: { isBroken, queue: queue.map(({ args }) => [...args]) } }),
      watched: this.store.watches.of(this),
      rest: this.#parser.rest(),
    };
  }

  describe(): string {
    const now = Date.now();
    const seconds = (since: number): number => Math.floor((now - since) / 1000);
    const facts = {
      ...{
        id: this.id,
        addr: this.address,
        laddr: `${this.#socket.localAddress ?? 'unix'}:${this.#socket.localPort ?? 0}`,
      },
      ...{ name: this.name, age: seconds(this.#connectedAt), idle: seconds(this.#usedAt), flags: 'N', db: 0 },
      ...{
        multi: this.transaction?.queue.length ?? -1,
        omem: this.#socket.writableLength,
        cmd: this.#lastCommand,
      },
      ...{
        user: 'default',
        resp: this.version,
        'lib-name': this.library.name,
        'lib-ver': this.library.version,
      },
    };
    return Object.entries(facts)
      .map(([name, value]) => `${name}=${value}`)
      .join(' ');
  }

  reset(): void {
    this.name = '';
    this.replies = 'on';
    this.version = 2;
  }

  end(): void {
    this.#state = 'ending';
    if (!this.#isRunning) this.#socket.destroySoon();
  }

  perform(command: Command, args: Request): void {
    const before = this.reply.length;
    this.server.processed();
    try {
      command.run(this, args);
    } catch (error) {
      const text = errorText(error);
      if (text === undefined) throw error;
      this.reply.rewind(before);
      this.reply.error(text);
    }
  }

  #goOn(): void {
    this.#state = 'open';
    this.#socket.resume();
    this.#run();
  }

  /** Performs what has come. */
  #run(): void {
    if (this.#state !== 'open') return;
    const { reply } = this;
    reply.version = this.#version;
    this.#usedAt = Date.now();
    this.#isRunning = true;
    try {
      for (let request = this.#parser.next(); request; request = this.#next()) {
        this.#answer(request);
        if (reply.length > FLUSH) this.#flush();
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      reply.error(`ERR Protocol error: ${error.message}`);
      this.#state = 'ending';
    }
    this.#flush();
    this.#isRunning = false;
    if (this.#isEnding) this.#socket.destroySoon();
  }

  get #isEnding(): boolean {
    return this.#state === 'ending';
  }

  #next(): Request | undefined {
    return this.#state === 'open' ? this.#parser.next() : undefined;
  }

  #answer(args: Request): void {
    const { reply } = this;
    const before = reply.length;
    try {
      const command = commandFor(this.server.commands, args);
      this.#lastCommand = command.name;
      if (this.transaction && !isImmediate(command)) {
        this.transaction.queue.push({ command, args });
        reply.status('QUEUED');
      } else {
        this.perform(command, args);
      }
    } catch (error) {
      const text = errorText(error);
      if (text === undefined) throw error;
      if (this.transaction) this.transaction.isBroken = true;
      reply.error(text);
    }
    if (this.replies === 'on') return;
    reply.rewind(before);
    if (this.replies === 'skip') this.replies = 'on';
    else if (this.replies === 'skip-next') this.replies = 'skip';
  }

  /** What was said leaves. Where the system does not take all of it, the buffer goes with it. */
  #flush(): void {
    const { reply } = this;
    if (reply.length === 0) return;
    const hasRoom = this.#socket.write(reply.said());
    reply.clear(this.#socket.writableLength > 0);
    if (hasRoom || this.#state !== 'open') return;
    this.#state = 'stalled';
    this.#socket.pause();
  }
}
