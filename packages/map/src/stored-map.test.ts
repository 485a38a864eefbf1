/** What each call of a map promises, and what bad input gets. */
import { fillRandom, Prng } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { describe, expect, it } from 'vitest';
import { HEAP_START, Header } from './abi.ts';
import { openMap, type MapOptions } from './open-map.ts';
import { bytesOf, fileOf } from './test-file.ts';

/** One word in so many is damaged, others each time. */
const STRIDE = process.env['LIVEUPDATE_LONG'] === undefined ? 7 : 1;
const text = (value: Uint8Array) => new TextDecoder().decode(value);
const coded = (code: string) => expect.objectContaining({ code }) as Error;

describe('values', () => {
  it('are strings or bytes, as asked for', () => {
    const place = bytesOf(2 ** 17);
    const map = openMap(place);
    map.set('a', 'ü€😀');
    map.set(new Uint8Array([1, 2]), new Uint16Array([0x6261]));
    expect([map.get('a'), map.get(Uint8Array.of(1, 2)), map.get('b'), map.size]).toEqual([
      'ü€😀',
      'ab',
      undefined,
      2,
    ]);
    expect(map.read('a', (value) => value.length)).toBe(9);
    map.close();
    using bytes = openMap(place, { keyEncoding: 'view', valueEncoding: 'view' });
    expect(new Map([...bytes].map(([key, value]) => [key.join(), text(value)]))).toEqual(
      new Map([
        ['97', 'ü€😀'],
        ['1,2', 'ab'],
      ]),
    );
    const copy = bytes.get('a');
    bytes.set('a', 'other');
    expect(text(copy ?? new Uint8Array())).toBe('ü€😀');
  });

  it('that are no UTF-8 come as bytes, and among all entries', () => {
    using map = openMap(bytesOf(2 ** 17));
    const key = Uint8Array.of(0xff, 0xfe);
    map.set(key, key);
    expect(map.read(key, (value) => value.join())).toBe('255,254');
    expect([...map]).toEqual([['\ufffd\ufffd', '\ufffd\ufffd']]);
  });

  it('a text keeps its first character, whichever it is', () => {
    using map = openMap(bytesOf(2 ** 17));
    for (const each of ['\ufeffx', '', '\0', 'x'.repeat(10_000)]) {
      map.set(each, each);
      expect(map.get(each)).toBe(each);
    }
    expect(() => map.set('\ud800', 'x')).toThrow(coded('EINVAL'));
    expect(() => map.set('x', 'a\udc00')).toThrow(coded('EINVAL'));
  });

  it('of every length, in place and elsewhere', () => {
    using map = openMap(bytesOf(2 ** 19));
    for (let length = 0; length < 700; length++) {
      map.set('k', 'x'.repeat(length));
      map.set(`k${length % 50}`, 'y'.repeat(699 - length));
      expect(map.get('k')).toBe('x'.repeat(length));
    }
    map.verify();
  });

  it('a key has 65,535 bytes at most', () => {
    using map = openMap(bytesOf(2 ** 19));
    map.set('k'.repeat(65_535), 'v');
    expect(map.get('k'.repeat(65_535))).toBe('v');
    expect(() => map.set('k'.repeat(65_536), 'v')).toThrow(coded('EMSGSIZE'));
    expect(() => map.get('ü'.repeat(32_768))).toThrow(coded('EMSGSIZE'));
  });
});

