/**
 * Handlers that break their contract: each is named, with the callback and the rule, and does no
 * harm.
 */
import { KernelError } from '@liveupdate/base';
import { bootCold, boot } from '@liveupdate/kho';
import { HeapRam } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import type { FileLifecycleBound } from './flb.ts';
import type { MaybePromise } from './callback-types.ts';
import type { FileHandler } from './handler.ts';
import { LiveUpdateOrchestrator } from './orchestrator.ts';
import { Shared, scriptedFlb } from './test-flb.ts';
import { coldKernel, Counter, counterHandler, outcome, Script, snapshot } from './test-kernel.ts';

/** The counter handler with some callbacks replaced by anything. */
function withHandler(change: object, flbChange?: object, callbackTimeLimit?: number) {
  const kho = bootCold(new HeapRam(4 * 2 ** 20), { freeMemory: 'zero' });
  const flb = flbChange && [{ ...scriptedFlb(kho, new Script(), 1), ...flbChange }];
  const handler = { ...counterHandler(kho), ...(flb && { flbs: flb }), ...change };
  const limit = callbackTimeLimit === undefined ? {} : { callbackTimeLimit };
  return { kho, handler, luo: new LiveUpdateOrchestrator({ kho, handlers: [handler], ...limit }) };
}

const never = new Promise<never>(() => undefined);
const later = (): Promise<boolean> => Promise.resolve(true);

describe('preserve', () => {
  const cases: [string, object, object | undefined, RegExp][] = [
    [
      'canPreserve: nothing',
      { canPreserve: () => undefined },
      undefined,
      /'counter-v1'.*canPreserve.*true or false.*undefined/,
    ],
    [
      'canPreserve: a promise',
      { canPreserve: later },
      undefined,
      /'counter-v1'.*canPreserve.*true or false.*a promise/,
    ],
    ['getId: nothing', { getId: () => undefined }, undefined, /'counter-v1'.*getId/],
    ['getId: a promise', { getId: later }, undefined, /'counter-v1'.*getId.*a promise/],
    [
      'preserve: nothing',
      { preserve: () => undefined },
      undefined,
      /'counter-v1'.*preserve\(\).*\{ data \}.*undefined/,
    ],
    [
      'preserve: nothing, later',
      { preserve: () => Promise.resolve() },
      undefined,
      /'counter-v1'.*preserve\(\).*\{ data \}/,
    ],
    ['preserve: a number', { preserve: () => 5 }, undefined, /'counter-v1'.*preserve\(\).*\{ data \}.*5/],
    [
      'preserve: text as data',
      { preserve: () => ({ data: '5' }) },
      undefined,
      /'counter-v1'.*preserve\(\).*64 bits.*string/,
    ],
    ['FLB preserve: nothing', {}, { preserve: () => undefined }, /FLB 'flb-1'.*preserve\(\).*\{ data \}/],
    [
      'FLB preserve: no data',
      {},
      { preserve: () => ({ object: 1 }) },
      /FLB 'flb-1'.*preserve\(\).*64 bits.*undefined/,
    ],
  ];
  test.each(cases)('%s', async (_, change, flbChange, message) => {
    const { luo, kho } = withHandler(change, flbChange);
    const session = luo.createSession('s');
    const counter = new Counter(1);
    const before = snapshot(kho);
    const failure = session.preserve(counter, 1);
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.toMatchObject({ code: 'EINVAL' });
    expect(snapshot(kho)).toBe(before);
    expect([counter.references, session.files]).toEqual([1, []]);
  });
});

test('freeze: neither nothing nor data calls the handover off', async () => {
  for (const wrong of [null, 5, 'text', {}, { data: -1 }, { data: 1.5 }]) {
    const { luo } = withHandler({ freeze: () => wrong });
    await luo.createSession('s').preserve(new Counter(1), 1);
    const failure = luo.reboot();
    await expect(failure).rejects.toThrow(/'counter-v1'.*freeze\(\)/);
    await expect(failure).rejects.toMatchObject({ code: 'EINVAL' });
    expect(luo.state).toBe('running');
  }
});

