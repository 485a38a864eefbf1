import { PAGE_SIZE } from '@liveupdate/base';
import { HeapRam } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import {
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_EXEC,
  MFD_HUGETLB,
  MFD_NOEXEC_SEAL,
  SEAL_ALL,
  SEAL_EXEC,
  SEAL_SEAL,
  sealNames,
} from './seals.ts';
import type { ShmemFile } from './shmem-file.ts';
import { failEachAllocation, layoutOf, mount, outcome, pattern, snapshot } from './test-mount.ts';

const PAGES = 4096;
const LARGE = pattern(1200 * PAGE_SIZE);

describe('memfdCreate', () => {
  test.each<[number, string, number]>([
    [0, 'ok', SEAL_SEAL],
    [MFD_CLOEXEC, 'ok', SEAL_SEAL],
    [MFD_ALLOW_SEALING, 'ok', 0],
    [MFD_NOEXEC_SEAL, 'ok', SEAL_EXEC],
    [MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL, 'ok', SEAL_EXEC],
    [MFD_EXEC | MFD_CLOEXEC, 'ok', SEAL_SEAL],
    [MFD_EXEC | MFD_NOEXEC_SEAL, 'EINVAL', 0],
    [MFD_HUGETLB, 'EOPNOTSUPP', 0],
    [32, 'EINVAL', 0],
    [-1, 'EINVAL', 0],
    [2 ** 32, 'EINVAL', 0],
    [1.5, 'EINVAL', 0],
  ])('flags %d: %s', (flags, code, seals) => {
    const shmem = mount();
    expect(outcome(() => shmem.memfdCreate('f', flags))).toBe(code);
    if (code === 'ok') expect(shmem.memfdCreate('f', flags).seals).toBe(seals);
  });

  test.each([
    ['', 'ok'],
    ['x'.repeat(249), 'ok'],
    ['x'.repeat(250), 'EINVAL'],
    ['é'.repeat(124), 'ok'],
    ['é'.repeat(125), 'EINVAL'],
  ])('a name counts in bytes: %s', (name, code) => {
    const shmem = mount();
    expect(outcome(() => shmem.memfdCreate(name))).toBe(code);
    if (code === 'ok') expect(shmem.memfdCreate(name).name).toBe(name);
  });

  test('seals have names', () => {
    expect(sealNames(SEAL_ALL)).toEqual(['seal', 'shrink', 'grow', 'write', 'future-write', 'exec']);
    expect(sealNames(6)).toEqual(['shrink', 'grow']);
    expect(sealNames(0)).toEqual([]);
  });
});

describe('names', () => {
  test('keep a file that nobody has open, and count', () => {
    const shmem = mount();
    const file = shmem.create('a');
    file.write(pattern(10));
    shmem.link('a', 'b');
    expect([file.stat().links, shmem.names, file.seals]).toEqual([2, ['a', 'b'], SEAL_SEAL]);
    file.close();
    shmem.unlink('a');
    expect(shmem.used).toBe(PAGE_SIZE);
    const again = shmem.open('b');
    expect([again.size, again.position, again.stat().links]).toEqual([10, 0, 1]);
    shmem.unlink('b');
    expect([again.stat().links, shmem.used]).toEqual([0, PAGE_SIZE]);
    again.close();
    expect([shmem.used, shmem.names]).toEqual([0, []]);
    shmem.pages.assertConsistent();
  });

  test('are refused', () => {
    const shmem = mount();
    shmem.create('a').close();
    expect(outcome(() => shmem.create('a'))).toBe('EEXIST');
    expect(outcome(() => shmem.link('a', 'a'))).toBe('EEXIST');
    for (const name of ['', '.', '..', 'a/b', 'a\0b'])
      expect(outcome(() => shmem.create(name))).toBe('EINVAL');
    expect(outcome(() => shmem.create('x'.repeat(256)))).toBe('ENAMETOOLONG');
    for (const work of [() => shmem.open('b'), () => shmem.unlink('b'), () => shmem.link('b', 'c')])
      expect(outcome(work)).toBe('ENOENT');
    expect(shmem.names).toEqual(['a']);
  });
});

