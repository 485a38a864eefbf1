/** Maps that are full, or nearly so, or in many pieces; and those that are larger than 1 GiB. */
import { Prng } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { MappedRam } from '@liveupdate/linux';
import { describe, expect, it } from 'vitest';
import { heapEndIn } from './format.ts';
import { Header, REGION_UNITS } from './abi.ts';
import { openMap } from './open-map.ts';
import type { StoredMap } from './map.ts';
import { bucketCount } from './table.ts';
import { bytesOf } from './test-file.ts';

const coded = (code: string) => expect.objectContaining({ code }) as Error;

function fillUp(map: StoredMap, name: string, valueOf: (i: number) => string): number {
  for (let i = 0; ; i++) {
    try {
      map.set(`${name} ${i}`, valueOf(i));
    } catch (error) {
      expect(error).toMatchObject({ code: 'ENOSPC' });
      return i;
    }
  }
}

it(`a map is filled up to the last piece, and says so, seed ${seed}`, () => {
  const random = new Prng(seed);
  for (let round = 0; round < 60; round++) {
    using map = openMap(bytesOf(2 ** 16 + 8 * random.below(2 ** 13)));
    // Short ones: buckets have chains.
    const most = 1 + random.below(30);
    const count = fillUp(map, 'k', () => 'x'.repeat(random.below(most)));
    for (let i = 0; i < count; i += 1 + random.below(20)) map.delete(`k ${i}`);
    fillUp(map, 'again', () => 'x'.repeat(random.below(most)));
    map.verify();
  }
});

it('there is a piece for the value, and none for the bucket that it needs', () => {
  // Pieces of exactly the size of an entry, in a table whose chains are full.
  using map = openMap(bytesOf(2 ** 18));
  const { size } = map;
  const count = fillUp(map, 'k', () => '');
  expect(size).toBe(0);
  for (let round = 0; round < 300; round++) {
    map.delete(`k ${round}`);
    map.delete(`k ${count - 1 - round}`);
    fillUp(map, `again ${round}`, () => '');
  }
  map.verify();
});

describe('with evict', () => {
  it('a value that finds no room beside the buckets has nobody removed', () => {
    using map = openMap(bytesOf(2 ** 16), { evict: 'lru' });
    for (let i = 0; i < 50; i++) map.set(`k ${i}`, 'v'.repeat(100));
    expect(() => map.set('large', 'x'.repeat(22_000))).toThrow(coded('ENOSPC'));
    expect([map.size, map.stats.evicted]).toEqual([50, 0]);
    using limited = openMap(bytesOf(2 ** 20), { evict: 'lru', maxBytes: '128KiB' });
    for (let i = 0; i < 50; i++) limited.set(`k ${i}`, 'v'.repeat(1000));
    expect(() => limited.set('large', 'x'.repeat(100_000))).toThrow(coded('ENOSPC'));
    expect([limited.size, limited.stats.evicted]).toEqual([50, 0]);
  });

  it('of values of all sizes, each finds room that may have it', () => {
    const random = new Prng(seed);
    using map = openMap(bytesOf(2 ** 18), { evict: 'lru' });
    for (let i = 0; i < 20_000; i++) {
      const length = random.below(random.below(10) === 0 ? 60_000 : 200);
      map.set(`k ${random.below(5000)}`, 'x'.repeat(length));
    }
    map.verify();
    expect(map.stats.evicted).toBeGreaterThan(1000);
  });

  it('not all keys are looked at for expired ones when one needs room', () => {
    let asked = 0;
    using map = openMap(bytesOf(2 ** 22), {
      evict: 'lru',
      now: () => {
        asked += 1;
        return 1000;
      },
    });
    for (let i = 0; map.stats.evicted === 0; i++) map.set(`k ${i}`, 'x'.repeat(30), { expires: 2000 });
    expect(map.size).toBeGreaterThan(20_000);
    asked = 0;
    for (let i = 0; i < 100; i++) map.set(`more ${i}`, 'x'.repeat(30), { expires: 2000 });
    expect(asked / 100).toBeLessThan(1000);
  });

  it('a limit that is much lower than before is reached in parts', () => {
    const place = bytesOf(2 ** 22);
    const map = openMap(place, { evict: 'lru' });
    for (let i = 0; i < 30_000; i++) map.set(`k ${i}`, 'x'.repeat(30));
    map.close();
    using smaller = openMap(place, { evict: 'lru', maxBytes: '256KiB' });
    smaller.set('k', 'v');
    expect(smaller.size).toBeGreaterThan(10_000);
    for (let i = 0; i < 100; i++) smaller.set('k', 'v'.repeat(i * 20));
    expect(smaller.stats.used).toBeLessThanOrEqual(2 ** 18);
    smaller.verify();
  });
});

