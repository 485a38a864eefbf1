/** preserveAll of memfds: what it leaves is what preserve leaves, file by file. */
import { PAGE_SIZE } from '@liveupdate/base';
import { boot } from '@liveupdate/kho';
import { MFD_ALLOW_SEALING, ShmemFile } from '@liveupdate/shmem';
import { expect, test, vi } from 'vitest';
import { MEMFD_V2 } from './abi.ts';
import { readMemfdFolios, readMemfdRecord } from './read-memfd.ts';
import {
  coldKernel,
  contents,
  failEachAllocation,
  outcome,
  pattern,
  snapshot,
  start,
  type TestKernel,
} from './test-kernel.ts';

const MiB = 2 ** 20;

/** Files of all kinds: empty, in one row, of holes, in large folios, in pieces, sealed. */
function makeFiles({ shmem }: TestKernel): ShmemFile[] {
  const make = (fill: (file: ShmemFile) => void): ShmemFile => {
    const file = shmem.memfdCreate('f', MFD_ALLOW_SEALING);
    fill(file);
    return file;
  };
  const small = Array.from({ length: 40 }, (_, i) =>
    make((file) => file.write(pattern(3 * PAGE_SIZE + i, i))),
  );
  const [a, b] = [shmem.memfdCreate('a'), shmem.memfdCreate('b')];
  for (let i = 0; i < 20; i++) for (const file of [a, b]) file.write(pattern(PAGE_SIZE, i)); // pages by turns
  return [
    ...small,
    make(() => undefined),
    make((file) => file.truncate(9 * PAGE_SIZE + 5)),
    make((file) => file.pwrite(pattern(10), 300 * PAGE_SIZE)),
    make((file) => {
      file.adviseHuge();
      file.pwrite(pattern(600 * PAGE_SIZE), 0);
      file.addSeals(4);
      file.seek(77);
    }),
    a,
    b,
  ];
}

/** What the records of a session say, and what the next kernel finds. */
async function handedOver(preserve: 'one by one' | 'all'): Promise<unknown[]> {
  const first = coldKernel({}, 32 * MiB, { scratch: [{ addr: 16 * MiB, size: MiB }] });
  const files = makeFiles(first);
  const session = first.luo.createSession('s');
  if (preserve === 'all') await session.preserveAll(files.map((file, i) => [i, file]));
  else for (const [i, file] of files.entries()) await session.preserve(file, i);
  await first.luo.reboot();
  const { ram } = first.kho;
  const records = session.files.map(({ data }) => {
    const record = readMemfdRecord(ram, Number(data), MEMFD_V2);
    const { indices, flags } = readMemfdFolios(ram, record, (pfn) => first.kho.pages.orderOf(pfn));
    return [record.size, record.position, record.seals, Array.from(indices), Array.from(flags)];
  });
  const next = start(boot(ram, first.kho.entry, { freeMemory: 'poison' }));
  const incoming = next.luo.retrieveSession('s');
  const found: unknown[] = [];
  for (const i of files.keys()) {
    const file = await incoming.retrieve(i, ShmemFile);
    found.push([file.size, file.position, file.inode.seals, Buffer.from(contents(file)).toString('base64')]);
    file.close();
  }
  await incoming.finish();
  expect(next.shmem.used).toBe(0);
  next.kho.pages.assertConsistent();
  return [records, found];
}

test('records and files are those of preserve, one by one', async () => {
  const [one, all] = [await handedOver('one by one'), await handedOver('all')];
  expect(all).toEqual(one);
});

test('unpreserved one by one, in any order, they leave nothing', async () => {
  const kernel = coldKernel({}, 32 * MiB);
  const files = makeFiles(kernel);
  const session = kernel.luo.createSession('s');
  await session.preserveAll(files.map((file, i) => [i, file]));
  for (const i of files.keys()) await session.unpreserve(i);
  const before = snapshot(kernel); // now holes are filled, and the map has its nodes
  await session.preserveAll(files.map((file, i) => [i, file]));
  for (const i of [...files.keys()].reverse()) await session.unpreserve(i);
  expect(snapshot(kernel)).toBe(before);
  expect(files.some(({ inode }) => inode.isFrozen)).toBe(false);
  kernel.kho.pages.assertConsistent();
});

test('a failure at any allocation leaves every file as it was', async () => {
  const kernel = coldKernel({}, 32 * MiB);
  const warm = makeFiles(kernel);
  const session = kernel.luo.createSession('s');
  await session.preserveAll(warm.map((file, i) => [i, file]));
  for (const i of warm.keys()) await session.unpreserve(i);
  for (const file of warm) file.close();
  const files = makeFiles(kernel);
  const before = snapshot(kernel);
  const failures = await failEachAllocation(
    kernel,
    () => session.preserveAll(files.map((file, i) => [i, file])),
    (code) => {
      expect(code).toBe('ENOMEM');
      expect(snapshot(kernel)).toBe(before);
      expect(files.some(({ inode }) => inode.isFrozen)).toBe(false);
      kernel.kho.pages.assertConsistent();
    },
  );
  expect(failures).toBeGreaterThan(3); // a block of records, two files with holes, all records at once
});

test('the same where the records of hundreds of files are made in turns', async () => {
  const kernel = coldKernel({}, 32 * MiB);
  const files = Array.from({ length: 700 }, (_, i) => {
    const file = kernel.shmem.memfdCreate('f');
    file.write(pattern(10, i));
    return [i, file] as const;
  });
  const session = kernel.luo.createSession('s');
  await session.preserveAll(files);
  for (const [i] of files) await session.unpreserve(i);
  const before = snapshot(kernel);
  const memories = vi.spyOn(kernel.kho, 'allocPreservePages');
  await failEachAllocation(
    kernel,
    () => session.preserveAll(files),
    (code) => {
      expect(code).toBe('ENOMEM');
      expect(snapshot(kernel)).toBe(before);
      expect(files.some(([, { inode }]) => inode.isFrozen)).toBe(false);
      kernel.kho.pages.assertConsistent();
    },
  );
  expect(memories.mock.calls.length).toBeGreaterThan(3); // of which one failed as the first, one as the second
  expect(session.fileCount).toBe(700);
});

test.each([0, 20, 40])('a file at place %i that memfd-v2 cannot keep: none is preserved', async (place) => {
  const kernel = coldKernel({}, 32 * MiB);
  const files = makeFiles(kernel);
  const large = kernel.shmem.memfdCreate('large');
  large.truncate(2 ** 44);
  files.splice(place, 0, large);
  const session = kernel.luo.createSession('s');
  const before = snapshot(kernel);
  const code = await outcome(() => session.preserveAll(files.map((file, i) => [i, file])));
  expect([code, session.fileCount]).toEqual(['EFBIG', 0]);
  expect(files.some(({ inode }) => inode.isFrozen)).toBe(false);
  expect(snapshot(kernel).length).toBeGreaterThanOrEqual(before.length);
  kernel.kho.pages.assertConsistent();
});
