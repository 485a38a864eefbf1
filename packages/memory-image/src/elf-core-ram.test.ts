import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { codeOf, KernelError, MAX_FOLIO_SIZE, PAGE_SIZE, Prng } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import { ElfCoreRam, isElf } from './elf-core-ram.ts';
import { elfCore } from './test-elf.ts';
import { seed } from '@liveupdate/base/test-seed';

const MiB = 2 ** 20;
const fixture = gunzipSync(
  readFileSync(new URL('../../../fixtures/linux-7.3/handover.elf.gz', import.meta.url)),
);
const withCode = (code: string): unknown => expect.objectContaining({ code });
const pattern = (length: number, start = 1): Uint8Array =>
  Uint8Array.from({ length }, (_, i) => ((start + i) % 255) + 1);

describe('an ELF core', () => {
  test('the handover of Linux 7.3: its device tree, and zeros where pages were left out', () => {
    const ram = new ElfCoreRam(fixture, 256 * MiB);
    expect([...ram.bytes(0x4d_8000, 4)]).toEqual([0xd0, 0x0d, 0xfe, 0xed]);
    expect(ram.bytes(200 * MiB, PAGE_SIZE)).toEqual(new Uint8Array(PAGE_SIZE));
  });

  test('segments in any order, unaligned, side by side and across blocks, with holes between', () => {
    const across = pattern(3 * PAGE_SIZE);
    const file = elfCore([
      { pa: 2 * MAX_FOLIO_SIZE + 100, bytes: pattern(50, 9), memory: 10_000 },
      { pa: MAX_FOLIO_SIZE - PAGE_SIZE, bytes: across },
      { pa: 4096, bytes: pattern(10, 3), type: 4 }, // a note, which is no memory
      { pa: 0, bytes: pattern(100, 5) },
      { pa: 100, bytes: pattern(28, 7) },
    ]);
    const ram = new ElfCoreRam(file);
    expect(ram.size).toBe(2 * MAX_FOLIO_SIZE + 3 * PAGE_SIZE);
    expect(ram.bytes(0, 100)).toEqual(pattern(100, 5));
    expect(ram.bytes(100, 28)).toEqual(pattern(28, 7));
    expect(ram.bytes(128, PAGE_SIZE)).toEqual(new Uint8Array(PAGE_SIZE));
    expect(ram.bytes(MAX_FOLIO_SIZE - PAGE_SIZE, PAGE_SIZE)).toEqual(across.subarray(0, PAGE_SIZE));
    expect(ram.bytes(MAX_FOLIO_SIZE, 2 * PAGE_SIZE)).toEqual(across.subarray(PAGE_SIZE));
    expect(ram.bytes(2 * MAX_FOLIO_SIZE + 100, 50)).toEqual(pattern(50, 9));
    expect(ram.bytes(2 * MAX_FOLIO_SIZE + 150, 100)).toEqual(new Uint8Array(100));
  });

  test('writes stay in the object', () => {
    const file = elfCore([{ pa: 0, bytes: pattern(PAGE_SIZE) }]);
    const before = file.slice();
    new ElfCoreRam(file).bytes(0, PAGE_SIZE).fill(0);
    expect(file).toEqual(before);
  });

  test('a size above what it covers is zeros; below is EINVAL', () => {
    const file = elfCore([{ pa: PAGE_SIZE, bytes: pattern(10) }]);
    expect(new ElfCoreRam(file).size).toBe(2 * PAGE_SIZE);
    const larger = new ElfCoreRam(file, 10 * PAGE_SIZE);
    expect(larger.bytes(9 * PAGE_SIZE, PAGE_SIZE)).toEqual(new Uint8Array(PAGE_SIZE));
    for (const size of [PAGE_SIZE, 2 * PAGE_SIZE + 1, 0])
      expect(() => new ElfCoreRam(file, size)).toThrow(withCode('EINVAL'));
  });

  test('isElf', () => {
    expect(isElf(fixture)).toBe(true);
    expect(isElf(fixture.subarray(1))).toBe(false);
    expect(isElf(new Uint8Array(0))).toBe(false);
    expect(isElf(Uint8Array.from([0x7f, 0x45, 0x4c]))).toBe(false);
  });
});

