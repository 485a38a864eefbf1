import { KernelError } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import {
  coldKernel,
  Counter,
  failEachAllocation,
  nextKernel,
  outcome,
  Script,
  type TestKernel,
} from './test-kernel.ts';

/**
 * The kernel after one that preserved counters 1 to `count`, counter n under token n * 10, in
 * session 's'.
 */
async function handedOver(count: number, script = new Script()): Promise<TestKernel> {
  const first = coldKernel();
  const session = first.luo.createSession('s');
  for (let value = 1; value <= count; value++) await session.preserve(new Counter(value), value * 10);
  await first.luo.reboot();
  return nextKernel(first, script);
}

/** No counter, and a file that counts no references. */
class Other {
  readonly other = true;
}

test('files are listed in the order of preservation and retrieved in any', async () => {
  const { luo } = await handedOver(5);
  const session = luo.retrieveSession('s');
  expect(session.files.map(({ token, compatible, retrieval }) => [token, compatible, retrieval])).toEqual(
    [10n, 20n, 30n, 40n, 50n].map((token) => [token, 'counter-v1', 'untried']),
  );
  for (const token of [30, 10n, 50]) {
    const counter = await session.retrieve(token, Counter);
    expect(BigInt(counter.value) * 10n).toBe(BigInt(token));
  }
  expect(session.files.map(({ retrieval }) => retrieval)).toEqual([
    'done',
    'untried',
    'done',
    'untried',
    'done',
  ]);
  expect(await outcome(() => session.retrieve(11))).toBe('ENOENT');
});

test('asking again gives the same file, and each time a reference; finish drops the one that LUO held', async () => {
  const { luo, script } = await handedOver(1);
  const session = luo.retrieveSession('s');
  const counter = await session.retrieve(10, Counter);
  expect(counter.references).toBe(2); // LUO's and ours
  expect(await session.retrieve(10)).toBe(counter);
  expect(counter.references).toBe(3);
  expect(await outcome(() => session.retrieve(10, Other))).toBe('EINVAL');
  expect(counter.references).toBe(3);
  await session.finish();
  expect(counter.references).toBe(2);
  expect(script.log).toEqual(['retrieve 1', 'canFinish 1', 'finish 1', 'done']);
});

test('a file of another class is kept for who asks rightly', async () => {
  const { luo } = await handedOver(1);
  const session = luo.retrieveSession('s');
  expect(await outcome(() => session.retrieve(10, Other))).toBe('EINVAL');
  expect((await session.retrieve(10, Counter)).value).toBe(1);
});

test('concurrent calls for one file run its handler once', async () => {
  const script = new Script();
  script.async = true;
  const { luo } = await handedOver(2, script);
  const session = luo.retrieveSession('s');
  const files = await Promise.all([
    session.retrieve(10),
    session.retrieve(10),
    session.retrieve(20),
    session.retrieve(10),
  ]);
  expect(files[0]).toBe(files[1]);
  expect(files[0]).toBe(files[3]);
  expect(script.log).toEqual(['retrieve 1', 'retrieve 2']);
});

