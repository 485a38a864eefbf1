/**
 * The clients of an upgrade, in a process of their own: connections that are kept alive, each with
 * one request under way at a time. Every answer is looked at, and every number that was
 * acknowledged is asked for in the end.
 *
 * It says when all have been answered once. It is told to go on when the upgrade begins, when it is
 * over, and when it is to end; then it says what the clients met.
 *
 * A client is one as people write them: where the answer says that the connection ends it ends it,
 * and where a connection ended it makes another one and asks again.
 */
import * as net from 'node:net';
import { argument, awaitGo, now, say, tellFailures } from './child-side.ts';
import { longestSilence, momentsOf } from './moments.ts';
import { HOST } from './numbers-server.ts';

tellFailures();

/** What the program is told. */
export interface LoadArgument {
  readonly port: number;
  readonly connections: number;
  /** The least number that is stored: greater than any that is there. */
  readonly least: number;
}

/** What the clients met. */
export interface LoadReport {
  /**
   * Requests that were not answered at the first try, or with what is wrong: the connection ended
   * with them under way, or was refused. Numbers that were acknowledged, and are lost.
   */
  readonly failed: number;
  /** Connections that ended. */
  readonly closed: number;
  /**
   * Milliseconds for which nobody was answered before the first answer of a next process: the
   * longest of the upgrade.
   */
  readonly gap: number;
  /** The longest that a client waited for its answer, from then on; ms. */
  readonly wait: number;
  /** Answers a second, before the upgrade and after it. */
  readonly before: number;
  readonly after: number;
  /** The longest time without an answer from then on, whatever process gave the next one; ms. */
  readonly silence: number;
  /** When that ended; ms from the beginning of the upgrade on. */
  readonly silenceEnd: number;
  /** Answers from before the upgrade to the end of the load, see moments.ts. */
  readonly moments: readonly number[];
  /** Some of what failed. */
  readonly failures: readonly string[];
}

export interface LoadLine {
  readonly report?: LoadReport;
}

/** Keys that one client stores to. */
const KEYS = 4;
const MOST_FAILURES = 10;
/** Milliseconds until a client that was refused tries again. */
const AGAIN_MS = 10;
/** Clients that connect together. */
const AT_ONCE = 100;

interface Request {
  readonly key: number;
  /** What is stored; undefined where it is asked for. */
  readonly value: number | undefined;
  readonly since: number;
  hasFailed: boolean;
}

const { port, connections, least } = argument() as LoadArgument;
let state: 'running' | 'stopping' | 'over' = 'running';
let answered = 0;
let failed = 0;
let closed = 0;
let gap = 0;
let wait = 0;
let lastAt = 0;
/** When each answer came. */
const times: number[] = [];
/** Processes that have answered. */
const known = new Set<string>();
const failures: string[] = [];

function fail(why: string): void {
  failed += 1;
  if (failures.length < MOST_FAILURES) failures.push(why);
}

class Client {
  readonly #number: number;
  #socket: net.Socket | undefined;
  #isConnected = false;
  #text = '';
  #request: Request | undefined;
  #count = 0;
  /** What was acknowledged, by key. */
  readonly #acknowledged = new Map<number, number>();
  /** Resolves with its first answer. */
  readonly answered: Promise<void>;
  #whenAnswered!: () => void;
  #whenIdle: (() => void) | undefined;

  constructor(number: number) {
    this.#number = number;
    this.answered = new Promise((resolve) => {
      this.#whenAnswered = resolve;
    });
  }

