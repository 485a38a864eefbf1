import { KernelError } from '@liveupdate/base';
import { boot, readHandover } from '@liveupdate/kho';
import { describe, expect, test } from 'vitest';
import { LuoSer } from './abi.ts';
import { missingHandlers } from './missing-handlers.ts';
import { LiveUpdateOrchestrator } from './orchestrator.ts';
import {
  coldKernel,
  Counter,
  counterHandler,
  CounterSer,
  failEachAllocation,
  nextKernel,
  outcome,
  snapshot,
  start,
} from './test-kernel.ts';
import { copyOf, handedOver, writeWord } from './test-records.ts';

/**
 * Pages of the previous kernel that stay out of use for a generation: KHO's kexec metadata, which
 * anybody may read at any time.
 */
const METADATA = 1;

describe('names of sessions', () => {
  const names: [string, string, 'ok' | 'EINVAL'][] = [
    ['empty', '', 'EINVAL'],
    ['1 byte', 'x', 'ok'],
    ['63 bytes', 'x'.repeat(63), 'ok'],
    ['64 bytes', 'x'.repeat(64), 'EINVAL'],
    ['62 bytes in 31 letters', 'ü'.repeat(31), 'ok'],
    ['64 bytes in 32 letters', 'ü'.repeat(32), 'EINVAL'],
    ['three bytes to a letter', '世界'.repeat(10), 'ok'],
    ['four bytes to a letter', '🧊'.repeat(15), 'ok'],
    ['a NUL', 'a\0', 'EINVAL'],
    ['half a surrogate pair', 'a\ud83e', 'EINVAL'],
    ['a byte order mark', '\ufeffa', 'ok'],
    ['a newline', 'a\n', 'ok'],
  ];
  test.each(names)('%s', async (_, name, code) => {
    const first = coldKernel();
    expect(await outcome(() => first.luo.createSession(name))).toBe(code);
    expect(await outcome(() => first.luo.retrieveSession(name))).toBe(code === 'ok' ? 'ENOENT' : code);
    await first.luo.reboot();
    const second = nextKernel(first);
    expect(second.luo.incomingSessions.map((session) => session.name)).toEqual(code === 'ok' ? [name] : []);
    if (code === 'ok') expect(second.luo.retrieveSession(name).name).toBe(name);
  });

  test('are unique among outgoing sessions until one is closed; incoming ones are others', async () => {
    const first = coldKernel();
    const session = first.luo.createSession('s');
    expect(await outcome(() => first.luo.createSession('s'))).toBe('EEXIST');
    await session.close();
    await session.close();
    first.luo.createSession('s');
    first.luo.createSession('\ufeffs'); // not the same text
    await first.luo.reboot();
    const { luo } = nextKernel(first);
    luo.createSession('s');
    expect(luo.incomingSessions.map(({ name }) => name)).toEqual(['s', '\ufeffs']);
    expect(luo.outgoingSessions.map(({ name }) => name)).toEqual(['s']);
  });
});

test('a session is retrieved once, and gone when it is finished', async () => {
  const first = coldKernel();
  first.luo.createSession('s');
  await first.luo.reboot();
  const { luo } = nextKernel(first);
  expect(await outcome(() => luo.retrieveSession('t'))).toBe('ENOENT');
  const session = luo.retrieveSession('s');
  expect(await outcome(() => luo.retrieveSession('s'))).toBe('EINVAL');
  await session.finish();
  expect(await outcome(() => luo.retrieveSession('s'))).toBe('ENOENT');
  expect(luo.incomingSessions).toEqual([]);
});

test('the number of live updates counts the handovers, and starts anew when cold', async () => {
  let kernel = coldKernel();
  for (let n = 0n; n < 5n; n++) {
    expect(kernel.luo.liveupdateNumber).toBe(n);
    await kernel.luo.reboot();
    kernel = nextKernel(kernel);
  }
});

