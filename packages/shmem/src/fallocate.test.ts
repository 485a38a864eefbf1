import { PAGE_SIZE } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE } from './fallocate.ts';
import { MFD_ALLOW_SEALING, SEAL_FUTURE_WRITE, SEAL_GROW, SEAL_SHRINK, SEAL_WRITE } from './seals.ts';
import { SEEK_DATA, SEEK_HOLE } from './seek.ts';
import type { ShmemFile } from './shmem-file.ts';
import { contents, layoutOf, mount, outcome, pattern, RAMS, snapshot } from './test-mount.ts';

const PUNCH = FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE;

describe.each(RAMS)('punching a hole, on $name', ({ make }) => {
  test.each([
    ['whole pages', 2 * PAGE_SIZE, 3 * PAGE_SIZE, 3],
    ['parts of pages at both ends', PAGE_SIZE + 5, 3 * PAGE_SIZE, 2],
    ['a part of one page', PAGE_SIZE + 5, 100, 0],
    ['parts of two pages', PAGE_SIZE + 5, PAGE_SIZE, 0],
    ['the end and beyond', 6 * PAGE_SIZE, 100 * PAGE_SIZE, 2],
    ['beyond the end', 20 * PAGE_SIZE, PAGE_SIZE, 0],
    ['all', 0, 8 * PAGE_SIZE, 8],
  ])('%s', (_, position, length, freed) => {
    const shmem = mount({ ram: make(16 * 2 ** 20) });
    const file = shmem.memfdCreate('f');
    const expected = pattern(8 * PAGE_SIZE);
    file.write(expected);
    file.fallocate(PUNCH, position, length);
    expected.fill(0, position, position + length);
    expect(Buffer.compare(contents(file), expected)).toBe(0);
    expect([file.size, shmem.used]).toEqual([8 * PAGE_SIZE, (8 - freed) * PAGE_SIZE]);
    shmem.pages.assertConsistent();
    file.close();
    expect(shmem.used).toBe(0);
  });

  test('costs by what is in the file and not by the length asked', () => {
    const shmem = mount({ ram: make(16 * 2 ** 20) });
    const file = shmem.memfdCreate('f');
    const far = [0, 7, 2 ** 20, 2 ** 30, 2 ** 40].map((page) => page * PAGE_SIZE);
    for (const position of far) file.pwrite(pattern(100), position);
    file.allocate(2 ** 50, 3 * PAGE_SIZE);
    const { size } = file;
    file.fallocate(PUNCH, PAGE_SIZE, 2 ** 52); // as many blocks as a loop over them would never end with
    expect([file.size, shmem.used]).toEqual([size, PAGE_SIZE]);
    expect([file.seek(0, SEEK_DATA), outcome(() => file.seek(PAGE_SIZE, SEEK_DATA))]).toEqual([0, 'ENXIO']);
    expect(file.seek(0, SEEK_HOLE)).toBe(PAGE_SIZE);
    for (const position of far) file.pwrite(pattern(100), position);
    file.truncate(2 ** 52);
    file.truncate(PAGE_SIZE);
    expect(shmem.used).toBe(PAGE_SIZE);
    using mapping = file.map();
    file.truncate(2 ** 52);
    file.fallocate(PUNCH, 0, 2 ** 52);
    expect([mapping.bytes.every((byte) => byte === 0), file.seek(0, SEEK_HOLE)]).toEqual([true, PAGE_SIZE]);
    shmem.pages.assertConsistent();
  });

  test('into a large folio splits it; what is left keeps its bytes', () => {
    const shmem = mount({ ram: make(16 * 2 ** 20), huge: 'always' });
    const free = shmem.pages.freePages;
    const file = shmem.memfdCreate('f');
    const expected = pattern(1024 * PAGE_SIZE);
    file.write(expected);
    file.fallocate(PUNCH, 500 * PAGE_SIZE + 1, 20 * PAGE_SIZE);
    expected.fill(0, 500 * PAGE_SIZE + 1, 520 * PAGE_SIZE + 1);
    expect(layoutOf(file)).toEqual([...Array<number>(501).fill(0), -19, ...Array<number>(504).fill(0)]);
    expect(Buffer.compare(contents(file), expected)).toBe(0);
    shmem.pages.assertConsistent();
    file.close();
    expect([shmem.used, shmem.pages.freePages]).toEqual([0, free]);
  });

  test('of a whole large folio leaves its neighbours whole', () => {
    const shmem = mount({ ram: make(16 * 2 ** 20), huge: 'always' });
    const file = shmem.memfdCreate('f');
    file.write(pattern(1536 * PAGE_SIZE));
    file.fallocate(PUNCH, 512 * PAGE_SIZE, 512 * PAGE_SIZE);
    expect(layoutOf(file)).toEqual([9, -512, 9]);
    shmem.pages.assertConsistent();
  });

  test('of a mapped file zeroes it: view and file stay one', () => {
    const shmem = mount({ ram: make(16 * 2 ** 20) });
    const file = shmem.memfdCreate('f');
    file.allocate(0, 4 * PAGE_SIZE);
    file.pwrite(pattern(4 * PAGE_SIZE), 0);
    const mapping = file.map();
    file.fallocate(PUNCH, 10, 3 * PAGE_SIZE);
    const expected = pattern(4 * PAGE_SIZE).fill(0, 10, 10 + 3 * PAGE_SIZE);
    expect(mapping.bytes).toEqual(expected);
    mapping.bytes[PAGE_SIZE] = 7;
    expect(contents(file)[PAGE_SIZE]).toBe(7);
    expect(shmem.used).toBe(4 * PAGE_SIZE);
  });
});

