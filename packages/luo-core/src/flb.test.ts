import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { readHandover } from '@liveupdate/kho';
import { describe, expect, test } from 'vitest';
import type { FileLifecycleBound } from './flb.ts';
import { flbKernel, scriptedFlb, Shared, type FlbKernel } from './test-flb.ts';
import { Counter, failEachAllocation, outcome, Script, snapshot } from './test-kernel.ts';

/** Only what happened to FLBs. */
const flbLog = ({ script }: FlbKernel): string[] => script.log.filter((entry) => entry.startsWith('flb'));

/**
 * A kernel that preserved counters of these values, each under its value, in one session each; and
 * the one after it.
 */
async function handedOver(
  values: readonly number[],
  script = new Script(),
  make?: Parameters<typeof flbKernel>[2],
): Promise<FlbKernel> {
  const first = flbKernel();
  for (const value of values)
    await first.luo.createSession(`session ${value}`).preserve(new Counter(value), value);
  await first.luo.reboot();
  return flbKernel(first, script, make);
}

test('the first file preserves, the last unpreserves: across handlers and sessions, and around the handlers’ own callbacks', async () => {
  const kernel = flbKernel();
  const { luo, script, flbs, kho } = kernel;
  const before = snapshot(kho);
  expect(() => luo.outgoingFlb(flbs[0])).toThrow(expect.objectContaining({ code: 'ENODATA' }));
  const [a, b] = [luo.createSession('a'), luo.createSession('b')];
  await a.preserve(new Counter(2), 2);
  await b.preserve(new Counter(1), 1);
  await b.preserve(new Counter(3), 3);
  expect(script.log).toEqual([
    ...['flb.preserve 2', 'preserve 2'],
    ...['flb.preserve 1', 'preserve 1'],
    'preserve 3',
  ]);
  expect(luo.outgoingFlbs.map(({ files, data }) => [files, typeof data])).toEqual([
    [2, 'bigint'],
    [3, 'bigint'],
  ]);
  expect(luo.outgoingFlb(flbs[0])).toEqual(new Shared(1));
  script.log.length = 0;
  await b.close();
  await a.unpreserve(2);
  expect(script.log).toEqual([
    ...['unpreserve 3', 'unpreserve 1', 'flb.unpreserve 1'],
    ...['unpreserve 2', 'flb.unpreserve 2'],
  ]);
  await a.preserve(new Counter(4), 2);
  expect(script.log.slice(-2)).toEqual(['flb.preserve 2', 'preserve 4']); // and so on
  await a.close();
  expect(snapshot(kho)).toBe(before);
});

test('data and count go into the record; the next kernel retrieves once, and finishes with the last file', async () => {
  const kernel = await handedOver([1, 3, 2, 4]);
  const { luo, flbs, script, kho } = kernel;
  expect(luo.incomingFlbs.map(({ compatible, files, retrieval }) => [compatible, files, retrieval])).toEqual([
    ['flb-1', 2n, 'untried'],
    ['flb-2', 4n, 'untried'],
  ]);
  const object = await luo.retrieveFlb(flbs[0]);
  expect(object).toEqual(new Shared(1));
  expect(await luo.retrieveFlb(flbs[0])).toBe(object);
  await luo.retrieveSession('session 1').finish();
  expect(flbLog(kernel)).toEqual(['flb.retrieve 1']);
  script.log.length = 0;
  await luo.retrieveSession('session 3').finish();
  expect(script.log.slice(1)).toEqual(['finish 3', 'untried', 'flb.finish 1']);
  expect(await outcome(() => luo.retrieveFlb(flbs[0]))).toBe('ENODATA');
  // Nobody asks for the second: it is retrieved before it is finished.
  await luo.retrieveSession('session 2').finish();
  script.log.length = 0;
  await luo.retrieveSession('session 4').finish();
  expect(script.log.slice(1)).toEqual(['finish 4', 'untried', 'flb.retrieve 2', 'flb.finish 2']);
  expect(await outcome(() => luo.retrieveFlb(flbs[1]))).toBe('ENODATA');
  expect(luo.incomingFlbs.map(({ files, retrieval }) => [files, retrieval])).toEqual([
    [0n, 'finished'],
    [0n, 'finished'],
  ]);
  // And it goes on: the next generation has its own.
  await luo.createSession('t').preserve(new Counter(5), 1);
  expect(luo.outgoingFlbs.map(({ files }) => files)).toEqual([1, 1]);
  await luo.reboot();
  expect(flbKernel(kernel).luo.incomingFlbs.map(({ files }) => files)).toEqual([1n, 1n]);
  kho.pages.assertConsistent();
});