test('a number of live updates that is at its end begins anew, as in Linux', async () => {
  const original = await handedOver();
  const { ram, pa } = copyOf(original);
  writeWord(ram, pa.luo + LuoSer.liveupdateNumber.at, 2n ** 64n - 1n);
  const kho = boot(ram, original.entry, { freeMemory: 'keep' });
  const luo = new LiveUpdateOrchestrator({ kho, handlers: [counterHandler(kho)] });
  expect(luo.liveupdateNumber).toBe(2n ** 64n - 1n);
  await luo.reboot();
  const next = boot(ram, kho.entry, { freeMemory: 'keep' });
  expect(new LiveUpdateOrchestrator({ kho: next }).liveupdateNumber).toBe(0n);
});

describe('while and after the handover is made', () => {
  test('nothing can be created, changed, retrieved or closed; called off, all can', async () => {
    const zeroth = coldKernel();
    const before = zeroth.luo.createSession('before');
    await before.preserve(new Counter(7), 7);
    zeroth.luo.createSession('never asked for');
    await zeroth.luo.reboot();

    const { luo, script } = nextKernel(zeroth);
    const incoming = luo.retrieveSession('before');
    const session = luo.createSession('s');
    await session.preserve(new Counter(1), 1);
    const attempts = (): [string, () => unknown][] => [
      ['create', () => luo.createSession('t')],
      ['retrieve a session', () => luo.retrieveSession('never asked for')],
      ['preserve', () => session.preserve(new Counter(2), 2)],
      ['unpreserve', () => session.unpreserve(1)],
      ['close', () => session.close()],
      ['retrieve a file', () => incoming.retrieve(7)],
      ['finish', () => incoming.finish()],
      ['close an incoming session', () => incoming.close()],
      ['reboot', () => luo.reboot()],
    ];
    // Asked for while the handover is on its way, in the middle of a freeze ...
    script.async = true;
    let inFreeze: Promise<string>[] = [];
    script.fail = (callback) => {
      if (callback === 'freeze') inFreeze = attempts().map(([, work]) => outcome(work));
      return undefined;
    };
    await luo.reboot();
    expect(await Promise.all(inFreeze)).toEqual(attempts().map(() => 'EBUSY'));
    // ... and after it.
    for (const [name, work] of attempts()) expect([name, await outcome(work)]).toEqual([name, 'EBUSY']);
    expect(session.files.map(({ token }) => token)).toEqual([1n]);

    script.fail = undefined;
    await luo.cancelReboot();
    expect(await outcome(() => luo.cancelReboot())).toBe('EINVAL');
    const [reboot, ...others] = attempts().reverse();
    const after = [
      'retrieve a file',
      'finish',
      'preserve',
      'unpreserve',
      'close',
      'create',
      'retrieve a session',
    ];
    for (const name of after) {
      const work = others.find(([other]) => other === name)?.[1];
      expect([name, await outcome(() => work?.())]).toEqual([name, 'ok']);
    }
    expect(await outcome(reboot[1])).toBe('ok');
  });

  test('a handover that was called off leaves no session in the record', async () => {
    const { luo, kho } = coldKernel();
    await luo.createSession('s').preserve(new Counter(1), 1);
    const before = snapshot(kho);
    await luo.reboot();
    await luo.cancelReboot();
    expect(snapshot(kho)).toBe(before);
    const next = start(boot(kho.ram, kho.entry, { freeMemory: 'keep' }));
    expect(next.luo.incomingSessions).toEqual([]);
  });

  test('what happens after a cancelled handover is in the next one', async () => {
    const first = coldKernel();
    const session = first.luo.createSession('s');
    const counter = new Counter(1);
    await session.preserve(counter, 1);
    await first.luo.reboot();
    await first.luo.cancelReboot();
    counter.value = 5;
    await session.preserve(new Counter(2), 2);
    first.luo.createSession('t');
    await first.luo.reboot();
    const { luo } = nextKernel(first);
    const incoming = luo.retrieveSession('s');
    expect(incoming.files.map(({ token }) => token)).toEqual([1n, 2n]);
    expect((await incoming.retrieve(1, Counter)).value).toBe(5);
    expect(luo.incomingSessions.map(({ name }) => name)).toEqual(['s', 't']);
  });
});

