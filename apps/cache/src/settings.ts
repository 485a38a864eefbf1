/** What CONFIG GET tells: by Redis' names, for its clients ask for these. */
import type { CacheOptions } from './options.ts';
import { MOST_BYTES } from './request-parser.ts';

export function settingsOf({ size, host, port, socket, evicts }: CacheOptions): Map<string, string> {
  return new Map([
    ['port', String(port)],
    ['bind', host],
    ['unixsocket', socket ?? ''],
    ['databases', '1'],
    ['maxmemory', String(size)],
    ['maxmemory-policy', evicts ? 'allkeys-lru' : 'noeviction'],
    ['proto-max-bulk-len', String(MOST_BYTES)],
    ['timeout', '0'],
    // Nothing is written to a disk: memory itself is what survives.
    ['save', ''],
    ['appendonly', 'no'],
  ]);
}
