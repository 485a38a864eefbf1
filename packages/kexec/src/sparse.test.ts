/**
 * A file of 64 GiB that is all but a hole, on RAM that takes what is touched: its holes are filled
 * at preserve, and take records and nothing else.
 */
import { MappedRam } from '@liveupdate/linux';
import { ShmemFile } from '@liveupdate/shmem';
import { expect, it } from 'vitest';
import { bootKernel } from './kernel.ts';

const GIB = 2 ** 30;
const MIB = 2 ** 20;

it('64 GiB go to the next kernel for a few megabytes of memory', async () => {
  using ram = MappedRam.anonymous({ name: 'liveupdate-sparse-test', size: 66 * GIB });
  const first = bootKernel(ram, undefined, { freeMemory: 'zero', huge: 'always' });
  const file = first.shmem.memfdCreate('f');
  const places = [0, 5 * GIB + 17, 64 * GIB - 1];
  for (const at of places) file.pwrite(Uint8Array.of(7), at);
  await first.luo.createSession('s').preserve(file, 1);
  file.pwrite(Uint8Array.of(8), 33 * GIB); // in what was a hole, after preserve
  await first.luo.reboot();

  const next = bootKernel(ram, first.kho.entry, { freeMemory: 'keep', huge: 'always' });
  next.commit();
  const session = next.luo.retrieveSession('s');
  const same = await session.retrieve(1, ShmemFile);
  await session.finish();
  expect([same.size, next.shmem.used]).toEqual([64 * GIB, 64 * GIB]);
  const byte = new Uint8Array(1);
  for (const at of [...places, 33 * GIB, 40 * GIB]) {
    same.pread(byte, at);
    expect([at, byte[0]]).toEqual([at, at === 40 * GIB ? 0 : at === 33 * GIB ? 8 : 7]);
  }
  expect(ram.allocated()).toBeLessThan(16 * MIB);
  same.close();
  expect(next.shmem.used).toBe(0);
});