describe('the incoming state is all or nothing', () => {
  test('a file without a handler: EIO, remembered, and the new kernel works on', async () => {
    const first = coldKernel();
    first.luo.createSession('empty');
    await first.luo.createSession('s').preserve(new Counter(1), 1);
    await first.luo.reboot();
    const kho = boot(first.kho.ram, first.kho.entry);
    kho.commit();
    const luo = new LiveUpdateOrchestrator({ kho });
    const before = snapshot(kho);
    const errors = [
      () => luo.incomingSessions,
      () => luo.retrieveSession('empty'),
      () => luo.liveupdateNumber,
    ].map((work) => {
      try {
        work();
        return undefined;
      } catch (error) {
        return error;
      }
    });
    expect(errors[0]).toMatchObject({ code: 'EIO', cause: { code: 'ENOENT' } });
    expect(errors.every((error) => error === errors[0])).toBe(true);
    expect(snapshot(kho)).toBe(before);
    luo.registerHandler(counterHandler(kho)); // too late
    expect(await outcome(() => luo.incomingSessions)).toBe('EIO');
    await luo.createSession('mine').preserve(new Counter(3), 3);
    await luo.reboot();
    const third = nextKernel({ kho, luo, script: first.script, handler: first.handler });
    expect(third.luo.incomingSessions.map(({ name }) => name)).toEqual(['mine']);
    expect(third.luo.liveupdateNumber).toBe(2n);
  });

  test('a program can know before it boots', async () => {
    const first = coldKernel();
    await first.luo.createSession('s').preserve(new Counter(1), 1);
    await first.luo.createSession('t').preserve(new Counter(1), 1);
    await first.luo.reboot();
    const { ram, entry } = first.kho;
    const handover = readHandover(ram, entry);
    expect(missingHandlers(ram, handover, [])).toEqual(['counter-v1']);
    expect(missingHandlers(ram, handover, [first.handler])).toEqual([]);
    const newer = { ...first.handler, compatible: 'counter-v2', alsoReads: ['counter-v1'] };
    expect(missingHandlers(ram, handover, [newer])).toEqual([]);
  });

  test('a newer handler gets the older record, and is told so', async () => {
    const first = coldKernel();
    await first.luo.createSession('s').preserve(new Counter(41), 1);
    await first.luo.reboot();
    const kho = boot(first.kho.ram, first.kho.entry);
    const older: string[] = [];
    const luo = new LiveUpdateOrchestrator({
      kho,
      handlers: [
        {
          ...counterHandler(kho),
          compatible: 'counter-v2',
          alsoReads: ['counter-v1'],
          retrieve({ data, compatible }) {
            older.push(compatible);
            const value = kho.at(data).getNumber(CounterSer.value);
            kho.restoreFree(data);
            return new Counter(value + 1);
          },
          finish: ({ compatible }) => void older.push(compatible),
        },
      ],
    });
    const session = luo.retrieveSession('s');
    const counter = await session.retrieve(1, Counter);
    expect(counter.value).toBe(42);
    await session.finish();
    expect(older).toEqual(['counter-v1', 'counter-v1']);
    const out = luo.createSession('s');
    await out.preserve(counter, 1);
    expect(out.files[0].compatible).toBe('counter-v2');
  });
});

describe('every allocation failing once', () => {
  test('making the orchestrator', async () => {
    const first = coldKernel();
    await first.luo.reboot();
    const kho = boot(first.kho.ram, first.kho.entry);
    const before = snapshot(kho);
    const hits = await failEachAllocation(
      kho,
      () => new LiveUpdateOrchestrator({ kho }),
      (code) => {
        expect(code).toBe('ENOMEM');
        expect(snapshot(kho)).toBe(before);
        kho.pages.assertConsistent();
      },
    );
    expect(hits).toBe(1);
  });

  test('creating sessions over the edge of a block', async () => {
    const { luo, kho } = coldKernel();
    let hits = 0;
    for (let i = 0; i < 110; i++) {
      const before = snapshot(kho);
      hits += await failEachAllocation(
        kho,
        () => luo.createSession(`session ${i}`),
        (code) => {
          expect(code).toBe('ENOMEM');
          expect(snapshot(kho)).toBe(before);
          expect(luo.outgoingSessions).toHaveLength(i);
        },
      );
    }
    expect(hits).toBe(3); // 51 sessions to a block
    kho.pages.assertConsistent();
    const free = kho.pages.freePages;
    for (const session of luo.outgoingSessions) await session.close();
    expect(kho.pages.freePages).toBe(free + 3);
  });
});