describe('counters', () => {
  it('count in place, up to 64 bits', () => {
    using map = openMap(bytesOf(2 ** 17));
    expect([map.increment('n'), map.increment('n', -5), map.get('n')]).toEqual([1, -4, '-4']);
    map.set('n', '9007199254740990');
    expect(map.increment('n')).toBe(Number.MAX_SAFE_INTEGER);
    expect(() => map.increment('n')).toThrow(coded('ERANGE'));
    expect([map.increment('n', 1n), map.get('n')]).toEqual([2n ** 53n, '9007199254740992']);
    expect(() => map.increment('n')).toThrow(coded('ERANGE'));
    map.set('n', '9223372036854775806');
    expect(map.increment('n', 1n)).toBe(2n ** 63n - 1n);
    expect(() => map.increment('n', 1n)).toThrow(coded('ERANGE'));
    expect(map.get('n')).toBe('9223372036854775807');
    map.set('n', '-9223372036854775808');
    expect(() => map.increment('n', -1n)).toThrow(coded('ERANGE'));
    expect([map.increment('n', 0n), map.read('n', text)]).toEqual([-(2n ** 63n), '-9223372036854775808']);
  });

  it.each(['', ' 1', '1 ', '01', '+1', '-0', '1.0', '9223372036854775808', 'x'])(
    '%j is no number',
    (value) => {
      using map = openMap(bytesOf(2 ** 17));
      map.set('n', value);
      expect(() => map.increment('n')).toThrow(coded('EINVAL'));
      expect(map.get('n')).toBe(value);
    },
  );
});

describe('expiry', () => {
  it('a key is gone from its moment on, and its memory when it is met or swept', () => {
    let now = 1000;
    using map = openMap(bytesOf(2 ** 17), { now: () => now });
    map.set('a', '1', { expires: 2000 });
    map.set('b', '2', { expires: 3000 });
    map.set('c', '3');
    const all = map.stats.used;
    expect([map.expiry('a'), map.expiry('c'), map.expiry('d')]).toEqual([2000, Infinity, undefined]);
    now = 2000;
    expect([map.get('a'), map.has('b'), map.size, map.stats.expiring]).toEqual([undefined, true, 2, 1]);
    now = 3000;
    expect([map.size, map.sweep(1e6), map.size, map.stats.expiring]).toEqual([2, 1, 1, 0]);
    expect(map.stats.used).toBeLessThan(all);
    expect(map.delete('a')).toBe(false);
  });

  it("stays with 'keep', and goes without", () => {
    using map = openMap(bytesOf(2 ** 17), { now: () => 1000 });
    map.set('a', '1', { expires: 2000 });
    map.set('a', 'longer than it was before', { expires: 'keep' });
    expect(map.expiry('a')).toBe(2000);
    map.increment('n');
    map.expireAt('n', 5000);
    expect([map.increment('n'), map.expiry('n')]).toEqual([2, 5000]);
    map.set('a', '2');
    expect([map.expiry('a'), map.expireAt('a', Infinity), map.expireAt('x', 5)]).toEqual([
      Infinity,
      true,
      false,
    ]);
    expect([map.expireAt('n', 1000), map.has('n')]).toEqual([true, false]);
  });
});

describe('eviction', () => {
  it('keeps the bytes in use below a limit, and what was used last', () => {
    using map = openMap(bytesOf(2 ** 20), { evict: 'lru', maxBytes: '256KiB' });
    map.set('hot', 'x');
    for (let i = 0; i < 5000; i++) {
      map.set(`key ${i}`, 'v'.repeat(100));
      map.get('hot');
      expect(map.stats.used).toBeLessThanOrEqual(2 ** 18);
    }
    expect([map.has('hot'), map.has('key 4999'), map.has('key 0')]).toEqual([true, true, false]);
    expect(map.size + map.stats.evicted).toBe(5001);
  });

  it('one value does not take more than half of the map', () => {
    using map = openMap(bytesOf(2 ** 18), { evict: 'lru' });
    for (let i = 0; i < 100; i++) map.set(`key ${i}`, 'v'.repeat(1000));
    expect(() => map.set('large', 'x'.repeat(2 ** 17 + 2 ** 16))).toThrow(coded('ENOSPC'));
    expect(map.size).toBe(100);
  });
});

