/** Maps in files of many GiB, of which little is there. */
import { MappedRam } from '@liveupdate/linux';
import { expect, it } from 'vitest';
import { openMap } from './open-map.ts';

const GiB = 2 ** 30;

it.each([GiB, 9 * GiB, 16 * GiB - 4096, 16 * GiB])('a map of %d bytes is opened again', (size) => {
  const ram = MappedRam.anonymous({ name: 'map', size });
  const place = { bytes: ram.bytes(0, size) };
  let map = openMap(place);
  const { capacity } = map.stats;
  expect([capacity > size - 16, capacity <= size]).toEqual([true, true]);
  for (let i = 0; i < 200; i++) map.set(`key ${i}`, `value ${i}`);
  map.close();
  map = openMap(place);
  expect([map.get('key 7'), map.size, map.stats.capacity]).toEqual(['value 7', 200, capacity]);
  map.verify();
  map.clear();
  expect(map.size).toBe(0);
  map.close();
  ram.close();
});
