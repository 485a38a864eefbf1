/**
 * Clients of a service, for tests: connections that are kept alive, each with one request under way
 * at a time. Every answer is looked at, and every number that was acknowledged is asked for in the
 * end.
 *
 * What a service answers: PUT /KEY with a number stores it; GET /KEY tells it; each answer has the
 * pid that gave it in `x-pid`.
 */
import * as net from 'node:net';

export interface LoadOptions {
  readonly port: number;
  readonly connections: number;
  /** Keys that one connection stores to. Default 4. */
  readonly keys?: number;
}

/** What the clients met. */
export interface LoadReport {
  readonly answered: number;
  /** Requests without an answer, or with a wrong one. */
  readonly failed: number;
  /** Connections that ended. */
  readonly closed: number;
  /** Connections that were refused. */
  readonly refused: number;
  /** Milliseconds of the longest wait for an answer. */
  readonly worst: number;
  /** Between the last answer of one process and the first of the next, in milliseconds. */
  readonly gaps: readonly number[];
  readonly failures: readonly string[];
}

interface Counted {
  answered: number;
  failed: number;
  closed: number;
  refused: number;
  worst: number;
  readonly gaps: number[];
  readonly failures: string[];
}

const MOST_FAILURES = 10;
/** Milliseconds until a connection that ended is made anew. */
const AGAIN_MS = 5;

class Client {
  readonly #load: Load;
  readonly #number: number;
  #socket: net.Socket | undefined;
  #text = '';
  #sentAt = 0;
  #asked: { key: number; value: number; isPut: boolean } | undefined;
  /** What was acknowledged, by key; what is under way may be there already. */
  readonly acknowledged = new Map<number, number>();
  #count = 0;
  whenIdle: (() => void) | undefined;

  constructor(load: Load, number: number) {
    this.#load = load;
    this.#number = number;
  }

  connect(): Promise<void> {
    const socket = net.connect({ port: this.#load.port, host: '127.0.0.1', noDelay: true });
    this.#socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      this.#text += text;
      this.#read();
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED') this.#load.counted.refused += 1;
    });
    socket.on('close', () => {
      this.#closed();
    });
    return new Promise((resolve) => {
      socket.once('connect', resolve);
      socket.once('close', () => {
        resolve();
      });
    });
  }

  ask(): void {
    const { keys } = this.#load;
    this.#count += 1;
    const key = this.#number * keys + (this.#count % keys);
    const isPut = this.#count % 2 === 0;
    const value = this.#count;
    this.#asked = { key, value, isPut };
    this.#sentAt = performance.now();
    this.#socket?.write(
      isPut
        ? `PUT /${key} HTTP/1.1\r\nHost: a\r\nContent-Length: ${String(value).length}\r\n\r\n${value}`
        : `GET /${key} HTTP/1.1\r\nHost: a\r\n\r\n`,
    );
  }

  end(): void {
    this.#socket?.destroy();
  }

  #read(): void {
    const end = this.#text.indexOf('\r\n\r\n');
    if (end < 0) return;
    const head = this.#text.slice(0, end);
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
    if (this.#text.length < end + 4 + length) return;
    const body = this.#text.slice(end + 4, end + 4 + length);
    this.#text = this.#text.slice(end + 4 + length);
    this.#answered(head, body);
  }

  #answered(head: string, body: string): void {
    const asked = this.#asked;
    this.#asked = undefined;
    const { counted } = this.#load;
    if (!asked) {
      this.#load.fail(`an answer that nobody asked for: ${head.split('\r\n')[0]}`);
      return;
    }
    counted.answered += 1;
    const now = performance.now();
    counted.worst = Math.max(counted.worst, now - this.#sentAt);
    this.#load.noteAnswer(/x-pid: (\d+)/i.exec(head)?.[1] ?? '', now);
    const { key, value, isPut } = asked;
    const stored = this.acknowledged.get(key) ?? 0;
    if (!head.startsWith('HTTP/1.1 200')) this.#load.fail(head.split('\r\n')[0]);
    else if (isPut) this.acknowledged.set(key, value);
    else if (Number(body) < stored || Number(body) > value)
      this.#load.fail(`key ${key} is ${body}, and ${stored} was acknowledged`);
    if (this.#load.isStopping) this.whenIdle?.();
    else this.ask();
  }

  #closed(): void {
    const { counted } = this.#load;
    if (this.#load.isOver) return;
    counted.closed += 1;
    if (this.#asked) this.#load.fail('a connection ended with a request under way');
    this.#asked = undefined;
    this.#text = '';
    if (this.#load.isStopping) {
      this.whenIdle?.();
      return;
    }
    setTimeout(() => {
      void this.connect().then(() => {
        if (this.#socket?.readyState === 'open') this.ask();
      });
    }, AGAIN_MS);
  }

  /** Resolves when nothing is under way. */
  idle(): Promise<void> {
    if (!this.#asked) return Promise.resolve();
    return new Promise((resolve) => {
      this.whenIdle = resolve;
    });
  }
}

export class Load {
  readonly port: number;
  readonly keys: number;
  isStopping = false;
  isOver = false;
  readonly counted: Counted = {
    answered: 0,
    failed: 0,
    closed: 0,
    refused: 0,
    worst: 0,
    gaps: [],
    failures: [],
  };
  readonly #clients: Client[];
  #pid = '';
  #lastAt = 0;

  constructor({ port, connections, keys = 4 }: LoadOptions) {
    this.port = port;
    this.keys = keys;
    this.#clients = Array.from({ length: connections }, (_, i) => new Client(this, i));
  }

  /** Connects all, and begins. */
  async start(): Promise<void> {
    await Promise.all(this.#clients.map((client) => client.connect()));
    for (const client of this.#clients) client.ask();
  }

  fail(why: string): void {
    this.counted.failed += 1;
    if (this.counted.failures.length < MOST_FAILURES) this.counted.failures.push(why);
  }

  noteAnswer(pid: string, now: number): void {
    if (pid !== this.#pid) {
      if (this.#pid !== '') this.counted.gaps.push(now - this.#lastAt);
      this.#pid = pid;
    }
    this.#lastAt = now;
  }

  /** Lets what is under way end, and asks for all that was acknowledged. */
  async stop(): Promise<LoadReport> {
    this.isStopping = true;
    await Promise.all(this.#clients.map((client) => client.idle()));
    for (const client of this.#clients) await this.#check(client);
    this.isOver = true;
    for (const client of this.#clients) client.end();
    return { ...this.counted };
  }

  async #check({ acknowledged }: Client): Promise<void> {
    for (const [key, value] of acknowledged) {
      const response = await fetch(`http://127.0.0.1:${this.port}/${key}`);
      const text = await response.text();
      if (Number(text) < value) this.fail(`key ${key} is ${text}, and ${value} was acknowledged: lost`);
    }
  }
}
