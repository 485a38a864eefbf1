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

test('work begins at once where nothing runs; what is asked for in its midst waits for its end', async () => {
  const mutex = new Mutex();
  const log: string[] = [];
  let inner: Promise<unknown> = Promise.resolve();
  const outer = mutex.run(async () => {
    log.push('outer begins');
    inner = mutex.run(() => log.push('inner'));
    await Promise.resolve();
    log.push('outer ends');
  });
  log.push('called');
  await Promise.all([outer, inner]);
  const many = Array.from({ length: 1000 }, (_, i) => mutex.run(() => i));
  expect(await Promise.all(many)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
  await mutex.run(() => log.push('after'));
  expect(log).toEqual(['outer begins', 'called', 'outer ends', 'inner', 'after']);
});
