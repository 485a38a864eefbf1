import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { seed } from './test-seed.ts';
import {
  formatSize,
  MAX_FOLIO_SIZE,
  MAX_ORDER,
  PAGE_SIZE,
  pagesFor,
  parseSize,
  pfnToPhys,
  physToPfn,
} from './units.ts';

const GiB = 2 ** 30;

describe('parseSize', () => {
  test.for<[text: string | number, bytes: number]>([
    ['0', 0],
    ['4096', 4096],
    [4096, 4096],
    ['1b', 1],
    ['1k', 1024],
    ['1K', 1024],
    ['1KB', 1024],
    ['1KiB', 1024],
    ['1kib', 1024],
    ['512M', 512 * 2 ** 20],
    ['2GiB', 2 * GiB],
    ['2 GiB', 2 * GiB],
    ['  2g  ', 2 * GiB],
    ['1.5g', 1.5 * GiB],
    ['0.5k', 512],
    ['1t', 2 ** 40],
    ['1.0', 1],
    ['8191T', 8191 * 2 ** 40],
    ['9007199254740991', Number.MAX_SAFE_INTEGER],
  ])('%s is %i bytes', ([text, bytes]) => {
    expect(parseSize(text)).toBe(bytes);
  });

  test.for<string | number>([
    '',
    ' ',
    'GiB',
    '-1',
    '-1GiB',
    '+1',
    '1.5',
    '0.1k',
    '1..5k',
    '.5k',
    '1.k',
    '1e3',
    '0x10',
    '1,5g',
    '1 0',
    '1x',
    '1ib',
    '1kk',
    '1bk',
    '1kbit',
    '9007199254740992',
    '8192T',
    'NaN',
    'Infinity',
    Number.NaN,
    Number.POSITIVE_INFINITY,
    -1,
    0.5,
    1e21,
  ])("refuses '%s'", (text) => {
    expect(() => parseSize(text)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});

describe('formatSize', () => {
  test.for<[bytes: number, text: string]>([
    [0, '0 B'],
    [1, '1 B'],
    [1023, '1023 B'],
    [1024, '1 KiB'],
    [1536, '1.5 KiB'],
    [12 * 1024, '12 KiB'],
    [100.4 * 1024, '100 KiB'],
    [1023 * 1024, '1023 KiB'],
    [2 ** 20 - 1, '1 MiB'],
    [1.25 * GiB, '1.25 GiB'],
    [12.34 * GiB, '12.3 GiB'],
    [2 ** 20, '1 MiB'],
    [2 * GiB, '2 GiB'],
    [2.5 * GiB, '2.5 GiB'],
    [2 ** 50, '1 PiB'],
    [2 ** 53, '8 PiB'],
    [2 ** 61, '2048 PiB'],
  ])('%i is %s', ([bytes, text]) => {
    expect(formatSize(bytes)).toBe(text);
  });

  test('says what parseSize reads, to a part in twenty', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 50 - 2 ** 40), (bytes) => {
        const { number, unit } = /^(?<number>[\d.]+) (?<unit>\w+)$/.exec(formatSize(bytes))!.groups!;
        const shown = Number(number) * parseSize(`1${unit}`);
        expect(Math.abs(shown - bytes)).toBeLessThanOrEqual(bytes / 20);
      }),
      { seed },
    );
  });
});

describe('pages', () => {
  test('frames and addresses, above 4 GiB and above 2^44 too', () => {
    for (const pfn of [0, 1, 0xf_ffff, 0x10_0000, 2 ** 32, 2 ** 40]) {
      const pa = pfnToPhys(pfn);
      expect(BigInt(pa)).toBe(BigInt(pfn) * 4096n);
      expect([pa, pa + 1, pa + 4095, pa + 4096].map(physToPfn)).toEqual([pfn, pfn, pfn, pfn + 1]);
    }
  });

  test.for([
    [0, 0],
    [1, 1],
    [4096, 1],
    [4097, 2],
    [2 ** 40 + 1, 2 ** 28 + 1],
  ])('%i bytes take %i pages', ([bytes, pages]) => {
    expect(pagesFor(bytes)).toBe(pages);
  });

  test('the largest folio', () => {
    expect(MAX_FOLIO_SIZE).toBe(PAGE_SIZE * 2 ** MAX_ORDER);
  });
});
