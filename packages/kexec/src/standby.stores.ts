/**
 * The next generation may die at any instruction before it commits: the one before goes on as if it
 * had never been there, and whoever comes after both of them finds everything.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { forEachPrefix, storesOf } from '@liveupdate/mm/test-stores';
import { ShmemFile } from '@liveupdate/shmem';
import { expect, it } from 'vitest';
import type { Generation } from './generation.ts';
import { bootNext, contentOf, find, handOver, TestRam } from './test-generations.ts';

const SIZE = 256 * PAGE_SIZE;

/** A generation that has sealed and lent memory: the same each time. */
async function sealed(ram: TestRam): Promise<{
  owner: Generation;
  kept: ShmemFile;
  own: ShmemFile;
  lent: readonly number[];
}> {
  const owner = bootNext(ram);
  const { shmem, luo } = owner.kernel;
  const kept = shmem.memfdCreate('kept');
  kept.write(new Uint8Array(3 * PAGE_SIZE).fill(1));
  await luo.createSession('s').preserve(kept, 1);
  const own = shmem.memfdCreate('own');
  own.write(new Uint8Array(5 * PAGE_SIZE).fill(2));
  await handOver(owner);
  return { owner, kept, own, lent: owner.tenure.lend() };
}

/** What the next one does before it commits. */
async function beginOn(ram: TestRam, lent: readonly number[]): Promise<void> {
  const next = bootNext(ram, {}, lent);
  const file = await next.kernel.luo.retrieveSession('s').retrieve(1, ShmemFile);
  expect(contentOf(file)).toBe('1x3');
  file.map();
  const more = next.kernel.shmem.memfdCreate('more');
  more.write(new Uint8Array(4 * PAGE_SIZE).fill(3));
  next.kernel.pages.assertConsistent();
}

it('after every store of it the one before goes on', async () => {
  const first = new TestRam(SIZE);
  const { lent } = await sealed(first);
  const image = first.memory8.slice();
  const stores = await storesOf(first.memory8.buffer, () => beginOn(first, lent));
  expect(stores.length).toBeGreaterThan(20);
  const prefixes = await forEachPrefix(image, stores, async (now) => {
    expect(await find(TestRam.of(now))).toBe('s: 1=1x3');
    const ram = new TestRam(SIZE);
    const { owner, kept, own } = await sealed(ram);
    ram.memory8.set(now);
    expect(await owner.tenure.callOff()).toEqual([]);
    owner.kernel.pages.assertConsistent();
    expect([contentOf(kept), contentOf(own)]).toEqual(['1x3', '2x5']);
    expect(await find(TestRam.of(ram.memory8))).toBe('s: 1=1x3');
    await owner.kernel.luo.createSession('t').preserve(own, 2);
    expect(await find(TestRam.of(ram.memory8))).toBe('s: 1=1x3; t: 2=2x5');
    await handOver(owner);
    expect(await find(TestRam.of(ram.memory8))).toBe('s: 1=1x3; t: 2=2x5');
  });
  expect(prefixes).toBeGreaterThan(40);
});

it('it writes nothing but what it was lent, and what the record says of memory', async () => {
  const ram = new TestRam(SIZE);
  const { owner, lent } = await sealed(ram);
  const stores = await storesOf(ram.memory8.buffer, () => beginOn(ram, lent));
  const isLent = (at: number, length: number): boolean => {
    for (let i = 0; i < lent.length; i += 2)
      if (at >= lent[i] * PAGE_SIZE && at + length <= (lent[i] + lent[i + 1]) * PAGE_SIZE) return true;
    return false;
  };
  const record = owner.kernel.kho.publication?.pa ?? 0;
  const elsewhere = stores.filter(({ at, bytes }) => !isLent(at, bytes.length));
  expect(elsewhere.every(({ at }) => at >= record && at < record + PAGE_SIZE)).toBe(true);
  expect(elsewhere.length).toBeLessThan(8);
});
