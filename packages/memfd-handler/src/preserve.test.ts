import { PAGE_SIZE } from '@liveupdate/base';
import { NO_FLBS } from '@liveupdate/luo-core';
import { MFD_ALLOW_SEALING, Shmem, type ShmemFile } from '@liveupdate/shmem';
import { describe, expect, test } from 'vitest';
import { memfdHandler } from './memfd-handler.ts';
import {
  coldKernel,
  contents,
  failEachAllocation,
  outcome,
  pattern,
  snapshot,
  type TestKernel,
} from './test-kernel.ts';

/**
 * A kernel whose map of preserved pages has all the nodes that it will need: they are kept when
 * keys are taken out again.
 */
async function warmKernel(mount = {}): Promise<TestKernel> {
  const kernel = coldKernel(mount);
  const file = kernel.shmem.memfdCreate('warm');
  file.adviseHuge();
  file.truncate(1023 * PAGE_SIZE);
  const session = kernel.luo.createSession('warm');
  await session.preserve(file, 1);
  await session.close();
  file.close();
  return kernel;
}

describe('while a file is preserved', () => {
  const operations: [string, (file: ShmemFile) => unknown, string][] = [
    ['read', (file) => file.pread(new Uint8Array(5), 0), 'ok'],
    ['overwrite', (file) => file.pwrite(pattern(100, 3), 4000), 'ok'],
    ['seek', (file) => file.seek(3), 'ok'],
    ['map', (file) => file.map().unmap(), 'ok'],
    ['truncate to the same size', (file) => file.truncate(8 * PAGE_SIZE), 'ok'],
    ['add a seal', (file) => file.addSeals(2), 'ok'],
    ['shrink', (file) => file.truncate(8 * PAGE_SIZE - 1), 'EPERM'],
    ['grow', (file) => file.truncate(8 * PAGE_SIZE + 1), 'EPERM'],
    ['allocate', (file) => file.allocate(0, 1), 'EPERM'],
    ['write past the end', (file) => file.pwrite(pattern(2), 8 * PAGE_SIZE), 'EPERM'],
    ['punch a hole', (file) => file.fallocate(3, 0, 10), 'EPERM'],
    [
      'write over the end, up to it',
      (file) => expect(file.pwrite(pattern(2), 8 * PAGE_SIZE - 1)).toBe(1),
      'ok',
    ],
  ];
  test.each(operations)('%s: %s', async (_, work, code) => {
    const { luo, shmem, kho } = coldKernel();
    const file = shmem.memfdCreate('f', MFD_ALLOW_SEALING);
    file.allocate(0, 8 * PAGE_SIZE);
    const session = luo.createSession('s');
    await session.preserve(file, 1);
    expect(await outcome(() => work(file))).toBe(code);
    kho.pages.assertConsistent();
    await session.unpreserve(1);
    if (code === 'EPERM') expect(await outcome(() => work(file))).toBe('ok');
    file.close();
    expect(shmem.used).toBe(0);
    kho.pages.assertConsistent();
  });

  test('its owner may close it: the session keeps it', async () => {
    const kernel = await warmKernel();
    const before = snapshot(kernel);
    const file = kernel.shmem.memfdCreate('f');
    file.write(pattern(5000));
    const session = kernel.luo.createSession('s');
    await session.preserve(file, 1);
    file.close();
    expect(kernel.shmem.used).toBe(2 * PAGE_SIZE);
    await session.close();
    expect(kernel.shmem.used).toBe(0);
    expect(snapshot(kernel)).toBe(before);
  });
});

describe('preserve is refused', () => {
  const refusals: [string, object, (kernel: TestKernel) => ShmemFile, string][] = [
    [
      'a closed file',
      {},
      ({ shmem }) => {
        const file = shmem.memfdCreate('f');
        file.write(pattern(5 * PAGE_SIZE));
        file.close();
        return file;
      },
      'EBADF',
    ],
    ['a file with a name', {}, ({ shmem }) => shmem.create('name'), 'ENOENT'],
    ['a file of another mount', {}, ({ kho }) => new Shmem({ pages: kho.pages }).memfdCreate('f'), 'ENOENT'],
    [
      'more than 2^32 - 1 pages',
      {},
      ({ shmem }) => {
        const file = shmem.memfdCreate('f');
        file.truncate(2 ** 44);
        return file;
      },
      'EFBIG',
    ],
    [
      'holes beyond all memory',
      {},
      ({ shmem }) => {
        const file = shmem.memfdCreate('f');
        file.truncate(2 ** 44 - PAGE_SIZE);
        return file;
      },
      'ENOMEM',
    ],
    [
      'holes beyond the memory limit',
      { memoryLimit: 1500 * PAGE_SIZE },
      ({ shmem }) => {
        const file = shmem.memfdCreate('f');
        file.pwrite(pattern(5), 700 * PAGE_SIZE);
        file.truncate(1501 * PAGE_SIZE);
        return file;
      },
      'ENOMEM',
    ],
    [
      'holes beyond the block limit',
      { blockLimit: 1500 * PAGE_SIZE },
      ({ shmem }) => {
        const file = shmem.memfdCreate('f');
        file.truncate(1501 * PAGE_SIZE);
        return file;
      },
      'ENOSPC',
    ],
    [
      'unknown seals',
      {},
      ({ shmem }) => {
        const file = shmem.memfdCreate('f');
        file.inode.seals = 64;
        return file;
      },
      'EOPNOTSUPP',
    ],
  ];
  test.each(refusals)('%s', async (_, mount, make, code) => {
    const kernel = await warmKernel(mount);
    const file = make(kernel);
    const session = kernel.luo.createSession('s');
    const before = snapshot(kernel);
    expect(await outcome(() => session.preserve(file, 1))).toBe(code);
    expect(snapshot(kernel)).toBe(before);
    expect(file.inode.isFrozen).toBe(false);
    kernel.kho.pages.assertConsistent();
  });

  test('unpreserving what was never preserved', async () => {
    const { handler, shmem } = coldKernel();
    const file = shmem.memfdCreate('f');
    expect(await outcome(() => handler.unpreserve({ file, data: 0n, flbs: NO_FLBS }))).toBe('EINVAL');
  });
});

