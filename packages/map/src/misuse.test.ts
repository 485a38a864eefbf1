/** What callers do that they should not: nothing of the map, or of somebody else, is harmed. */
import { MappedRam } from '@liveupdate/linux';
import { describe, expect, it } from 'vitest';
import { openMap, openMapReader } from './open-map.ts';
import { bytesOf, fileOf } from './test-file.ts';

const coded = (code: string) => expect.objectContaining({ code }) as Error;

describe('a place', () => {
  it('with something else in it stays as it is, also where that begins with zeros', () => {
    for (const at of [100, 4096, 3 * 4096 - 1]) {
      const place = bytesOf(2 ** 17);
      place.bytes[at] = 7;
      const before = place.bytes.slice();
      expect(() => openMap(place)).toThrow(coded('EINVAL'));
      expect(place.bytes).toEqual(before);
    }
  });

  it('with a map that has lost its first word is not made anew', () => {
    const place = bytesOf(2 ** 17);
    const map = openMap(place);
    map.set('k', 'v');
    map.close();
    place.bytes.fill(0, 0, 4);
    expect(() => openMap(place)).toThrow(coded('EINVAL'));
  });

  it('a Buffer of Node.js: what is returned is a copy', () => {
    using map = openMap({ bytes: Buffer.alloc(2 ** 17) }, { keyEncoding: 'view', valueEncoding: 'view' });
    map.set('k', 'hello');
    const [[key, value]] = map.entries();
    map.set('k', 'HELLO');
    map.delete('k');
    map.set('x', 'other');
    expect([Buffer.from(key).toString(), Buffer.from(value).toString()]).toEqual(['k', 'hello']);
  });
});

describe('one writer', () => {
  it('whichever view of the same memory is opened, by whichever copy of the package', async () => {
    const file = fileOf(2 ** 17);
    using map = openMap(file);
    const view = file.map();
    map.set('k', 'v');
    expect(() => openMap(view)).toThrow(coded('EBUSY'));
    expect(() =>
      openMap({ bytes: new Uint8Array(view.bytes.buffer, view.bytes.byteOffset, 2 ** 17) }),
    ).toThrow(coded('EBUSY'));
    const copy = './open-map.ts?copy';
    const { openMap: other } = (await import(copy)) as { openMap: typeof openMap };
    expect(other).not.toBe(openMap);
    expect(() => other(file)).toThrow(coded('EBUSY'));
    expect(map.get('k')).toBe('v');
    map.verify();
  });

  it('of each: two maps lie in one buffer', () => {
    const { bytes } = bytesOf(2 ** 18);
    using one = openMap({ bytes: bytes.subarray(0, 2 ** 17) });
    using two = openMap({ bytes: bytes.subarray(2 ** 17) });
    one.set('k', '1');
    two.set('k', '2');
    expect([one.get('k'), two.get('k')]).toEqual(['1', '2']);
  });

  it('may change within one process: generations of a service have views of their own', () => {
    const path = `/dev/shm/liveupdate-map-generations-${process.pid}`;
    using before = MappedRam.create({ path, size: 2 ** 20 });
    using after = MappedRam.open({ path });
    MappedRam.remove(path);
    using old = openMap({ bytes: before.bytes(0, 2 ** 20) });
    old.set('k', 'v');
    using next = openMap({ bytes: after.bytes(0, 2 ** 20) });
    expect(next.get('k')).toBe('v');
    next.close();
    old.set('k', 'w');
    old.verify();
  });

  it('closed twice, it does not end the next one', () => {
    const file = fileOf(2 ** 17);
    const first = openMap(file);
    first.close();
    using second = openMap(file);
    first.close();
    expect(() => openMap(file)).toThrow(coded('EBUSY'));
    second.set('k', 'v');
    expect(second.get('k')).toBe('v');
  });
});