test('a preserve may ask what came: it is retrieved once, and goes on', async () => {
  const asked: (Shared | undefined)[] = [];
  const kernel = await handedOver([2], new Script(), (kho, script) =>
    [1, 2].map((value): FileLifecycleBound<Shared> => {
      const flb = scriptedFlb(kho, script, value);
      return {
        ...flb,
        async preserve(context) {
          asked.push(await context.incoming());
          return flb.preserve(context);
        },
      };
    }),
  );
  const { luo, flbs } = kernel;
  const session = luo.createSession('s');
  await session.preserve(new Counter(1), 1); // of the first FLB nothing came
  expect(asked).toEqual([undefined, new Shared(2)]);
  expect(await luo.retrieveFlb(flbs[1])).toBe(asked[1]);
  expect(flbLog(kernel).filter((entry) => entry.startsWith('flb.retrieve'))).toEqual(['flb.retrieve 2']);
  await session.unpreserve(1);
  await luo.retrieveSession('session 2').finish();
  await session.preserve(new Counter(1), 1); // what came is finished
  expect(asked.slice(2)).toEqual([undefined, undefined]);
});

test('what a retrieve throws ends the preserve that asks for it', async () => {
  const thrown = new KernelError('EIO', 'for the test');
  const script = new Script();
  const { luo, kho } = await handedOver([2], script, (own, its) => {
    const flb = scriptedFlb(own, its, 2);
    return [
      scriptedFlb(own, its, 1),
      {
        ...flb,
        async preserve(context) {
          await context.incoming();
          return flb.preserve(context);
        },
      },
    ];
  });
  const session = luo.createSession('s');
  script.failOnce('flb.retrieve', thrown, 2);
  for (let i = 0; i < 2; i++) {
    await expect(session.preserve(new Counter(1), 1)).rejects.toBe(thrown);
    expect([session.files, luo.outgoingFlbs.map(({ files }) => files)]).toEqual([[], [0, 0]]);
  }
  kho.pages.assertConsistent();
});

test('golden bytes of the record', async () => {
  const { luo, kho, flbs } = flbKernel();
  const session = luo.createSession('s');
  await session.preserve(new Counter(1), 1);
  await session.preserve(new Counter(2), 2);
  const [one, two] = luo.outgoingFlbs.map(({ data }) => data);
  expect(flbs).toHaveLength(2);
  await luo.reboot();
  const record = readHandover(kho.ram, kho.entry).subtrees.get('LUO')?.pa ?? 0;
  const wordAt = (pa: number): number => Number(Buffer.from(kho.ram.bytes(pa, 8)).readBigUInt64LE());
  const page = Buffer.from(kho.ram.bytes(wordAt(record + 24), 4096));
  const expected = Buffer.alloc(4096);
  expected.writeBigUInt64LE(1n, 0); // pages
  expected.writeBigUInt64LE(2n, 8); // entries
  for (const [i, [name, data, count]] of (
    [
      ['flb-1', one, 1n],
      ['flb-2', two, 2n],
    ] as const
  ).entries()) {
    expected.write(name, 16 + i * 64, 'latin1');
    expected.writeBigUInt64LE(data ?? 0n, 16 + i * 64 + 48);
    expected.writeBigUInt64LE(count, 16 + i * 64 + 56);
  }
  expect(page.equals(expected)).toBe(true);
  await luo.cancelReboot();
  expect(wordAt(record + 24)).toBe(0);
  await session.close();
  await luo.reboot();
  expect(wordAt(record + 24)).toBe(0); // nobody holds one
});

