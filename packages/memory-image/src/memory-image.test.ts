import { seed } from '@liveupdate/base/test-seed';
import { expect, describe, test } from 'vitest';
import { KernelError } from '@liveupdate/base';
import { openMemoryImage, type MemoryImage } from './index.ts';
import { elfCore, fileOf, flattened, kdump, memory, type KdumpOptions } from './test-images.ts';

const PAGE = 4096;
const PAGES = 2500; // more than two blocks, and no whole number of them
const MEMORY = memory(PAGES, 7);

/** All that an image shows. */
function shown(image: MemoryImage): Buffer {
  const ram = image.ram();
  const all = Buffer.alloc(image.covered);
  for (let pa = 0; pa < image.covered; pa += PAGE) all.set(ram.bytes(pa, PAGE), pa);
  return all;
}

const open = (bytes: Uint8Array): MemoryImage => openMemoryImage(fileOf(bytes));

describe('every kind of image shows the same memory', () => {
  const kinds: Record<string, [bytes: () => Uint8Array, kind: string]> = {
    raw: [() => MEMORY, 'raw image'],
    ELF: [() => elfCore([{ pa: 0n, bytes: MEMORY }]), 'ELF core'],
    'ELF of many pieces, counted in a section': [
      () =>
        elfCore(
          Array.from({ length: PAGES }, (_, i) => ({
            pa: BigInt(i * PAGE),
            bytes: MEMORY.subarray(i * PAGE, (i + 1) * PAGE),
          })).reverse(),
          true,
        ),
      'ELF core',
    ],
    'kdump, as it is': [() => kdump(MEMORY, { packing: 'none' }).file, 'kdump'],
    'kdump, zlib': [() => kdump(MEMORY).file, 'kdump'],
    'kdump, zstd': [() => kdump(MEMORY, { packing: 'zstd' }).file, 'kdump'],
    'kdump, snappy': [() => kdump(MEMORY, { packing: 'snappy' }).file, 'kdump'],
    'kdump, all of them': [() => kdump(MEMORY, { mixed: ['none', 'zlib', 'zstd', 'snappy'] }).file, 'kdump'],
    'kdump, flattened': [() => flattened(kdump(MEMORY).file, 3), 'kdump'],
  };
  test.each(Object.entries(kinds))('%s', (_, [bytes, kind]) => {
    const image = open(bytes());
    expect(image.kind).toBe(kind);
    expect(image.covered).toBe(MEMORY.length);
    expect(Buffer.compare(shown(image), MEMORY)).toBe(0);
    expect(image.damage).toEqual([]);
    expect(image.release).toBe(kind === 'kdump' ? '7.3.4-test' : undefined);
    expect(image.pieces.reduce((sum, { length }) => sum + length, 0)).toBe(MEMORY.length);
  });
});

test('pages that a kdump leaves out are zeros, and blocks without any are no memory', () => {
  const has = (page: number): boolean => page % 3 === 0 && page > 1100;
  const image = open(kdump(MEMORY, { has }).file);
  const expected = Buffer.from(MEMORY);
  for (let page = 0; page < PAGES; page++) if (!has(page)) expected.fill(0, page * PAGE, (page + 1) * PAGE);
  expect(Buffer.compare(shown(image), expected)).toBe(0);
  expect(image.pieces).toEqual([{ pa: 1024 * PAGE, length: (PAGES - 1024) * PAGE }]);
});

test('one part of a split dump shows its pages, and says that it is one', () => {
  const image = open(kdump(MEMORY, { part: [1000, 1500] }).file);
  const expected = Buffer.alloc(MEMORY.length);
  expected.set(MEMORY.subarray(1000 * PAGE, 1500 * PAGE), 1000 * PAGE);
  expect(Buffer.compare(shown(image), expected)).toBe(0);
  expect(image.damage.map(({ message }) => message)).toEqual([expect.stringContaining('one part of a dump')]);
});

test('lzo is named, and what to do', () => {
  const lzo = kdump(MEMORY, { packing: 'lzo' }).file;
  expect(() => open(lzo)).toThrow(/^EOPNOTSUPP: .*lzo.*makedumpfile -c/);
  lzo.writeUInt32LE(1, 424); // the header says zlib, and the pages are not
  const image = open(lzo);
  shown(image);
  expect(image.damage[0].message).toMatch(/the page at 0x[0-9a-f]+ cannot be read: .*lzo/);
});

test('a larger machine, and a smaller one', () => {
  const image = open(MEMORY);
  expect(image.ram(5 * PAGE).bytes(4 * PAGE, PAGE)).toEqual(MEMORY.subarray(4 * PAGE, 5 * PAGE));
  expect(image.ram(MEMORY.length + 16 * PAGE).size).toBe(MEMORY.length + 16 * PAGE);
});

