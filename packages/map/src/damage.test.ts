/** Files that are damaged, by chance or on purpose: no call hangs, and each failure has a code. */
import { fillRandom, KernelError, Prng } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { expect, it, vi } from 'vitest';
import {
  BUCKET_CHAIN,
  DIRECTORY_AT,
  Header,
  HEAP_START,
  JOURNAL_COUNT,
  JOURNAL_ROWS,
  JOURNAL_SEQUENCE,
} from './abi.ts';
import { openMap, openMapReader } from './open-map.ts';
import type { StoredMap } from './map.ts';
import { bucketAt, bucketCount } from './table.ts';
import { bytesOf } from './test-file.ts';

const coded = (code: string) => expect.objectContaining({ code }) as Error;

/** The bytes of a map with chains and holes. */
function image(evict: 'lru' | 'never' = 'never'): Uint8Array<ArrayBuffer> {
  const place = bytesOf(2 ** 17);
  const map = openMap(place, { evict, now: () => 5 });
  try {
    for (let i = 0; i < 3000; i++) map.set(`k ${i}`, 'x'.repeat(i % 9), i % 7 === 0 ? { expires: 1e9 } : {});
  } catch {
    // it is full
  }
  for (let i = 0; i < 3000; i += 3) map.delete(`k ${i}`);
  map.close();
  return place.bytes;
}

const wordsOf = (bytes: Uint8Array) => new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);

it.each<[string, (words: Int32Array) => void]>([
  ['has too many rows', (words) => (words[JOURNAL_COUNT] = 2 ** 30)],
  ['has less than none', (words) => (words[JOURNAL_COUNT] = -1)],
  ['is of a version out of the file', (words) => (words[JOURNAL_SEQUENCE] = 2 ** 30)],
  ['is of a version that is none', (words) => (words[JOURNAL_SEQUENCE] = Header.keys)],
  ['leads to the first word', (words) => ((words[JOURNAL_COUNT] = 1), (words[JOURNAL_ROWS] = 0))],
  ['leads to itself', (words) => ((words[JOURNAL_COUNT] = 1), (words[JOURNAL_ROWS] = JOURNAL_COUNT))],
  ['leads out of the file', (words) => ((words[JOURNAL_COUNT] = 1), (words[JOURNAL_ROWS] = -1))],
])('a journal that %s is refused, and nothing is stored', (_, damage) => {
  const bytes = image();
  damage(wordsOf(bytes));
  const before = bytes.slice();
  expect(() => openMap({ bytes })).toThrow(coded('EIO'));
  expect(bytes).toEqual(before);
});

it.each([
  ['split', 512],
  ['split', -1],
  ['directoryRoom', 2 ** 24],
  ['keys', -1],
] as const)('a header whose %s is %i is refused', (name, value) => {
  const bytes = image();
  wordsOf(bytes)[Header[name]] = value;
  expect(() => openMap({ bytes })).toThrow(coded('EIO'));
});

/** All calls: each succeeds or fails with a code. */
function callAll(map: StoredMap): void {
  const calls: (() => unknown)[] = [
    () => [...map.keys()],
    () => [...map],
    () => map.randomKey(),
    () => map.sweep(1e6),
    () => map.compact(20),
    () => map.stats,
    () => map.header,
    () => map.verify(),
  ];
  for (let i = 0; i < 60; i++) {
    const key = `k ${i * 37}`;
    calls.push(
      () => map.get(key),
      () => map.set(key, 'y'.repeat(i * 20)),
      () => map.set(`new ${i}`, 'y'),
      () => map.delete(`k ${i * 31}`),
      () => map.expireAt(`k ${i * 29}`, 1e6),
      () => map.increment(`n ${i}`),
    );
  }
  for (const call of calls) {
    try {
      call();
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      expect(['EIO', 'ENOSPC', 'EINVAL', 'EMSGSIZE']).toContain(error.code);
    }
  }
}

it(`words at random: every call comes back, seed ${seed}`, () => {
  const random = new Prng(seed);
  const images = [image(), image('lru')];
  for (let round = 0; round < 300; round++) {
    const bytes = images[round % 2].slice();
    const words = wordsOf(bytes);
    const values = [0, -1, 1, 2 ** 31 - 1, HEAP_START, random.below(words.length / 2), random.below(2 ** 31)];
    for (let i = 1 + random.below(30); i > 0; i--) {
      const at = 8 + random.below(random.below(3) === 0 ? 600 : words.length - 8);
      words[at] = values[random.below(values.length)];
    }
    let map: StoredMap;
    try {
      map = openMap({ bytes }, { now: () => 5 });
    } catch (error) {
      expect(error).toMatchObject({ code: 'EIO' });
      continue;
    }
    callAll(map);
    map.close();
  }
});

it('a chain of buckets that is a circle', () => {
  const { bytes } = bytesOf(2 ** 18);
  const whole = openMap({ bytes });
  for (let i = 0; i < 4000; i++) whole.set(`k ${i}`, '');
  whole.close();
  const words = wordsOf(bytes);
  for (let bucket = 0; bucket < bucketCount(words); bucket++) {
    const at = bucketAt(words, bucket);
    const block = words[at + BUCKET_CHAIN];
    if (block !== 0) words[block * 2 + 2 + BUCKET_CHAIN] = block;
  }
  using map = openMap({ bytes }, { now: () => 5 });
  expect(() => [...map.keys()]).toThrow(coded('EIO'));
  expect(() => map.verify()).toThrow(coded('EIO'));
  callAll(map);
});

it('noise behind a good first page', () => {
  const bytes = image();
  fillRandom(new Uint32Array(bytes.buffer, HEAP_START * 8), seed);
  using map = openMap({ bytes }, { now: () => 5 });
  callAll(map);
});

it('a reader of a map whose writer has died in a change gives up', () => {
  const bytes = image();
  const map = openMapReader({ bytes });
  expect(map.has('k 1')).toBe(true);
  wordsOf(bytes)[Header.shape] |= 1;
  let time = 0;
  const clock = vi.spyOn(performance, 'now').mockImplementation(() => (time += 1000));
  expect(() => map.get('k 1')).toThrow(coded('EIO'));
  clock.mockRestore();
  wordsOf(bytes)[Header.shape] += 1;
  const directory = wordsOf(bytes)[Header.directory] * 2 + DIRECTORY_AT;
  wordsOf(bytes).fill(-(2 ** 20), directory, directory + 2);
  expect(() => map.has('k 1')).toThrow(coded('EIO'));
});
