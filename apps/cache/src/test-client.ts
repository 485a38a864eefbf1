/** Clients of a cache, for tests: one in the same turn, without sockets, and one with. */
import { EventEmitter } from 'node:events';
import * as net from 'node:net';
import { openMap } from '@liveupdate/map';
import { CacheServer } from './cache-server.ts';
import { settingsOf } from './settings.ts';
import { Store } from './store.ts';
import { decode, encode, type Value } from './test-resp.ts';
import { Watches } from './watches.ts';

const MIB = 2 ** 20;

/** What a client needs of a socket. */
class FakeSocket extends EventEmitter {
  readonly writableLength = 0;
  said = Buffer.alloc(0);
  write(bytes: Buffer): boolean {
    this.said = Buffer.concat([this.said, bytes]);
    return true;
  }
  isEnded = false;
  destroySoon(): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.emit('close');
  }
}

/** What it asks is answered in the same turn. */
export interface TestClient {
  readonly ask: (...words: (string | number | Buffer)[]) => Value;
  readonly send: (bytes: Buffer) => Value[];
  readonly isEnded: () => boolean;
}

export interface TestCacheOptions {
  readonly size?: number;
  readonly evicts?: boolean;
  readonly now?: () => number;
}

/** A cache in plain memory, whose clients are answered at once. */
export class TestCache {
  readonly server: CacheServer;
  readonly store: Store;
  readonly #listener: net.Server;

  constructor({ size = MIB, evicts = false, now = Date.now }: TestCacheOptions = {}) {
    const place = { bytes: new Uint8Array(new ArrayBuffer(size)) };
    const map = openMap(place, {
      keyEncoding: 'view',
      valueEncoding: 'view',
      evict: evicts ? 'lru' : 'never',
      now,
    });
    this.store = new Store(map, new Watches(), now);
    const service = { name: 'test', generation: 0, origin: 'cold', carry: () => undefined } as const;
    const options = { size, host: '127.0.0.1', port: 0, socket: undefined, name: 'test', evicts };
    this.server = new CacheServer(service, this.store, settingsOf(options));
    this.#listener = this.server.listener();
  }

  client(): TestClient {
    const socket = new FakeSocket();
    this.#listener.emit('connection', socket);
    const send = (bytes: Buffer): Value[] => {
      socket.said = Buffer.alloc(0);
      socket.emit('data', bytes);
      return allOf(socket.said);
    };
    return { send, ask: (...words) => send(encode(...words))[0], isEnded: () => socket.isEnded };
  }
}

function allOf(bytes: Buffer): Value[] {
  const values: Value[] = [];
  for (let at = 0; at < bytes.length;) {
    const next = decode(bytes, at);
    if (!next) throw new Error('half a reply was said');
    values.push(next.value);
    at = next.end;
  }
  return values;
}

/** A connection. Replies come in the order of requests. */
export class TestConnection {
  readonly socket: net.Socket;
  #unread = Buffer.alloc(0);
  #whenMore: (() => void) | undefined;

  constructor(to: net.NetConnectOpts) {
    this.socket = net.connect(to);
    this.socket.on('error', () => undefined);
    this.socket.on('data', (chunk: Buffer) => {
      this.#unread = Buffer.concat([this.#unread, chunk]);
      this.#whenMore?.();
    });
    this.socket.on('close', () => this.#whenMore?.());
  }

  async ask(...words: (string | number | Buffer)[]): Promise<Value> {
    this.socket.write(encode(...words));
    return this.reply();
  }

  async reply(): Promise<Value> {
    for (;;) {
      const next = decode(this.#unread);
      if (next) {
        this.#unread = this.#unread.subarray(next.end);
        return next.value;
      }
      if (this.socket.destroyed) throw new Error('the connection ended');
      await new Promise<void>((resolve) => {
        this.#whenMore = resolve;
      });
    }
  }

  end(): void {
    this.socket.destroy();
  }
}