test('raw, where a raw image begins like another file', () => {
  const odd = Buffer.from(MEMORY);
  odd.write('KDUMP   ');
  expect(openMemoryImage(fileOf(odd), { raw: true }).kind).toBe('raw image');
});

test('/proc/kcore: pieces that are no physical memory are left out', () => {
  const nowhere = { pa: 2n ** 64n - 1n, bytes: new Uint8Array(PAGE).fill(9) };
  const image = open(elfCore([nowhere, { pa: 0n, bytes: MEMORY }, nowhere]));
  expect(Buffer.compare(shown(image), MEMORY)).toBe(0);
  expect(image.damage).toEqual([]);
});

describe('what is damaged is told, and the rest is there', () => {
  const cut: KdumpOptions[] = [{}, { packing: 'snappy' }];
  test.each(cut)('a kdump cut short: %j', (options) => {
    const { file } = kdump(MEMORY, options);
    const image = open(file.subarray(0, Math.floor(file.length / 2)));
    const read = shown(image);
    expect(image.damage.length).toBeGreaterThan(1);
    expect(image.damage.length).toBeLessThan(30);
    expect(image.damage[0].message).toMatch(/the page at 0x[0-9a-f]+ .*cut short/);
    let right = 0;
    for (let page = 0; page < PAGES; page++) {
      const [is, was] = [read, MEMORY].map((all) => all.subarray(page * PAGE, (page + 1) * PAGE));
      if (Buffer.compare(is, was) === 0) right += 1;
      else expect(is.every((byte) => byte === 0)).toBe(true);
    }
    expect(right).toBeGreaterThan(PAGES / 3);
  });

  test('a flattened kdump cut short', () => {
    const whole = flattened(kdump(MEMORY).file, 1);
    const image = open(whole.subarray(0, whole.length - 40_000));
    shown(image);
    expect(image.damage[0].message).toContain('cut short');
  });

  test('an ELF core cut short, and one whose pieces overlap', () => {
    const core = elfCore([{ pa: 0n, bytes: MEMORY }]);
    const image = open(core.subarray(0, 120 + 1000 * PAGE));
    expect(Buffer.compare(shown(image).subarray(0, 1000 * PAGE), MEMORY.subarray(0, 1000 * PAGE))).toBe(0);
    expect(image.damage[0].message).toMatch(/cut short \(no memory from 0x3e8000 on\)/);
    const twice = open(
      elfCore([
        { pa: 0n, bytes: MEMORY.subarray(0, 2 * PAGE) },
        { pa: BigInt(PAGE), bytes: MEMORY.subarray(PAGE, 3 * PAGE) },
      ]),
    );
    expect(Buffer.compare(shown(twice), MEMORY.subarray(0, 3 * PAGE))).toBe(0);
    expect(twice.damage[0].message).toContain('two segments claim physical address 0x1000');
  });

  test('no page at all, other blocks', () => {
    const { file } = kdump(MEMORY);
    expect(() => open(file.subarray(0, 3 * PAGE))).toThrow(/EINVAL.*no page/);
    file.writeInt32LE(65536, 428);
    expect(() => open(file)).toThrow(/EINVAL.*blocks of 65536 bytes/);
    expect(() => open(new Uint8Array())).toThrow(/EINVAL.*empty/);
  });
});

test('bytes overwritten anywhere: a refusal or an image, in bounded time and memory', () => {
  const small = memory(64, 5);
  const files = [
    elfCore([{ pa: 0n, bytes: small }]),
    kdump(small).file,
    kdump(small, { packing: 'zstd' }).file,
    kdump(small, { packing: 'snappy' }).file,
    flattened(kdump(small).file, 2),
  ];
  let state = seed;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let round = 0; round < 1500; round++) {
    const bytes = Buffer.from(files[round % files.length]);
    const within = round % 2 === 0 ? 600 : bytes.length;
    for (let i = random(4); i >= 0; i--)
      bytes.fill([0, 0xff, random(256)][random(3)], random(within), random(within));
    try {
      const image = open(bytes.subarray(0, bytes.length - (round % 7 === 0 ? random(bytes.length) : 0)));
      const ram = image.ram();
      for (const { pa, length } of image.pieces.slice(0, 100))
        for (const at of [pa, pa + length - 1]) ram.bytes(at, 1);
      expect(image.damage.length).toBeLessThan(50);
    } catch (error) {
      expect(error).toBeInstanceOf(KernelError);
    }
  }
});
