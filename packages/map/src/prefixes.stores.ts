/**
 * A process may die at any instruction: after every single store of a call, and in the midst of
 * bulk ones, whoever opens the file finds a whole map, and each key with its old or its new value.
 */
import { Prng } from '@liveupdate/base';
import { isQuick, seed } from '@liveupdate/base/test-seed';
import { forEachPrefix, storesOf } from '@liveupdate/mm/test-stores';
import { describe, expect, it } from 'vitest';
import { openMap, type MapOptions } from './open-map.ts';
import type { StoredMap } from './map.ts';
import { bytesOf } from './test-file.ts';

const TIME = 1_000_000;

type Bytes = Uint8Array<ArrayBuffer>;
type Content = ReadonlyMap<string, string>;

function opened(bytes: Bytes, options: MapOptions = {}): StoredMap {
  return openMap({ bytes }, { now: () => TIME, ...options });
}

/** Keys, values, expiries and header of a map in an image, which is looked at whole. */
function contentOf(bytes: Bytes): Content {
  const map = opened(bytes);
  map.verify();
  const content = new Map<string, string>();
  for (const [key, value] of map) content.set(key, `${value} until ${map.expiry(key)}`);
  content.set('', `${map.header.join()} ${map.schema}`);
  map.close();
  return content;
}

/** Keys and values that one has, and the others do not. */
function differences(found: Content, before: Content, after: Content): string[] {
  const wrong: string[] = [];
  for (const [key, value] of found)
    if (before.get(key) !== value && after.get(key) !== value) wrong.push(`${key}: ${value}`);
  for (const [key, value] of after)
    if (before.get(key) === value && found.get(key) !== value) wrong.push(`${key} lost`);
  return wrong;
}

/** @returns how many images were looked at */
async function everyPrefix(bytes: Bytes, call: () => void): Promise<number> {
  const image = bytes.slice();
  const before = contentOf(image.slice());
  const stores = await storesOf(bytes.buffer, call);
  const after = contentOf(bytes.slice());
  const looked = await forEachPrefix(image, stores, (now) => {
    const wrong = differences(contentOf(now.slice()), before, after);
    if (wrong.length > 0) expect.fail(wrong.join('\n'));
  });
  expect(Buffer.compare(image, bytes), 'all stores were seen').toBe(0);
  return looked;
}

const keyOf = (i: number) => `key ${i}`;

function fill(map: StoredMap, from: number, to: number, length = 20): void {
  for (let i = from; i < to; i++) map.set(keyOf(i), String(i).padEnd(length, '.'));
}

/** Fills a map until it is full. */
function fillUp(map: StoredMap, length: number): number {
  for (let i = 0; ; i++) {
    try {
      fill(map, i, i + 1, length);
    } catch {
      return i;
    }
  }
}

interface Scene {
  readonly name: string;
  readonly size?: number;
  readonly options?: MapOptions;
  readonly prepare: (map: StoredMap) => void;
  readonly call: (map: StoredMap) => void;
}

