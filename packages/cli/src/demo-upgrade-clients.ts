/**
 * The clients of the demo of upgrades, in a process of their own: connections that are kept alive,
 * each with one request under way. Every answer is looked at.
 */
import * as net from 'node:net';
import { createInterface } from 'node:readline';
import { HOST } from './demo-upgrade-service.ts';

/** What the clients are told, as JSON in this variable. */
export const CLIENTS_VARIABLE = 'LIVEUPDATE_DEMO_CLIENTS';

export interface DemoClients {
  readonly port: number;
  readonly count: number;
}

/** What they met since they were asked last. */
export interface Met {
  readonly answered: number;
  /** Requests whose connection ended, or that got a wrong answer. */
  readonly failed: number;
  readonly closed: number;
  readonly refused: number;
  /** Milliseconds without an answer before the first one of a new generation. */
  readonly gap: number;
  /** The longest that a client waited, ms. */
  readonly wait: number;
  /** Answers in each BIN ms around that first answer. */
  readonly bins: readonly number[];
}

/** Milliseconds. */
export const BIN = 2;
/** Bins before the first answer of a new generation, and from it on. */
const BINS = 30;
const KEYS = 4;
const AGAIN_MS = 5;
/** Clients that connect together. */
const AT_ONCE = 100;
const MOST_TIMES = 200_000;

const now = (): number => performance.now();

class Clients {
  readonly port: number;
  readonly all: Client[] = [];
  readonly #count: number;
  /** No new requests. */
  isEnding = false;
  answered = 0;
  failed = 0;
  closed = 0;
  refused = 0;
  gap = 0;
  wait = 0;
  firstAt = 0;
  times: number[] = [];
  lastAt = now();
  readonly known = new Set<string>();

  constructor({ port, count }: DemoClients) {
    this.port = port;
    this.#count = count;
  }

  /** Resolves when all have been answered once. Some at a time: a server lets only so many wait. */
  async begin(): Promise<void> {
    while (this.all.length < this.#count) {
      const some = Array.from(
        { length: Math.min(AT_ONCE, this.#count - this.all.length) },
        (_, i) => new Client(this, this.all.length + i),
      );
      this.all.push(...some);
      await Promise.all(some.map(({ answered }) => answered));
    }
  }

  /** What was met, which is forgotten. */
  met(): Met {
    const { answered, failed, closed, refused, gap, wait, firstAt, times } = this;
    const bins = new Array<number>(2 * BINS).fill(0);
    for (const at of times) {
      const bin = BINS + Math.floor((at - firstAt) / BIN);
      if (firstAt > 0 && bin >= 0 && bin < bins.length) bins[bin] += 1;
    }
    [this.answered, this.failed, this.closed, this.refused] = [0, 0, 0, 0];
    [this.gap, this.wait, this.firstAt, this.times] = [0, 0, 0, []];
    return { answered, failed, closed, refused, gap, wait, bins };
  }

  answeredBy(generation: string, since: number): void {
    const at = now();
    this.answered += 1;
    this.wait = Math.max(this.wait, at - since);
    if (!this.known.has(generation) && this.known.size > 0) [this.gap, this.firstAt] = [at - this.lastAt, at];
    this.known.add(generation);
    this.lastAt = at;
    if (this.times.length < MOST_TIMES) this.times.push(at);
  }
}

class Client {
  readonly #clients: Clients;
  readonly #number: number;
  readonly #acknowledged = new Map<number, number>();
  /** What was asked to be stored, and nobody said whether it was. */
  readonly #attempted = new Map<number, number>();
  /** Resolves with its first answer. */
  readonly answered: Promise<void>;
  #whenAnswered: (() => void) | undefined;
  #socket: net.Socket | undefined;
  #request: { readonly key: number; readonly value: number | undefined; readonly since: number } | undefined;
  #text = '';
  #count = 0;
  /** It is connected, and nothing is asked. */
  #isIdle = false;
  #whenIdle: (() => void) | undefined;

  constructor(clients: Clients, number: number) {
    this.#clients = clients;
    this.#number = number;
    this.answered = new Promise((resolve) => {
      this.#whenAnswered = resolve;
    });
    this.#connect();
  }

  /** How many numbers that were acknowledged are there, and how many are not. */
  async check(): Promise<{ right: number; wrong: number }> {
    if (!this.#isIdle) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    const counts = { right: 0, wrong: 0 };
    for (const key of [...this.#acknowledged.keys()]) {
      const { failed } = this.#clients;
      this.#ask(key, undefined);
      await new Promise<void>((resolve) => (this.#whenIdle = resolve));
      if (this.#clients.failed === failed) counts.right += 1;
      else counts.wrong += 1;
    }
    return counts;
  }

  #connect(): void {
    const socket = net.connect({ port: this.#clients.port, host: HOST, noDelay: true });
    this.#socket = socket;
    this.#text = '';
    let isConnected = false;
    socket.setEncoding('latin1').on('data', (text: string) => {
      this.#text += text;
      this.#read();
    });
    socket.on('error', () => undefined); // it closes, too
    socket.once('connect', () => {
      isConnected = true;
      this.#next();
    });
    socket.once('close', () => {
      if (isConnected) this.#clients.closed += 1;
      else this.#clients.refused += 1;
      if (this.#request) this.#clients.failed += 1;
      this.#request = undefined;
      setTimeout(() => {
        this.#connect();
      }, AGAIN_MS);
    });
  }

  #next(): void {
    if (this.#clients.isEnding) {
      this.#isIdle = true;
      this.#whenIdle?.();
      return;
    }
    this.#count += 1;
    const key = this.#number * KEYS + (Math.floor(this.#count / 2) % KEYS);
    this.#ask(key, this.#count % 2 === 0 ? this.#count : undefined);
  }

  #ask(key: number, value: number | undefined): void {
    this.#isIdle = false;
    this.#request = { key, value, since: now() };
    if (value !== undefined) this.#attempted.set(key, value);
    const line = value === undefined ? `GET /${key}` : `PUT /${key}/${value}`;
    this.#socket?.write(`${line} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n`);
  }

  #read(): void {
    const found = /^HTTP\/1\.1 200 [^]*?x-generation: (\d+)[^]*?\r\n\r\n(\d+)$/i.exec(this.#text);
    const length = Number(/content-length: (\d+)/i.exec(this.#text)?.[1] ?? -1);
    if (found?.[2].length !== length) return;
    this.#text = '';
    const request = this.#request;
    this.#request = undefined;
    if (!request) return;
    const { key, value, since } = request;
    this.#clients.answeredBy(found[1], since);
    const said = Number(found[2]);
    const wanted = value ?? this.#acknowledged.get(key);
    if (wanted !== undefined && said !== wanted && said !== this.#attempted.get(key))
      this.#clients.failed += 1;
    this.#acknowledged.set(key, said);
    this.#attempted.delete(key);
    this.#whenAnswered?.();
    this.#next();
  }
}

/** Runs until it is told to end. A line asks what was met; the last answer tells of the numbers. */
export async function runClients(): Promise<void> {
  const clients = new Clients(JSON.parse(process.env[CLIENTS_VARIABLE] ?? '{}') as DemoClients);
  await clients.begin();
  process.stdout.write('{}\n');
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === 'end') break;
    process.stdout.write(`${JSON.stringify(clients.met())}\n`);
  }
  clients.isEnding = true;
  const counts = { right: 0, wrong: 0 };
  for (const client of clients.all) {
    const { right, wrong } = await client.check();
    counts.right += right;
    counts.wrong += wrong;
  }
  process.stdout.write(`${JSON.stringify(counts)}\n`, () => process.exit(0));
}
