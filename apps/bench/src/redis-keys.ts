/**
 * Values under keys in a Redis server of our own, over a socket in the file system. The client is
 * one of few lines: it knows how long each answer will be, and is quicker than those of npm.
 */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { Ends } from './ends.ts';
import type { KeyStore, Work } from './key-store.ts';
import { KEY_BYTES, VALUE_BYTES, valueOf } from './keys.ts';
import { PATIENCE, within } from './patience.ts';
import { ServerProcess } from './server-process.ts';
import { isNotThere } from './socket-client.ts';
import { TmpfsDirectory } from './tmpfs-directory.ts';

/** Commands that are sent together. */
const PIPELINE = 1000;
const LONGEST_COMMAND = 256;

/** What is waited for: so many lines, or so many bytes. */
interface Waiting {
  readonly into: Buffer | undefined;
  left: number;
  readonly answered: () => void;
}

class RedisClient {
  readonly #socket: Socket;
  readonly #waiting: Waiting[] = [];

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (data) => {
      this.#take(data);
    });
  }

  /** Sends commands whose answers are lines. */
  lines(commands: Uint8Array, count: number): Promise<void> {
    return this.#ask(commands, undefined, count);
  }

  /** Sends commands whose answers fill `into`. */
  bytes(commands: Uint8Array, into: Buffer): Promise<void> {
    return this.#ask(commands, into, into.length);
  }

  end(): void {
    this.#socket.destroy();
  }

  #ask(commands: Uint8Array, into: Buffer | undefined, left: number): Promise<void> {
    return new Promise((answered) => {
      this.#waiting.push({ into, left, answered });
      this.#socket.write(commands);
    });
  }

  #take(data: Buffer): void {
    let at = 0;
    while (at < data.length && this.#waiting.length > 0) {
      const [first] = this.#waiting;
      at = first.into ? takeBytes(first, first.into, data, at) : takeLines(first, data, at);
      if (first.left > 0) return;
      this.#waiting.shift();
      first.answered();
    }
  }
}

function takeBytes(waiting: Waiting, into: Buffer, data: Buffer, at: number): number {
  const end = Math.min(data.length, at + waiting.left);
  data.copy(into, into.length - waiting.left, at, end);
  waiting.left -= end - at;
  return end;
}

function takeLines(waiting: Waiting, data: Buffer, from: number): number {
  let at = from;
  while (waiting.left > 0) {
    const end = data.indexOf(0x0a, at);
    if (end < 0) return data.length;
    waiting.left -= 1;
    at = end + 1;
  }
  return at;
}

/** The bytes of a command but for its key and its value, which are of the same length always. */
interface Command {
  readonly head: Buffer;
  readonly hasValue: boolean;
}

function commandOf(name: string, hasValue: boolean): Command {
  const head = `*${hasValue ? 3 : 2}\r\n$${name.length}\r\n${name}\r\n$${KEY_BYTES}\r\n`;
  return { head: Buffer.from(head), hasValue };
}

const SET = commandOf('SET', true);
const GET = commandOf('GET', false);
const DELETE = commandOf('DEL', false);
const INCREMENT = commandOf('INCR', false);
const LINE_END = Buffer.from('\r\n');
const VALUE_HEAD = Buffer.from(`\r\n$${VALUE_BYTES}\r\n`);
/** Of the answer to GET: what is before the value, and all of it. */
const ANSWER_HEAD = `$${VALUE_BYTES}\r\n`.length;
const ANSWER = ANSWER_HEAD + VALUE_BYTES + 2;

/** Two rows of commands: one is made while the other one is under way. */
const ROWS = [0, 1].map(() => Buffer.alloc(PIPELINE * LONGEST_COMMAND));
let row = 0;

function encode(command: Command, keys: readonly string[], from: number, to: number): Uint8Array {
  row = 1 - row;
  const bytes = ROWS[row];
  let at = 0;
  for (let i = from; i < to; i++) {
    bytes.set(command.head, at);
    at += command.head.length;
    at += bytes.write(keys[i], at, 'latin1');
    if (command.hasValue) {
      bytes.set(VALUE_HEAD, at);
      bytes.set(valueOf(i), at + VALUE_HEAD.length);
      at += VALUE_HEAD.length + VALUE_BYTES;
    }
    bytes.set(LINE_END, at);
    at += LINE_END.length;
  }
  return bytes.subarray(0, at);
}