test('asked for where there is none', async () => {
  const cold = flbKernel();
  expect(await outcome(() => cold.luo.retrieveFlb(cold.flbs[0]))).toBe('ENODATA');
  expect(await outcome(() => cold.luo.retrieveFlb({ ...cold.flbs[0] }))).toBe('EINVAL');
  expect(() => cold.luo.outgoingFlb({ ...cold.flbs[0] })).toThrow(
    expect.objectContaining({ code: 'EINVAL' }),
  );
  const { luo, flbs } = await handedOver([2]);
  expect(await outcome(() => luo.retrieveFlb(flbs[0]))).toBe('ENOENT'); // no file held it
  expect((await luo.retrieveFlb(flbs[1])).value).toBe(2);
  await luo.reboot();
  expect(await outcome(() => luo.retrieveFlb(flbs[1]))).toBe('EBUSY');
});

test('an FLB that nobody registered stays untouched, and the next handover drops it', async () => {
  const second = await handedOver([1, 2], new Script(), (kho, script) => [scriptedFlb(kho, script, 1)]);
  const { luo, kho } = second;
  const pfn = Number(luo.incomingFlbs[1].data) / PAGE_SIZE;
  for (const session of luo.incomingSessions) await session.finish();
  expect(luo.incomingFlbs.map(({ files, retrieval }) => [files, retrieval])).toEqual([
    [0n, 'finished'],
    [2n, 'untried'],
  ]);
  expect(kho.isIncoming(pfn)).toBe(true);
  await luo.reboot();
  const third = flbKernel(second);
  expect(third.luo.incomingFlbs).toEqual([]);
  expect(third.kho.isIncoming(pfn)).toBe(false);
  third.kho.pages.assertConsistent();
});

test('a newer FLB reads the record of an older one, and is told so', async () => {
  const seen: string[] = [];
  const kernel = await handedOver([2], new Script(), (kho, script) => {
    const older = scriptedFlb(kho, script, 2);
    return [
      scriptedFlb(kho, script, 1),
      {
        ...older,
        compatible: 'flb-2-new',
        alsoReads: ['flb-0', 'flb-2'],
        retrieve(context) {
          seen.push(context.compatible);
          return older.retrieve(context);
        },
        finish: ({ compatible, object }) => void seen.push(compatible, String(object.value)),
      },
    ];
  });
  await kernel.luo.retrieveSession('session 2').finish();
  expect(seen).toEqual(['flb-2', 'flb-2', '2']);
  await kernel.luo.createSession('s').preserve(new Counter(4), 4);
  await kernel.luo.reboot();
  expect(flbKernel(kernel).luo.incomingFlbs.map(({ compatible }) => compatible)).toEqual(['flb-2-new']);
});

