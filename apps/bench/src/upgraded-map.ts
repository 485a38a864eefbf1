/**
 * A service that keeps its numbers in a map with many keys, under a supervisor; or, to compare, in
 * an array beside as many bytes without a map.
 */
import { createServer } from 'node:http';
import { KernelError } from '@liveupdate/base';
import { openMap } from '@liveupdate/map';
import { openService } from '@liveupdate/service';
import { argument, tellFailures } from './child-side.ts';
import { keyOf, mapFileSize, valueOf } from './keys.ts';
import { answers, arrayNumbers, HOST, MOST_KEYS } from './numbers-server.ts';
import type { Numbers } from './open-store.ts';
import { fillBytes, ramSizeFor, touchBytes } from './workload.ts';

tellFailures();

/** What the service is told. */
export interface UpgradedMapArgument {
  readonly name: string;
  /** Keys that are in its map, and that there is room for where it has none. */
  readonly count: number;
  readonly hasMap: boolean;
}

void main();

async function main(): Promise<void> {
  const { name, count, hasMap } = argument() as UpgradedMapArgument;
  const size = mapFileSize(count);
  const service = await openService({ name, size: ramSizeFor(size) });
  const file = await service.file('numbers', { size });
  const { bytes } = file;
  const numbers = hasMap ? mapNumbers(file, count) : besideBytes(bytes);
  const server = createServer(answers(numbers, () => touchBytes(bytes)));
  await service.listen(server, { host: HOST, port: 0 });
  await service.ready();
  process.on('SIGTERM', () => {
    void service.close().then(() => process.exit(0));
  });
}

/** The first version puts all keys in; every other one finds them. */
function mapNumbers(file: Parameters<typeof openMap>[0], count: number): Numbers {
  const map = openMap(file);
  if (map.size === 0) for (let i = 0; i < count; i++) map.set(keyOf(i), valueOf(i));
  if (map.size < count) throw new KernelError('EIO', `of ${count} keys ${map.size} are left`);
  return {
    get: (key) => Number(map.get(`number:${key}`) ?? 0),
    put: (key, value) => {
      map.set(`number:${key}`, String(value));
    },
  };
}

/** The same memory is there, and nothing leads through it. */
function besideBytes(bytes: Uint8Array<ArrayBuffer>): Numbers {
  const array = new Uint32Array(bytes.buffer, bytes.byteOffset, MOST_KEYS);
  if (bytes.at(-1) === 0) fillBytes(bytes.subarray(array.byteLength));
  return arrayNumbers(array);
}