describe('a clock', () => {
  it.each<[string, (map: ReturnType<typeof openMap>) => unknown]>([
    ['deletes', (map) => map.delete('a')],
    ['sets', (map) => map.set('b', 'x'.repeat(40))],
    ['clears', (map) => map.clear()],
    ['closes', (map) => map.close()],
  ])('that %s in the middle of a call is refused', (_, call) => {
    let isEvil = false;
    using map = openMap(bytesOf(2 ** 17), {
      now: () => {
        if (isEvil) call(map);
        return 5;
      },
    });
    map.set('a', '1'.repeat(30), { expires: 1000 });
    isEvil = true;
    for (const change of [
      () => map.set('a', '2'.repeat(30), { expires: 1000 }),
      () => map.get('a'),
      () => map.expireAt('a', 2000),
      () => map.increment('a'),
      () => [...map],
    ])
      expect(change).toThrow(coded('EBUSY'));
    isEvil = false;
    expect([map.get('a'), map.size]).toEqual(['1'.repeat(30), 1]);
    map.verify();
  });

  it('that fails leaves the map as it was', () => {
    let isFailing = false;
    using map = openMap(bytesOf(2 ** 17), {
      now: () => {
        if (isFailing) throw new Error('no time');
        return 5;
      },
    });
    map.set('a', '1', { expires: 1000 });
    isFailing = true;
    expect(() => map.set('a', '2')).toThrow('no time');
    expect(() => map.get('a')).toThrow('no time');
    isFailing = false;
    expect(map.get('a')).toBe('1');
  });

  it('a counter that is made of a text the moment before it expires goes with it', () => {
    let time = 1000;
    let step = 0;
    using map = openMap(bytesOf(2 ** 17), { now: () => (time += step) });
    map.set('n', '41', { expires: 1100 });
    step = 60;
    expect(map.increment('n')).toBe(42);
    step = 0;
    time = 1101;
    expect(map.get('n')).toBeUndefined();
  });
});

describe('views of the map itself', () => {
  it('as values and as keys of what is stored while they are read', () => {
    using map = openMap(bytesOf(2 ** 17));
    map.set('a', 'x'.repeat(3000));
    map.read('a', (value) => map.set('b', value));
    map.read('a', (value) => map.set('a', value.subarray(1)));
    map.set('key', 'name');
    map.read('key', (value) => map.set(value, value));
    map.increment('n', 7);
    map.read('n', (value) => map.set('m', value));
    expect([map.get('b'), map.get('a'), map.get('name'), map.get('m')]).toEqual([
      'x'.repeat(3000),
      'x'.repeat(2999),
      'name',
      '7',
    ]);
    map.read('a', () => map.close());
    expect(() => map.get('a')).toThrow(coded('EBADF'));
  });
});

describe('what is too large', () => {
  it('is refused before it is copied', () => {
    using map = openMap(bytesOf(2 ** 17));
    const { buffer } = new Uint8Array(2 ** 30);
    const before = process.memoryUsage().arrayBuffers;
    expect(() => map.set('k', new Uint8Array(buffer))).toThrow(coded('EMSGSIZE'));
    expect(() => map.get(new Uint8Array(buffer))).toThrow(coded('EMSGSIZE'));
    expect(() => (map.header = new Uint8Array(buffer))).toThrow(coded('EINVAL'));
    expect(() => map.set('k', new Uint8Array(buffer, 0, 2 ** 24))).toThrow(coded('ENOSPC'));
    expect(() => map.set('k', 'x'.repeat(2 ** 24) + '\ud800')).toThrow(coded('EINVAL'));
    expect(() => map.get('ü'.repeat(40_000))).toThrow(coded('EMSGSIZE'));
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 28);
  });

  it('is no less than the smallest map, as a limit', () => {
    expect(() => openMap(bytesOf(2 ** 17), { evict: 'lru', maxBytes: 1000 })).toThrow(coded('EINVAL'));
  });
});

it('options are looked at once', () => {
  let looks = 0;
  const options = {
    get now() {
      looks += 1;
      return looks === 1 ? () => 5 : (undefined as never);
    },
  };
  const place = bytesOf(2 ** 17);
  using map = openMap(place, options);
  map.set('k', 'v', { expires: 6 });
  expect(map.get('k')).toBe('v');
  expect(openMapReader(place, { now: () => 6 }).get('k')).toBeUndefined();
});
