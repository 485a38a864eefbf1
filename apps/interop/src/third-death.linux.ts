/**
 * The last death: the kernel of the host is replaced, and a service of ours goes on with its memory
 * where it was.
 */
import { fileURLToPath } from 'node:url';
import { seed } from '@liveupdate/base/test-seed';
import { expect, test } from 'vitest';
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
  const second = await guest.until('serving');
  expect(second).toMatchObject({ origin: 'handover', count: 1000, hash: first.hash, moved: 0 });
  expect(second.same).toBe((576 * 2 ** 20) / 4096);
  const third = await guest.until('serving');
  expect(third).toMatchObject({ origin: 'recovered', count: 2007, hash: first.hash, moved: 0 });
  expect(third.same).toBe((576 * 2 ** 20) / 4096);
  expect(guest.serial.match(/luo: Retrieved live update data/g)).toHaveLength(2);
});