describe('limits are exact to the page', () => {
  test.each([
    { name: 'block limit', options: { blockLimit: 10 * PAGE_SIZE + 4095 }, code: 'ENOSPC' },
    { name: 'memory limit', options: { memoryLimit: 10 * PAGE_SIZE + 1 }, code: 'ENOMEM' },
    {
      name: 'both, the block limit first',
      options: { blockLimit: 10 * PAGE_SIZE, memoryLimit: 10 * PAGE_SIZE },
      code: 'ENOSPC',
    },
  ])('$name', ({ options, code }) => {
    const shmem = mount(options);
    const a = shmem.memfdCreate('a');
    const b = shmem.memfdCreate('b');
    a.write(pattern(4 * PAGE_SIZE));
    b.allocate(0, 5 * PAGE_SIZE);
    const before = snapshot(shmem);
    expect(outcome(() => a.allocate(0, 6 * PAGE_SIZE))).toBe(code);
    expect(outcome(() => a.pwrite(pattern(2 * PAGE_SIZE), 4 * PAGE_SIZE))).toBe(code);
    expect(outcome(() => a.pwrite(pattern(2), 5 * PAGE_SIZE - 1))).toBe(code); // two pages, a byte in each
    expect(outcome(() => a.allocate(0, 2 ** 52))).toBe(code);
    expect(a.size).toBe(4 * PAGE_SIZE);
    expect(snapshot(shmem)).toEqual(before);
    a.pwrite(pattern(PAGE_SIZE), 4 * PAGE_SIZE);
    expect(shmem.used).toBe(10 * PAGE_SIZE);
    expect(outcome(() => b.pwrite(pattern(1), 5 * PAGE_SIZE))).toBe(code);
    b.truncate(4 * PAGE_SIZE + 1); // the fifth page stays
    expect(outcome(() => a.pwrite(pattern(1), 5 * PAGE_SIZE))).toBe(code);
    b.truncate(4 * PAGE_SIZE);
    a.pwrite(pattern(1), 5 * PAGE_SIZE);
    a.close();
    b.close();
    expect(shmem.used).toBe(0);
    shmem.pages.assertConsistent();
  });

  test('of a large folio all pages count', () => {
    const shmem = mount({ huge: 'always', memoryLimit: 513 * PAGE_SIZE });
    const file = shmem.memfdCreate('f');
    file.allocate(0, 512 * PAGE_SIZE);
    expect([layoutOf(file), shmem.used]).toEqual([[9], 512 * PAGE_SIZE]);
    expect(outcome(() => file.allocate(0, 514 * PAGE_SIZE))).toBe('ENOMEM');
    file.allocate(0, 513 * PAGE_SIZE);
    expect([layoutOf(file), shmem.used]).toEqual([[9, 0], 513 * PAGE_SIZE]);
  });

  test('RAM is a limit too, and a file beyond every RAM is refused at once', () => {
    const shmem = mount({ ram: new HeapRam(64 * PAGE_SIZE) });
    const file = shmem.memfdCreate('f');
    const before = snapshot(shmem);
    expect(outcome(() => file.allocate(0, 64 * PAGE_SIZE))).toBe('ENOMEM'); // page 0 is nobody's
    for (const exponent of [30, 40, 52])
      expect(outcome(() => file.allocate(0, 2 ** exponent))).toBe('ENOMEM');
    expect(snapshot(shmem)).toEqual(before);
    file.truncate(2 ** 52);
    expect(outcome(() => file.map())).toBe('ENOMEM');
    expect(outcome(() => file.inode.pin())).toBe('ENOMEM');
    file.pwrite(pattern(3), 2 ** 51);
    file.truncate(1);
    expect(shmem.used).toBe(0);
    file.allocate(0, 63 * PAGE_SIZE);
    expect(shmem.pages.freePages).toBe(0);
    file.close();
    expect(snapshot(shmem)).toEqual(before);
  });
});

