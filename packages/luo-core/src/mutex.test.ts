import { expect, test } from 'vitest';
import { Mutex } from './mutex.ts';

test('work runs one piece after the other, in the order of asking, also after a failure', async () => {
  const mutex = new Mutex();
  const log: string[] = [];
  const work = (name: string, steps: number, fails = false) =>
    mutex.run(async () => {
      log.push(`${name} begins`);
      for (let i = 0; i < steps; i++) await Promise.resolve();
      log.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    });
  const results = await Promise.allSettled([work('a', 9), work('b', 0, true), work('c', 3)]);
  expect(log).toEqual(['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
  await expect(
    mutex.run(() => {
      throw new Error('at once');
    }),
  ).rejects.toThrow('at once');
  await expect(mutex.run(() => 5)).resolves.toBe(5);
});