describe('a damaged ELF core', () => {
  /** Two segments, and one word of the file changed. */
  function damaged(at: number, bytes: number, value: bigint): Uint8Array {
    const file = elfCore([
      { pa: 0, bytes: pattern(PAGE_SIZE) },
      { pa: 2 * PAGE_SIZE, bytes: pattern(PAGE_SIZE) },
    ]);
    for (let i = 0; i < bytes; i++) file[at + i] = Number((value >> BigInt(i * 8)) & 0xffn);
    return file;
  }
  const SECOND = 64 + 56;

  test('whole, it is fine', () => {
    expect(new ElfCoreRam(damaged(0, 0, 0n)).size).toBe(3 * PAGE_SIZE);
  });

  test.for<[what: string, at: number, bytes: number, value: bigint, code: string]>([
    ['magic', 0, 4, 0n, 'EINVAL'],
    ['class: 32-bit', 4, 1, 1n, 'EINVAL'],
    ['data: big-endian', 5, 1, 2n, 'EINVAL'],
    ['type: a program', 16, 2, 2n, 'EINVAL'],
    ['program headers begin past the end', 32, 8, 1n << 40n, 'EINVAL'],
    ['program headers begin near 2^53', 32, 8, (1n << 53n) - 1n, 'EINVAL'],
    ['program headers begin beyond 2^53', 32, 8, 1n << 63n, 'EOVERFLOW'],
    ['program headers end outside', 32, 8, 8192n + 100n, 'EINVAL'],
    ['program headers of another size', 54, 2, 32n, 'EINVAL'],
    ['program headers of size 0', 54, 2, 0n, 'EINVAL'],
    ['more program headers than there are bytes', 56, 2, 0xffffn, 'EINVAL'],
    ['no program headers', 56, 2, 0n, 'EINVAL'],
    ['offset past the end', SECOND + 8, 8, 1n << 40n, 'EINVAL'],
    ['offset one too far', SECOND + 8, 8, 64n + 112n + 4097n, 'EINVAL'],
    ['offset beyond 2^53', SECOND + 8, 8, 1n << 63n, 'EOVERFLOW'],
    ['address beyond 16 TiB', SECOND + 24, 8, 1n << 44n, 'EINVAL'],
    ['address beyond 2^53', SECOND + 24, 8, (1n << 64n) - 1n, 'EOVERFLOW'],
    ['address inside the other segment', SECOND + 24, 8, 4095n, 'EINVAL'],
    ['address of the other segment', SECOND + 24, 8, 0n, 'EINVAL'],
    ['more bytes than the file has', SECOND + 32, 8, 4097n, 'EINVAL'],
    ['file size beyond 2^53', SECOND + 32, 8, 1n << 60n, 'EOVERFLOW'],
    ['less memory than bytes in the file', SECOND + 40, 8, 4095n, 'EINVAL'],
    ['memory beyond 16 TiB', SECOND + 40, 8, 1n << 44n, 'EINVAL'],
    ['memory beyond 2^53', SECOND + 40, 8, 1n << 62n, 'EOVERFLOW'],
  ])('%s', ([, at, bytes, value, code]) => {
    expect(() => new ElfCoreRam(damaged(at, bytes, value))).toThrow(withCode(code));
  });

  test('no segment is memory', () => {
    const file = elfCore([{ pa: 0, bytes: pattern(10), type: 4 }]);
    expect(() => new ElfCoreRam(file)).toThrow(withCode('EINVAL'));
    expect(() => new ElfCoreRam(elfCore([{ pa: 0, bytes: new Uint8Array(0) }]))).toThrow(withCode('EINVAL'));
  });

  test('cut short anywhere, it is EINVAL', () => {
    const file = damaged(0, 0, 0n);
    for (let length = 0; length < file.length; length += length < 200 ? 1 : 97)
      expect(() => new ElfCoreRam(file.subarray(0, length))).toThrow(withCode('EINVAL'));
  });

  test('headers of random bytes end in a KernelError or in a RAM that can be read', () => {
    const random = new Prng(seed);
    const codes = new Set<string>();
    for (let run = 0; run < 2_000; run++) {
      const file = damaged(0, 0, 0n);
      for (let i = 0; i <= random.below(4); i++) file[random.below(64 + 112)] = random.below(256);
      try {
        const ram = new ElfCoreRam(file);
        ram.bytes(ram.size - PAGE_SIZE, PAGE_SIZE);
        codes.add('read');
      } catch (error) {
        if (!(error instanceof KernelError)) throw error;
        codes.add(codeOf(error));
      }
    }
    expect([...codes].sort()).toEqual(['EINVAL', 'EOVERFLOW', 'read']);
  });
});
