/**
 * All that listens, and all connections of one generation: stopped, so that they can go to the next
 * one, and going on where that does not come.
 */
import { Server as HttpServer } from 'node:http';
import * as net from 'node:net';
import { codeOf, KernelError, withSuppressed } from '@liveupdate/base';
import { duplicateFrom } from '@liveupdate/linux';
import { HttpConnections } from './http-connections.ts';
import { isEncrypted, OtherConnections } from './other-connections.ts';
import { descriptorOf, startReading, stopListening, stopReading } from './node-internals.ts';
import type { PassedConnection } from './protocol.ts';

const fs = process.getBuiltinModule('node:fs');

/** The lowest number that a descriptor of ours gets: Node.js leaves those alone at its start. */
const LEAST_FD = 64;
/**
 * Connections that are adopted in the first turn of the event loop, so that the first answer is
 * soon there. Later it is done for so long in each turn as the one before took, times this: who
 * came along already asks again and again, and who did not yet would wait for all of that.
 */
const FIRST = 4;
const BY_TURN = 3;
/** Milliseconds at least. */
const LEAST_TURN = 1;
/** A request that is younger than this when an upgrade begins ends soon, milliseconds. */
const YOUNG = 10;
/** How often it is looked at older ones. */
const LOOK_MS = 2;
/** Milliseconds in which carried connections have to settle: nobody is served meanwhile. */
const SETTLE_MS = 500;
/** How often it is tried to listen again where too many files are open. */
const AGAIN_MS = 20;

/** What a connection that the program carries itself is taken over by, and with. */
export interface Carrying {
  /** By which `adopt` of the next generation. */
  readonly kind: string;
  /**
   * What the next generation has to know of it, at that moment; undefined: it cannot go now, and is
   * closed.
   */
  readonly state: () => Uint8Array | undefined;
  /**
   * Called before, when nothing is read of it any more: resolves when all that was read is done
   * with and all that was said has left. Where that takes more than half a second, or it rejects,
   * the connection cannot go, and is closed.
   */
  readonly settle?: () => Promise<void>;
  /** Called where it does not go, for the upgrade did not come about: it goes on here. */
  readonly resume?: () => void;
}

export type Adopt = (socket: net.Socket, state: Uint8Array) => void;

interface Served {
  readonly key: string;
  readonly fd: number;
  readonly server: net.Server;
  /** Those that can go along, and those that cannot. */
  readonly clients: HttpConnections | OtherConnections;
}

/** What goes to the next generation, with a descriptor for each. */
export interface Departing {
  readonly connections: readonly PassedConnection[];
  readonly fds: readonly number[];
}

export class Connections {
  readonly #served: Served[] = [];
  readonly #carried = new Map<net.Socket, Carrying>();
  /** Of those, what was asked to be ready to go. */
  readonly #asked = new Set<Carrying>();
  /** Of those, what has not settled. */
  readonly #restless = new Set<Carrying>();
  /** Carried connections that could not go. */
  #unable = 0;
  /** While all is to stop, or has. */
  #isStopping = false;
  readonly #adopts = new Map<string, Adopt>();

  /** The keys of all that listens. */
  get listeners(): readonly { readonly key: string; readonly fd: number }[] {
    return this.#served;
  }

  /** How many connections there are that can go along. */
  get count(): number {
    return this.#served.reduce((sum, { clients }) => sum + clients.count, this.#carried.size);
  }