describe('large folios', () => {
  const cases: [string, number, number, number[]][] = [
    ['2 MiB', 0, 512, [9]],
    ['2 MiB and a page', 0, 513, [9, 0]],
    ['all orders going up, then down', 1, 1022, [-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 8, 7, 6, 5, 4, 3, 2, 1, 0]],
    ['three pages', 0, 3, [1, 0]],
    ['from an odd page', 3, 4, [-3, 0, 1, 0]],
    ['one page', 0, 1, [0]],
  ];
  test.each(cases)('come in the largest order that fits: %s', (_, first, count, layout) => {
    const shmem = mount({ huge: 'always' });
    const file = shmem.memfdCreate('f');
    file.allocate(first * PAGE_SIZE, count * PAGE_SIZE);
    expect(layoutOf(file)).toEqual(layout);
    expect(shmem.used).toBe(count * PAGE_SIZE);
    shmem.pages.assertConsistent();
  });

  test.each([
    { huge: 'never', advised: true, layout: [0, 0, 0, 0] },
    { huge: 'advise', advised: false, layout: [0, 0, 0, 0] },
    { huge: 'advise', advised: true, layout: [2] },
    { huge: 'always', advised: false, layout: [2] },
    { huge: 'within_size', advised: false, layout: [2] },
    { huge: 'within_size', advised: true, layout: [2] },
    { huge: undefined, advised: false, layout: [0, 0, 0, 0] },
    { huge: undefined, advised: true, layout: [2] },
  ] as const)('policy $huge, asked for: $advised', ({ huge, advised, layout }) => {
    const shmem = mount(huge ? { huge } : {});
    const file = shmem.memfdCreate('f');
    if (advised) file.adviseHuge();
    file.write(pattern(4 * PAGE_SIZE));
    expect(layoutOf(file)).toEqual(layout);
  });

  test('give way to smaller ones where memory is in pieces', () => {
    const shmem = mount({ ram: new HeapRam(1024 * PAGE_SIZE), huge: 'always' });
    const every = shmem.memfdCreate('every page');
    every.inode.advisedHuge = false;
    for (let i = 0; i < 1023; i++) every.pwrite(pattern(1), i * PAGE_SIZE); // one by one: order 0 each
    const keep = shmem.memfdCreate('keep');
    expect(outcome(() => keep.write(pattern(1)))).toBe('ENOMEM');
    every.truncate(512 * PAGE_SIZE);
    const file = shmem.memfdCreate('f');
    file.allocate(0, 511 * PAGE_SIZE);
    expect(Math.max(...layoutOf(file))).toBeLessThan(9);
    expect(layoutOf(file).reduce((sum, order) => sum + 2 ** order, 0)).toBe(511);
    shmem.pages.assertConsistent();
  });

  test.each([
    ['in the middle', 100],
    ['after one page', 1],
    ['before the last', 511],
  ])('are split where the file ends inside: %s', (_, keep) => {
    const shmem = mount({ huge: 'always' });
    const file = shmem.memfdCreate('f');
    const bytes = pattern(512 * PAGE_SIZE);
    file.write(bytes);
    const size = keep * PAGE_SIZE - 10;
    file.truncate(size);
    expect(layoutOf(file)).toEqual(Array(keep).fill(0));
    expect(shmem.used).toBe(keep * PAGE_SIZE);
    file.truncate(512 * PAGE_SIZE);
    const after = new Uint8Array(512 * PAGE_SIZE);
    file.pread(after, 0);
    expect(Buffer.compare(after.subarray(0, size), bytes.subarray(0, size))).toBe(0);
    expect(after.subarray(size).every((byte) => byte === 0)).toBe(true);
    shmem.pages.assertConsistent();
    file.close();
    expect([shmem.used, shmem.pages.freePages]).toEqual([0, PAGES - 1]);
  });
});

describe('an allocation that fails leaves all as it was', () => {
  const ways: [string, (file: ShmemFile) => unknown][] = [
    ['allocate', (file) => file.allocate(3 * PAGE_SIZE, 1500 * PAGE_SIZE)],
    ['write', (file) => file.pwrite(LARGE, 5)],
    ['pin', (file) => file.inode.pin()],
    ['map', (file) => file.map()],
  ];
  const cases = ways.flatMap(([name, way]) =>
    [false, true].map((huge) => ({ name, way, huge, pages: huge ? 'large folios' : 'single pages' })),
  );
  test.each(cases)('$name with $pages', ({ way, huge }) => {
    const shmem = mount({ huge: huge ? 'always' : 'never' });
    const file = shmem.memfdCreate('f');
    file.pwrite(pattern(PAGE_SIZE), 700 * PAGE_SIZE);
    const before = snapshot(shmem);
    const { size } = file;
    const work = (): void => void way(file);
    // A large folio that cannot be had is made up for by smaller ones, so with those it is from the
    // nth on that memory is short.
    const hits = failEachAllocation(shmem, huge, work, (result) => {
      expect(result).toBe('ENOMEM');
      shmem.pages.assertConsistent();
      expect(snapshot(shmem)).toEqual(before);
      expect(file.size).toBe(size);
    });
    expect(hits).toBeGreaterThan(huge ? 5 : 0);
  });
});
