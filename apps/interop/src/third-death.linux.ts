/**
 * The last death: the kernel of the host is replaced, and a service of ours goes on with its memory
 * where it was.
 */
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { seed } from '@liveupdate/base/test-seed';
import { expect, onTestFinished, test } from 'vitest';
import { Guest } from './guest.ts';

const PROGRAM = fileURLToPath(new URL('./guest/third-death.ts', import.meta.url));

test('512 MiB of a service outlive two kernels, handed over and not, without a copy', async () => {
  await using guest = await Guest.start({
    program: PROGRAM,
    memory: 1280,
    env: { GUEST_STAGE: 1, GUEST_SEED: seed + 1 },
  });
  const first = await guest.until('serving');
  expect(first).toMatchObject({ origin: 'cold', count: 0 });
  // As the guide says: holes are filled, and nothing is given back.
  const full = (576 * 2 ** 20) / 512;
  const preserved = await guest.until('preserved');
  expect(preserved).toMatchObject({ after: full, punch: 'EPERM' });
  expect(preserved.before).toBeLessThan(full);
  const second = await guest.until('serving');
  expect(second).toMatchObject({ origin: 'handover', count: 1000, hash: first.hash, moved: 0 });
  expect(second.same).toBe((576 * 2 ** 20) / 4096);
  const third = await guest.until('serving');
  expect(third).toMatchObject({ origin: 'recovered', count: 2007, hash: first.hash, moved: 0 });
  expect(third.same).toBe((576 * 2 ** 20) / 4096);
  expect(guest.serial.match(/luo: Retrieved live update data/g)).toHaveLength(2);
});

test('so does the program of the guide', async () => {
  const page = fs.readFileSync(new URL('../../../docs/replacing-the-kernel.md', import.meta.url), 'utf8');
  const code = /<!-- example: file over-kernel.ts -->\s+```ts\n(.*?)```/s.exec(page)?.[1] ?? '';
  const folder = fileURLToPath(new URL('../.vitest/', import.meta.url));
  fs.mkdirSync(folder, { recursive: true });
  const module = `${folder}over-kernel-${process.pid}.ts`;
  fs.writeFileSync(module, code);
  onTestFinished(() => {
    fs.rmSync(module);
  });
  await using guest = await Guest.start({
    program: fileURLToPath(new URL('./guest/over-kernel.ts', import.meta.url)),
    modules: { 'over-kernel': module },
    env: { GUEST_STAGE: 1 },
  });
  for (const [count, origin] of [
    [1, 'cold'],
    [2, 'recovered'],
    [3, 'recovered'],
  ])
    expect(await guest.until('started')).toMatchObject({ said: [`start ${count} ${origin}`] });
});