describe('allocating ahead', () => {
  test('beyond the end leaves the size, takes memory, and truncate gives it back', () => {
    const shmem = mount();
    const file = shmem.memfdCreate('f');
    file.write(pattern(10));
    file.fallocate(FALLOC_KEEP_SIZE, 0, 3 * PAGE_SIZE);
    expect(file.stat()).toEqual({ size: 10, blocks: 24, links: 0 });
    file.truncate(10);
    expect(file.stat().blocks).toBe(8);
    file.fallocate(FALLOC_KEEP_SIZE, 2 * PAGE_SIZE, PAGE_SIZE);
    file.truncate(3 * PAGE_SIZE); // growing over it makes it part of the file
    expect(file.stat()).toEqual({ size: 3 * PAGE_SIZE, blocks: 16, links: 0 });
    expect([...contents(file)].lastIndexOf(pattern(10)[9])).toBe(9);
  });

  test('a pinned file has no part in what lies beyond its end', () => {
    const shmem = mount();
    const file = shmem.memfdCreate('f');
    file.write(pattern(10));
    file.fallocate(FALLOC_KEEP_SIZE, 0, 3 * PAGE_SIZE);
    expect(file.inode.pin().runs.folios).toBe(1);
  });

  test('counts against the limits, to the page, and is undone whole', () => {
    const shmem = mount({ blockLimit: 5 * PAGE_SIZE });
    const file = shmem.memfdCreate('f');
    file.write(pattern(10));
    const before = snapshot(shmem);
    expect(outcome(() => file.fallocate(FALLOC_KEEP_SIZE, 0, 5 * PAGE_SIZE + 1))).toBe('ENOSPC');
    expect(snapshot(shmem)).toEqual(before);
    file.fallocate(FALLOC_KEEP_SIZE, 0, 5 * PAGE_SIZE);
  });
});

describe('what is refused', () => {
  const refused: [string, number, (file: ShmemFile) => unknown, string][] = [
    ['punching without KEEP_SIZE', 0, (file) => file.fallocate(FALLOC_PUNCH_HOLE, 0, 1), 'EOPNOTSUPP'],
    ['collapsing', 0, (file) => file.fallocate(8, 0, 1), 'EOPNOTSUPP'],
    ['zeroing a range', 0, (file) => file.fallocate(16, 0, 1), 'EOPNOTSUPP'],
    ['nothing, in any mode', 0, (file) => file.fallocate(16, 0, 0), 'EINVAL'],
    ['punching a file sealed against writing', SEAL_WRITE, (file) => file.fallocate(PUNCH, 0, 1), 'EPERM'],
    ['against future writing', SEAL_FUTURE_WRITE, (file) => file.fallocate(PUNCH, 0, 1), 'EPERM'],
    ['against shrinking', SEAL_SHRINK, (file) => file.fallocate(PUNCH, 0, 1), 'ok'],
    [
      'ahead of a file sealed against growing',
      SEAL_GROW,
      (file) => file.fallocate(FALLOC_KEEP_SIZE, 0, 101),
      'EPERM',
    ],
    ['within it', SEAL_GROW, (file) => file.fallocate(FALLOC_KEEP_SIZE, 0, 100), 'ok'],
  ];
  test.each(refused)('%s', (_, seals, work, code) => {
    const file = mount().memfdCreate('f', MFD_ALLOW_SEALING);
    file.write(pattern(100));
    file.addSeals(seals);
    expect(outcome(() => work(file))).toBe(code);
    expect(file.size).toBe(100);
  });
});

describe('large folios within the size', () => {
  test('hold for what is written, and not for what is allocated beyond the end', () => {
    const shmem = mount({ huge: 'within_size' });
    const file = shmem.memfdCreate('f');
    file.write(pattern(512 * PAGE_SIZE));
    file.fallocate(FALLOC_KEEP_SIZE, 512 * PAGE_SIZE, 512 * PAGE_SIZE);
    const { pages } = shmem;
    expect([pages.orderOf(file.inode.cache.at(0)), pages.orderOf(file.inode.cache.at(512))]).toEqual([9, 0]);
    file.truncate(1024 * PAGE_SIZE + 1);
    file.allocate(1024 * PAGE_SIZE, 4 * PAGE_SIZE);
    expect(pages.orderOf(file.inode.cache.at(1024))).toBe(2);
  });

  test('end with it: a folio that would reach over the end is smaller', () => {
    const shmem = mount({ huge: 'within_size' });
    const file = shmem.memfdCreate('f');
    file.truncate(6 * PAGE_SIZE);
    file.fallocate(FALLOC_KEEP_SIZE, 0, 16 * PAGE_SIZE);
    expect(layoutOf(file)).toEqual([2, 1]);
  });

  test('and where they are asked for, everywhere', () => {
    const shmem = mount({ huge: 'within_size' });
    const file = shmem.memfdCreate('f');
    file.adviseHuge();
    file.fallocate(FALLOC_KEEP_SIZE, 0, 512 * PAGE_SIZE);
    expect(shmem.pages.orderOf(file.inode.cache.at(0))).toBe(9);
  });
});
