import { Prng } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { firstOther } from './byte-scan.ts';
import { seed } from '@liveupdate/base/test-seed';

test(`the end of a stretch is where a look at each byte finds it, seed ${seed}`, () => {
  const random = new Prng(seed);
  const bytes = new Uint8Array(64);
  const words = new Int32Array(bytes.buffer);
  const masks = [0xff, 0x07, 0x80, 0x90];
  let inside = 0;
  for (let round = 0; round < 20_000; round++) {
    const mask = masks[random.below(masks.length)];
    const value = (random.below(2) === 0 ? 0xff : 0x85) & mask;
    for (let i = 0; i < bytes.length; i++) bytes[i] = value | (random.below(256) & ~mask);
    for (let i = random.below(4); i > 0; i--) bytes[random.below(64)] ^= 1 << random.below(8);
    const from = random.below(64);
    const end = from + random.below(65 - from);
    let at = from;
    while (at < end && (bytes[at] & mask) === value) at += 1;
    if (at < end) inside += 1;
    if (firstOther(bytes, words, from, end, mask, value) !== at)
      expect([round, firstOther(bytes, words, from, end, mask, value)]).toEqual([round, at]);
  }
  expect(inside).toBeGreaterThan(1000);
});