describe.each([false, true])('callbacks that throw (as a promise: %s)', (async) => {
  const scripted = (): Script => Object.assign(new Script(), { async });

  test('retrieve: the same error for ever, the other files are untouched, finish is told', async () => {
    const { luo, kho, script } = await handedOver(3, scripted());
    const session = luo.retrieveSession('s');
    const thrown = new KernelError('EIO', 'for the test');
    script.failOnce('retrieve', thrown, 2);
    await expect(session.retrieve(20)).rejects.toBe(thrown);
    await expect(session.retrieve(20, Counter)).rejects.toBe(thrown);
    expect((await session.retrieve(30, Counter)).value).toBe(3);
    expect(session.files.map(({ retrieval }) => retrieval)).toEqual(['untried', 'failed', 'done']);
    expect(script.log).toEqual(['retrieve 2', 'retrieve 3']);
    script.log.length = 0;
    await session.finish();
    expect(script.log).toEqual([
      ...['canFinish 3', 'canFinish 2', 'canFinish 1'],
      ...['finish 3', 'done', 'finish 2', 'failed', 'finish 1', 'untried'],
    ]);
    kho.pages.assertConsistent();
  });

  test('canFinish: nothing has changed, and the next attempt finishes', async () => {
    const { luo, script } = await handedOver(3, scripted());
    const session = luo.retrieveSession('s');
    for (const bad of [3, 2, 1]) {
      script.log.length = 0;
      script.failOnce('canFinish', new KernelError('EIO', 'for the test'), bad);
      expect(await outcome(() => session.finish())).toBe('EIO');
      expect(script.log.some((entry) => entry.startsWith('finish'))).toBe(false);
      expect(session.files).toHaveLength(3);
    }
    expect((await session.retrieve(10, Counter)).value).toBe(1);
    await session.finish();
  });

  test.each([1, 2, 3])(
    'finish of file %d: all others are finished, the session too, and the caller is told',
    async (bad) => {
      const { luo, kho, script } = await handedOver(3, scripted());
      const free = kho.pages.freePages;
      const session = luo.retrieveSession('s');
      const kept = await session.retrieve(20, Counter);
      const thrown = new Error('for the test');
      script.failOnce('finish', thrown, bad);
      script.log.length = 0;
      await expect(session.finish()).rejects.toBe(thrown);
      expect(script.log.filter((entry) => entry.startsWith('finish'))).toEqual([
        'finish 3',
        'finish 2',
        'finish 1',
      ]);
      expect([luo.incomingSessions, session.files]).toEqual([[], []]);
      expect(await outcome(() => session.finish())).toBe('EINVAL');
      await session.close();
      expect(kept.references).toBe(1);
      // LUO's own three pages, and the records of the files but the one of the failure.
      expect(kho.pages.freePages).toBe(free + 3 + (bad === 2 ? 3 : 2));
      kho.pages.assertConsistent();
    },
  );
});

describe('finish', () => {
  test.each([1, 2, 3])('is refused whole where file %d cannot yet', async (bad) => {
    const { luo, script } = await handedOver(3);
    const session = luo.retrieveSession('s');
    const kept = await session.retrieve(10, Counter);
    script.log.length = 0;
    script.mayFinish = (value) => value !== bad;
    expect(await outcome(() => session.finish())).toBe('EBUSY');
    expect(await outcome(() => session.close())).toBe('EBUSY'); // it stays
    expect(script.log.some((entry) => entry.startsWith('finish'))).toBe(false);
    expect([session.files.length, kept.references, luo.incomingSessions.length]).toEqual([3, 2, 1]);
    expect((await session.retrieve(20, Counter)).value).toBe(2); // and works
    script.mayFinish = undefined;
    await session.close();
    await session.close();
    expect(luo.incomingSessions).toEqual([]);
  });

  test('ends the session', async () => {
    const { luo } = await handedOver(1);
    const session = luo.retrieveSession('s');
    await session.finish();
    expect(await outcome(() => session.finish())).toBe('EINVAL');
    expect(await outcome(() => session.retrieve(10))).toBe('EINVAL');
    expect(await outcome(() => session.close())).toBe('ok');
    expect(session.files).toEqual([]);
  });

  test('of a session without files', async () => {
    const { luo, script } = await handedOver(0);
    await luo.retrieveSession('s').finish();
    expect(script.log).toEqual([]);
  });

  test('needs no memory, as retrieving needs none', async () => {
    const { luo, kho } = await handedOver(100);
    const work = async (): Promise<void> => {
      const session = luo.retrieveSession('s');
      for (let value = 1; value <= 100; value += 2) await session.retrieve(value * 10);
      await session.finish();
    };
    expect(await failEachAllocation(kho, work, () => undefined)).toBe(0);
    kho.pages.assertConsistent();
  });
});

test('a handler that gives no file has failed', async () => {
  const first = coldKernel();
  await first.luo.createSession('s').preserve(new Counter(1), 1);
  await first.luo.reboot();
  const next = nextKernel(first);
  let calls = 0;
  (next.handler as { retrieve: unknown }).retrieve = () => void (calls += 1);
  const session = next.luo.retrieveSession('s');
  expect(await outcome(() => session.retrieve(1))).toBe('EIO');
  expect(await outcome(() => session.retrieve(1))).toBe('EIO');
  expect([calls, session.files[0].retrieval]).toEqual([1, 'failed']);
});

test('a retrieved file can be preserved again while its session is open', async () => {
  const { luo } = await handedOver(1);
  const session = luo.retrieveSession('s');
  const counter = await session.retrieve(10, Counter);
  const out = luo.createSession('s');
  await out.preserve(counter, 10);
  await session.finish();
  expect(counter.references).toBe(2); // ours and the outgoing session's
  await out.close();
  expect(counter.references).toBe(1);
});
