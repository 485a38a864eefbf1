import { execFileSync, spawnSync } from 'node:child_process';
import * as zlib from 'node:zlib';
import { codeOf } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { formatsOf, isKernelImage, kernelIn } from './kernel-image.ts';
import { testBzImage, testKernel } from './test-kernel-image.ts';

const KERNEL = testKernel({ release: '7.3.4-test', files: ['memfd-v2', 'liveupdate-test-flb-v0'] });
const FORMATS = {
  release: '7.3.4-test',
  kho: ['kho-v4'],
  luo: ['luo-v5'],
  files: ['liveupdate-test-flb-v0', 'memfd-v2'],
  others: ['memblock-v1'],
};

/** A program that packs, where it is installed. */
const packer = (...command: readonly [string, ...string[]]): ((bytes: Buffer) => Buffer) | undefined =>
  spawnSync(command[0], ['--version']).status === 0
    ? (bytes) => execFileSync(command[0], command.slice(1), { input: bytes, maxBuffer: 2 ** 28 })
    : undefined;

/** As kernels are packed: xz with the filter for code of x86. */
const PACKERS: readonly [string, ((bytes: Buffer) => Buffer) | undefined][] = [
  ['gzip', (bytes) => zlib.gzipSync(bytes)],
  ['zstd', (bytes) => zlib.zstdCompressSync(bytes)],
  ['xz', packer('xz', '--check=crc32', '--x86', '--lzma2=dict=1MiB')],
  ['lz4', packer('lz4', '-l', '-c')],
];

test('the formats that a kernel names, and none that only look so', () => {
  expect(formatsOf(KERNEL)).toEqual(FORMATS);
  expect(formatsOf(Buffer.alloc(0))).toMatchObject({ release: undefined, kho: [], luo: [], files: [] });
});

test.for(PACKERS)('%s: in a bzImage and around a vmlinux', async ([name, pack], context) => {
  if (!pack)
    return context.skip(
      `the program ${name} is not installed; on Debian: apt-get install ${name === 'xz' ? 'xz-utils' : name}`,
    );
  const packed = pack(KERNEL);
  const bzImage = testBzImage(packed, name === 'gzip' ? undefined : KERNEL.length);
  for (const file of [packed, bzImage, zlib.gzipSync(bzImage)])
    expect(formatsOf(await kernelIn(file, 'kernel'))).toEqual(FORMATS);
  expect(isKernelImage(bzImage)).toBe(true);
});

test('lz4 as lz4 -l packs it: literals, and matches that overlap', async () => {
  const text = Buffer.from(`ab${'x'.repeat(40)}`);
  // 'ab' and 'x' as literals, then 39 times what stands one byte before; and a last literal.
  const block = Buffer.from([0x3f, 0x61, 0x62, 0x78, 1, 0, 39 - 4 - 15 - 1, 0x10, 0x78]);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(block.length);
  const frame = Buffer.concat([Buffer.from([2, 0x21, 0x4c, 0x18]), size, block]);
  const { unpackLz4 } = await import('./lz4.ts');
  expect(unpackLz4(frame, 100).toString()).toBe(text.toString());
  const refused = (bytes: Buffer, most = 100): string => {
    try {
      unpackLz4(bytes, most);
      return 'ok';
    } catch (error) {
      return codeOf(error);
    }
  };
  expect(refused(frame, 10)).toBe('EINVAL');
  expect(refused(frame.subarray(0, -1))).toBe('EINVAL');
  const far = Buffer.from(frame);
  far[12] = 9; // before the first byte
  expect(refused(far)).toBe('EINVAL');
});

test.each([
  ['a text', Buffer.from('no kernel at all, but a text of some length'), 'EINVAL'],
  ['nothing', Buffer.alloc(0), 'EINVAL'],
  ['a bzImage that is cut short', testBzImage(zlib.gzipSync(KERNEL)).subarray(0, 1100), 'EINVAL'],
  ['one whose kernel is damaged', testBzImage(Buffer.from([0x1f, 0x8b, 1, 2, 3, 4, 5, 6, 7])), 'EINVAL'],
  ['one whose xz is damaged', testBzImage(Buffer.from('\xfd7zXZ\0 and no more of it', 'latin1')), 'EINVAL'],
  ['lzo', testBzImage(Buffer.from([0x89, 0x4c, 0x5a, 0x4f, 0, 0, 0, 0, 0])), 'EOPNOTSUPP'],
])('%s: one sentence', async (_, bytes, code) => {
  await expect(kernelIn(bytes, 'x')).rejects.toMatchObject({
    code,
    message: expect.stringMatching(/^[^\n]+$/) as string,
  });
});