/** What a broken callback of the next kernel does to the session. */
async function nextWith(change: object, callbackTimeLimit?: number) {
  const first = coldKernel();
  await first.luo.createSession('s').preserve(new Counter(1), 1);
  await first.luo.reboot();
  const kho = boot(first.kho.ram, first.kho.entry);
  const limit = callbackTimeLimit === undefined ? {} : { callbackTimeLimit };
  const handler = { ...counterHandler(kho), ...change };
  return new LiveUpdateOrchestrator({ kho, handlers: [handler], ...limit }).retrieveSession('s');
}

test('retrieve: no file is EIO, and remembered', async () => {
  const session = await nextWith({ retrieve: () => 5 });
  const failure = session.retrieve(1);
  await expect(failure).rejects.toThrow(/'counter-v1'.*retrieve\(\) must return the file.*5/);
  await expect(failure).rejects.toMatchObject({ code: 'EIO' });
  expect(await outcome(() => session.retrieve(1))).toBe('EIO');
});

test('canFinish: no answer refuses the finish', async () => {
  for (const wrong of [undefined, null, 1, 'yes', Promise.resolve(undefined)]) {
    const session = await nextWith({ canFinish: () => wrong });
    const failure = session.finish();
    await expect(failure).rejects.toThrow(/'counter-v1'.*canFinish\(\).*true or false/);
    await expect(failure).rejects.toMatchObject({ code: 'EINVAL' });
    expect(session.state).toBe('open');
  }
});

describe('a promise that never ends, where there is a limit', () => {
  const timedOut = async (work: Promise<unknown>, callback: string): Promise<void> => {
    await expect(work).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    await expect(work).rejects.toThrow(`${callback}() must end within 20 ms`);
  };

  test('preserve, of the handler and of an FLB', async () => {
    for (const [change, flbChange] of [
      [{ preserve: () => never }, {}],
      [{}, { preserve: () => never }],
    ]) {
      const { luo, kho } = withHandler(change, flbChange, 20);
      const session = luo.createSession('s');
      const before = snapshot(kho);
      await timedOut(session.preserve(new Counter(1), 1), 'preserve');
      expect(snapshot(kho)).toBe(before);
      await session.close();
    }
  });

  test('unpreserve: the file counts as preserved', async () => {
    const { luo } = withHandler({ unpreserve: () => never }, undefined, 20);
    const session = luo.createSession('s');
    await session.preserve(new Counter(1), 1);
    await timedOut(session.unpreserve(1), 'unpreserve');
    expect(session.files).toHaveLength(1);
  });

  test('freeze: the handover is called off; unfreeze: work goes on', async () => {
    let freeze: MaybePromise<undefined> = never;
    const { luo } = withHandler({ freeze: () => freeze, unfreeze: () => never }, undefined, 20);
    await luo.createSession('s').preserve(new Counter(1), 1);
    await timedOut(luo.reboot(), 'freeze');
    freeze = undefined;
    await luo.reboot();
    await timedOut(luo.cancelReboot(), 'unfreeze');
    luo.createSession('goes on');
  });

  test('retrieve, canFinish and finish', async () => {
    await timedOut((await nextWith({ retrieve: () => never }, 20)).retrieve(1), 'retrieve');
    await timedOut((await nextWith({ canFinish: () => never }, 20)).finish(), 'canFinish');
    const session = await nextWith({ finish: () => never }, 20);
    await timedOut(session.finish(), 'finish');
    expect(session.state).toBe('finished');
  });

  test('what ends in time is as without a limit', async () => {
    const { luo } = withHandler({ freeze: () => Promise.resolve({ data: 7 }) }, undefined, 10_000);
    const session = luo.createSession('s');
    await session.preserve(new Counter(1), 1);
    await luo.reboot();
    expect(session.files[0].data).toBe(7n);
  });

  test.each([0, -1, Number.NaN, Infinity, 2 ** 31])('%d is no limit', async (limit) => {
    expect(await outcome(() => withHandler({}, undefined, limit))).toBe('EINVAL');
  });
});

