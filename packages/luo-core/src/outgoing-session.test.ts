import { KernelError, suppressedBy } from '@liveupdate/base';
import { boot, bootCold } from '@liveupdate/kho';
import { HeapRam } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import type { FileHandler, PreservableFile } from './handler.ts';
import { LiveUpdateOrchestrator } from './orchestrator.ts';
import {
  coldKernel,
  Counter,
  counterHandler,
  failEachAllocation,
  nextKernel,
  outcome,
  Script,
  scriptedHandler,
  snapshot,
} from './test-kernel.ts';

const MAX_U64 = 2n ** 64n - 1n;

test.each<[unknown, string]>([
  [0, 'ok'],
  [0n, 'ok'],
  [1, 'ok'],
  [2 ** 53 - 1, 'ok'],
  [MAX_U64, 'ok'],
  [-1, 'EINVAL'],
  [-1n, 'EINVAL'],
  [0.5, 'EINVAL'],
  [2 ** 53, 'EINVAL'],
  [MAX_U64 + 1n, 'EINVAL'],
  [Number.NaN, 'EINVAL'],
  ['1', 'EINVAL'],
  [undefined, 'EINVAL'],
])('token %s: %s', async (token, code) => {
  const first = coldKernel();
  const session = first.luo.createSession('s');
  const given = token as bigint;
  // As promises, each of them: a call that returns a promise never throws at once.
  const codeOf = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => 'ok',
      (error: unknown) => (error as KernelError).code,
    );
  const codes = [
    await codeOf(session.preserve(new Counter(5), given)),
    await codeOf(session.unpreserve(given)),
    await codeOf(session.preserve(new Counter(5), given)),
  ];
  await first.luo.reboot();
  codes.push(await codeOf(nextKernel(first).luo.retrieveSession('s').retrieve(given)));
  expect(codes).toEqual([code, code, code, code]);
});

describe('preserve refuses, in this order, and leaves everything as it was', () => {
  /** A file that would be refused for one reason more than the one before it in the list. */
  const cases: [string, () => PreservableFile, string][] = [
    ['no object', () => 5 as unknown as PreservableFile, 'EBADF'],
    ['null', () => null as unknown as PreservableFile, 'EBADF'],
    ['undefined', () => undefined as unknown as PreservableFile, 'EBADF'],
    ['a file of nobody', () => ({}), 'ENOENT'],
    [
      'a closed file',
      () => {
        const counter = new Counter(1);
        counter.put();
        return counter;
      },
      'EBADF',
    ],
  ];
  test.each(cases)('%s', async (_, make, code) => {
    const { luo, kho, script } = coldKernel();
    const session = luo.createSession('s');
    const before = snapshot(kho);
    expect(await outcome(() => session.preserve(make(), 1))).toBe(code);
    expect(snapshot(kho)).toBe(before);
    expect([session.files, script.log]).toEqual([[], []]);
    await session.preserve(new Counter(1), 1); // the token is free
    expect(await outcome(() => session.preserve(make(), 1))).toBe('EEXIST'); // asked before all else
    // Room for the record comes next: here there is none, whatever the file.
    for (let i = 2; i <= 63; i++) await session.preserve(new Counter(i), i);
    kho.pages.beforeAllocation = () => {
      throw new KernelError('ENOMEM', 'for the test');
    };
    expect(await outcome(() => session.preserve(make(), 64))).toBe('ENOMEM');
  });

  test('a file that is preserved already, here or in another session, also under another description', async () => {
    const ids = new WeakMap<PreservableFile, string>();
    const kho = bootCold(new HeapRam(4 * 2 ** 20));
    const handler = scriptedHandler(kho, new Script());
    const luo = new LiveUpdateOrchestrator({
      kho,
      handlers: [{ ...handler, getId: (file: PreservableFile) => ids.get(file) ?? file }],
    });
    const [one, other] = [new Counter(1), new Counter(1)];
    ids.set(one, 'inode').set(other, 'inode');
    const session = luo.createSession('s');
    await session.preserve(one, 1);
    const before = snapshot(kho);
    expect(await outcome(() => session.preserve(one, 2))).toBe('EBUSY');
    expect(await outcome(() => session.preserve(other, 2))).toBe('EBUSY');
    expect(await outcome(() => luo.createSession('t').preserve(other, 2))).toBe('EBUSY');
    await luo.outgoingSessions[1].close();
    expect(snapshot(kho)).toBe(before);
    expect([one.references, other.references]).toEqual([2, 1]);
    await session.unpreserve(1);
    await session.preserve(other, 2);
    expect([one.references, other.references]).toEqual([1, 2]);
  });

  test('when closed', async () => {
    const session = coldKernel().luo.createSession('s');
    await session.close();
    expect(await outcome(() => session.preserve(new Counter(1), 1))).toBe('EINVAL');
    expect(await outcome(() => session.unpreserve(1))).toBe('EINVAL');
  });
});

