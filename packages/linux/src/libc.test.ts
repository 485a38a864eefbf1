import * as fs from 'node:fs';
import { expect, test } from 'vitest';
import {
  addSeals,
  closesOnExec,
  duplicateFrom,
  duplicateOfProcess,
  F_SEAL_SEAL,
  F_SEAL_WRITE,
  FALLOC_KEEP_SIZE,
  FALLOC_PUNCH_HOLE,
  fallocate,
  getSeals,
  isOpen,
  isReadWrite,
  lockByte,
  madvise,
  MAP_SHARED,
  memfdCreate,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  mmap,
  munmap,
  pageSize,
  PROT_READ_WRITE,
  seekTo,
  setClosesOnExec,
  viewOf,
} from './libc.ts';
import { runChild } from './test-child.ts';
import { codeOfThrown } from './test-thrown.ts';

function memoryFile(): { fd: number } & Disposable {
  const fd = memfdCreate('liveupdate-libc-test', MFD_CLOEXEC | MFD_ALLOW_SEALING);
  return {
    fd,
    [Symbol.dispose]: () => {
      fs.closeSync(fd);
    },
  };
}

test('koffi is not loaded before the first call that needs it', () => {
  const code = `
    import * as fs from 'node:fs';
    import { hostFacts, MappedRam, monotonicNow } from './src/index.ts';
    const isLoaded = () => fs.readFileSync('/proc/self/maps', 'latin1').includes('koffi');
    hostFacts();
    monotonicNow();
    const before = isLoaded();
    MappedRam.anonymous({ name: 'x', size: 8192 }).close();
    console.log(before, isLoaded());`;
  expect(runChild(code)).toMatchObject({ stdout: 'false true\n', status: 0 });
});

test('a page has 4096 bytes here', () => {
  expect(pageSize()).toBe(4096);
});

test('memory mapped from a file is the file', () => {
  using file = memoryFile();
  fs.ftruncateSync(file.fd, 8192);
  const address = mmap(null, 8192, PROT_READ_WRITE, MAP_SHARED, file.fd, 0);
  const buffer = viewOf(address, 8192);
  new Uint8Array(buffer)[4097] = 5;
  expect([...fs.readFileSync(`/proc/self/fd/${file.fd}`).subarray(4096, 4099)]).toEqual([0, 5, 0]);
  buffer.transfer(0);
  munmap(address, 8192);
});

test('data and holes are found, and not found', () => {
  using file = memoryFile();
  fs.ftruncateSync(file.fd, 40_960);
  fallocate(file.fd, FALLOC_KEEP_SIZE, 20_480, 4096); // has memory, and counts as a hole until it is touched
  fs.writeSync(file.fd, 'x', 8192);
  expect(seekTo('data', file.fd, 0)).toBe(8192);
  expect(seekTo('hole', file.fd, 8192)).toBe(12_288);
  expect(seekTo('data', file.fd, 12_288)).toBeUndefined();
  fallocate(file.fd, FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, 8192, 4096);
  expect(seekTo('data', file.fd, 0)).toBeUndefined();
});

test('descriptor flags, modes and numbers', () => {
  using file = memoryFile();
  expect(closesOnExec(file.fd)).toBe(true);
  setClosesOnExec(file.fd, false);
  expect(closesOnExec(file.fd)).toBe(false);
  const copy = duplicateFrom(file.fd, 200);
  expect(copy).toBeGreaterThanOrEqual(200);
  expect(closesOnExec(copy)).toBe(true);
  expect(isReadWrite(copy)).toBe(true);
  fs.closeSync(copy);
  expect(isOpen(copy)).toBe(false);
});

test('seals', () => {
  using file = memoryFile();
  expect(getSeals(file.fd)).toBe(0);
  addSeals(file.fd, F_SEAL_WRITE | F_SEAL_SEAL);
  expect(getSeals(file.fd)).toBe(F_SEAL_WRITE | F_SEAL_SEAL);
  expect(
    codeOfThrown(() => {
      addSeals(file.fd, F_SEAL_WRITE);
    }),
  ).toBe('EPERM');
});

test.each<[string, () => unknown, string]>([
  ['mmap', () => mmap(null, 4096, PROT_READ_WRITE, MAP_SHARED, 9999, 0), 'EBADF'],
  ['mmap of nothing', () => mmap(null, 0, PROT_READ_WRITE, 0x22, -1, 0), 'EINVAL'],
  ['munmap', () => munmap(1n, 4096), 'EINVAL'],
  ['madvise', () => madvise(4096n, 4096, 14), 'ENOMEM'],
  ['fallocate', () => fallocate(9999, 0, 0, 4096), 'EBADF'],
  ['memfd_create', () => memfdCreate('x'.repeat(250), 0), 'EINVAL'],
  ['F_DUPFD', () => duplicateFrom(9999, 64), 'EBADF'],
  ['F_DUPFD above the limit', () => duplicateFrom(0, 2 ** 30), 'EMFILE'],
  ['F_GETFD', () => closesOnExec(9999), 'EBADF'],
  ['F_SETFD', () => setClosesOnExec(9999, true), 'EBADF'],
  ['F_GETFL', () => isReadWrite(9999), 'EBADF'],
  ['F_OFD_SETLK', () => lockByte(9999, 0), 'EBADF'],
  ['F_ADD_SEALS', () => addSeals(9999, 1), 'EBADF'],
  ['lseek', () => seekTo('data', 9999, 0), 'EBADF'],
])('%s fails with a KernelError', (_name, call, code) => {
  expect(codeOfThrown(call)).toBe(code);
});

test('a descriptor of another process is duplicated', () => {
  using file = memoryFile();
  fs.writeSync(file.fd, 'seen');
  const copy = duplicateOfProcess(process.pid, file.fd);
  expect([fs.readFileSync(`/proc/self/fd/${copy}`, 'utf8'), closesOnExec(copy)]).toEqual(['seen', true]);
  fs.closeSync(copy);
  expect(codeOfThrown(() => duplicateOfProcess(process.pid, 2 ** 20))).toBe('EBADF');
  expect(codeOfThrown(() => duplicateOfProcess(2 ** 30, 0))).toBe('ENOENT');
});
