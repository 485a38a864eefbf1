/** preserveAll: many files in one step, all or none. */
import { KernelError, suppressedBy } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import type { MaybePromise } from './callback-types.ts';
import type { LuoEvent } from './events.ts';
import type { PreserveAllContext } from './handler.ts';
import { flbKernel } from './test-flb.ts';
import {
  coldKernel,
  Counter,
  counterHandler,
  failEachAllocation,
  nextKernel,
  outcome,
  snapshot,
  type TestKernel,
} from './test-kernel.ts';

type Pairs = [number, Counter][];

const pairsOf = (values: readonly number[]): Pairs => values.map((value) => [value, new Counter(value)]);

/** A kernel whose handler has `preserveAll`, and logs what it is called for. */
function bulkKernel(change?: (given: { data: number }[]) => unknown): TestKernel {
  const kernel = coldKernel();
  const { handler, script, luo, kho } = kernel;
  const plain = counterHandler(kho);
  void luo.unregisterHandler(handler); // at once: nothing else runs
  const preserveAll = ({ files, flbs }: PreserveAllContext<Counter>): MaybePromise<{ data: number }[]> =>
    script.run('preserve', files[0].value, () => {
      script.log.push(`all ${files.map(({ value }) => value).join(' ')}`);
      const given: { data: number }[] = [];
      try {
        for (const file of files) given.push(plain.preserve({ file, flbs }) as { data: number });
      } catch (error) {
        for (const { data } of given) kho.unpreserveFree(data);
        throw error;
      }
      return (change?.(given) ?? given) as { data: number }[];
    });
  luo.registerHandler({ ...handler, preserveAll });
  return kernel;
}

const KERNELS: [string, () => TestKernel][] = [
  ['one by one', coldKernel],
  ['in one step', bulkKernel],
];

describe.each(KERNELS)('with a handler that preserves %s', (name, boot) => {
  test.each([false, true])('the next kernel finds all of them (callbacks async: %s)', async (isAsync) => {
    const first = boot();
    first.script.async = isAsync;
    const session = first.luo.createSession('s');
    const given = new Map(pairsOf([5, 3, 9]));
    const done = session.preserveAll(given);
    given.clear(); // what was given is the caller's again
    await done;
    expect(session.files.map(({ token }) => token)).toEqual([5n, 3n, 9n]);
    expect(session.files.every(({ data }) => data > 0n)).toBe(true);
    expect(first.script.log.includes('all 5 3 9')).toBe(name === 'in one step');
    await first.luo.reboot();
    const next = nextKernel(first);
    const incoming = next.luo.retrieveSession('s');
    for (const value of [9, 5, 3]) expect((await incoming.retrieve(value, Counter)).value).toBe(value);
    await incoming.finish();
    next.kho.pages.assertConsistent();
  });

  test('each of them can be unpreserved, and leaves nothing', async () => {
    const { luo, kho } = boot();
    const session = luo.createSession('s');
    await session.preserveAll(pairsOf([1]));
    await session.unpreserve(1);
    const before = snapshot(kho);
    const pairs = pairsOf([1, 2, 3]);
    await session.preserveAll(pairs);
    for (const token of [2, 3, 1]) await session.unpreserve(token);
    expect(snapshot(kho)).toBe(before);
    expect(pairs.map(([, { references }]) => references)).toEqual([1, 1, 1]);
    kho.pages.assertConsistent();
  });

  test('of none does nothing', async () => {
    const { luo, script } = boot();
    const session = luo.createSession('s');
    await session.preserveAll([]);
    expect([session.fileCount, script.log]).toEqual([0, []]);
  });

  test('after a failure at any allocation none is preserved', async () => {
    const { luo, kho } = boot();
    const session = luo.createSession('s');
    const before = snapshot(kho);
    const pairs = pairsOf([...Array(70).keys()]);
    const failures = await failEachAllocation(
      kho,
      () => session.preserveAll(pairs),
      (code) => {
        expect(code).toBe('ENOMEM');
        expect([session.fileCount, session.files]).toEqual([0, []]);
        expect(pairs.every(([, { references }]) => references === 1)).toBe(true);
        kho.pages.assertConsistent();
      },
    );
    expect(failures).toBeGreaterThan(70); // a page for each, blocks of records, nodes of the map
    expect(session.fileCount).toBe(70);
    await session.close();
    expect(snapshot(kho).split('\n').length).toBeLessThanOrEqual(before.split('\n').length + 4); // nodes stay
  });

  const wrong: [string, (pairs: Pairs, other: Counter) => unknown[], string][] = [
    ['a token twice', (pairs) => [...pairs, [2, new Counter(4)]], 'EEXIST'],
    ['a token of the session', (pairs) => [...pairs, [7, new Counter(4)]], 'EEXIST'],
    ['a file twice', (pairs) => [...pairs, [4, pairs[0][1]]], 'EBUSY'],
    ['a file that is preserved', (pairs, other) => [...pairs, [4, other]], 'EBUSY'],
    ['something that no handler takes', (pairs) => [...pairs, [4, {}]], 'ENOENT'],
    ['no file', (pairs) => [...pairs, [4, undefined]], 'EBADF'],
    ['a token that is none', (pairs) => [...pairs, [-4, new Counter(4)]], 'EINVAL'],
    ['a file alone', (pairs) => [...pairs, new Counter(4)], 'EINVAL'],
    ['three in a pair', (pairs) => [...pairs, [4, new Counter(4), 5]], 'EINVAL'],
  ];
  test.each(wrong)('%s among them: none is preserved, no callback has run', async (_, change, code) => {
    const { luo, kho, script } = boot();
    const session = luo.createSession('s');
    const other = new Counter(8);
    await session.preserve(other, 7);
    const before = snapshot(kho);
    script.log.length = 0;
    const pairs = pairsOf([1, 2, 3]);
    expect(await outcome(() => session.preserveAll(change(pairs, other) as Pairs))).toBe(code);
    expect(snapshot(kho)).toBe(before);
    expect([script.log, session.fileCount]).toEqual([[], 1]);
    expect(pairs.map(([, { references }]) => references)).toEqual([1, 1, 1]);
    await session.preserveAll(pairs); // none of them is taken for preserved
    expect(session.fileCount).toBe(4);
  });

  test('a closed session, and one whose handover is on its way', async () => {
    const { luo } = boot();
    const session = luo.createSession('s');
    const closed = luo.createSession('closed');
    await closed.close();
    expect(await outcome(() => closed.preserveAll(pairsOf([1])))).toBe('EINVAL');
    await luo.reboot();
    expect(await outcome(() => session.preserveAll(pairsOf([1])))).toBe('EBUSY');
  });
});

