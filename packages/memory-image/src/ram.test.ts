/** Images as RAM: what every RAM promises, and what they hold. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';
import { MAX_RAM_SIZE } from '@liveupdate/mm';
import { describeRams, differing } from '@liveupdate/mm/test-ram';
import { describe, expect, test } from 'vitest';
import { ElfCoreRam, rawImageRam } from './elf-core-ram.ts';
import { elfCore } from './test-elf.ts';

const MiB = 2 ** 20;
/** Two whole blocks of 4 MiB and a short one. */
const SIZE = 2 * MAX_FOLIO_SIZE + 5 * PAGE_SIZE;
const fixture = gunzipSync(
  readFileSync(new URL('../../../fixtures/linux-7.3/handover.elf.gz', import.meta.url)),
);
const withCode = (code: string): unknown => expect.objectContaining({ code });

const full = new Uint8Array(SIZE).fill(0x77);
describeRams([
  ['a raw image', SIZE, () => rawImageRam(full)],
  ['ElfCoreRam', SIZE, () => new ElfCoreRam(elfCore([{ pa: 0, bytes: full }]))],
  ['ElfCoreRam, the handover of Linux 7.3', 256 * MiB, () => new ElfCoreRam(fixture, 256 * MiB)],
]);

test('more than the tables hold is EINVAL that says how much they hold', () => {
  const image = elfCore([{ pa: MAX_RAM_SIZE - 1, bytes: Uint8Array.of(1, 2) }]);
  const small = elfCore([{ pa: 0, bytes: Uint8Array.of(1) }]);
  for (const way of [() => new ElfCoreRam(image), () => new ElfCoreRam(small, MAX_RAM_SIZE + PAGE_SIZE)]) {
    expect(way).toThrow(withCode('EINVAL'));
    expect(way).toThrow('16 TiB');
  }
});

describe('raw images', () => {
  test.for([1, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, MAX_FOLIO_SIZE + 1])(
    'a file of %i bytes is physical memory from 0 on, its last page filled up with zeros',
    (length) => {
      const file = Uint8Array.from({ length }, (_, i) => (i % 251) + 1);
      const ram = rawImageRam(file);
      expect(ram.size).toBe(Math.ceil(length / PAGE_SIZE) * PAGE_SIZE);
      for (const pa of [0, length - 1]) expect(ram.bytes(pa, 1)[0]).toBe((pa % 251) + 1);
      expect(differing(ram.bytes(length, ram.size - length), 0)).toBe(0);
    },
  );

  test('a file of no bytes is no RAM', () => {
    expect(() => rawImageRam(new Uint8Array(0))).toThrow(withCode('EINVAL'));
  });
});

describe('large and sparse', () => {
  test('64 GiB open, read and discard for the price of the blocks that are looked at', () => {
    const GiB = 2 ** 30;
    const bytes = new Uint8Array(PAGE_SIZE).fill(3);
    const before = process.memoryUsage().arrayBuffers;
    const ram = new ElfCoreRam(
      elfCore([
        { pa: 0, bytes },
        { pa: 33 * GiB + PAGE_SIZE, bytes },
        { pa: 64 * GiB - PAGE_SIZE, bytes },
        { pa: 40 * GiB, bytes: new Uint8Array(0), memory: GiB },
      ]),
    );
    expect(ram.size).toBe(64 * GiB);
    for (const pa of [0, 33 * GiB + PAGE_SIZE, 64 * GiB - PAGE_SIZE])
      expect(differing(ram.bytes(pa, PAGE_SIZE), 3)).toBe(0);
    expect(differing(ram.bytes(33 * GiB, PAGE_SIZE), 0)).toBe(0);
    ram.discard(PAGE_SIZE, ram.size - 2 * PAGE_SIZE);
    expect(ram.bytes(0, 1)[0]).toBe(3);
    expect(ram.bytes(64 * GiB - PAGE_SIZE, 1)[0]).toBe(3);
    expect(ram.bytes(33 * GiB + PAGE_SIZE, 1)[0]).toBe(0);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(32 * MiB);
  });
});
