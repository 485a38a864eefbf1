/**
 * The records of a handover are written while another kernel could come already: after every single
 * store it finds no session, or all of them, whole.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { bootCold, readHandover, type Kho } from '@liveupdate/kho';
import { HeapRam } from '@liveupdate/mm';
import { storesOf } from '@liveupdate/mm/test-stores';
import { expect, test } from 'vitest';
import { LiveUpdateOrchestrator } from './orchestrator.ts';
import { readLuo } from './read-luo.ts';
import { Counter, counterHandler } from './test-kernel.ts';

const SIZE = 256 * PAGE_SIZE;

function sessionsIn(image: Uint8Array, { entry }: Kho): string {
  const ram = new HeapRam(image.length);
  ram.bytes(0, image.length).set(image);
  const sessions = readLuo(ram, readHandover(ram, entry))?.sessions ?? [];
  return sessions.map(({ name, files }) => `${name}: ${files.map(({ token }) => token).join()}`).join('; ');
}

test('after every store of a reboot, and of one that is called off, there are all sessions or none', async () => {
  const ram = new HeapRam(SIZE);
  const kho = bootCold(ram);
  const luo = new LiveUpdateOrchestrator({ kho, handlers: [counterHandler(kho)] });
  for (const name of ['a', 'b']) {
    const session = luo.createSession(name);
    for (let token = 1; token < 4; token++) await session.preserve(new Counter(token), token);
  }
  const all = ram.bytes(0, SIZE);
  for (const operation of [() => luo.reboot(), () => luo.cancelReboot(), () => luo.reboot()]) {
    const image = all.slice();
    const found = new Set([sessionsIn(image, kho)]);
    const stores = await storesOf(all.buffer, operation);
    for (const { at, bytes } of stores) {
      image.set(bytes, at);
      found.add(sessionsIn(image, kho));
    }
    expect(Buffer.compare(image, all), 'all stores were seen').toBe(0);
    expect(found).toEqual(new Set(['', 'a: 1,2,3; b: 1,2,3']));
  }
});
