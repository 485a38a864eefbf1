/**
 * The server, in one generation of its process: what the supervisor starts, again and again.
 *
 * Always: nothing is stored to the map before `ready`, for until then the version before may go on;
 * and nothing when an upgrade has begun.
 */
import { MAX_FOLIO_SIZE } from '@liveupdate/base';
import { openMap } from '@liveupdate/map';
import { openService } from '@liveupdate/service';
import { CacheServer } from './cache-server.ts';
import { readOptions } from './options.ts';
import { settingsOf } from './settings.ts';
import { Store } from './store.ts';
import { Sweeper } from './sweeper.ts';
import { Watches } from './watches.ts';

/** RAM beyond the map, as a share of it and at least: what the service records of it. */
const OVERHEAD_SHARE = 0.02;
const OVERHEAD_BYTES = 32 * 2 ** 20;

const options = readOptions(process.argv.slice(2));
if (!options) throw new Error('main.ts starts this, with the options of the server');
const { name, size, host, port, socket, evicts } = options;

const needed = size * (1 + OVERHEAD_SHARE) + OVERHEAD_BYTES;
const service = await openService({ name, size: Math.ceil(needed / MAX_FOLIO_SIZE) * MAX_FOLIO_SIZE });
const file = await service.file('map', { size });
const map = openMap(file, { keyEncoding: 'view', valueEncoding: 'view', ...(evicts && { evict: 'lru' }) });
const watches = new Watches();
const store = new Store(map, watches);
const sweeper = new Sweeper(store);
const server = new CacheServer(service, store, settingsOf(options));

service.adopt(CacheServer.kind, server.adopt);
await service.listen(server.listener(), { host, port });
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

for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.on(signal, () => {
    sweeper.stop();
    void service.close().then(() => process.exit(0));
  });