describe.each([false, true])('callbacks that throw (as a promise: %s)', (async) => {
  test.each(['canPreserve', 'getId', 'preserve'] as const)(
    '%s: undone, and the next attempt succeeds',
    async (callback) => {
      const { luo, kho, script } = coldKernel();
      script.async = async;
      const session = luo.createSession('s');
      await session.preserve(new Counter(1), 1);
      const counter = new Counter(2);
      const before = snapshot(kho);
      const thrown = new Error('for the test');
      script.failOnce(callback, thrown);
      await expect(session.preserve(counter, 2)).rejects.toBe(thrown);
      expect(snapshot(kho)).toBe(before);
      expect([counter.references, session.files.length]).toEqual([1, 1]);
      await session.preserve(counter, 2);
      expect([counter.references, session.files.length]).toEqual([2, 2]);
    },
  );

  test('unpreserve: the file stays preserved, and can be asked again', async () => {
    const first = coldKernel();
    const { luo, kho, script } = first;
    script.async = async;
    const session = luo.createSession('s');
    const counter = new Counter(1);
    const start = snapshot(kho);
    await session.preserve(counter, 1);
    const before = snapshot(kho);
    script.failOnce('unpreserve', new KernelError('EIO', 'for the test'));
    expect(await outcome(() => session.unpreserve(1))).toBe('EIO');
    expect(snapshot(kho)).toBe(before);
    expect([counter.references, session.files.length]).toEqual([2, 1]);
    expect(await outcome(() => session.preserve(counter, 2))).toBe('EBUSY');
    await session.unpreserve(1);
    expect(snapshot(kho)).toBe(start);
    expect([counter.references, session.files.length]).toEqual([1, 0]);
  });

  test('unpreserve while closing: those before it stay, the session too, and closing again ends it', async () => {
    const { luo, kho, script } = coldKernel();
    script.async = async;
    const empty = snapshot(kho);
    const session = luo.createSession('s');
    for (const value of [1, 2, 3]) await session.preserve(new Counter(value), value);
    script.failOnce('unpreserve', new KernelError('EIO', 'for the test'), 2);
    expect(await outcome(() => session.close())).toBe('EIO');
    expect(session.files.map(({ token }) => token)).toEqual([1n, 2n]);
    expect(luo.outgoingSessions).toEqual([session]);
    script.log.length = 0;
    await session.close();
    expect(script.log).toEqual(['unpreserve 2', 'unpreserve 1']);
    expect(snapshot(kho)).toBe(empty);
    expect(luo.outgoingSessions).toEqual([]);
  });
});

