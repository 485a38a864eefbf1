import { crc32 as zlibCrc32 } from 'node:zlib';
import { Prng } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { crc32 } from './crc32.ts';

test('is that of zlib', () => {
  const prng = new Prng(32);
  expect(crc32(new TextEncoder().encode('123456789'))).toBe(0xcbf4_3926);
  for (let length = 0; length < 300; length += 7) {
    const bytes = Uint8Array.from({ length }, () => prng.below(256));
    expect(crc32(bytes)).toBe(zlibCrc32(bytes));
  }
});
