import * as fs from 'node:fs';
import { expect, test } from 'vitest';
import { drill } from './drill.ts';

test('a drill leaves nothing behind, also one that fails', async () => {
  await drill();
  const fds = (): number => fs.readdirSync('/proc/self/fd').length;
  const before = fds();
  await drill();
  expect(fds()).toBe(before);
  let visits = 0;
  const work = drill((machine) => {
    visits += 1;
    machine.commit();
    return visits === 3 ? Promise.reject(new Error('third')) : Promise.resolve();
  });
  await expect(work).rejects.toThrow('third');
  expect([visits, fds()]).toEqual([3, before]);
});