  /** Resolves when it is connected. */
  connect(): Promise<void> {
    const socket = net.connect({ port, host: HOST, noDelay: true });
    this.#socket = socket;
    this.#isConnected = false;
    this.#text = '';
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => {
      if (this.#socket !== socket) return;
      this.#text += text;
      this.#read();
    });
    socket.on('error', () => undefined); // it closes, too
    socket.on('close', () => {
      if (this.#socket === socket) this.#closed();
    });
    return new Promise((resolve) => {
      socket.once('connect', () => {
        this.#isConnected = true;
        if (this.#request) this.#send(this.#request);
        resolve();
      });
    });
  }

  /** Asks the next thing. */
  ask(): void {
    this.#count += 1;
    const isPut = this.#count % 2 === 1;
    const key = this.#number * KEYS + (Math.floor((this.#count - 1) / 2) % KEYS);
    this.#begin({ key, value: isPut ? least + this.#count : undefined, since: now(), hasFailed: false });
  }

  /** Resolves when nothing is under way. */
  idle(): Promise<void> {
    if (!this.#request) return Promise.resolve();
    return new Promise((resolve) => {
      this.#whenIdle = resolve;
    });
  }

  /** Asks for all that was acknowledged. */
  async check(): Promise<void> {
    for (const key of this.#acknowledged.keys()) {
      this.#begin({ key, value: undefined, since: now(), hasFailed: false });
      await this.idle();
    }
  }

  end(): void {
    this.#socket?.destroy();
  }

  #begin(request: Request): void {
    this.#request = request;
    if (this.#isConnected) this.#send(request);
  }

  #send({ key, value }: Request): void {
    const body = String(value);
    this.#socket!.write(
      value === undefined
        ? `GET /${key} HTTP/1.1\r\nHost: a\r\n\r\n`
        : `PUT /${key} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
  }

  #read(): void {
    const end = this.#text.indexOf('\r\n\r\n');
    if (end < 0) return;
    const head = this.#text.slice(0, end);
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0);
    if (this.#text.length < end + 4 + length) return;
    const body = this.#text.slice(end + 4);
    this.#text = '';
    this.#answered(head, body);
  }

  #answered(head: string, body: string): void {
    const request = this.#request;
    this.#request = undefined;
    if (!request) {
      fail(`an answer that nobody asked for: ${head.split('\r\n')[0]}`);
      return;
    }
    const at = now();
    answered += 1;
    const process = /x-pid: (\S+)/i.exec(head)?.[1] ?? '';
    times.push(at);
    if (!known.has(process)) gap = Math.max(gap, at - lastAt);
    known.add(process);
    lastAt = at;
    wait = Math.max(wait, at - request.since);
    this.#verify(request, head, body);
    this.#whenAnswered();
    if (/connection: close/i.test(head)) this.#renew();
    if (state === 'running') this.ask();
    else this.#whenIdle?.();
  }

  #verify({ key, value }: Request, head: string, body: string): void {
    const stored = this.#acknowledged.get(key);
    if (!/^HTTP\/1\.1 200 .*x-pid: \d/is.test(head)) fail(`an answer: ${head.split('\r\n')[0]}`);
    else if (value !== undefined) this.#acknowledged.set(key, value);
    else if (stored !== undefined && Number(body) !== stored)
      fail(`key ${key} is ${body}, and ${stored} was acknowledged`);
  }

  /** The server ends this connection, and said so. */
  #renew(): void {
    closed += 1;
    this.#socket!.destroy();
    void this.connect();
  }

  #closed(): void {
    if (state === 'over') return;
    const request = this.#request;
    if (this.#isConnected) closed += 1;
    if (request && !request.hasFailed) {
      request.hasFailed = true;
      fail(this.#isConnected ? 'a connection ended with a request under way' : 'a connection was refused');
    }
    this.#isConnected = false;
    setTimeout(() => void this.connect(), AGAIN_MS);
  }
}

const clients = Array.from({ length: connections }, (_, i) => new Client(i));
// Some at a time: of more than a server lets wait, the system makes some wait for a second.
for (let i = 0; i < connections; i += AT_ONCE)
  await Promise.all(clients.slice(i, i + AT_ONCE).map((client) => client.connect()));
for (const client of clients) client.ask();
await Promise.all(clients.map((client) => client.answered));

/** Counts answers until it is asked for how many there were a second. */
function rate(): () => number {
  const [count, start] = [answered, now()];
  return () => ((answered - count) * 1000) / (now() - start);
}

say({} satisfies LoadLine);
const rateBefore = rate();
await awaitGo();
const before = rateBefore();
const began = now();
[gap, wait] = [0, 0];
await awaitGo();
const rateAfter = rate();
await awaitGo();
const after = rateAfter();
state = 'stopping';
const ended = now();
await Promise.all(clients.map((client) => client.idle()));
const met = { closed, gap, wait, before, after };
const seen = { ...longestSilence(times, began), moments: momentsOf(times, began, ended) };
await Promise.all(clients.map((client) => client.check()));
state = 'over';
for (const client of clients) client.end();
say({ report: { failed, ...met, ...seen, failures } } satisfies LoadLine);
process.exit(0);