test.each([1, 2])('a generation that ends while file %i is saved: EBADF', async (last) => {
  const { luo, script } = coldKernel();
  script.async = true;
  const session = luo.createSession('s');
  script.fail = (callback, value) => {
    if (callback === 'preserve' && value === last) luo.end();
    return undefined;
  };
  expect(await outcome(() => session.preserveAll(pairsOf([1, 2])))).toBe('EBADF');
});

test('while callbacks run, the files of the session are those that are preserved', async () => {
  const { luo, script } = coldKernel();
  script.async = true;
  const session = luo.createSession('s');
  await session.preserve(new Counter(8), 8);
  const seen: number[] = [];
  script.fail = () => {
    seen.push(session.fileCount, session.files.length);
    return undefined;
  };
  await session.preserveAll(pairsOf([1, 2]));
  expect(new Set(seen)).toEqual(new Set([1]));
  expect(session.fileCount).toBe(3);
});

describe('a handler that fails for one of them', () => {
  test.each([false, true])('those before it are unpreserved, last first (async: %s)', async (isAsync) => {
    const { luo, kho, script } = coldKernel();
    const session = luo.createSession('s');
    await session.preserveAll(pairsOf([1, 2, 3]));
    await session.close();
    const again = luo.createSession('s');
    const before = snapshot(kho);
    script.log.length = 0;
    script.async = isAsync;
    const error = new Error('no room for 3');
    script.failOnce('preserve', error, 3);
    await expect(again.preserveAll(pairsOf([1, 2, 3, 4]))).rejects.toBe(error);
    expect(script.log).toEqual(['preserve 1', 'preserve 2', 'preserve 3', 'unpreserve 2', 'unpreserve 1']);
    expect(snapshot(kho)).toBe(before);
    expect(again.fileCount).toBe(0);
  });

  test('one that is not taken back stays preserved, and says why', async () => {
    const { luo, script } = coldKernel();
    const session = luo.createSession('s');
    const first = new Error('no room for 3');
    const second = new Error('will not go');
    script.fail = (callback, value) => {
      if (callback === 'preserve' && value === 3) return first;
      return callback === 'unpreserve' && value === 1 ? second : undefined;
    };
    const pairs = pairsOf([1, 2, 3]);
    const error: unknown = await session.preserveAll(pairs).catch((thrown: unknown) => thrown);
    expect(error).toBe(first);
    expect(suppressedBy(first)).toEqual([second]);
    expect(session.files.map(({ token }) => token)).toEqual([1n]);
    expect(pairs.map(([, { references }]) => references)).toEqual([2, 1, 1]);
    script.fail = undefined;
    await session.close();
    expect(pairs[0][1].references).toBe(1);
  });

  test('files of two handlers: those of the other are taken back too', async () => {
    const { luo, kho, script, handler } = coldKernel();
    class Other extends Counter {}
    await luo.unregisterHandler(handler);
    luo.registerHandler({
      ...counterHandler(kho),
      compatible: 'other-v1',
      canPreserve: (file): file is Other => file instanceof Other,
      preserveAll: () => {
        throw new KernelError('EIO', 'not now');
      },
    });
    luo.registerHandler(handler);
    const session = luo.createSession('s');
    const files: Pairs = [
      [1, new Counter(1)],
      [2, new Other(2)],
    ];
    expect(await outcome(() => session.preserveAll(files))).toBe('EIO');
    expect(session.fileCount).toBe(0);
    expect(script.log).toEqual(['preserve 1', 'unpreserve 1']);
    expect(files.map(([, { references }]) => references)).toEqual([1, 1]);
  });

  test.each<[string, (given: { data: number }[]) => unknown]>([
    ['too few', (given) => given.slice(1)],
    ['too many', (given) => [...given, given[0]]],
    ['nothing', () => 5],
    ['a number that is none', (given) => given.map(() => ({ data: -1 }))],
    ['no objects', (given) => given.map(({ data }) => data)],
  ])('preserveAll that returns %s: EINVAL, named', async (_, change) => {
    const { luo } = bulkKernel(change);
    const session = luo.createSession('s');
    const error: unknown = await session.preserveAll(pairsOf([1, 2])).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'EINVAL',
      message: expect.stringMatching(/counter-v1.*preserveAll\(\) must/) as string,
    });
    expect(session.fileCount).toBe(0);
  });
});

