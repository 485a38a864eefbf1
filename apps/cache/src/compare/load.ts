/**
 * Clients of a cache, as people write them: each asks one thing at a time, and connects again
 * where its connection ended. Every answer is looked at, and what was acknowledged is asked for in
 * the end.
 */
import { randomUUID } from 'node:crypto';
import * as net from 'node:net';
import type { Protocol } from './sides.ts';

/** Connections by which it is asked what is there. */
const CHECKING = 20;
/** Milliseconds until a client that was refused tries again. */
const AGAIN_MS = 5;

/** What the clients met. */
export interface Met {
  readonly answered: number;
  /** Requests that were not answered, or with an error; and connections that were refused. */
  readonly errors: number;
  /** Milliseconds in which nobody was answered, at most. */
  readonly gap: number;
}

/** How a protocol asks, and what it is answered. */
interface Words {
  readonly set: (key: string, value: string) => string;
  readonly get: (key: string) => string;
  /** Whether an answer is all there. */
  readonly isWhole: (text: string) => boolean;
  readonly isStored: (text: string) => boolean;
  /** Undefined: an error. */
  readonly valueOf: (text: string) => string | undefined;
}

const WORDS: Readonly<Record<Protocol, Words>> = {
  redis: {
    set: (key, value) => `*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${value.length}\r\n${value}\r\n`,
    get: (key) => `*2\r\n$3\r\nGET\r\n$${key.length}\r\n${key}\r\n`,
    isWhole: (text) =>
      text.startsWith('$') && !text.startsWith('$-1')
        ? /^\$\d+\r\n.*\r\n$/s.test(text)
        : text.endsWith('\r\n'),
    isStored: (text) => text === '+OK\r\n',
    valueOf: (text) => (text === '$-1\r\n' ? '' : /^\$\d+\r\n(.*)\r\n$/s.exec(text)?.[1]),
  },
  memcached: {
    set: (key, value) => `set ${key} 0 0 ${value.length}\r\n${value}\r\n`,
    get: (key) => `get ${key}\r\n`,
    isWhole: (text) => (text.startsWith('VALUE') ? text.endsWith('END\r\n') : text.endsWith('\r\n')),
    isStored: (text) => text === 'STORED\r\n',
    valueOf: (text) => (text === 'END\r\n' ? '' : /^VALUE .*\r\n(.*)\r\nEND\r\n$/.exec(text)?.[1]),
  },
};

export class Load {
  /** No two have the same keys, and no key is written twice: what is lost stays so. */
  readonly #id = randomUUID();
  readonly #path: string;
  readonly #words: Words;
  readonly #acknowledged = new Map<string, number>();
  readonly #over = new AbortController();
  readonly #clients: Promise<void>[];
  #answered = 0;
  #errors = 0;
  #lastAt = performance.now();
  #gap = 0;

  constructor(path: string, protocol: Protocol, clients: number) {
    this.#path = path;
    this.#words = WORDS[protocol];
    this.#clients = Array.from({ length: clients }, (_, i) => this.#client(i));
  }

  /** What was met since the last call. */
  met(): Met {
    const met = { answered: this.#answered, errors: this.#errors, gap: this.#gap };
    this.#answered = 0;
    this.#errors = 0;
    this.#gap = 0;
    return met;
  }

  /** Ends, and tells how many of the writes that were acknowledged are lost, and of how many. */
  async end(): Promise<{ readonly lost: number; readonly of: number }> {
    this.#over.abort();
    await Promise.all(this.#clients);
    const all = [...this.#acknowledged];
    const lost = await Promise.all(Array.from({ length: CHECKING }, (_, i) => this.#lostOf(all, i)));
    return { lost: lost.reduce((sum, some) => sum + some, 0), of: all.length };
  }

  /** Of every twentieth, from the first on. */
  async #lostOf(all: readonly (readonly [key: string, value: number])[], first: number): Promise<number> {
    const ask = await connect(this.#path, this.#words);
    let lost = 0;
    for (let i = first; i < all.length; i += CHECKING) {
      const [key, value] = all[i];
      const found = this.#words.valueOf(await ask(this.#words.get(key)));
      if (found?.trim() !== String(value)) lost += 1;
    }
    ask.end();
    return lost;
  }

  async #client(number: number): Promise<void> {
    for (let next = 1; ;) {
      try {
        const ask = await connect(this.#path, this.#words);
        for (; ; next++) {
          if (this.#over.signal.aborted) {
            ask.end();
            return;
          }
          await this.#askOnce(ask, `load-${this.#id}-${number}-${next - (next % 2)}`, next);
        }
      } catch {
        this.#errors += 1;
        next += 1;
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      }
    }
  }

  async #askOnce(ask: Ask, key: string, next: number): Promise<void> {
    const isWrite = next % 2 === 0;
    const text = await ask(isWrite ? this.#words.set(key, String(next).padStart(100)) : this.#words.get(key));
    const isGood = isWrite ? this.#words.isStored(text) : this.#words.valueOf(text) !== undefined;
    if (!isGood) {
      this.#errors += 1;
      return;
    }
    if (isWrite) this.#acknowledged.set(key, next);
    const now = performance.now();
    this.#gap = Math.max(this.#gap, now - this.#lastAt);
    this.#lastAt = now;
    this.#answered += 1;
  }
}

type Ask = ((request: string) => Promise<string>) & { end: () => void };

/** A connection. @throws what ends it */
async function connect(path: string, words: Words): Promise<Ask> {
  const socket = net.connect({ path });
  let text = '';
  let waiting: PromiseWithResolvers<string> | undefined;
  const fail = (error: Error): void => waiting?.reject(error);
  socket.setEncoding('latin1');
  socket.on('error', fail);
  socket.on('close', () => fail(new Error('the connection ended')));
  socket.on('data', (some) => {
    text += String(some);
    if (!words.isWhole(text)) return;
    const whole = text;
    text = '';
    waiting?.resolve(whole);
  });
  waiting = Promise.withResolvers();
  socket.once('connect', () => waiting?.resolve(''));
  await waiting.promise;
  const ask = (request: string): Promise<string> => {
    if (socket.destroyed) return Promise.reject(new Error('the connection ended'));
    waiting = Promise.withResolvers();
    socket.write(request);
    return waiting.promise;
  };
  return Object.assign(ask, { end: () => socket.destroy() });
}

/** Stores so many values of so many bytes, some at a time. */
export async function fill(path: string, protocol: Protocol, count: number, bytes: number): Promise<void> {
  const words = WORDS[protocol];
  const value = 'x'.repeat(bytes);
  const fillers = Array.from({ length: 20 }, async (_, i) => {
    const ask = await connect(path, words);
    for (let key = i; key < count; key += 20) await ask(words.set(`fill-${key}`, value));
    ask.end();
  });
  await Promise.all(fillers);
}
