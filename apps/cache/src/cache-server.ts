/** The server: its connections, and what it tells of itself. */
import { createServer, type Server, type Socket } from 'node:net';
import type { Service } from '@liveupdate/service';
import { allCommands } from './all-commands.ts';
import { unpackState } from './client-state.ts';
import { Client, KIND } from './client.ts';
import type { CommandClient, CommandServer } from './command.ts';
import { REDIS_VERSION } from './redis-version.ts';
import { Reply } from './reply.ts';
import type { Store } from './store.ts';

/** Numbers of clients of one generation: no two of any generations have the same. */
const CLIENTS = 2 ** 32;

/** What is used of the service. */
type ServiceOfCache = Pick<Service, 'carry' | 'generation' | 'origin' | 'name'>;

export class CacheServer implements CommandServer {
  readonly commands = allCommands;
  readonly clients = new Map<number, CommandClient>();
  readonly reply = new Reply();
  readonly store: Store;
  readonly settings: ReadonlyMap<string, string>;
  readonly #service: ServiceOfCache;
  readonly #startedAt = Date.now();
  #nextId: number;
  #connections = 0;
  #commands = 0;

  constructor(service: ServiceOfCache, store: Store, settings: ReadonlyMap<string, string>) {
    this.#service = service;
    this.store = store;
    this.settings = settings;
    this.#nextId = service.generation * CLIENTS;
  }

  /** A server of connections, for whatever it is to listen on. */
  listener(): Server {
    return createServer({ noDelay: true }, (socket) => {
      this.#nextId += 1;
      this.#connections += 1;
      this.#begin(socket, this.#nextId);
    });
  }

  /** Takes over a connection of the generation before. */
  readonly adopt = (socket: Socket, bytes: Uint8Array): void => {
    const state = unpackState(bytes);
    this.#begin(socket, state.id).takeUp(state);
  };

  static readonly kind = KIND;

  #begin(socket: Socket, id: number): Client {
    const client = new Client(this, socket, id);
    this.clients.set(id, client);
    socket.once('close', () => this.clients.delete(id));
    this.#service.carry(socket, client.carrying);
    return client;
  }

  processed(): void {
    this.#commands += 1;
  }

  resetStatistics(): void {
    this.#commands = 0;
    this.#connections = 0;
    this.store.resetStatistics();
  }

  info(): ReturnType<CommandServer['info']> {
    const { store } = this;
    const { size, expiring, used, evicted } = store.map.stats;
    const keyspace = size === 0 ? {} : { db0: `keys=${size},expires=${expiring},avg_ttl=0` };
    return {
      Server: {
        redis_version: REDIS_VERSION,
        redis_mode: 'standalone',
        os: `Linux ${process.arch}`,
        arch_bits: 64,
        process_id: process.pid,
        tcp_port: this.settings.get('port') ?? '',
        uptime_in_seconds: Math.floor((Date.now() - this.#startedAt) / 1000),
        liveupdate_name: this.#service.name,
        liveupdate_generation: this.#service.generation,
        liveupdate_origin: this.#service.origin,
      },
      Clients: { connected_clients: this.clients.size, blocked_clients: 0 },
      Memory: {
        used_memory: used,
        used_memory_rss: process.memoryUsage.rss(),
        maxmemory: this.settings.get('maxmemory') ?? '',
        maxmemory_policy: this.settings.get('maxmemory-policy') ?? '',
      },
      Persistence: { loading: 0 },
      Stats: {
        total_connections_received: this.#connections,
        total_commands_processed: this.#commands,
        expired_keys: store.expired,
        evicted_keys: evicted,
        keyspace_hits: store.hits,
        keyspace_misses: store.misses,
      },
      Replication: { role: 'master', connected_slaves: 0 },
      Keyspace: keyspace,
    };
  }
}
