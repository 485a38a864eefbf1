/**
 * The cache in one generation of its process: memory, server, and what is done beside.
 *
 * Always: nothing is stored to the map before `ready`, for until then the version before may go on;
 * and nothing when an upgrade has begun, unless it fails.
 */
import { MAX_FOLIO_SIZE } from '@liveupdate/base';
import { openMap } from '@liveupdate/map';
import { openService, type ListenAddress, type Service } from '@liveupdate/service';
import { CacheServer } from './cache-server.ts';
import type { CacheOptions } from './options.ts';
import { settingsOf } from './settings.ts';
import { Store, type CacheMap } from './store.ts';
import { Sweeper } from './sweeper.ts';
import { Watches } from './watches.ts';

/** RAM beyond the map, as a share of it and at least: what the service records of it. */
const OVERHEAD_SHARE = 0.02;
const OVERHEAD_BYTES = 32 * 2 ** 20;

/** One that serves. */
export interface RunningCache {
  readonly service: Service;
  readonly address: ListenAddress;
  /** A process has one writer of it: on a stage this one is closed before the next is opened. */
  readonly map: CacheMap;
  /** Ends politely: what has come is answered, and the memory waits for whoever starts next. */
  close(): Promise<void>;
}

/**
 * Takes over from the generation before, or is the first.
 *
 * @param open in a test, the `open` of a stage
 */
export async function serveCache(options: CacheOptions, open = openService): Promise<RunningCache> {
  const { name, size, host, port, socket, evicts } = options;
  const service = await open({ name, size: ramSizeFor(size) });
  const file = await service.file('map', { size });
  const map = openMap(file, { keyEncoding: 'view', valueEncoding: 'view', evict: evicts ? 'lru' : 'never' });
  const watches = new Watches();
  const store = new Store(map, watches);
  const sweeper = new Sweeper(store);
  const server = new CacheServer(service, store, settingsOf(options));

  service.adopt(CacheServer.kind, server.adopt);
  const address = await service.listen(server.listener(), { host, port });
  if (socket !== undefined) await service.listen(server.listener(), { path: socket });
  service.beforeUpgrade(() => {
    sweeper.stop();
  });
  service.afterFailedUpgrade(() => {
    sweeper.start();
  });
  await service.ready();
  watches.settled();
  sweeper.start();
  return {
    service,
    address,
    map,
    close: () => {
      sweeper.stop();
      return service.close();
    },
  };
}

function ramSizeFor(size: number): number {
  const needed = size * (1 + OVERHEAD_SHARE) + OVERHEAD_BYTES;
  return Math.ceil(needed / MAX_FOLIO_SIZE) * MAX_FOLIO_SIZE;
}