const SCENES: readonly Scene[] = [
  { name: 'a new key', prepare: (map) => fill(map, 0, 50), call: (map) => map.set('new', 'x'.repeat(300)) },
  {
    name: 'overwritten in place',
    prepare: (map) => fill(map, 0, 50),
    call: (map) => map.set(keyOf(7), '7'.repeat(20)),
  },
  {
    name: 'overwritten elsewhere',
    prepare: (map) => fill(map, 0, 50),
    call: (map) => map.set(keyOf(7), '7'.repeat(700), { expires: TIME + 5 }),
  },
  { name: 'deleted', prepare: (map) => fill(map, 0, 50), call: (map) => map.delete(keyOf(9)) },
  {
    name: 'deleted between two holes',
    prepare: (map) => {
      fill(map, 0, 50);
      map.delete(keyOf(8));
      map.delete(keyOf(10));
    },
    call: (map) => map.delete(keyOf(9)),
  },
  {
    name: 'counted',
    prepare: (map) => map.increment('n', 2 ** 32 - 1),
    call: (map) => map.increment('n'),
  },
  {
    name: 'text that becomes a counter',
    prepare: (map) => map.set('n', '41', { expires: TIME + 9 }),
    call: (map) => map.increment('n'),
  },
  {
    name: 'made to expire',
    prepare: (map) => fill(map, 0, 9),
    call: (map) => map.expireAt(keyOf(3), TIME + 1),
  },
  {
    name: 'made to expire later',
    prepare: (map) => map.set('k', 'v', { expires: TIME + 1 }),
    call: (map) => map.expireAt('k', TIME * 2 ** 20),
  },
  {
    name: 'a bucket is split, into a new segment',
    size: 2 ** 19,
    prepare: (map) => fill(map, 0, 4096, 0),
    call: (map) => fill(map, 4096, 4097, 0),
  },
  {
    name: 'a bucket with a chain is split',
    size: 2 ** 19,
    prepare: (map) => fill(map, 0, 4300, 0),
    call: (map) => fill(map, 4300, 4310, 0),
  },
  {
    name: 'buckets are merged, and a segment goes',
    size: 2 ** 19,
    prepare: (map) => {
      fill(map, 0, 4097, 0);
      for (let i = 0; i < 2045; i++) map.delete(keyOf(i));
    },
    call: (map) => map.delete(keyOf(2045)),
  },
  {
    name: 'the directory grows',
    size: 2 ** 20,
    prepare: (map) => fill(map, 0, 8192, 0),
    call: (map) => fill(map, 8192, 8193, 0),
  },
  {
    name: 'everything is moved',
    prepare: (map) => {
      fill(map, 0, 60);
      for (let i = 0; i < 60; i += 3) map.delete(keyOf(i));
      for (let i = 1; i < 60; i += 6) map.set(keyOf(i), 'x'.repeat(30 * i));
    },
    call: (map) => map.compact(1e9),
  },
  {
    name: 'everything is moved, the order of use too',
    options: { evict: 'lru' },
    prepare: (map) => {
      fill(map, 0, 30);
      for (let i = 0; i < 30; i += 3) map.delete(keyOf(i));
    },
    call: (map) => map.compact(1e9),
  },
  {
    name: 'memory is gathered for a large value',
    size: 2 ** 16,
    prepare: (map) => {
      const most = fillUp(map, 200);
      for (let i = 0; i < most; i += 4) map.delete(keyOf(i));
    },
    call: (map) => map.set('large', 'x'.repeat(1500)),
  },
  {
    name: 'what was used the longest ago goes',
    options: { evict: 'lru' },
    prepare: (map) => {
      for (let i = 0; map.stats.evicted < 10; i++) fill(map, i, i + 1, 300);
      map.get(keyOf(20));
    },
    call: (map) => map.set('large', 'x'.repeat(1000)),
  },
  {
    name: 'one that is full stays as it is',
    prepare: (map) => fillUp(map, 100),
    call: (map) => expect(() => map.set('large', 'x'.repeat(5000))).toThrow('ENOSPC'),
  },
  {
    name: 'overwritten in place, as there is no other memory',
    size: 2 ** 16,
    prepare: (map) => fillUp(map, 1000),
    call: (map) => map.set(keyOf(3), 'x'.repeat(990)),
  },
  {
    name: 'used',
    options: { evict: 'lru' },
    prepare: (map) => fill(map, 0, 20),
    call: (map) => map.get(keyOf(3)),
  },
  { name: 'all removed', prepare: (map) => fill(map, 0, 500), call: (map) => map.clear() },
  {
    name: 'the header',
    prepare: (map) => (map.header = new Uint8Array(100).fill(1)),
    call: (map) => (map.header = new Uint8Array(1000).fill(2)),
  },
  { name: 'the schema', prepare: (map) => fill(map, 0, 2), call: (map) => (map.schema = 9) },
];

describe('each key has its old or its new value after every store', () => {
  it.each(SCENES)('$name', async ({ size = 2 ** 17, options, prepare, call }) => {
    const { bytes } = bytesOf(size);
    using map = opened(bytes, options);
    prepare(map);
    expect(await everyPrefix(bytes, () => call(map))).toBeGreaterThan(0);
  });

  it('nothing is there until a map is made', async () => {
    const { bytes } = bytesOf(2 ** 17);
    const stores = await storesOf(bytes.buffer, () => opened(bytes).close());
    await forEachPrefix(new Uint8Array(bytes.length), stores, (now) => {
      expect(contentOf(now.slice())).toEqual(new Map([['', ' 1']]));
    });
  });

  it('a death while a death is taken back', async () => {
    const { bytes } = bytesOf(2 ** 17);
    const map = opened(bytes);
    fill(map, 0, 50);
    const image = bytes.slice();
    const before = contentOf(image.slice());
    const stores = await storesOf(bytes.buffer, () => map.set(keyOf(7), 'x'.repeat(700)));
    for (const { at, bytes: stored } of stores.slice(0, -4)) image.set(stored, at);
    const second = image.slice();
    const taken = await storesOf(second.buffer, () => opened(second).close());
    expect(taken.length).toBeGreaterThan(5);
    await forEachPrefix(image, taken, (now) => {
      expect(contentOf(now.slice())).toEqual(before);
    });
  });

  it(`random calls, LIVEUPDATE_SEED=${seed}`, async () => {
    const random = new Prng(seed);
    const most = isQuick ? 500 : process.env['LIVEUPDATE_LONG'] === undefined ? 3000 : 6000;
    let looked = 0;
    for (let round = 0; looked < most; round++) {
      const { bytes } = bytesOf(2 ** 17);
      using map = opened(bytes, round % 2 === 0 ? {} : { evict: 'lru' });
      fill(map, 0, random.below(400), random.below(200));
      for (let i = 0; i < 20; i++) looked += await everyPrefix(bytes, () => randomCall(map, random));
    }
  });
});

function randomCall(map: StoredMap, random: Prng): void {
  const key = keyOf(random.below(300));
  const value = String(random.below(1000)).padEnd(random.below(random.below(5) === 0 ? 3000 : 60), 'y');
  const expires = random.below(3) === 0 ? TIME + 1 + random.below(100) : 'keep';
  const calls = [
    () => map.set(key, value, { expires }),
    () => map.set(key, value),
    () => map.delete(key),
    () => map.expireAt(key, TIME + random.below(100)),
    () => map.increment(`n ${random.below(10)}`, random.below(2 ** 31)),
    () => map.get(key),
    () => map.compact(random.below(2) + 0.01),
  ];
  try {
    calls[random.below(calls.length)]();
  } catch (error) {
    expect(error).toMatchObject({ code: 'ENOSPC' });
  }
}
