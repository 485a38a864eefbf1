import * as fs from 'node:fs';
import { codeOf } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { Memfd } from './memfd.ts';

const ALLOW_SEALING = 2;

function outcome(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return codeOf(error);
  }
}

test('a memfd is read, written, sought, allocated and counted', () => {
  using file = Memfd.create('liveupdate-test', ALLOW_SEALING);
  expect(file.write([Uint8Array.of(1, 2), Uint8Array.of(3)])).toBe(3);
  expect(file.write([Uint8Array.of(9)], 8192)).toBe(1);
  const target = new Uint8Array(4);
  expect(file.read([target], 1)).toBe(4);
  expect([...target]).toEqual([2, 3, 0, 0]);
  expect(file.stat()).toEqual({ size: 8193, blocks: 16, links: 0 });
  expect([file.seek(0, 1), file.seek(1, 3), file.seek(1, 4), file.seek(5000, 3)]).toEqual([3, 1, 4096, 8192]);
  file.fallocate(0, 0, 3 * 4096);
  expect(file.stat()).toEqual({ size: 12_288, blocks: 24, links: 0 });
  file.truncate(0);
  expect(outcome(() => file.seek(0, 3))).toBe('ENXIO');
  expect(outcome(() => file.seek(-1, 0))).toBe('EINVAL');
});

test('another description has its own position', () => {
  using file = Memfd.create('liveupdate-test', ALLOW_SEALING);
  file.write([Uint8Array.of(5, 6, 7)]);
  using other = file.reopen();
  const target = new Uint8Array(2);
  expect([other.read([target]), ...target, other.seek(0, 1), file.seek(0, 1)]).toEqual([2, 5, 6, 2, 3]);
});

test('a descriptor from elsewhere is a memfd, where it is one', () => {
  const { fd } = Memfd.create('liveupdate-test', ALLOW_SEALING);
  using file = Memfd.of(fd);
  file.write([Uint8Array.of(5)]);
  file.addSeals(2);
  expect([file.fd, file.stat().size, file.seals]).toEqual([fd, 1, 2]);
  const disk = fs.openSync(process.execPath, 'r');
  expect(outcome(() => Memfd.of(disk))).toBe('EINVAL');
  fs.closeSync(disk);
  expect(outcome(() => Memfd.of(disk))).toBe('EBADF');
});

test('a mapping is the file, and keeps it from being sealed', () => {
  using file = Memfd.create('liveupdate-test', ALLOW_SEALING);
  expect(outcome(() => file.map())).toBe('EINVAL');
  file.truncate(5000);
  const mapping = file.map();
  const { bytes } = mapping;
  bytes[4999] = 8;
  const target = new Uint8Array(1);
  file.read([target], 4999);
  expect([bytes.length, target[0], file.stat().blocks]).toEqual([5000, 8, 16]);
  expect(outcome(() => file.addSeals(8))).toBe('EBUSY');
  mapping.unmap();
  file.addSeals(8);
  expect([bytes.length, file.seals]).toEqual([0, 8]);
  expect(outcome(() => file.map())).toBe('EPERM');
  expect(outcome(() => file.write([Uint8Array.of(1)]))).toBe('EPERM');
});

test('what is closed answers EBADF', () => {
  const file = Memfd.create('liveupdate-test', 0);
  file.close();
  expect(outcome(() => file.truncate(1))).toBe('EBADF');
  expect(outcome(() => file.close())).toBe('EBADF');
  expect(outcome(() => Memfd.create('x'.repeat(250), 0))).toBe('EINVAL');
});