describe.each([false, true])('callbacks that throw (as a promise: %s)', (async) => {
  const scripted = (): Script => Object.assign(new Script(), { async });
  const thrown = new KernelError('EIO', 'for the test');

  test.each([1, 2])(
    'preserve of FLB %d: the file is not preserved, and what was counted is put back',
    async (bad) => {
      const { luo, script, kho } = flbKernel();
      script.async = async;
      const session = luo.createSession('s');
      const counter = new Counter(1);
      const before = snapshot(kho);
      script.failOnce('flb.preserve', thrown, bad);
      await expect(session.preserve(counter, 1)).rejects.toBe(thrown);
      expect(snapshot(kho)).toBe(before);
      expect([counter.references, session.files, luo.outgoingFlbs.map(({ files }) => files)]).toEqual([
        1,
        [],
        [0, 0],
      ]);
      expect(script.log).toEqual(
        bad === 1 ? ['flb.preserve 1'] : ['flb.preserve 1', 'flb.preserve 2', 'flb.unpreserve 1'],
      );
      await session.preserve(counter, 1);
      expect(luo.outgoingFlbs.map(({ files }) => files)).toEqual([1, 1]);
    },
  );

  test('the handler’s preserve: its FLBs are put back, last first', async () => {
    const { luo, script, kho } = flbKernel();
    script.async = async;
    const session = luo.createSession('s');
    await session.preserve(new Counter(2), 2);
    const before = snapshot(kho);
    script.log.length = 0;
    script.failOnce('preserve', thrown, 1);
    await expect(session.preserve(new Counter(1), 1)).rejects.toBe(thrown);
    expect(script.log).toEqual(['flb.preserve 1', 'preserve 1', 'flb.unpreserve 1']);
    expect(snapshot(kho)).toBe(before);
    expect(luo.outgoingFlbs.map(({ files }) => files)).toEqual([0, 1]);
  });

  test('unpreserve: the file is unpreserved, the state stays, the next file takes it on', async () => {
    const { luo, script, kho, odd, flbs } = flbKernel();
    script.async = async;
    const before = snapshot(kho);
    const session = luo.createSession('s');
    const counter = new Counter(1);
    await session.preserve(counter, 1);
    script.failOnce('flb.unpreserve', thrown, 2);
    await expect(session.unpreserve(1)).rejects.toBe(thrown);
    expect([counter.references, session.files]).toEqual([1, []]);
    expect(luo.outgoingFlbs.map(({ files, data }) => [files, data !== undefined])).toEqual([
      [0, false],
      [0, true],
    ]);
    expect(await outcome(() => luo.unregisterFlb(odd, flbs[0]))).toBe('ok');
    await luo.reboot(); // nobody holds it: it is not in the record
    await luo.cancelReboot();
    script.log.length = 0;
    await session.preserve(counter, 1);
    await session.close();
    expect(script.log).toEqual(['preserve 1', 'unpreserve 1', 'flb.unpreserve 2']);
    expect(snapshot(kho)).toBe(before);
  });

  test('retrieve: the same error for ever, and no finish', async () => {
    const kernel = await handedOver([1, 2], scripted());
    const { luo, flbs, script } = kernel;
    script.failOnce('flb.retrieve', thrown, 1);
    await expect(luo.retrieveFlb(flbs[0])).rejects.toBe(thrown);
    await expect(luo.retrieveFlb(flbs[0])).rejects.toBe(thrown);
    expect((await luo.retrieveFlb(flbs[1])).value).toBe(2);
    for (const session of luo.incomingSessions) await session.finish();
    expect(flbLog(kernel)).toEqual(['flb.retrieve 1', 'flb.retrieve 2', 'flb.finish 2']);
    await expect(luo.retrieveFlb(flbs[0])).rejects.toBe(thrown);
    kernel.kho.pages.assertConsistent();
  });

  test('retrieve on the way to finish: the session is finished, and the caller is told once', async () => {
    const kernel = await handedOver([1, 3], scripted());
    const { luo, script } = kernel;
    script.failOnce('flb.retrieve', thrown, 1);
    await luo.retrieveSession('session 1').finish();
    await expect(luo.retrieveSession('session 3').finish()).rejects.toBe(thrown);
    expect(luo.incomingSessions).toEqual([]);
    expect(flbLog(kernel)).toEqual(['flb.retrieve 2', 'flb.finish 2', 'flb.retrieve 1']);
  });

  test('finish: the session is finished, the FLB too, and the caller is told', async () => {
    const kernel = await handedOver([1], scripted());
    const { luo, script, flbs } = kernel;
    script.failOnce('flb.finish', thrown, 2);
    await expect(luo.retrieveSession('session 1').finish()).rejects.toBe(thrown);
    expect(luo.incomingSessions).toEqual([]);
    expect(flbLog(kernel)).toEqual(['flb.retrieve 2', 'flb.finish 2', 'flb.retrieve 1', 'flb.finish 1']);
    expect(await outcome(() => luo.retrieveFlb(flbs[1]))).toBe('ENODATA');
  });
});