describe('files that FLBs count', () => {
  test('keep them from the first to the last, preserved one by one', async () => {
    const { luo, script } = flbKernel();
    const session = luo.createSession('s');
    await session.preserveAll(pairsOf([1, 3, 2]));
    expect(luo.outgoingFlbs.map(({ files }) => files)).toEqual([2, 3]);
    await session.close();
    expect(script.log.filter((entry) => entry.startsWith('flb'))).toEqual([
      'flb.preserve 1',
      'flb.preserve 2',
      'flb.unpreserve 2',
      'flb.unpreserve 1',
    ]);
  });

  test('and let go of them where one fails', async () => {
    const { luo, kho, script } = flbKernel();
    const session = luo.createSession('s');
    await session.preserveAll(pairsOf([1, 2]));
    await session.close();
    const again = luo.createSession('s');
    const before = snapshot(kho);
    script.failOnce('preserve', new KernelError('EIO', 'for the test'), 2);
    expect(await outcome(() => again.preserveAll(pairsOf([1, 3, 2])))).toBe('EIO');
    expect(luo.outgoingFlbs.map(({ files }) => files)).toEqual([0, 0]);
    expect(snapshot(kho)).toBe(before);
  });
});

test('each file is told as preserved once all are; a failure is that of the file at which it came', async () => {
  const { luo, script } = bulkKernel();
  const session = luo.createSession('s');
  const told: string[] = [];
  luo.events.subscribe((event: LuoEvent) => {
    told.push(`${event.type} ${'token' in event ? event.token : ''}`);
  });
  await session.preserveAll(pairsOf([1, 2]));
  script.failOnce('preserve', new KernelError('EIO', 'for the test'), 3);
  expect(await outcome(() => session.preserveAll(pairsOf([3, 4])))).toBe('EIO');
  expect(await outcome(() => session.preserveAll(pairsOf([5, 1])))).toBe('EEXIST');
  expect(told).toEqual(['preserved 1', 'preserved 2', 'failed 3', 'failed 1']);
});
