/**
 * The connections of an HTTP server, so that they can go to another process between two requests.
 *
 * A connection is free to go while none of its requests is being answered and all of its answers
 * have left. It is stopped there: what its client sends waits in the kernel. Where nobody takes it
 * over it goes on.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import * as net from 'node:net';
import { HeadReader } from './http-head.ts';
import {
  countConnection,
  descriptorOf,
  holdBack,
  letOn,
  startReading,
  stopReading,
} from './node-internals.ts';
import { watchEvents } from './server-events.ts';

/** Milliseconds until it is looked again whether an answer has left. */
const DRAIN_MS = 1;
/** Events with which a request begins, and those after which its connection speaks no HTTP. */
const BEGINS: ReadonlySet<string | symbol> = new Set(['request', 'checkContinue', 'checkExpectation']);
const LEAVES: ReadonlySet<string | symbol> = new Set(['upgrade', 'connect']);

/** A connection that changes hands. */
export interface Passed {
  readonly fd: number;
  /** What was read of its next request. */
  readonly head: Buffer;
}

class Connection {
  readonly socket: net.Socket;
  readonly reader = new HeadReader();
  /** Requests that are being answered, and when the oldest of them began. */
  answering = 0;
  since = 0;
  /** The last request. It may be answered before all of it has come. */
  request: IncomingMessage | undefined;
  /** It can go: nothing is read or answered any more. */
  isStopped = false;
  /** It cannot go, and waits until somebody decides: see hold. */
  isHeld = false;
  /** Somebody looks again soon. */
  isWatched = false;
  /** It speaks something else by now. */
  isOther = false;

  constructor(socket: net.Socket) {
    this.socket = socket;
  }

  /** Whether nothing of a request is still to come. */
  get isRead(): boolean {
    return this.request?.complete !== false;
  }

  get isFree(): boolean {
    return this.answering === 0 && this.isRead && this.socket.writableLength === 0;
  }
}

export class HttpConnections {
  readonly #server: Server;
  readonly #all = new Map<net.Socket, Connection>();
  /** Those that came from another process and have sent nothing since. */
  readonly #quiet = new Set<net.Socket>();
  /** How long those that are stopped may say nothing, in milliseconds, when they go on. */
  readonly #timeouts = new Map<net.Socket, number>();
  /** Those that are held and belong to their program by now. */
  readonly #heldApart = new Set<net.Socket>();
  #isStopping = false;
  #whenFree: (() => void) | undefined;

  constructor(server: Server) {
    this.#server = server;
    server.on('connection', (socket: net.Socket) => {
      this.#track(socket);
    });
    watchEvents(server, (event, request, response) => {
      if (BEGINS.has(event)) this.#begin(request as IncomingMessage, response as ServerResponse);
      else if (LEAVES.has(event)) this.setApart((request as IncomingMessage).socket);
    });
  }

  /** How many there are. */
  get count(): number {
    return this.#all.size + this.#quiet.size;
  }