  /** A server that listens from `open` on, on this descriptor. */
  add(server: net.Server, key: string, fd: number): void {
    if (server.listening || this.#served.some((other) => other.server === server))
      throw new KernelError('EEXIST', 'this server listens already');
    const clients = isPlainHttp(server) ? new HttpConnections(server) : new OtherConnections(server);
    this.#served.push({ key, fd, server, clients });
  }

  carry(socket: net.Socket, carrying: Carrying): void {
    this.#carried.set(socket, carrying);
    for (const { clients } of this.#served) clients.forget(socket);
    socket.once('close', () => {
      this.#carried.delete(socket);
      this.#asked.delete(carrying);
    });
  }

  adoptBy(kind: string, adopt: Adopt): void {
    if (this.#adopts.has(kind)) throw new KernelError('EEXIST', `connections '${kind}' are adopted already`);
    this.#adopts.set(kind, adopt);
  }

  /**
   * From now on connections are accepted, and those that came are answered.
   *
   * @returns how many of them nobody wanted: they are closed
   */
  async open(came: readonly PassedConnection[], fds: readonly number[]): Promise<number> {
    for (const { server, fd } of this.#served) await listenOn(server, fd);
    let unwanted = 0;
    let pause = 0;
    for (let i = 0; i < came.length; i++) {
      if (i === FIRST || (i > FIRST && performance.now() > pause)) {
        const start = performance.now();
        await polled();
        const end = performance.now();
        pause = end + Math.max(LEAST_TURN, BY_TURN * (end - start));
      }
      if (!this.#adopt(came[i], fds[i])) unwanted += 1;
    }
    return unwanted;
  }

  /**
   * Accepts nothing any more, and lets what is being answered end. First, while all is served,
   * those requests that take long. After `limit` milliseconds what is left is left behind.
   */
  async stop(limit: number): Promise<void> {
    await this.#halt(limit);
    if (!this.#stopping()) return;
    for (const carrying of this.#carried.values()) this.#asked.add(carrying);
    await this.#settle();
  }

  async #halt(limit: number): Promise<void> {
    const end = performance.now() + limit;
    this.#isStopping = true;
    while (this.#oldest() > YOUNG && performance.now() < end && this.#stopping())
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (!this.#stopping()) return;
    for (const { server } of this.#served) if (server.listening) stopListening(server);
    const left = Math.max(0, end - performance.now());
    await Promise.all(this.#served.map(({ clients }) => clients.stop(left)));
    if (!this.#stopping()) return;
    for (const socket of this.#carried.keys()) stopReading(socket);
  }

  /** Waits until carried connections are at rest, and notes which of them are. */
  async #settle(): Promise<void> {
    this.#restless.clear();
    const settling = [...this.#asked].flatMap((carrying) => {
      if (!carrying.settle) return [];
      this.#restless.add(carrying);
      return [this.#settleOne(carrying)];
    });
    if (settling.length === 0) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, SETTLE_MS);
    });
    await Promise.race([Promise.all(settling), late]);
    clearTimeout(timer);
  }

  async #settleOne(carrying: Carrying): Promise<void> {
    try {
      await carrying.settle?.();
      this.#restless.delete(carrying);
    } catch {
      // it is left behind
    }
  }

  /**
   * Ends all of it as Node.js does: idle connections now, others when they were answered; what is
   * left after `limit` milliseconds is cut off.
   */
  async close(limit: number): Promise<void> {
    const closed = this.#served.map(({ server, clients }) => {
      if (clients instanceof HttpConnections) clients.endQuiet();
      return new Promise<void>((resolve) => {
        server.close(() => {
          resolve();
        });
      });
    });
    for (const socket of this.#carried.keys()) socket.end(); // they would not end by themselves
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, limit);
    });
    await Promise.race([Promise.all(closed), late]);
    clearTimeout(timer);
    await this.#halt(0);
  }

  /** Whether it was not called off meanwhile. */
  #stopping(): boolean {
    return this.#isStopping;
  }

  #oldest(): number {
    return this.#served.reduce((most, { clients }) => Math.max(most, clients.oldest), 0);
  }

  /** What is stopped and can go. All of it stays open here until the process ends. */
  departing(): Departing {
    const connections: PassedConnection[] = [];
    const fds: number[] = [];
    for (const { key, clients } of this.#served) {
      if (!(clients instanceof HttpConnections)) continue;
      for (const { fd, head } of clients.stopped()) {
        connections.push(head.length === 0 ? { to: key } : { to: key, data: head.toString('base64') });
        fds.push(fd);
      }
    }
    this.#unable = 0;
    for (const [socket, carrying] of this.#carried) {
      const fd = descriptorOf(socket);
      if (fd === undefined) continue;
      const { kind, state } = carrying;
      const isAtRest = socket.writableLength === 0 && !this.#restless.has(carrying);
      const data = isAtRest ? state() : undefined;
      if (!data) {
        this.#unable += 1;
        continue;
      }
      connections.push({ to: kind, isKind: true, data: Buffer.from(data).toString('base64') });
      fds.push(fd);
    }
    return { connections, fds };
  }

  /** How many connections cannot go: see OtherConnections; and those that are still answered. */
  get staying(): number {
    return this.#served.reduce((sum, { clients }) => sum + clients.staying, this.#unable);
  }

  /** The next generation serves: what could not go is ended as its protocol has it. */
  async end(): Promise<void> {
    const others = this.#served.flatMap(({ clients }) =>
      clients instanceof OtherConnections ? [clients] : [],
    );
    await Promise.all(others.map((clients) => clients.end()));
  }

  /** Nothing goes: all goes on. */
  async resume(): Promise<void> {
    this.#isStopping = false;
    for (const { clients } of this.#served) clients.resume();
    for (const socket of this.#carried.keys()) startReading(socket);
    for (const { server, fd } of this.#served) if (!server.listening) await listenAgain(server, fd);
    const asked = [...this.#asked];
    this.#asked.clear();
    const errors: unknown[] = [];
    for (const { resume } of asked) {
      try {
        resume?.();
      } catch (error) {
        errors.push(error); // of the program: all others go on first
      }
    }
    if (errors.length > 0) throw withSuppressed(errors[0], errors.slice(1));
  }

  /** Closes all of it here: whoever has it too goes on. */
  letGo(): void {
    for (const { server, clients } of this.#served) {
      if (server.listening) stopListening(server);
      clients.letGo();
    }
    for (const socket of this.#carried.keys()) socket.destroy();
  }

  #adopt({ to, isKind = false, data = '' }: PassedConnection, fd: number): boolean {
    const bytes = Buffer.from(data, 'base64');
    if (isKind) {
      const adopt = this.#adopts.get(to);
      if (adopt) {
        const socket = new net.Socket({ fd, readable: true, writable: true });
        adopt(socket, bytes);
        if (!socket.isPaused()) socket.resume();
        return true;
      }
    } else {
      const clients = this.#served.find(({ key }) => key === to)?.clients;
      if (clients instanceof HttpConnections) {
        clients.adopt({ fd, head: bytes });
        return true;
      }
    }
    fs.closeSync(fd);
    return false;
  }
}

/** Node.js gets a duplicate, which it closes with the server: ours is for the next generation. */
async function listenOn(server: net.Server, fd: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ fd: duplicateFrom(fd, LEAST_FD) }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

/** Those who connect wait in the system while too many files are open here. */
async function listenAgain(server: net.Server, fd: number): Promise<void> {
  for (;;) {
    try {
      await listenOn(server, fd);
      return;
    } catch (error) {
      if (codeOf(error) !== 'EMFILE') throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

/** Whose connections can go along: encrypted ones cannot, for their keys stay in the process. */
function isPlainHttp(server: net.Server): server is HttpServer {
  return server instanceof HttpServer && !isEncrypted(server);
}

/**
 * Resolves when requests that are there were looked at: the event loop has polled. Between that and
 * the next poll immediates run, so one of them alone would be too soon.
 */
function polled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(() => {
      setImmediate(resolve);
    });
  });
}
