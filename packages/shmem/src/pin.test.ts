import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { FolioRuns, HeapRam } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import type { ShmemFile } from './shmem-file.ts';
import { contents, failEachAllocation, layoutOf, mount, outcome, pattern, snapshot } from './test-mount.ts';

describe('a frozen file', () => {
  const operations: [string, (file: ShmemFile) => unknown, 'ok' | 'EPERM'][] = [
    ['read', (file) => file.pread(new Uint8Array(5), 0), 'ok'],
    ['overwrite', (file) => file.pwrite(pattern(100), 0), 'ok'],
    ['overwrite the last byte', (file) => file.pwrite(pattern(1), 99), 'ok'],
    ['map', (file) => file.map().unmap(), 'ok'],
    ['truncate to the same size', (file) => file.truncate(100), 'ok'],
    ['shrink', (file) => file.truncate(99), 'EPERM'],
    ['grow', (file) => file.truncate(101), 'EPERM'],
    ['allocate what is there', (file) => file.allocate(0, 10), 'EPERM'],
    ['allocate past the end', (file) => file.allocate(100, 1), 'EPERM'],
    ['write over the end', (file) => file.pwrite(pattern(2), 99), 'EPERM'],
    ['write past the end', (file) => file.pwrite(pattern(1), 5000), 'EPERM'],
  ];
  test.each(operations)('%s', (_, work, code) => {
    const shmem = mount();
    const file = shmem.memfdCreate('f');
    file.write(pattern(100));
    file.inode.freeze();
    expect(file.inode.isFrozen).toBe(true);
    const before = snapshot(shmem);
    expect(outcome(() => work(file))).toBe(code);
    expect(snapshot(shmem)).toEqual(before);
    expect(file.size).toBe(100);
    file.inode.thaw();
    expect(outcome(() => work(file))).toBe('ok');
  });

  test('freezing twice, thawing what is not frozen and closing it are bugs', () => {
    const { inode } = mount().memfdCreate('f');
    expect(() => inode.thaw()).toThrow('liveupdate bug');
    inode.freeze();
    expect(() => inode.freeze()).toThrow('liveupdate bug');
    expect(() => inode.put()).toThrow('liveupdate bug');
  });
});

describe('pinning', () => {
  test('fills the holes with zeros, lists the folios in file order, and takes one pin on each', () => {
    const shmem = mount({ huge: 'always' });
    const file = shmem.memfdCreate('f');
    file.pwrite(pattern(PAGE_SIZE), 3 * PAGE_SIZE);
    file.pwrite(pattern(4 * PAGE_SIZE), 8 * PAGE_SIZE);
    file.truncate(14 * PAGE_SIZE + 1);
    const bytes = contents(file);
    const pinned = file.inode.pin();
    expect([...pinned.runs.list().indices]).toEqual([0, 2, 3, 4, 8, 12, 14]);
    expect(layoutOf(file)).toEqual([1, 0, 0, 2, 2, 1, 0]);
    expect(pinned.filled.map(({ index, count }) => [index, count])).toEqual([
      [0, 3],
      [4, 4],
      [12, 3],
    ]);
    expect(contents(file)).toEqual(bytes);
    expect(shmem.used).toBe(15 * PAGE_SIZE);
    const { table } = shmem.pages;
    const counts = (): number[][] =>
      [...pinned.runs.list().pfns].map((pfn) => [table.pinsOf(pfn), table.refsOf(pfn)]);
    expect(counts()).toEqual(Array(7).fill([1, 2]));
    file.inode.unpin(pinned);
    expect(counts()).toEqual(Array(7).fill([0, 1]));
    expect(shmem.used).toBe(15 * PAGE_SIZE); // what was filled stays
    shmem.pages.assertConsistent();
  });

  test.each([
    ['an empty file', 0],
    ['one page', 1],
    ['pages', 3 * PAGE_SIZE],
  ])('of %s is undone whole', (_, size) => {
    const shmem = mount();
    const file = shmem.memfdCreate('f');
    file.truncate(size);
    const before = snapshot(shmem);
    const pinned = file.inode.pin();
    expect(pinned.runs.folios).toBe(Math.ceil(size / PAGE_SIZE));
    file.inode.undoPin(pinned);
    expect(snapshot(shmem)).toEqual(before);
  });

  test('a limit in the way changes nothing', () => {
    const shmem = mount({ memoryLimit: 5 * PAGE_SIZE });
    const file = shmem.memfdCreate('f');
    file.pwrite(pattern(10), 2 * PAGE_SIZE);
    file.truncate(6 * PAGE_SIZE);
    const before = snapshot(shmem);
    expect(outcome(() => file.inode.pin())).toBe('ENOMEM');
    expect(snapshot(shmem)).toEqual(before);
    file.truncate(5 * PAGE_SIZE);
    expect(file.inode.pin().runs.folios).toBe(5);
  });
});