describe('memory', () => {
  it.each([8, 100, 400, 1000, 3900])('a full map overwrites a value of %d bytes', (length) => {
    using map = openMap(bytesOf(2 ** 17));
    let count = 0;
    expect(() => {
      for (; ; count++) map.set(`key ${count}`, 'x'.repeat(length));
    }).toThrow(coded('ENOSPC'));
    for (let i = 0; i < count; i++) {
      map.set(`key ${i}`, 'y'.repeat(length));
      map.set(`key ${i}`, 'z'.repeat(length - 1));
      expect(map.get(`key ${i}`)).toBe('z'.repeat(length - 1));
    }
    map.verify();
  });

  it('all of it comes back: filled and emptied, again and again', () => {
    using map = openMap(bytesOf(2 ** 20));
    const { used } = map.stats;
    for (let round = 0; round < 5; round++) {
      for (let i = 0; i < 5000; i++) map.set(`key ${i}`, 'x'.repeat((i * 7 + round) % 120));
      for (let i = 0; i < 5000; i++) expect(map.delete(`key ${i}`)).toBe(true);
      expect([map.size, map.stats.used <= used + 64]).toEqual([0, true]);
      map.verify();
    }
  });

  it('a large value finds room among small ones: they are moved together', () => {
    using map = openMap(bytesOf(2 ** 20));
    let count = 0;
    for (; map.stats.free > 2000; count++) map.set(`key ${count}`, 'x'.repeat(80));
    for (let i = 0; i < count; i += 2) map.delete(`key ${i}`);
    expect(map.stats.largestFree).toBeLessThan(20_000);
    map.set('large', 'y'.repeat(200_000));
    expect(map.get('large')).toHaveLength(200_000);
    for (let i = 1; i < count; i += 2) expect(map.get(`key ${i}`)).toBe('x'.repeat(80));
    map.verify();
  });

  it('compact leaves one free piece, in as many turns as it takes', () => {
    using map = openMap(bytesOf(2 ** 20));
    for (let i = 0; i < 5000; i++) map.set(`key ${i}`, 'x'.repeat(i % 100));
    for (let i = 0; i < 5000; i += 3) map.delete(`key ${i}`);
    let turns = 1;
    while (!map.compact(0.01).isDone) turns += 1;
    expect(turns).toBeGreaterThan(1);
    expect(map.stats.free - map.stats.largestFree).toBeLessThan(20_000);
    map.verify();
  });

  it('a file that has grown is made use of, by the next who opens it', () => {
    const { bytes } = bytesOf(2 ** 18);
    let map = openMap({ bytes: bytes.subarray(0, 2 ** 17) });
    expect(() => {
      for (let i = 0; ; i++) map.set(`key ${i}`, 'x'.repeat(100));
    }).toThrow(coded('ENOSPC'));
    const { size } = map;
    map.close();
    map = openMap({ bytes });
    for (let i = size; i < size * 1.5; i++) map.set(`key ${i}`, 'x'.repeat(100));
    expect([map.size > size, map.stats.capacity]).toEqual([true, 2 ** 18]);
    map.verify();
    map.close();
  });
});

describe('all keys', () => {
  it('come once each, whatever happens meanwhile', () => {
    using map = openMap(bytesOf(2 ** 22));
    for (let i = 0; i < 4000; i++) map.set(`stays ${i}`, 'x');
    const seen = new Map<string, number>();
    let cursor = 0;
    let round = 0;
    do {
      const { keys, cursor: next } = map.scan(cursor, 50);
      for (const key of keys) seen.set(key, (seen.get(key) ?? 0) + 1);
      // The table doubles and halves.
      for (let i = 0; i < 800; i++)
        if (round % 40 < 20) map.set(`comes ${round % 20} ${i}`, 'y');
        else map.delete(`comes ${round % 20} ${i}`);
      cursor = next;
      round += 1;
    } while (cursor !== 0);
    for (let i = 0; i < 4000; i++) expect(seen.get(`stays ${i}`)).toBe(1);
    expect([...seen.values()].every((times) => times < 3)).toBe(true);
  });

  it('are found at random, each', () => {
    using map = openMap(bytesOf(2 ** 17));
    expect(map.randomKey()).toBeUndefined();
    for (let i = 0; i < 20; i++) map.set(`key ${i}`, '');
    const seen = new Set(Array.from({ length: 2000 }, () => map.randomKey()));
    expect(seen.size).toBe(20);
  });
});

