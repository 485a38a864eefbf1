/** Threads that read see whole values only, whatever the one that writes is doing. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { Prng } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { expect, it } from 'vitest';
import { openMap, openMapReader } from './open-map.ts';
import { valueOf } from './test-values.ts';
import { bytesOf } from './test-file.ts';

const CHANGES = 400_000;

it(`a thread reads while values change, buckets split and memory moves, seed ${seed}`, async () => {
  const memory = new SharedArrayBuffer(4 * 2 ** 20);
  const stop = new Int32Array(new SharedArrayBuffer(4));
  using map = openMap({ bytes: new Uint8Array(memory) as unknown as Uint8Array<ArrayBuffer> });
  map.set('always', valueOf('always', 0, 50));
  const worker = new Worker(new URL('./test-reader-worker.ts', import.meta.url), {
    workerData: { memory, stop },
  });
  await once(worker, 'message');
  const random = new Prng(seed);
  for (let i = 1; i < CHANGES; i++) {
    // The table grows and shrinks again and again.
    const key = i % 40_000 < 30_000 ? random.below(10_000) : random.below(300);
    const name = `key ${key}`;
    const kind = random.below(8);
    if (kind === 0 || i % 40_000 > 30_000) map.delete(name);
    else map.set(name, valueOf(name, i, random.below(120)));
    // In place, most of the time.
    if (i % 2 === 0) map.set('always', valueOf('always', i, i % 20 === 0 ? random.below(300) : 200));
    if (i % 1000 === 0) map.compact(0.5);
    if (i % 40_000 === 39_999) for (let j = 0; j < 10_000; j++) map.delete(`key ${j}`);
  }
  Atomics.store(stop, 0, 1);
  const [result] = (await once(worker, 'message')) as [{ wrong: string[]; found: number; scans: number }];
  expect(result.wrong).toEqual([]);
  expect(result.found).toBeGreaterThan(1000);
  expect(result.scans).toBeGreaterThan(1);
  map.verify();
});

it('what has expired is gone for a reader too, and what is closed is EBADF', () => {
  const { bytes } = bytesOf(2 ** 17);
  let time = 1000;
  let isLive = true;
  using map = openMap({ bytes });
  map.set('k', 'v', { expires: 2000 });
  const view = {
    bytes,
    get isLive() {
      return isLive;
    },
  };
  const reader = openMapReader(view, { now: () => time });
  expect([reader.get('k'), reader.has('k'), reader.size]).toEqual(['v', true, 1]);
  time = 2000;
  expect([reader.get('k'), reader.has('k'), [...reader.keys()], reader.size]).toEqual([
    undefined,
    false,
    [],
    1,
  ]);
  isLive = false;
  for (const call of [() => reader.get('k'), () => reader.size, () => [...reader], () => reader.stats])
    expect(call).toThrow(expect.objectContaining({ code: 'EBADF' }) as Error);
});

it('a reader that is asked for nonsense says so, and does not look again for ever', () => {
  const { bytes } = bytesOf(2 ** 17);
  using map = openMap({ bytes });
  map.set('k', 'v');
  const calls = (reader: ReturnType<typeof openMapReader>, key: string) => [
    () => reader.has(key),
    () => reader.get(key),
    () => reader.expiry(key),
    () => reader.read(key, () => 1),
  ];
  for (let i = 0; i < 4; i++)
    expect(calls(openMapReader({ bytes }), 5 as never)[i]).toThrow(
      expect.objectContaining({ code: 'EINVAL' }) as Error,
    );
});

it('a reader of a map that has changed and was closed says that it is closed', () => {
  const { bytes } = bytesOf(2 ** 17);
  using map = openMap({ bytes });
  map.set('k', 'v');
  let isLive = true;
  const view = {
    bytes,
    get isLive() {
      return isLive;
    },
  };
  const reader = openMapReader(view);
  expect(reader.has('k')).toBe(true);
  map.set('k', 'w');
  isLive = false;
  expect(() => reader.has('k')).toThrow(expect.objectContaining({ code: 'EBADF' }) as Error);
  expect(() => reader.read('k', () => 1)).toThrow(expect.objectContaining({ code: 'EBADF' }) as Error);
  isLive = true;
  const own = bytes.slice();
  const gone = openMapReader({ bytes: own });
  expect(gone.has('k')).toBe(true);
  structuredClone(own.buffer, { transfer: [own.buffer] });
  expect(() => gone.has('k')).toThrow(expect.objectContaining({ code: 'EBADF' }) as Error);
});

it('what a reader meets of a change that is under way is no damage', () => {
  const place = bytesOf(2 ** 17);
  using map = openMap(place, { now: () => 5 });
  for (const key of ['k', 'between', 'j', 'behind']) map.set(key, 'x'.repeat(100), { expires: 1000 });
  // It is asked when the entry was found. That becomes free, and refers to another one.
  let isFirst = true;
  const now = () => {
    if (isFirst) {
      isFirst = false;
      map.set('k', 'y'.repeat(500), { expires: 1000 });
      map.delete('j');
    }
    return 5;
  };
  expect(openMapReader(place, { now }).get('k')).toBe('y'.repeat(500));
});
