/**
 * The connections of a server that cannot go to another process: encrypted ones, for their keys
 * stay here; HTTP/2; and plain ones of which only the program knows what was said.
 *
 * Answers that are under way are let end. Then nothing is read and nothing said: when the next
 * generation serves they are ended as their protocol has it, and their clients connect anew; where
 * it does not, they go on.
 */
import type { EventEmitter } from 'node:events';
import type { ServerHttp2Session } from 'node:http2';
import type * as net from 'node:net';
import { holdBack, letOn, stopReading } from './node-internals.ts';
import { watchEvents } from './server-events.ts';

/** Milliseconds for what was said last to leave. */
const END_MS = 200;

interface Answer {
  readonly since: number;
  /** Where it goes; undefined in HTTP/2, where one connection has many. */
  readonly socket: net.Socket | undefined;
}

export class OtherConnections {
  /** As they were accepted; and encrypted ones once more, as what they say is read. */
  readonly #sockets = new Set<net.Socket>();
  readonly #secured = new Set<net.Socket>();
  readonly #sessions = new Set<ServerHttp2Session>();
  readonly #isEncrypted: boolean;
  /** Responses and streams of HTTP/2 that are under way, the oldest first. */
  readonly #answers = new Map<EventEmitter, Answer>();
  #isStopping = false;
  #whenDone: (() => void) | undefined;

  constructor(server: net.Server) {
    this.#isEncrypted = isEncrypted(server);
    watchEvents(server, (event, first, second) => {
      if (event === 'connection') keepIn(this.#sockets, first as net.Socket);
      else if (event === 'secureConnection') keepIn(this.#secured, first as net.Socket);
      else if (event === 'session') keepIn(this.#sessions, first as ServerHttp2Session);
      else if (event === 'stream') this.#begin(first as EventEmitter, undefined);
      else if (event === 'request' && !isStreamed(first))
        this.#begin(second as EventEmitter, (first as { socket: net.Socket }).socket);
    });
  }

  /** None of them can go along. */
  readonly count = 0;

  get staying(): number {
    return this.#ours.size;
  }

  /** The connections as their program knows them. */
  get #ours(): Set<net.Socket> {
    return this.#isEncrypted ? this.#secured : this.#sockets;
  }

  /** How long the oldest answer is under way, in milliseconds; 0 where there is none. */
  get oldest(): number {
    for (const { since } of this.#answers.values()) return performance.now() - since;
    return 0;
  }

  /** A connection is its program's own affair from now on. */
  forget(socket: net.Socket): void {
    this.#sockets.delete(socket);
    this.#secured.delete(socket);
  }

  /** Resolves when all is stopped: answers have ended, or had so many milliseconds for it. */
  async stop(limit: number): Promise<void> {
    this.#isStopping = true;
    const busy = new Set([...this.#answers.values()].map(({ socket }) => socket));
    if (!busy.has(undefined)) for (const socket of this.#secured) if (!busy.has(socket)) stopReading(socket);
    if (this.#answers.size > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, limit);
        this.#whenDone = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#whenDone = undefined;
      if (!this.#stopping()) return; // they go on by now
    }
    for (const socket of [...this.#secured, ...this.#sockets]) holdBack(socket);
  }

  /** All of them go on. */
  resume(): void {
    this.#isStopping = false;
    this.#whenDone?.();
    for (const socket of [...this.#sockets, ...this.#secured]) letOn(socket);
  }

  /** Ends them all. Resolves when their clients were told, or after some time. */
  async end(): Promise<void> {
    const ended: Promise<unknown>[] = [];
    for (const session of this.#sessions) session.close();
    for (const socket of this.#sessions.size > 0 ? [] : this.#ours) {
      if (socket.writableLength > 0) {
        socket.destroy(); // an answer that came too late
        continue;
      }
      ended.push(
        new Promise((resolve) =>
          socket.once('close', resolve).once('finish', resolve).once('error', resolve),
        ),
      );
      letOn(socket);
      stopReading(socket);
      socket.end();
    }
    await Promise.race([Promise.all(ended), new Promise((resolve) => setTimeout(resolve, END_MS).unref())]);
    this.letGo();
  }

  /** Closes all of them. */
  letGo(): void {
    for (const socket of [...this.#secured, ...this.#sockets]) socket.destroy();
  }

  /** Whether it was not called off meanwhile. */
  #stopping(): boolean {
    return this.#isStopping;
  }

  #begin(answer: EventEmitter, socket: net.Socket | undefined): void {
    if (this.#answers.has(answer)) return;
    this.#answers.set(answer, { since: performance.now(), socket });
    answer.once('close', () => {
      this.#answers.delete(answer);
      if (!this.#isStopping) return;
      if (socket && ![...this.#answers.values()].some((other) => other.socket === socket))
        stopReading(socket);
      if (this.#answers.size === 0) this.#whenDone?.();
    });
  }
}

/**
 * Whether what a server says is encrypted. By a method that those alone have: their class is in
 * `node:tls`, and to load that takes 4 ms of a start.
 */
export function isEncrypted(server: net.Server): boolean {
  return 'setSecureContext' in server;
}

function keepIn<T extends EventEmitter>(all: Set<T>, one: T): void {
  all.add(one);
  one.once('close', () => all.delete(one));
}

/** Whether a request is a stream of HTTP/2, which is told by itself. */
function isStreamed(request: unknown): boolean {
  return (request as { stream?: unknown }).stream !== undefined;
}
