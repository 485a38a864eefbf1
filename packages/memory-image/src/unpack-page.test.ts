/** Pages of a kdump under a Node.js without zstd. */
import * as zlib from 'node:zlib';
import { expect, test, vi } from 'vitest';
import { PACKED_ZLIB, PACKED_ZSTD } from './kdump-layout.ts';
import { unpackPage } from './unpack-page.ts';

vi.mock('node:zlib', async (original) => ({
  ...(await original<typeof zlib>()),
  zstdDecompressSync: undefined,
}));

test('where Node.js has no zstd, that is EOPNOTSUPP, and all else is read', () => {
  const page = new Uint8Array(4096).fill(7);
  expect(unpackPage(zlib.deflateSync(page), PACKED_ZLIB)).toEqual(Buffer.from(page));
  expect(() => unpackPage(page, PACKED_ZSTD)).toThrow(
    expect.objectContaining({
      code: 'EOPNOTSUPP',
      message: expect.stringMatching(/zstd.* use 22\.15/) as string,
    }),
  );
});