test('2,000 sessions, and 500 files in one of them, arrive in order', async () => {
  const first = coldKernel(64 * 2 ** 20);
  const free = first.kho.pages.freePages;
  for (let i = 0; i < 2000; i++) {
    const session = first.luo.createSession(`session ${i}`);
    const files = i === 1234 ? 500 : 1;
    for (let f = 0; f < files; f++) await session.preserve(new Counter(i * 1000 + f), BigInt(f) << 55n);
  }
  await first.luo.reboot();
  const { luo, kho } = nextKernel(first);
  expect(luo.incomingSessions.map(({ name }) => name)).toEqual(
    Array.from({ length: 2000 }, (_, i) => `session ${i}`),
  );
  for (let i = 1999; i >= 0; i--) {
    const session = luo.retrieveSession(`session ${i}`);
    const { files } = session;
    expect(files).toHaveLength(i === 1234 ? 500 : 1);
    for (const [f, { token }] of files.entries()) {
      expect(token).toBe(BigInt(f) << 55n);
      if (f % 2 === 0) expect((await session.retrieve(token, Counter)).value).toBe(i * 1000 + f);
    }
    await session.finish();
  }
  kho.pages.assertConsistent();
  expect(kho.pages.freePages).toBe(free - METADATA);
});

test('after a handover that nobody finished, its memory is free again', async () => {
  const first = coldKernel();
  const { freePages } = first.kho.pages;
  const session = first.luo.createSession('s');
  for (let i = 0; i < 100; i++) await session.preserve(new Counter(i), i);
  await first.luo.reboot();
  const second = nextKernel(first);
  expect(second.luo.incomingSessions).toHaveLength(1);
  await second.luo.reboot();
  const third = nextKernel(second);
  expect(third.luo.incomingSessions).toEqual([]);
  expect(third.kho.pages.freePages).toBe(freePages - METADATA);
  third.kho.pages.assertConsistent();
});

test('without reboot() the next kernel finds no session', async () => {
  const first = coldKernel();
  await first.luo.createSession('s').preserve(new Counter(1), 1);
  const { luo } = nextKernel(first);
  expect(luo.incomingSessions).toEqual([]);
  expect(luo.liveupdateNumber).toBe(1n);
});

test('the record is the one of the ABI', async () => {
  const { luo, kho } = coldKernel();
  luo.createSession('s');
  await luo.reboot();
  const subtree = readHandover(kho.ram, kho.entry).subtrees.get('LUO');
  expect(subtree?.size).toBe(LuoSer.SIZE);
  const bytes = kho.ram.bytes(subtree?.pa ?? 0, LuoSer.SIZE);
  expect(Buffer.from(bytes.subarray(0, 8)).toString('latin1')).toBe('luo-v5\0\0');
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  expect(view.getBigUint64(8, true)).toBe(1n);
  const sessions = Number(view.getBigUint64(16, true));
  expect(view.getBigUint64(24, true)).toBe(0n);
  const block = Buffer.from(kho.ram.bytes(sessions, 4096));
  expect([block.readBigUInt64LE(0), block.readBigUInt64LE(8)]).toEqual([0n, 1n]);
  expect(block.subarray(16, 80).toString('latin1')).toBe(`s${'\0'.repeat(63)}`);
  expect([block.readBigUInt64LE(80), block.readBigUInt64LE(88)]).toEqual([0n, 0n]);
});

test('an error is a KernelError with the number of Linux', () => {
  const { luo } = coldKernel();
  expect(() => luo.retrieveSession('s')).toThrow(KernelError);
  expect(() => luo.retrieveSession('s')).toThrow(expect.objectContaining({ code: 'ENOENT', errno: -2 }));
});