describe('opening', () => {
  const make = (options?: MapOptions) => {
    const place = bytesOf(2 ** 17);
    const map = openMap(place, options);
    map.set('k', 'v');
    map.header = Uint8Array.of(1, 2, 3);
    map.close();
    return place;
  };

  it('finds what was stored, header and schema too', () => {
    using map = openMap(make({ schema: 3 }), { schema: 3 });
    expect([map.get('k'), map.header.join(), map.schema]).toEqual(['v', '1,2,3', 3]);
    map.schema = 4;
    expect(map.schema).toBe(4);
    expect(() => (map.header = new Uint8Array(1025))).toThrow(coded('EINVAL'));
  });

  it('refuses another schema, another way to evict, and a second writer', () => {
    const place = make();
    expect(() => openMap(place, { schema: 2 })).toThrow(coded('EINVAL'));
    expect(() => openMap(place, { evict: 'lru' })).toThrow(coded('EINVAL'));
    using map = openMap(place, { evict: 'never' });
    expect(() => openMap(place)).toThrow(coded('EBUSY'));
    expect(map.get('k')).toBe('v');
  });

  it('a file is mapped until the map is closed', () => {
    const file = fileOf(2 ** 17);
    const map = openMap(file);
    map.set('k', 'v');
    expect(() => openMap(file)).toThrow(coded('EBUSY'));
    map.close();
    for (const call of [
      () => map.get('k'),
      () => map.set('k', 'v'),
      () => map.size,
      () => [...map],
      () => map.share(),
    ])
      expect(call).toThrow(coded('EBADF'));
    using again = openMap(file);
    expect(again.get('k')).toBe('v');
    expect(() => again.share()).toThrow(coded('EOPNOTSUPP'));
    expect(() => openMap(bytesOf(8192))).toThrow(coded('EINVAL'));
    const empty = fileOf(2 ** 17);
    empty.truncate(0);
    expect(() => openMap(empty)).toThrow(coded('EINVAL'));
  });

  it('refuses what is no map, of another format, or damaged', () => {
    const random = bytesOf(2 ** 17);
    fillRandom(new Uint32Array(random.bytes.buffer), 1);
    expect(() => openMap(random)).toThrow(coded('EINVAL'));
    const newer = make();
    new Int32Array(newer.bytes.buffer)[Header.format] = 2;
    expect(() => openMap(newer)).toThrow('format 2');
    const wrong = [
      Header.hashKey,
      Header.flags,
      Header.checksum,
      Header.heapEnd,
      Header.directory,
      Header.level,
    ];
    for (const word of wrong) {
      const place = make();
      new Int32Array(place.bytes.buffer)[word] ^= 0x1000_0000;
      expect(() => openMap(place), `word ${word}`).toThrow(coded('EIO'));
    }
    const cut = make();
    expect(() => openMap({ bytes: cut.bytes.subarray(0, 2 ** 16) })).toThrow(coded('EIO'));
  });

  it('one wrong word anywhere is found by verify, or makes no difference', () => {
    const { bytes } = bytesOf(2 ** 16);
    const map = openMap({ bytes });
    for (let i = 0; i < 40; i++) map.set(`key ${i}`, 'x'.repeat(i), i % 3 === 0 ? { expires: 4e15 } : {});
    for (let i = 0; i < 40; i += 7) map.delete(`key ${i}`);
    const content = new Map(map);
    map.close();
    let found = 0;
    const random = new Prng(seed);
    const words = new Int32Array(bytes.buffer).length;
    for (let word = HEAP_START * 2 + random.below(STRIDE); word < words; word += STRIDE) {
      const copy = bytes.slice();
      new Int32Array(copy.buffer)[word] ^= 0x0400_0004;
      using damaged = openMap({ bytes: copy });
      try {
        damaged.verify();
        // Values have no checksum: what is in them is whatever is there. Nothing else differs.
        expect([...damaged.keys()].sort()).toEqual([...content.keys()].sort());
      } catch (error) {
        expect(error).toMatchObject({ code: 'EIO' });
        found += 1;
      }
    }
    expect(found).toBeGreaterThan(50);
  });
});
