import * as fs from 'node:fs';
import { codeOf } from '@liveupdate/base';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isLockedByOther, tryLock, unlock } from './locks.ts';
import { MappedRam } from './mapped-ram.ts';
import { Child } from './test-child.ts';

const path = `/dev/shm/liveupdate-test-locks-${process.pid}.ram`;
let ram: MappedRam;

beforeEach(() => {
  ram = MappedRam.create({ path, size: 8192 });
});

afterEach(() => {
  ram.close();
  fs.rmSync(path, { force: true });
});

/** Takes the lock, says so, and holds it until it dies. */
const OWNER = `
  import { MappedRam, tryLock } from './src/index.ts';
  const ram = MappedRam.open({ path: process.env.RAM_PATH });
  console.log(tryLock(ram.fd));
  setInterval(() => ram.size, 1000);`;

test('one description has the lock, another has not until it is let go', () => {
  const other = MappedRam.open({ path });
  expect(isLockedByOther(other.fd)).toBe(false);
  expect(tryLock(ram.fd)).toBe(true);
  expect(tryLock(ram.fd)).toBe(true);
  expect(tryLock(other.fd)).toBe(false);
  expect(isLockedByOther(other.fd)).toBe(true);
  expect(isLockedByOther(ram.fd)).toBe(false);
  unlock(ram.fd);
  unlock(ram.fd);
  expect(tryLock(other.fd)).toBe(true);
  other.close();
  expect(tryLock(ram.fd)).toBe(true);
});

test.each(['SIGKILL', 'SIGTERM'] as const)('an owner that dies by %s leaves no lock', async (signal) => {
  await using owner = new Child(OWNER, { RAM_PATH: path });
  expect(await owner.line()).toBe('true');
  expect(tryLock(ram.fd)).toBe(false);
  owner.signal(signal);
  expect(await owner.ended()).toBe(signal);
  expect(tryLock(ram.fd)).toBe(true);
});

test('a second process is told that there is an owner', async () => {
  expect(tryLock(ram.fd)).toBe(true);
  await using second = new Child(OWNER, { RAM_PATH: path });
  expect(await second.line()).toBe('false');
});

test('the lock goes through exec, is never free on the way, and ends with the process', async () => {
  const code = `
    import { nodeArgs } from './src/test-child.ts';
    import { inheritedFd, MappedRam, replaceProcess, tryLock } from './src/index.ts';
    const fd = inheritedFd('RAM_FD');
    const ram = fd === undefined ? MappedRam.open({ path: process.env.RAM_PATH }) : MappedRam.fromFd(fd);
    const generation = Number(process.env.GENERATION ?? 1);
    if (fd === undefined) tryLock(ram.fd);
    console.log(generation, process.pid);
    process.stdin.once('data', () => replaceProcess({
      args: [process.execPath, ...nodeArgs(process.env.CHILD_CODE)],
      env: { ...process.env, RAM_FD: String(ram.fd), GENERATION: String(generation + 1) },
      keepFds: [ram.fd],
    }));`;
  await using owner = new Child(code, { RAM_PATH: path });
  const { pid } = owner.process;
  for (let generation = 1; generation <= 3; generation++) {
    expect(await owner.line()).toBe(`${generation} ${String(pid)}`);
    expect(tryLock(ram.fd)).toBe(false);
    if (generation < 3) owner.process.stdin?.write('go\n');
  }
  owner.signal('SIGKILL');
  await owner.ended();
  expect(tryLock(ram.fd)).toBe(true);
});

test('a descriptor that is not open, or only for reading, has no lock', () => {
  const readOnly = fs.openSync(path, 'r');
  for (const call of [
    () => tryLock(9999),
    () => unlock(9999),
    () => isLockedByOther(9999),
    () => tryLock(readOnly),
  ]) {
    let code = '';
    try {
      call();
    } catch (error) {
      code = codeOf(error);
    }
    expect(code).toBe('EBADF');
  }
  fs.closeSync(readOnly);
});