describe('a file in scratch memory', () => {
  /**
   * A mount with 1 MiB of scratch, and a file that got its memory there because nothing else was
   * left; then `room` pages are freed.
   */
  function scratchFile(huge: 'never' | 'always', room: number) {
    const shmem = mount({ ram: new HeapRam(2 * 2 ** 20), scratch: [256, 256], huge });
    const ballast = shmem.memfdCreate('ballast');
    ballast.allocate(0, shmem.pages.freePages * PAGE_SIZE);
    const file = shmem.memfdCreate('f');
    file.write(pattern(16 * PAGE_SIZE));
    file.truncate(20 * PAGE_SIZE);
    ballast.truncate(ballast.size - room * PAGE_SIZE);
    return { shmem, file };
  }

  test.each(['never', 'always'] as const)('is moved out of it with its bytes (huge: %s)', (huge) => {
    const { shmem, file } = scratchFile(huge, 100);
    const bytes = contents(file);
    const { table } = shmem.pages;
    expect(shmem.pages.freeScratchPages).toBe(256 - 16);
    const pinned = file.inode.pin();
    expect(shmem.pages.freeScratchPages).toBe(256);
    expect([...pinned.runs.list().pfns].some((pfn) => shmem.pages.isScratch(pfn))).toBe(false);
    expect([...pinned.runs.list().pfns].every((pfn) => table.pinsOf(pfn) === 1)).toBe(true);
    expect(contents(file)).toEqual(bytes);
    expect(layoutOf(file)).toEqual(huge === 'always' ? [4, 2] : Array(20).fill(0));
    shmem.pages.assertConsistent();
    file.inode.unpin(pinned);
    file.close();
    shmem.pages.assertConsistent();
  });

  test.each([
    ['never', 'one page short', 19],
    ['always', 'no block large enough', 8],
  ] as const)('stays there whole where it cannot be moved (huge: %s, %s)', (huge, _, room) => {
    const { shmem, file } = scratchFile(huge, room);
    const bytes = contents(file);
    const before = snapshot(shmem);
    expect(outcome(() => file.inode.pin())).toBe('ENOMEM');
    expect(snapshot(shmem)).toEqual(before);
    expect(contents(file)).toEqual(bytes);
    shmem.pages.assertConsistent();
  });

  test('each allocation failing once changes nothing', () => {
    const { shmem, file } = scratchFile('never', 100);
    const before = snapshot(shmem);
    const work = (): void => void file.inode.pin();
    const hits = failEachAllocation(shmem, false, work, (result) => {
      expect(result).toBe('ENOMEM');
      expect(snapshot(shmem)).toEqual(before);
      shmem.pages.assertConsistent();
    });
    expect(hits).toBe(1 + 16); // the hole, and each page
  });

  test('is not moved from under a mapping', () => {
    const { shmem, file } = scratchFile('never', 100);
    file.truncate(16 * PAGE_SIZE);
    const mapping = file.map();
    const before = snapshot(shmem);
    expect(outcome(() => file.inode.pin())).toBe('EBUSY');
    expect(snapshot(shmem)).toEqual(before);
    mapping.unmap();
    expect(file.inode.pin().runs.folios).toBe(16);
  });
});

describe('adopting folios', () => {
  test('charges all their pages, also of a folio that reaches past the end, and gives them back', () => {
    const shmem = mount();
    const free = shmem.pages.freePages;
    const file = shmem.memfdCreate('f');
    const runs = new FolioRuns();
    runs.push(0, shmem.pages.alloc(0, { zero: true }), 1, 0);
    runs.push(5, shmem.pages.alloc(0, { zero: true }), 1, 0);
    runs.push(512, shmem.pages.alloc(9), 1, 9);
    file.inode.adopt(runs);
    file.inode.restoreState(512 * PAGE_SIZE + 1, 6);
    expect([file.size, file.seals, shmem.used]).toEqual([512 * PAGE_SIZE + 1, 6, 514 * PAGE_SIZE]);
    expect(layoutOf(file)).toEqual([0, -4, 0, -506, 9]);
    file.close();
    expect([shmem.used, shmem.pages.freePages]).toEqual([0, free]);
    shmem.pages.assertConsistent();
  });

  test('a hole is filled too where a folio reaches as far past the end as it is long', () => {
    const shmem = mount();
    const file = shmem.memfdCreate('f');
    const runs = new FolioRuns();
    runs.push(512, shmem.pages.alloc(9, { zero: true }), 1, 9);
    file.inode.adopt(runs);
    file.inode.restoreState(513 * PAGE_SIZE, 0);
    const pinned = file.inode.pin();
    expect([pinned.runs.folios, pinned.filled]).toEqual([513, [{ index: 0, count: 512, zero: true }]]);
  });

  test('bytes past the end are zeros once the file grows over them', () => {
    const shmem = mount();
    const file = shmem.memfdCreate('f');
    const folio = shmem.pages.alloc(9);
    shmem.pages.folioBytes(folio).fill(7);
    const runs = new FolioRuns();
    runs.push(0, folio, 1, 9);
    file.inode.adopt(runs);
    file.inode.restoreState(PAGE_SIZE + 10, 0);
    file.truncate(600 * PAGE_SIZE);
    const bytes = contents(file);
    expect(bytes.lastIndexOf(7)).toBe(PAGE_SIZE + 9);
    expect(bytes.indexOf(0)).toBe(PAGE_SIZE + 10);
    file.truncate(1);
    expect(shmem.used).toBe(PAGE_SIZE);
    shmem.pages.assertConsistent();
  });

  test('beyond a limit nothing is taken', () => {
    const shmem = mount({ memoryLimit: 2 * PAGE_SIZE });
    const file = shmem.memfdCreate('f');
    const runs = new FolioRuns();
    runs.push(0, shmem.pages.alloc(1), 1, 1);
    runs.push(2, shmem.pages.alloc(0), 1, 0);
    expect(outcome(() => file.inode.adopt(runs))).toBe('ENOMEM');
    expect([shmem.used, file.inode.cache.count]).toEqual([0, 0]);
    shmem.pages.putRows(runs);
    file.close();
    shmem.pages.assertConsistent();
  });
});

test('only memory that is short makes a large folio give way: other failures pass through', () => {
  const shmem = mount({ huge: 'always' });
  const file = shmem.memfdCreate('f');
  shmem.pages.beforeAllocation = () => {
    throw new KernelError('EIO', 'for the test');
  };
  expect(outcome(() => file.allocate(0, 512 * PAGE_SIZE))).toBe('EIO');
});