test('the order of all checks of a preserve: a file with every fault there is, taken away one by one', async () => {
  const { luo, script, kho } = flbKernel();
  const session = luo.createSession('s');
  for (let token = 1; token <= 63; token++) await session.preserve(new Counter(2 * token), token); // a block is full
  const closed = {
    get: () => {
      throw new KernelError('EBADF', 'closed');
    },
  };
  const taken = new Counter(2);
  await luo.createSession('t').preserve(taken, 1);
  const [flbFails, handlerFails] = [new Error('the FLB fails'), new Error('the handler fails')];
  const faults = new Map([
    ['flb.preserve', flbFails],
    ['preserve', handlerFails],
  ]);
  script.fail = (callback) => faults.get(callback);
  kho.pages.beforeAllocation = () => {
    throw new KernelError('ENOMEM', 'for the test');
  };
  const preserve = (file: unknown, token: number): Promise<string> =>
    outcome(() => session.preserve(file as Counter, token));
  expect(await preserve(null, 1)).toBe('EEXIST');
  expect(await preserve(null, 64)).toBe('ENOMEM');
  kho.pages.beforeAllocation = undefined;
  expect(await preserve(null, 64)).toBe('EBADF');
  expect(await preserve(closed, 64)).toBe('EBADF'); // and of no handler
  expect(await preserve({}, 64)).toBe('ENOENT');
  expect(await preserve(taken, 64)).toBe('EBUSY');
  const odd = new Counter(1); // the first file of its FLB
  await expect(session.preserve(odd, 64)).rejects.toBe(flbFails);
  faults.delete('flb.preserve');
  await expect(session.preserve(odd, 64)).rejects.toBe(handlerFails);
  faults.clear();
  expect(await preserve(odd, 64)).toBe('ok');
});

test('each allocation failing once while the first file of two FLBs is preserved', async () => {
  const { luo, kho } = flbKernel();
  const session = luo.createSession('s');
  const counter = new Counter(1);
  const before = snapshot(kho);
  const hits = await failEachAllocation(
    kho,
    () => session.preserve(counter, 1),
    (code) => {
      expect(code).toBe('ENOMEM');
      expect(snapshot(kho)).toBe(before);
      expect([counter.references, session.files]).toEqual([1, []]);
    },
  );
  expect(hits).toBe(5); // a block of files, the page of FLBs, two FLBs, the file
  expect(
    await failEachAllocation(
      kho,
      () => luo.reboot(),
      () => undefined,
    ),
  ).toBe(0);
});

describe('from the callbacks of a handler', () => {
  test.each([false, true])(
    'the live objects are there, and retrieved once (as a promise: %s)',
    async (async) => {
      const first = flbKernel();
      const seen: unknown[] = [];
      const preserve = first.odd.preserve.bind(first.odd);
      (first.odd as { preserve: unknown }).preserve = (context: Parameters<typeof preserve>[0]) => {
        seen.push(context.flbs.outgoing(first.flbs[0]).value);
        return preserve(context);
      };
      for (const value of [1, 3])
        await first.luo.createSession(`s${value}`).preserve(new Counter(value), value);
      expect(seen).toEqual([1, 1]);
      await first.luo.reboot();

      const second = flbKernel(first, Object.assign(new Script(), { async }));
      const retrieve = second.odd.retrieve.bind(second.odd);
      (second.odd as { retrieve: unknown }).retrieve = async (context: Parameters<typeof retrieve>[0]) => {
        const [one, again] = await Promise.all([
          context.flbs.incoming(second.flbs[0]),
          context.flbs.incoming(second.flbs[0]),
        ]);
        seen.push(one.value, one === again);
        return retrieve(context);
      };
      await Promise.all([
        second.luo.retrieveSession('s1').retrieve(1),
        second.luo.retrieveSession('s3').retrieve(3),
        second.luo.retrieveFlb(second.flbs[0]),
      ]);
      expect(seen).toEqual([1, 1, 1, true, 1, true]);
      expect(flbLog(second)).toEqual(['flb.retrieve 1']);
    },
  );
});