test('other things than memfds are not for this handler', () => {
  const { handler, shmem, kho } = coldKernel();
  expect(handler.canPreserve(shmem.memfdCreate('f'))).toBe(true);
  expect(handler.canPreserve({})).toBe(false);
  const other = memfdHandler({ kho, shmem: new Shmem({ pages: kho.pages }) });
  expect(other.canPreserve(shmem.memfdCreate('f'))).toBe(false);
  const named = shmem.create('name');
  expect(handler.canPreserve(named)).toBe(false);
  shmem.unlink('name');
  expect(handler.canPreserve(named)).toBe(true);
});

describe('every allocation failing once', () => {
  const files: [string, object, (file: ShmemFile) => void][] = [
    ['an empty file', {}, () => undefined],
    ['single pages', {}, (file) => file.write(pattern(20 * PAGE_SIZE))],
    ['holes', {}, (file) => [1, 5, 9].forEach((page) => file.pwrite(pattern(3), page * PAGE_SIZE))],
    [
      'large folios and holes',
      { huge: 'always' },
      (file) => {
        file.pwrite(pattern(PAGE_SIZE), 700 * PAGE_SIZE);
        file.truncate(1023 * PAGE_SIZE);
      },
    ],
    ['an array of several pages', {}, (file) => file.write(pattern(600 * PAGE_SIZE))],
  ];
  test.each(files)(
    'preserving %s is undone whole; taking it back needs no memory',
    async (_, mount, make) => {
      const kernel = await warmKernel(mount);
      const file = kernel.shmem.memfdCreate('f');
      make(file);
      const bytes = contents(file);
      const session = kernel.luo.createSession('s');
      let before = snapshot(kernel);
      const hits = await failEachAllocation(
        kernel,
        () => session.preserve(file, 1),
        async (code) => {
          kernel.kho.pages.assertConsistent();
          expect(Buffer.compare(contents(file), bytes)).toBe(0);
          if (code === 'ok') {
            // A large folio could not be had and smaller ones did: all is well, but in the way of
            // the next round.
            await session.unpreserve(1);
            file.truncate(0);
            make(file);
            before = snapshot(kernel);
            return;
          }
          expect(code).toBe('ENOMEM');
          expect(snapshot(kernel)).toBe(before);
          expect([file.inode.isFrozen, session.files.length]).toEqual([false, 0]);
        },
      );
      expect(hits).toBeGreaterThan(1);
      expect(session.files).toHaveLength(1);
      expect(
        await failEachAllocation(
          kernel,
          () => session.close(),
          () => undefined,
        ),
      ).toBe(0);
      expect(file.inode.isFrozen).toBe(false);
      kernel.kho.pages.assertConsistent();
    },
  );
});

test('a file that lies in scratch is moved out of it; where it cannot be, it stays and keeps its bytes', async () => {
  // 1 MiB of scratch, and memory so short that the file ends up there.
  const kernel = coldKernel({}, 4 * 2 ** 20, { scratch: [{ addr: 2 ** 20, size: 2 ** 20 }] });
  const { shmem, kho, luo } = kernel;
  const session = luo.createSession('s');
  await session.preserve(shmem.memfdCreate('first'), 0); // the room for records
  const ballast = shmem.memfdCreate('ballast');
  ballast.allocate(0, kho.pages.freePages * PAGE_SIZE);
  const file = shmem.memfdCreate('f');
  file.write(pattern(16 * PAGE_SIZE));
  expect(kho.pages.freeScratchPages).toBe(256 - 16);
  const before = snapshot(kernel);
  expect(await outcome(() => session.preserve(file, 1))).toBe('ENOMEM');
  expect(snapshot(kernel)).toBe(before);
  ballast.truncate(ballast.size - 20 * PAGE_SIZE);
  await session.preserve(file, 1);
  expect(kho.pages.freeScratchPages).toBe(256);
  expect(contents(file)).toEqual(pattern(16 * PAGE_SIZE));
  kho.pages.assertConsistent();
  await session.close();
  file.close();
  ballast.close();
  kho.pages.assertConsistent();
});