it('a full map looks for expired keys once, until one can have expired', () => {
  let asked = 0;
  let time = 1000;
  using map = openMap(bytesOf(2 ** 20), {
    now: () => {
      asked += 1;
      return time;
    },
  });
  map.set('expires', 'x'.repeat(100), { expires: 2000 });
  fillUp(map, 'k', (i) => (map.set(`${i}`, '', { expires: 3000 }), 'x'.repeat(100)));
  // What was refused may have wanted a bucket: another key may find room still.
  const refused = `more ${fillUp(map, 'more', () => 'x'.repeat(100))}`;
  asked = 0;
  for (let i = 0; i < 100; i++) expect(() => map.set(refused, 'x'.repeat(100))).toThrow(coded('ENOSPC'));
  expect(asked).toBeLessThan(1000);
  time = 2000;
  map.set(refused, 'x'.repeat(100));
  expect([map.has(refused), map.has('expires')]).toEqual([true, false]);
});

it('buckets are made also where memory is in small pieces', () => {
  const place = bytesOf(2 ** 24);
  using map = openMap(place);
  const count = fillUp(map, 'large', () => 'x'.repeat(10_000));
  for (let i = 0; i < count; i += 2) map.delete(`large ${i}`);
  for (let i = 0; i < 150_000; i++) map.set(`k ${i}`, '');
  const words = new Int32Array(place.bytes.buffer);
  expect(map.size / bucketCount(words)).toBeLessThan(16);
  map.verify();
});

describe('large files', () => {
  it('the heap ends where references can lead to', () => {
    const lengthOf = (units: number) => ({ length: units * 2 }) as Int32Array;
    expect(heapEndIn(lengthOf(1000))).toBe(1000);
    expect(heapEndIn(lengthOf(REGION_UNITS))).toBe(REGION_UNITS);
    expect(heapEndIn(lengthOf(REGION_UNITS - 1))).toBe(REGION_UNITS - 2);
    expect(heapEndIn(lengthOf(2 ** 31))).toBe(2 ** 31 - 1);
  });

  it('of 16 GiB, and one that grows from just below 1 GiB', () => {
    const path = `/dev/shm/liveupdate-map-large-${process.pid}`;
    const ram = MappedRam.create({ path, size: 2 ** 34 });
    try {
      const bytes = ram.bytes(0, 2 ** 34);
      let map = openMap({ bytes });
      map.set('k', 'v');
      map.close();
      map = openMap({ bytes });
      expect([map.get('k'), map.stats.capacity]).toEqual(['v', 2 ** 34 - 8]);
      map.verify();
      map.close();
      bytes.fill(0, 0, 2 ** 16);
      map = openMap({ bytes: bytes.subarray(0, 2 ** 30 - 8) });
      const value = new Uint8Array(2 ** 16);
      map.close();
      map = openMap({ bytes: bytes.subarray(0, 2 ** 31) });
      new Int32Array(bytes.buffer, bytes.byteOffset)[Header.sweepAt] = -5;
      expect(() => {
        for (let i = 0; ; i++) map.set(`k ${i % 3}`, i < 5 ? value : new Uint8Array(600 * 2 ** 20));
      }).toThrow(coded('ENOSPC'));
      expect(map.stats.capacity).toBe(2 ** 31);
      map.verify();
      map.close();
    } finally {
      ram.close();
      MappedRam.remove(path);
    }
  });
});
