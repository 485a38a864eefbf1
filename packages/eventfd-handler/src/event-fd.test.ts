import { KernelError } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import { EFD_NONBLOCK, EFD_SEMAPHORE, EventFd, POLLIN, POLLOUT } from './event-fd.ts';

const MAX = 2n ** 64n - 2n;

async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work();
    return 'ok';
  } catch (error) {
    if (error instanceof KernelError) return error.code;
    throw error;
  }
}

/** Whether a promise has an outcome already. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol();
  return (await Promise.race([promise.catch(() => 0), Promise.resolve(pending)])) !== pending;
}

describe('what cannot be', () => {
  const refused: [string, () => unknown][] = [
    ['unknown flags', () => new EventFd(0, 2)],
    ['flags beyond 32 bits', () => new EventFd(0, 2 ** 32)],
    ['a counter of 2^64 - 1', () => new EventFd(MAX + 1n)],
    ['a negative counter', () => new EventFd(-1)],
    ['writing 2^64 - 1', () => new EventFd().write(MAX + 1n)],
    ['writing 2^64', () => new EventFd().write(MAX + 2n)],
    ['writing a fraction', () => new EventFd().write(0.5)],
    ['writing what is no number', () => new EventFd().write('1' as unknown as number)],
  ];
  test.each(refused)('%s: EINVAL', async (_, work) => {
    expect(await codeOf(work)).toBe('EINVAL');
  });
});

describe('blocking', () => {
  test('a read waits for a write', async () => {
    const file = new EventFd();
    const read = file.read();
    expect(await isSettled(read)).toBe(false);
    await file.write(5);
    expect([await read, file.count]).toEqual([5n, 0n]);
  });

  test('what is written goes to who waits longest; in semaphore mode 1 to each', async () => {
    const file = new EventFd(0, EFD_SEMAPHORE);
    const [first, second, third] = [file.read(), file.read(), file.read()];
    await file.write(2);
    expect([await first, await second, await isSettled(third)]).toEqual([1n, 1n, false]);
    await file.write(3);
    expect([await third, file.count]).toEqual([1n, 2n]);
  });

  test('a write that would overflow waits for a read, and others that fit pass it by', async () => {
    const file = new EventFd(MAX - 1n);
    const write = file.write(5);
    expect(await isSettled(write)).toBe(false);
    await file.write(1);
    expect([file.count, await isSettled(write)]).toEqual([MAX, false]);
    expect(await file.read()).toBe(MAX);
    await write;
    expect(file.count).toBe(5n);
  });

  test('who waits goes on waiting where the eventfd becomes non-blocking', async () => {
    const file = new EventFd();
    const read = file.read();
    file.isNonBlocking = true;
    expect(await codeOf(() => file.read())).toBe('EAGAIN');
    await file.write(1);
    expect(await read).toBe(1n);
  });
});

describe('closing', () => {
  test('with the last reference, who waits gets EBADF, and so does everything later', async () => {
    const file = new EventFd();
    file.get();
    const read = codeOf(() => file.read());
    file.close();
    await file.write(0);
    file.put();
    expect(await read).toBe('EBADF');
    const calls = [
      () => file.read(),
      () => file.write(1),
      () => file.poll(),
      () => file.get(),
      () => file.put(),
    ];
    for (const call of calls) expect(await codeOf(call)).toBe('EBADF');
  });
});

test('poll, flags and the counter', async () => {
  const file = new EventFd(0, EFD_NONBLOCK);
  expect([file.poll(), file.flags, file.isSemaphore]).toEqual([POLLOUT, EFD_NONBLOCK, false]);
  await file.write(MAX);
  expect(file.poll()).toBe(POLLIN);
  file.isNonBlocking = false;
  expect(file.flags).toBe(0);
});
