/** Everything that a caller can pass, of the wrong kind: EINVAL each time, and nothing changed. */
import {
  NO_BYTES,
  NO_FUNCTION,
  NO_NUMBER,
  NO_OBJECT,
  NO_TEXT,
  NO_WHOLE,
  except,
  expectRefused,
  inputRows,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import { expect, test } from 'vitest';
import { openMap, openMapReader, type MapOptions, type MapReaderView, type MapView } from './open-map.ts';
import type { ReaderOptions } from './map.ts';
import type { SetOptions, StoredMap } from './map.ts';
import { bytesOf } from './test-file.ts';

const NO_KEY = except(NO_BYTES, 'a');
const NO_VIEW = [...NO_OBJECT, {}, [], { bytes: [] }, { bytes: new DataView(new ArrayBuffer(8)) }];
const NO_ENCODING = [...optional(NO_TEXT), 'utf-8', ''];
const NO_MOMENT = except(NO_WHOLE, Infinity);
const place = bytesOf(2 ** 17);

const CALLS: Record<string, InputCall<StoredMap>> = {
  'openMap place': [(_, given: MapView) => openMap(given), NO_VIEW],
  'openMap options': [(_, given: MapOptions) => openMap(place, given), [...optional(NO_OBJECT), { keys: 1 }]],
  'openMap keyEncoding': [(_, keyEncoding: 'utf8') => openMap(place, { keyEncoding }), NO_ENCODING],
  'openMap valueEncoding': [(_, valueEncoding: 'utf8') => openMap(place, { valueEncoding }), NO_ENCODING],
  'openMap schema': [(_, schema: number) => openMap(place, { schema }), optional(NO_WHOLE)],
  'openMap evict': [(_, evict: 'lru') => openMap(place, { evict }), [...optional(NO_TEXT), 'lfu']],
  'openMap maxBytes': [
    (_, maxBytes: number) => openMap(place, { maxBytes }),
    except(optional(NO_WHOLE), '5'),
  ],
  'openMap now': [(_, now: () => number) => openMap(place, { now }), optional(NO_FUNCTION)],
  'openMapReader view': [(_, given: MapReaderView) => openMapReader(given), NO_VIEW],
  'openMapReader options': [
    (map, given: ReaderOptions) => openMapReader({ bytes: bytesUnder(map) }, given),
    [...optional(NO_OBJECT), { evict: 'lru' }],
  ],
  get: [(map, key: string) => map.get(key), NO_KEY],
  read: [(map, key: string) => map.read(key, () => 1), NO_KEY],
  'read use': [(map, use: () => void) => map.read('k', use), NO_FUNCTION],
  has: [(map, key: string) => map.has(key), NO_KEY],
  expiry: [(map, key: string) => map.expiry(key), NO_KEY],
  delete: [(map, key: string) => map.delete(key), NO_KEY],
  'set key': [(map, key: string) => map.set(key, 'v'), NO_KEY],
  'set value': [(map, value: string) => map.set('k', value), NO_KEY],
  'set options': [
    (map, options: SetOptions) => map.set('k', 'x', options),
    [...optional(NO_OBJECT), { ttl: 5 }],
  ],
  'set expires': [(map, expires: number) => map.set('k', 'x', { expires }), optional(NO_MOMENT)],
  'increment key': [(map, key: string) => map.increment(key), NO_KEY],
  'increment by': [
    (map, by: number) => map.increment('n', by),
    except([...optional(NO_NUMBER), 0.5, 2 ** 53], 5n),
  ],
  'expireAt key': [(map, key: string) => map.expireAt(key, 5), NO_KEY],
  'expireAt moment': [(map, moment: number) => map.expireAt('k', moment), NO_MOMENT],
  'scan cursor': [(map, cursor: number) => map.scan(cursor, 1), [...NO_WHOLE, 2 ** 32]],
  'scan count': [(map, count: number) => map.scan(0, count), [...NO_WHOLE, 0]],
  sweep: [(map, most: number) => map.sweep(most), [...NO_WHOLE, 0]],
  compact: [
    (map, milliseconds: number) => map.compact(milliseconds),
    [...except(NO_NUMBER, Infinity), 0, -1],
  ],
  header: [(map, header: Uint8Array) => (map.header = header), NO_KEY],
  schema: [(map, schema: number) => (map.schema = schema), NO_WHOLE],
};

const views = new WeakMap<StoredMap, Uint8Array<ArrayBuffer>>();

function bytesUnder(map: StoredMap): Uint8Array<ArrayBuffer> {
  return views.get(map) ?? new Uint8Array(8);
}

test.each(inputRows(CALLS))('$title', async ({ call }) => {
  const { bytes } = bytesOf(2 ** 17);
  using map = openMap({ bytes });
  views.set(map, bytes);
  map.set('k', 'v');
  map.set('n', '1');
  await expectRefused(() => call(map));
  expect([map.get('k'), map.get('n'), map.size, map.schema]).toEqual(['v', '1', 2, 1]);
  map.verify();
});
