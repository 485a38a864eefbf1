/** Sessions that nobody finishes: what becomes of their memory. */
import { setImmediate as turn } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { codeOf, PAGE_SIZE } from '@liveupdate/base';
import { Machine } from './machine.ts';
import { removeRam, testName } from './test-process.ts';

const PAGES = 300;

it('what a handover in vain has dropped is free memory when all else is finished', async () => {
  const name = testName();
  onTestFinished(() => {
    removeRam(name);
  });
  const first = await Machine.open({ name, size: '8MiB' });
  for (const title of ['taken', 'free']) {
    const file = first.kernel.shmem.memfdCreate('f');
    file.write(new Uint8Array(PAGES * PAGE_SIZE).fill(1));
    await first.kernel.luo.createSession(title).preserve(file, 1);
  }
  await first.handOver();

  const machine = await Machine.open({ name });
  const { luo, pages } = machine.kernel;
  await turn();
  await turn();
  const free = pages.freePages;
  luo.createSession('taken');
  const refused = machine.kexec([], { file: '/no/such/program', dropUnfinished: true });
  expect(await refused.then(() => '', codeOf)).toBe('ENOENT');
  await luo.retrieveSession('free').finish();
  await turn();
  await turn();
  pages.assertConsistent();
  expect(pages.freePages - free).toBeGreaterThanOrEqual(2 * PAGES - 8);
  machine.remove();
});