describe.each([false, true])('freezing (as a promise: %s)', (async) => {
  /** Three sessions with files 1 2 | 3 | 4 5 6, one of them empty. */
  async function frozenKernel() {
    const kernel = coldKernel();
    kernel.script.async = async;
    const counters: Counter[] = [];
    for (const [name, values] of [
      ['a', [1, 2]],
      ['b', [3]],
      ['empty', []],
      ['c', [4, 5, 6]],
    ] as const) {
      const session = kernel.luo.createSession(name);
      for (const value of values) {
        const counter = new Counter(value);
        counters.push(counter);
        await session.preserve(counter, value);
      }
    }
    kernel.script.log.length = 0;
    return { ...kernel, counters };
  }
  const all = [1, 2, 3, 4, 5, 6];

  test('happens per session in creation order, per file in preservation order; called off, in reverse', async () => {
    const { luo, script } = await frozenKernel();
    await luo.reboot();
    expect(script.log).toEqual(all.map((value) => `freeze ${value}`));
    script.log.length = 0;
    await luo.cancelReboot();
    expect(script.log).toEqual(all.toReversed().map((value) => `unfreeze ${value}`));
  });

  test.each(all)(
    'fails at file %d: those before it are unfrozen in reverse, and the next attempt succeeds',
    async (bad) => {
      const kernel = await frozenKernel();
      const { luo, kho, script, counters } = kernel;
      const before = snapshot(kho);
      const thrown = new Error('for the test');
      script.failOnce('freeze', thrown, bad);
      await expect(luo.reboot()).rejects.toBe(thrown);
      const frozen = all.filter((value) => value < bad);
      expect(script.log).toEqual([
        ...[...frozen, bad].map((value) => `freeze ${value}`),
        ...frozen.toReversed().map((value) => `unfreeze ${value}`),
      ]);
      expect(snapshot(kho)).toBe(before);
      for (const counter of counters) counter.value += 10; // the old kernel runs on
      await luo.outgoingSessions[0].unpreserve(1);
      await luo.reboot();
      const next = nextKernel(kernel);
      const values: number[] = [];
      for (const session of next.luo.incomingSessions)
        for (const { token } of session.files) values.push((await session.retrieve(token, Counter)).value);
      expect(values).toEqual([12, 13, 14, 15, 16]);
    },
  );

  test('an unfreeze that throws keeps no other file frozen, and the failure of freeze is what the caller sees', async () => {
    const { luo, script } = await frozenKernel();
    const thrown = new Error('freeze');
    script.fail = (callback, value) => {
      if (callback === 'freeze' && value === 5) return thrown;
      return callback === 'unfreeze' && value !== 2 ? new Error('unfreeze') : undefined;
    };
    await expect(luo.reboot()).rejects.toBe(thrown);
    expect(suppressedBy(thrown)).toEqual(Array.from({ length: 3 }, () => new Error('unfreeze')));
    expect(script.log.slice(5)).toEqual([4, 3, 2, 1].map((value) => `unfreeze ${value}`));
    script.fail = undefined;
    script.log.length = 0;
    await luo.reboot();
    expect(script.log).toEqual(all.map((value) => `freeze ${value}`));
    // The same when the handover is called off: all are unfrozen, work goes on, the first failure
    // is told.
    script.failOnce('unfreeze', thrown, 5);
    await expect(luo.cancelReboot()).rejects.toBe(thrown);
    expect(script.log.slice(6)).toEqual(all.toReversed().map((value) => `unfreeze ${value}`));
    luo.createSession('works');
  });
});

describe('data', () => {
  const odd: [string, unknown, string][] = [
    ['0', 0n, 'ok'],
    ['the largest u64', MAX_U64, 'ok'],
    ['a number', 2 ** 53 - 1, 'ok'],
    ['too large', MAX_U64 + 1n, 'EINVAL'],
    ['negative', -1n, 'EINVAL'],
    ['half', 0.5, 'EINVAL'],
    ['absent', undefined, 'EINVAL'],
    ['text', '5', 'EINVAL'],
  ];
  test.each(odd)('that is %s', async (_, data, code) => {
    const kho = bootCold(new HeapRam(4 * 2 ** 20));
    const calls: string[] = [];
    let frozen: unknown = { data };
    const handler: FileHandler = {
      compatible: 'odd',
      canPreserve: (file): file is PreservableFile => file instanceof Counter,
      preserve: () => ({ data: data as bigint }),
      freeze: () => frozen as undefined,
      unfreeze: () => void calls.push('unfreeze'),
      unpreserve: ({ data: given }) => void calls.push(`unpreserve ${given}`),
      retrieve: () => new Counter(0),
      finish: () => undefined,
    };
    const luo = new LiveUpdateOrchestrator({ kho, handlers: [handler] });
    const session = luo.createSession('s');
    const counter = new Counter(1);
    expect(await outcome(() => session.preserve(counter, 1))).toBe(code);
    if (code === 'ok')
      expect(session.files).toEqual([{ token: 1n, compatible: 'odd', data: BigInt(data as number) }]);
    else expect([session.files, counter.references]).toEqual([[], 1]);
    if (code === 'ok') {
      frozen = { data: 77 };
      await luo.reboot();
      expect(session.files[0].data).toBe(77n);
      await luo.cancelReboot();
      frozen = { data: -5 };
      expect(await outcome(() => luo.reboot())).toBe('EINVAL');
      expect(calls).toEqual(['unfreeze', 'unfreeze']);
      expect(session.files[0].data).toBe(77n);
      await session.unpreserve(1);
      expect(calls.at(-1)).toBe('unpreserve 77');
    }
  });
});