  /** How many are being answered, or speak something else. */
  get staying(): number {
    let busy = 0;
    for (const { isStopped } of this.#all.values()) if (!isStopped) busy += 1;
    return busy;
  }

  /** How long the oldest request is being answered, in milliseconds; 0 where there is none. */
  get oldest(): number {
    let since = Infinity;
    for (const { answering, since: began, isOther } of this.#all.values())
      if (answering > 0 && !isOther) since = Math.min(since, began);
    return since === Infinity ? 0 : performance.now() - since;
  }

  /** A connection is its program's own affair from now on. */
  forget(socket: net.Socket): void {
    if (this.#all.get(socket)?.isHeld === true) this.#heldApart.add(socket);
    this.#all.delete(socket);
    this.#checkFree();
  }

  /** A connection is none of those that go between two requests. */
  setApart(socket: net.Socket): void {
    const connection = this.#all.get(socket);
    if (connection) connection.isOther = true;
    this.#checkFree();
  }

  /**
   * Stops each connection as soon as it is free. Resolves when all are, or after so many
   * milliseconds.
   */
  async stop(limit: number): Promise<void> {
    this.#isStopping = true;
    for (const socket of this.#quiet) {
      stopReading(socket);
      this.#stopClock(socket);
    }
    for (const connection of this.#all.values()) this.#stopIfFree(connection);
    if (!this.#isAllFree()) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, limit);
        this.#whenFree = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#whenFree = undefined;
      if (!this.#stopping()) return; // it goes on by now
    }
    for (const connection of this.#all.values()) if (!connection.isStopped) this.#hold(connection);
  }

  /**
   * Nothing is read of it, and what is said on it waits: what it stores from now on may be seen by
   * nobody, so nobody is told of it. It is closed with this process, or `resume` lets it go on.
   */
  #hold(connection: Connection): void {
    connection.isHeld = true;
    holdBack(connection.socket);
  }

  /** Those that are stopped, and can go. They stay open here. */
  stopped(): Passed[] {
    const passed: Passed[] = [];
    for (const socket of this.#quiet) {
      const fd = descriptorOf(socket);
      if (fd !== undefined) passed.push({ fd, head: Buffer.alloc(0) });
    }
    for (const { socket, isStopped, reader } of this.#all.values()) {
      const fd = descriptorOf(socket);
      const head = isStopped ? reader.rest() : undefined;
      if (fd !== undefined && head) passed.push({ fd, head });
    }
    return passed;
  }

  /** Nobody takes them over: all go on. */
  resume(): void {
    this.#isStopping = false;
    this.#whenFree?.();
    for (const [socket, timeout] of this.#timeouts) if (!socket.destroyed) socket.setTimeout(timeout);
    this.#timeouts.clear();
    for (const socket of this.#quiet) startReading(socket);
    for (const socket of this.#heldApart) letOn(socket);
    this.#heldApart.clear();
    for (const connection of this.#all.values()) {
      connection.isStopped = false;
      connection.isHeld = false;
      letOn(connection.socket);
    }
  }

  /** Ends those that came along and have sent nothing since: their clients connect anew. */
  endQuiet(): void {
    for (const socket of this.#quiet) socket.end();
  }

  /** Closes all of them here: whoever has them too goes on. */
  letGo(): void {
    for (const socket of [...this.#quiet, ...this.#all.keys()]) socket.destroy();
  }

  /**
   * A connection of another process goes on here. Until its client sends something it costs a
   * socket and no parser, and is closed where that takes longer than the server's keepAliveTimeout.
   */
  adopt({ fd, head }: Passed): void {
    const socket = new net.Socket({ fd, readable: true, writable: true, allowHalfOpen: true });
    countConnection(this.#server, socket);
    socket.once('close', () => {
      this.#quiet.delete(socket);
    });
    if (head.length > 0) {
      this.#wake(socket, head);
      return;
    }
    this.#quiet.add(socket);
    const begin = (chunk: Buffer): void => {
      forget();
      this.#quiet.delete(socket);
      socket.pause();
      this.#wake(socket, chunk);
    };
    const close = (): void => {
      socket.destroy();
    };
    const forget = (): void => {
      socket.off('data', begin).off('end', close).off('error', close).off('timeout', close);
      socket.setTimeout(0);
    };
    socket.setTimeout(this.#server.keepAliveTimeout);
    socket.on('data', begin).on('end', close).on('error', close).on('timeout', close);
  }

  #wake(socket: net.Socket, bytes: Buffer): void {
    socket.unshift(bytes);
    this.#server.emit('connection', socket);
    socket.resume();
  }

  #track(socket: net.Socket): void {
    const connection = new Connection(socket);
    this.#all.set(socket, connection);
    // Before the parser: afterwards it tells what it found.
    socket.prependListener('data', (chunk: Buffer) => {
      connection.reader.add(chunk);
    });
    socket.once('close', () => {
      this.#all.delete(socket);
      this.#checkFree();
    });
  }

  #begin(request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#all.get(request.socket);
    if (!connection || connection.request === request) return; // it is told again after checkContinue
    connection.request = request;
    connection.reader.begins(request);
    if (connection.answering === 0) connection.since = performance.now();
    connection.answering += 1;
    response.once('close', () => {
      connection.answering -= 1;
      connection.since = performance.now();
      if (!this.#isStopping) return;
      this.#stopIfFree(connection);
      this.#checkFree();
    });
  }

  /** A client that is not answered because all waits is not to blame: its time begins anew. */
  #stopClock(socket: net.Socket): void {
    const { timeout = 0 } = socket;
    if (timeout === 0) return;
    this.#timeouts.set(socket, timeout);
    socket.setTimeout(0);
  }

  #stopIfFree(connection: Connection): void {
    if (connection.isOther || connection.isStopped || connection.isHeld) return;
    if (connection.isRead) stopReading(connection.socket); // requests that follow are the next one's
    if (connection.isFree) {
      connection.isStopped = true;
      this.#stopClock(connection.socket);
      return;
    }
    if ((connection.answering > 0 && connection.isRead) || connection.isWatched) return; // its answer tells
    connection.isWatched = true;
    setTimeout(() => {
      connection.isWatched = false;
      if (!this.#isStopping) return;
      this.#stopIfFree(connection);
      this.#checkFree();
    }, DRAIN_MS);
  }

  /** Whether it was not called off meanwhile. */
  #stopping(): boolean {
    return this.#isStopping;
  }

  #isAllFree(): boolean {
    for (const { isStopped, isOther } of this.#all.values()) if (!isStopped && !isOther) return false;
    return true;
  }

  #checkFree(): void {
    if (this.#whenFree && this.#isAllFree()) this.#whenFree();
  }
}