export async function openRedisKeys(): Promise<KeyStore> {
  const ends = new Ends();
  const { path } = ends.use(new TmpfsDirectory());
  const socket = join(path, 'redis.sock');
  const settings = {
    dir: path,
    port: '0',
    unixsocket: socket,
    unixsocketperm: '700',
    save: '',
    appendonly: 'no',
  };
  const server = ends.use(
    new ServerProcess(
      'redis-server',
      Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]),
    ),
  );
  await server.until(() => isThere(socket));
  const client = new RedisClient(await connected(socket));
  const set = sending(client, SET);
  const setOne = oneByOne(client, SET);
  const empty = await usedMemory(socket);
  return {
    steps: {
      set,
      setOne,
      get: (keys) => getAll(client, keys, PIPELINE),
      getOne: (keys) => getAll(client, keys, 1),
      overwrite: set,
      overwriteOne: setOne,
      increment: sending(client, INCREMENT),
      incrementOne: oneByOne(client, INCREMENT),
      delete: sending(client, DELETE),
    },
    clear: () => client.lines(Buffer.from('FLUSHALL SYNC\r\n'), 1),
    memory: async () => (await usedMemory(socket)) - empty,
    [Symbol.asyncDispose]: async () => {
      client.end();
      await ends[Symbol.asyncDispose]();
    },
  };
}

/** In pipelines, two of them under way. */
function sending(client: RedisClient, command: Command): Work {
  return async (keys) => {
    let before: Promise<void> | undefined;
    for (let from = 0; from < keys.length; from += PIPELINE) {
      const to = Math.min(from + PIPELINE, keys.length);
      const next = client.lines(encode(command, keys, from, to), to - from);
      await before;
      before = next;
    }
    await before;
  };
}

function oneByOne(client: RedisClient, command: Command): Work {
  return async (keys) => {
    for (let i = 0; i < keys.length; i++) await client.lines(encode(command, keys, i, i + 1), 1);
  };
}

/** Each value is a copy of its own, as a client gives it. */
async function getAll(client: RedisClient, keys: readonly string[], most: number): Promise<number> {
  const answers = [0, 1].map(() => Buffer.alloc(most * ANSWER));
  let sum = 0;
  let before: Promise<Buffer> | undefined;
  const taken = (all: Buffer | undefined): void => {
    if (!all) return;
    for (let at = ANSWER_HEAD; at < all.length; at += ANSWER)
      sum += Buffer.from(all.subarray(at, at + VALUE_BYTES)).length;
  };
  for (let from = 0, turn = 0; from < keys.length; from += most, turn = 1 - turn) {
    const to = Math.min(from + most, keys.length);
    const into = answers[turn].subarray(0, (to - from) * ANSWER);
    const next = client.bytes(encode(GET, keys, from, to), into).then(() => into);
    if (most === 1) taken(await next);
    else {
      taken(await before);
      before = next;
    }
  }
  taken(await before);
  return sum;
}

async function connected(path: string): Promise<Socket> {
  const socket = createConnection(path);
  await once(socket, 'connect');
  return socket;
}

async function isThere(path: string): Promise<boolean> {
  try {
    (await connected(path)).destroy();
    return true;
  } catch (error) {
    if (isNotThere(error)) return false;
    throw error;
  }
}

/** Bytes that the server has from its allocator, for keys and what leads to them. */
async function usedMemory(path: string): Promise<number> {
  const socket = await connected(path);
  try {
    socket.setEncoding('latin1').write('INFO memory\r\n');
    let text = '';
    const heard = (async () => {
      for await (const part of socket) {
        text += String(part);
        const used = /used_memory:(\d+)/.exec(text);
        if (used) return Number(used[1]);
      }
      return 0;
    })();
    return await within(heard, PATIENCE.server, 'Redis does not tell its memory');
  } finally {
    socket.destroy();
  }
}
