/** A map that an earlier version of this package wrote: fixtures/map has one of each format. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { openMap } from './open-map.ts';

it('a map of format 1 is read, and written', () => {
  const file = readFileSync(new URL('../../../fixtures/map/format-1.gz', import.meta.url));
  const bytes = new Uint8Array(gunzipSync(file));
  using map = openMap({ bytes }, { schema: 7, evict: 'lru', now: () => 1000 });
  map.verify();
  const expected = new Map<string, string>();
  for (let i = 0; i < 300; i++) {
    if (i % 4 === 0) continue;
    expected.set(`key ${i}`, `value ${i} `.repeat(i % 9));
    expect(map.expiry(`key ${i}`)).toBe(i % 3 === 0 ? 4e12 + i : Infinity);
  }
  expected.set('counter', String(2 ** 40));
  expect(map.read(Uint8Array.of(0, 255), (value) => value.join())).toBe('1,2,3');
  expect(map.delete(Uint8Array.of(0, 255))).toBe(true);
  expect(new Map(map)).toEqual(expected);
  expect(new TextDecoder().decode(map.header)).toBe('format 1');
  for (let i = 0; i < 300; i++) map.set(`key ${i}`, 'new');
  map.verify();
});
