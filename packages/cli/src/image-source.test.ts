import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { gzipSync } from 'node:zlib';
import { fillRandom, Prng } from '@liveupdate/base';
import { WindowRam } from '@liveupdate/memory-image';
import { ElfCoreRam } from '@liveupdate/memory-image';
import { HeapRam } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { openSource } from './image-source.ts';
import { silent } from './progress.ts';
import { Directory, elfCore } from './test-cli.ts';

const MIB = 2 ** 20;

/** Random islands in zeros, as RAM is. */
function islands(size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  const words = new Uint32Array(1000);
  fillRandom(words, size);
  for (let at = 17; at + 4000 < size; at += 3 * MIB - 5000) bytes.set(new Uint8Array(words.buffer), at);
  return bytes;
}

test.each([1, 100, MIB - 1, MIB, MIB + 1, 9 * MIB, 9 * MIB + 4321])(
  'a file of %i bytes reads the same, packed or not, wherever it is read',
  async (size) => {
    using directory = new Directory();
    const bytes = islands(size);
    const members = Buffer.concat([
      gzipSync(bytes.subarray(0, size / 2)),
      gzipSync(bytes.subarray(size / 2)),
    ]);
    const paths = [bytes, gzipSync(bytes), members].map((content, i) => directory.write(`f${i}`, content));
    for (const path of paths) {
      using open = await openSource(path, () => Promise.resolve(silent));
      const { source } = open;
      expect(source.size).toBe(size);
      const whole = new Uint8Array(size);
      source.read(whole, 0);
      expect(Buffer.compare(whole, bytes)).toBe(0);
      const random = new Prng(size);
      for (let round = 0; round < 50; round++) {
        const at = random.below(size + 10);
        const into = new Uint8Array(random.below(3 * MIB)).fill(0xff);
        source.read(into, at);
        const expected = new Uint8Array(into.length);
        expected.set(bytes.subarray(at, at + into.length));
        expect(Buffer.compare(into, expected)).toBe(0);
      }
    }
  },
);

test('the descriptor is closed in the end, and where opening fails', async () => {
  using directory = new Directory();
  const count = (): number => fs.readdirSync('/proc/self/fd').length;
  const before = count();
  const good = directory.write('good.gz', gzipSync('text'));
  (await openSource(good, () => Promise.resolve(silent)))[Symbol.dispose]();
  const bad = directory.write('bad.gz', gzipSync('text').subarray(0, 10));
  await expect(openSource(bad, () => Promise.resolve(silent))).rejects.toMatchObject({ code: 'EINVAL' });
  await expect(openSource(directory.path, () => Promise.resolve(silent))).rejects.toMatchObject({
    code: 'EISDIR',
  });
  expect(count()).toBe(before);
});

test('a window on RAM forgets, is never wrong, and refuses to be changed', () => {
  const blocks = 200;
  let made = 0;
  const core = elfCore(
    Array.from({ length: blocks }, (_, i) => ({ pa: i * 4 * MIB, bytes: new Uint8Array(4096).fill(i) })),
  );
  const ram = new WindowRam(() => {
    made += 1;
    return new ElfCoreRam(core);
  });
  const first = ram.bytes(0, 1);
  const hash = createHash('sha256');
  for (let round = 0; round < 2; round++)
    for (let i = 0; i < blocks; i++) {
      const page = ram.bytes(i * 4 * MIB, 4096);
      expect(page[4095]).toBe(i);
      hash.update(page);
    }
  expect(made).toBeGreaterThan(4);
  expect(made).toBeLessThan(10);
  expect(first[0]).toBe(0);
  expect(first).toHaveLength(1); // still valid, though long forgotten
  expect(() => {
    ram.discard();
  }).toThrow('EROFS');
  expect(new WindowRam(() => new HeapRam(4096)).size).toBe(4096);
});