test('closing unpreserves last first, frees the room of the records, and every session is independent', async () => {
  const { luo, kho, script } = coldKernel();
  const empty = snapshot(kho);
  const [a, b] = [luo.createSession('a'), luo.createSession('b')];
  const counters = Array.from({ length: 130 }, (_, i) => new Counter(i));
  for (const counter of counters) await (counter.value % 2 ? a : b).preserve(counter, counter.value % 65);
  script.log.length = 0;
  await a.close();
  expect(script.log).toEqual(Array.from({ length: 65 }, (_, i) => `unpreserve ${129 - 2 * i}`));
  await b.close();
  expect(snapshot(kho)).toBe(empty);
  expect(counters.every(({ references }) => references === 1)).toBe(true);
});

test('each allocation failing once while files are preserved, over the edge of a block', async () => {
  const { luo, kho } = coldKernel();
  const session = luo.createSession('s');
  let hits = 0;
  for (let i = 0; i < 130; i++) {
    const counter = new Counter(i);
    const before = snapshot(kho);
    hits += await failEachAllocation(
      kho,
      () => session.preserve(counter, i),
      (code) => {
        expect(code).toBe('ENOMEM');
        expect(snapshot(kho)).toBe(before);
        expect([counter.references, session.files.length]).toEqual([1, i]);
      },
    );
  }
  expect(hits).toBe(130 + 3);
  kho.pages.assertConsistent();
  // Taking back needs no memory.
  expect(
    await failEachAllocation(
      kho,
      () => session.close(),
      () => undefined,
    ),
  ).toBe(0);
  kho.pages.assertConsistent();
});

describe('a file that is closed once too often', () => {
  /** A file that knows no holders, and refuses to be closed when it is. */
  class Strict extends Counter {
    override put(): void {
      if (this.references === 0) throw new KernelError('EBADF', 'closed');
      super.put();
    }
  }

  test.each(['unpreserve', 'close'] as const)('%s ends well all the same', async (end) => {
    const { luo, kho } = coldKernel();
    const none = snapshot(kho);
    const session = luo.createSession('s');
    const before = end === 'close' ? none : snapshot(kho);
    const file = new Strict(5);
    await session.preserve(file, 1);
    file.put();
    file.put(); // that was the session's
    await (end === 'close' ? session.close() : session.unpreserve(1));
    expect([file.references, session.fileCount]).toEqual([0, 0]);
    expect(snapshot(kho)).toBe(before);
  });

  test('finish ends well all the same', async () => {
    const first = coldKernel();
    await first.luo.createSession('s').preserve(new Counter(5), 1);
    await first.luo.reboot();
    const kho = boot(first.kho.ram, first.kho.entry);
    const handler = counterHandler(kho);
    const retrieve: FileHandler['retrieve'] = async (context) => {
      const { value } = await handler.retrieve(context);
      return new Strict(value);
    };
    const luo = new LiveUpdateOrchestrator({ kho, handlers: [{ ...handler, retrieve }] });
    const session = luo.retrieveSession('s');
    const same = await session.retrieve(1, Strict);
    same.put();
    same.put();
    await session.finish();
    expect(session.state).toBe('finished');
  });
});
