import { PAGE_SIZE } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE } from './fallocate.ts';
import { SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET } from './seek.ts';
import type { ShmemFile } from './shmem-file.ts';
import { mount, outcome, pattern } from './test-mount.ts';

test('from the start, from here, from the end', () => {
  const file = mount().memfdCreate('f');
  file.write(pattern(100));
  expect(file.seek(40, SEEK_SET)).toBe(40);
  expect(file.seek(-15, SEEK_CUR)).toBe(25);
  expect(file.seek(-1, SEEK_END)).toBe(99);
  expect(file.seek(50, SEEK_END)).toBe(150);
  for (const [offset, whence] of [
    [-1, SEEK_SET],
    [-151, SEEK_CUR],
    [-101, SEEK_END],
    [2 ** 53 - 1, SEEK_CUR],
    [0, 5],
    [0, -1],
  ])
    expect(outcome(() => file.seek(offset, whence))).toBe('EINVAL');
  expect(file.position).toBe(150);
});

describe('data and holes', () => {
  /** Pages 2 and 3 written, 4 allocated, 5 to 8 a hole, 9 and a byte of 10 written. */
  function sparse(): ShmemFile {
    const file = mount().memfdCreate('f');
    file.pwrite(pattern(2 * PAGE_SIZE), 2 * PAGE_SIZE);
    file.allocate(4 * PAGE_SIZE, PAGE_SIZE);
    file.pwrite(pattern(PAGE_SIZE + 1), 9 * PAGE_SIZE);
    return file;
  }

  test.each([
    ['from a hole', 0, 2 * PAGE_SIZE, 0],
    ['from the last byte of a hole', 2 * PAGE_SIZE - 1, 2 * PAGE_SIZE, 2 * PAGE_SIZE - 1],
    ['from data', 2 * PAGE_SIZE + 7, 2 * PAGE_SIZE + 7, 4 * PAGE_SIZE],
    ['from what was never written', 4 * PAGE_SIZE + 1, 9 * PAGE_SIZE, 4 * PAGE_SIZE + 1],
    ['from the last byte', 10 * PAGE_SIZE, 10 * PAGE_SIZE, 10 * PAGE_SIZE + 1],
  ])('%s', (_, from, data, hole) => {
    const file = sparse();
    expect([file.seek(from, SEEK_DATA), file.seek(from, SEEK_HOLE)]).toEqual([data, hole]);
    expect(file.position).toBe(hole);
  });

  test.each([-1, 10 * PAGE_SIZE + 1, 2 ** 40])('from %d: ENXIO', (from) => {
    const file = sparse();
    for (const whence of [SEEK_DATA, SEEK_HOLE]) expect(outcome(() => file.seek(from, whence))).toBe('ENXIO');
  });

  test('a hole at the end has no data after it, however large it is', () => {
    const file = sparse();
    file.truncate(2 ** 52);
    expect(file.seek(10 * PAGE_SIZE, SEEK_HOLE)).toBe(11 * PAGE_SIZE);
    expect(outcome(() => file.seek(11 * PAGE_SIZE, SEEK_DATA))).toBe('ENXIO');
    file.pwrite(pattern(1), 2 ** 51);
    expect(file.seek(11 * PAGE_SIZE, SEEK_DATA)).toBe(2 ** 51);
  });

  test('what was allocated is data once it is written, mapped, or allocated again; and a hole when punched', () => {
    const file = mount().memfdCreate('f');
    file.allocate(0, 4 * PAGE_SIZE);
    expect(outcome(() => file.seek(0, SEEK_DATA))).toBe('ENXIO');
    file.pwrite(pattern(1), PAGE_SIZE + 9);
    expect([file.seek(0, SEEK_DATA), file.seek(PAGE_SIZE, SEEK_HOLE)]).toEqual([PAGE_SIZE, 2 * PAGE_SIZE]);
    file.allocate(3 * PAGE_SIZE, 1);
    expect(file.seek(2 * PAGE_SIZE, SEEK_DATA)).toBe(3 * PAGE_SIZE);
    file.map().unmap();
    expect([file.seek(0, SEEK_DATA), file.seek(0, SEEK_HOLE)]).toEqual([0, 4 * PAGE_SIZE]);
    file.fallocate(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, PAGE_SIZE, PAGE_SIZE);
    expect(file.seek(0, SEEK_HOLE)).toBe(PAGE_SIZE);
  });

  test('of a large folio one byte makes all of it data', () => {
    const file = mount({ huge: 'always' }).memfdCreate('f');
    file.allocate(0, 512 * PAGE_SIZE);
    expect(outcome(() => file.seek(0, SEEK_DATA))).toBe('ENXIO');
    file.pwrite(pattern(1), 300 * PAGE_SIZE);
    expect([file.seek(0, SEEK_DATA), file.seek(0, SEEK_HOLE)]).toEqual([0, 512 * PAGE_SIZE]);
  });
});