test('registering names the handler and what is wrong with it', () => {
  const { kho } = coldKernel();
  const good = counterHandler(kho);
  const cases: [unknown, RegExp][] = [
    [undefined, /handler is an object/],
    [{ ...good, finish: undefined }, /handler 'counter-v1' has no finish\(\)/],
    [{ ...good, finish: 5 }, /handler 'counter-v1' has no finish\(\)/],
    [{ ...good, canFinish: true }, /handler 'counter-v1': canFinish is no function/],
    [{ ...good, compatible: 'x'.repeat(48) }, /'x{48}' is no compatible string: 1 to 47 bytes/],
    [{ ...good, alsoReads: 'counter-v0' }, /handler 'counter-v1': alsoReads is a list/],
    [
      { ...good, alsoReads: ['x'.repeat(48)] },
      /handler 'counter-v1': alsoReads 'x{48}' is no compatible string/,
    ],
  ];
  for (const [handler, message] of cases) {
    const make = (): unknown => new LiveUpdateOrchestrator({ kho, handlers: [handler as FileHandler] });
    expect(make).toThrow(KernelError);
    expect(make).toThrow(message);
  }
  expect(() => new LiveUpdateOrchestrator({ kho, handlers: [good, { ...good }] })).toThrow(
    /EEXIST: there is a handler 'counter-v1' already/,
  );
});

test('live update that is off: nothing is registered, made or handed over, and what came is not looked at', async () => {
  const first = coldKernel();
  first.luo.createSession('s');
  await first.luo.reboot();
  const kho = boot(first.kho.ram, first.kho.entry);
  const before = snapshot(kho);
  const handler = counterHandler(kho);
  const luo = new LiveUpdateOrchestrator({ kho, handlers: [handler], enabled: false });
  expect([luo.isEnabled, luo.handlers, luo.liveupdateNumber, luo.incomingSessions]).toEqual([
    false,
    [],
    0n,
    [],
  ]);
  const attempts = [
    () => luo.registerHandler(handler),
    () => luo.registerFlb(handler, scriptedFlb(kho, new Script(), 1)),
    () => luo.createSession('s'),
    () => luo.retrieveSession('s'),
  ];
  for (const attempt of attempts) expect(await outcome(attempt)).toBe('EOPNOTSUPP');
  await luo.reboot();
  expect(snapshot(kho)).toBe(before);
  expect(boot(kho.ram, kho.entry).incoming?.subtrees.has('LUO')).toBe(false);
});

test('a second orchestrator on one KHO is refused, and leaves nothing', () => {
  const { kho } = coldKernel();
  const before = snapshot(kho);
  expect(() => new LiveUpdateOrchestrator({ kho })).toThrow(expect.objectContaining({ code: 'EEXIST' }));
  expect(snapshot(kho)).toBe(before);
});

/** Compiled, never run: what TypeScript says of handlers that are wrong. */
export function types(): unknown[] {
  const base = counterHandler(coldKernel().kho);
  const preserve: FileHandler<Counter> = {
    ...base,
    // @ts-expect-error there is no data in it
    preserve: () => ({}),
  };
  const file: FileHandler<Counter> = {
    ...base,
    // @ts-expect-error a counter has no such property
    freeze: ({ file: counter }) => void String(counter.length),
  };
  const retrieve: FileHandler<Counter> = {
    ...base,
    // @ts-expect-error not a counter
    retrieve: () => new Shared(1),
  };
  // @ts-expect-error a required callback is missing
  const incomplete: FileHandler<Counter> = { ...base, unpreserve: undefined };
  const flb: FileLifecycleBound<Shared> = {
    compatible: 'x',
    // @ts-expect-error the object is of another type
    preserve: () => ({ data: 1, object: 'text' }),
    unpreserve: ({ object }) => void object.value.toFixed(),
    // @ts-expect-error and so is this one
    retrieve: () => 'text',
    finish: ({ object }) => void object.value.toFixed(),
  };
  const inContext: FileHandler<Counter> = {
    ...base,
    // @ts-expect-error the object of this FLB has no such property
    retrieve: async ({ flbs }) => new Counter(Number((await flbs.incoming(flb)).count)),
  };
  return [preserve, file, retrieve, incomplete, inContext];
}
