import { boot, bootCold } from '@liveupdate/kho';
import { LiveUpdateOrchestrator } from '@liveupdate/luo-core';
import { HeapRam } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { EFD_NONBLOCK, EFD_SEMAPHORE, EventFd } from './event-fd.ts';
import { eventfdHandler } from './eventfd-handler.ts';

const counts = [0n, 1n, 2n ** 32n, 2n ** 53n + 1n, 2n ** 64n - 2n];
const flags = [0, EFD_SEMAPHORE, EFD_NONBLOCK, EFD_SEMAPHORE | EFD_NONBLOCK];

test('every counter arrives with every flag; who waits does not', async () => {
  const ram = new HeapRam(2 ** 20);
  const kho = bootCold(ram);
  const luo = new LiveUpdateOrchestrator({ kho, handlers: [eventfdHandler({ kho })] });
  const session = luo.createSession('s');
  const all = counts.flatMap((count) => flags.map((flag) => [count, flag] as const));
  for (const [token, [count, flag]] of all.entries()) await session.preserve(new EventFd(count, flag), token);
  const empty = new EventFd();
  let isRead = false;
  const read = empty.read().then(() => (isRead = true));
  await session.preserve(empty, all.length);
  await luo.reboot();

  const next = boot(ram, kho.entry, { freeMemory: 'poison' });
  const after = new LiveUpdateOrchestrator({ kho: next, handlers: [eventfdHandler({ kho: next })] });
  const incoming = after.retrieveSession('s');
  for (const [token, expected] of all.entries()) {
    const file = await incoming.retrieve(token, EventFd);
    expect([file.count, file.flags]).toEqual(expected);
  }
  const same = await incoming.retrieve(all.length, EventFd);
  await same.write(1);
  expect([same.count, isRead]).toEqual([1n, false]);
  await incoming.finish();
  await empty.write(1);
  await read;
});

test('one that is closed once too often arrives all the same, and its session ends well', async () => {
  const ram = new HeapRam(2 ** 20);
  const kho = bootCold(ram);
  const luo = new LiveUpdateOrchestrator({ kho, handlers: [eventfdHandler({ kho })] });
  const file = new EventFd(7);
  await luo.createSession('s').preserve(file, 1);
  file.close();
  expect(() => {
    file.close();
  }).toThrow(expect.objectContaining({ code: 'EBADF' }) as Error);
  file.isNonBlocking = true;
  await luo.reboot();

  const next = boot(ram, kho.entry, { freeMemory: 'poison' });
  const after = new LiveUpdateOrchestrator({ kho: next, handlers: [eventfdHandler({ kho: next })] });
  const incoming = after.retrieveSession('s');
  const same = await incoming.retrieve(1, EventFd);
  expect([same.count, same.flags]).toEqual([7n, EFD_NONBLOCK]);
  same.close();
  expect(() => {
    same.close();
  }).toThrow(expect.objectContaining({ code: 'EBADF' }) as Error);
  await incoming.finish();
  expect(same.isOpen).toBe(false);
});
