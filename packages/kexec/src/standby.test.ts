/** The next generation takes over from one that is there, and may go on. */
import { renameSync } from 'node:fs';
import { KernelError, PAGE_SIZE, type ErrnoCode } from '@liveupdate/base';
import { viewSpace } from '@liveupdate/linux';
import type { OutgoingSession } from '@liveupdate/luo-core';
import { ShmemFile } from '@liveupdate/shmem';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Machine, type ArmedMachine } from './machine.ts';
import { Program, removeRam, testName } from './test-process.ts';

const SIZE = 64 * 2 ** 20;

let name: string;
let open: Machine[];
let armed: ArmedMachine[];

beforeEach(() => {
  name = testName();
  open = [];
  armed = [];
});

afterEach(() => {
  for (const machine of open) machine.close();
  for (const standby of armed) standby.release();
  removeRam(name);
});

async function openMachine(size?: number): Promise<Machine> {
  const machine = await Machine.open({ name, ...(size === undefined ? {} : { size }) });
  open.push(machine);
  return machine;
}

async function arm(): Promise<ArmedMachine> {
  const standby = await Machine.arm({ name });
  armed.push(standby);
  return standby;
}

function take(standby: ArmedMachine, sealed?: Parameters<ArmedMachine['take']>[0]): Machine {
  const machine = standby.take(sealed);
  open.push(machine);
  return machine;
}

function codeOf(work: () => unknown): ErrnoCode | 'nothing' {
  try {
    work();
    return 'nothing';
  } catch (error) {
    return (error as { code: ErrnoCode }).code;
  }
}

async function codeFrom(work: Promise<unknown>): Promise<ErrnoCode | 'nothing'> {
  return work.then(
    () => 'nothing' as const,
    (error: unknown) => (error as { code: ErrnoCode }).code,
  );
}

/** Files of an owner: one that is preserved, one that is not. */
async function filled(
  machine: Machine,
): Promise<{ kept: ShmemFile; own: ShmemFile; session: OutgoingSession }> {
  const { shmem, luo } = machine.kernel;
  const kept = shmem.memfdCreate('kept');
  kept.write(new Uint8Array(5 * 2 ** 20).fill(7));
  const session = luo.createSession('s');
  await session.preserve(kept, 1);
  const own = shmem.memfdCreate('own');
  own.write(new Uint8Array(3 * 2 ** 20 + 5).fill(9));
  return { kept, own, session };
}

function isAll(file: ShmemFile, size: number, byte: number): boolean {
  const bytes = new Uint8Array(file.size);
  file.pread(bytes, 0);
  return bytes.length === size && bytes.every((each) => each === byte);
}

function expectWhole({ kernel }: Machine, { kept, own }: { kept: ShmemFile; own: ShmemFile }): void {
  kernel.pages.assertConsistent();
  expect([isAll(kept, 5 * 2 ** 20, 7), isAll(own, 3 * 2 ** 20 + 5, 9)]).toEqual([true, true]);
}

async function found(machine: Machine): Promise<ShmemFile> {
  const session = machine.kernel.luo.retrieveSession('s');
  return session.retrieve(1, ShmemFile);
}

test('what is there is taken over at once, and the one before cannot go on', async () => {
  const first = await openMachine(SIZE);
  const files = await filled(first);
  const standby = await arm();
  expectWhole(first, files);
  const sealed = await first.seal();
  expect(JSON.parse(JSON.stringify(sealed))).toEqual(sealed);
  const second = take(standby, sealed);
  expect([second.origin, second.generation]).toEqual(['handover', 2]);
  expect(await codeFrom(first.unseal())).toBe('EBUSY');
  const file = await found(second);
  expect(isAll(file, 5 * 2 ** 20, 7)).toBe(true);
  second.commit();
  await second.kernel.luo.createSession('s').preserve(file, 1);
  for (const session of second.kernel.luo.incomingSessions) await session.finish();
  second.kernel.pages.assertConsistent();
  expect(await codeFrom(first.unseal())).toBe('EBUSY');
  first.close(); // leaves what it handed over
  expect(isAll(file, 5 * 2 ** 20, 7)).toBe(true);
  await second.handOver();
  const third = await openMachine();
  expect([third.origin, third.generation, isAll(await found(third), 5 * 2 ** 20, 7)]).toEqual([
    'handover',
    3,
    true,
  ]);
});

test('all memory is free memory again once the next one has committed', async () => {
  const first = await openMachine(SIZE);
  await filled(first);
  const standby = await arm();
  const second = take(standby, await first.seal());
  expect(second.kernel.pages.outsidePages).toBeGreaterThan(0);
  second.commit();
  const { pages } = second.kernel;
  expect(pages.outsidePages).toBe(0);
  const all = second.kernel.shmem.memfdCreate('all');
  all.write(new Uint8Array((pages.freePages - 64) * PAGE_SIZE).fill(1));
  pages.assertConsistent();
  expect(isAll(await found(second), 5 * 2 ** 20, 7)).toBe(true);
});

describe('one that does not commit has changed nothing for the one before', () => {
  test('given up before it committed', async () => {
    const first = await openMachine(SIZE);
    const files = await filled(first);
    const standby = await arm();
    const second = take(standby, await first.seal());
    const file = await found(second);
    const more = second.kernel.shmem.memfdCreate('more');
    more.write(new Uint8Array(2 ** 20).fill(3));
    second.kernel.pages.assertConsistent();
    expect(isAll(file, 5 * 2 ** 20, 7)).toBe(true);
    second.abandon();
    await first.unseal();
    expectWhole(first, files);
    // What was lent is free, reads as zeros, and is known not to be there.
    const { pages, shmem } = first.kernel;
    const all = shmem.memfdCreate('all');
    all.truncate((pages.freePages - 64) * PAGE_SIZE);
    all.allocate(0, all.size);
    expect(isAll(all, all.size, 0)).toBe(true);
    all.close();
    // It goes on: more is preserved, and handed over.
    await first.kernel.luo.createSession('later').preserve(files.own, 1);
    await first.handOver();
    const next = await openMachine();
    expect(next.kernel.luo.incomingSessions.map(({ name: session }) => session)).toEqual(['s', 'later']);
    expect(isAll(await found(next), 5 * 2 ** 20, 7)).toBe(true);
  });

  test('killed before it committed, in another process', async () => {
    const first = await openMachine(SIZE);
    const files = await filled(first);
    using program = new Program(`
      process.stdin.once('data', async (data) => {
        const machine = armed.take(JSON.parse(data.toString()));
        const session = machine.kernel.luo.retrieveSession('s');
        const file = await session.retrieve(1);
        const more = machine.kernel.shmem.memfdCreate('more');
        more.write(new Uint8Array(2 ** 20).fill(3));
        say('taken', file.size);
      });
      const armed = await Machine.arm({ name: NAME });
      say('armed');
    `);
    const child = await program.startTalking(name);
    expect(child.line).toBe('armed');
    expect(await child.ask(JSON.stringify(await first.seal()))).toBe(`taken ${5 * 2 ** 20}`);
    expect(await codeFrom(first.unseal())).toBe('EBUSY');
    await child.end('SIGKILL');
    await first.unseal();
    expectWhole(first, files);
    const { residency } = first.kernel.pages;
    expect(residency.isSure).toBe(true);
    // And one that dies now is recovered as ever.
    const copy = await openCopyOfDead(first);
    expect(copy).toBe('s/1');
  });

  test('nobody came', async () => {
    const first = await openMachine(SIZE);
    const files = await filled(first);
    for (let i = 0; i < 3; i++) {
      await first.seal();
      expect(await codeFrom(first.seal())).toBe('EBUSY');
      expect(await codeFrom(first.handOver())).toBe('EBUSY');
      expect(codeOf(() => first.remove())).toBe('EBUSY');
      await first.unseal();
      expectWhole(first, files);
    }
    expect(await codeFrom(first.unseal())).toBe('EINVAL');
  });
});

/** What a recovery of the RAM finds that a machine owns now. */
async function openCopyOfDead(machine: Machine): Promise<string> {
  const copy = testName();
  const { copyFileSync } = await import('node:fs');
  const { ramPath } = await import('./ram-source.ts');
  copyFileSync(machine.path ?? '', ramPath(copy));
  try {
    const next = await Machine.open({ name: copy });
    const text = next.kernel.luo.incomingSessions
      .map(({ name: session, files }) => `${session}/${files.map(({ token }) => token).join(',')}`)
      .join(' ');
    next.remove();
    return text;
  } finally {
    removeRam(copy);
  }
}

test('while it is sealed it takes no memory that the next one would not know of', async () => {
  const first = await openMachine(SIZE);
  const files = await filled(first);
  const sparse = first.kernel.shmem.memfdCreate('sparse');
  sparse.truncate(2 ** 20);
  await first.seal();
  expect(codeOf(() => sparse.pwrite(Uint8Array.of(1), 0))).toBe('EBUSY');
  expect(codeOf(() => files.own.pwrite(Uint8Array.of(1), 2 ** 22))).toBe('EBUSY');
  const large = first.kernel.shmem.memfdCreate('large');
  large.adviseHuge();
  expect(codeOf(() => large.allocate(0, 4 * 2 ** 20))).toBe('EBUSY');
  await first.unseal();
  expectWhole(first, files);
  sparse.pwrite(Uint8Array.of(1), 0);
  expect(sparse.size).toBe(2 ** 20);
  first.kernel.pages.assertConsistent();
});

test('where memory is short before it has committed, it commits', async () => {
  const first = await openMachine(SIZE);
  await filled(first);
  const standby = await arm();
  const second = take(standby, await first.seal());
  const { pages, shmem } = second.kernel;
  const more = shmem.memfdCreate('more');
  more.write(new Uint8Array((pages.freePages + 1024) * PAGE_SIZE).fill(3));
  pages.assertConsistent();
  expect(isAll(await found(second), 5 * 2 ** 20, 7)).toBe(true);
  open.splice(open.indexOf(second), 1);
  await second.handOver();
  expect(await codeFrom(first.unseal())).toBe('ESTALE');
  first.close();
  const third = await openMachine();
  expect([third.generation, isAll(await found(third), 5 * 2 ** 20, 7)]).toEqual([3, true]);
});

test('what the owner left in memory that it lends, or had, is nothing that a file shows', async () => {
  const first = await openMachine(SIZE);
  await filled(first);
  const gone = first.kernel.shmem.memfdCreate('gone');
  gone.write(new Uint8Array((first.kernel.pages.freePages - 256) * PAGE_SIZE).fill(0xee));
  gone.close();
  const standby = await arm();
  const second = take(standby, await first.seal());
  const zeros = (size: number): boolean => {
    const file = second.kernel.shmem.memfdCreate('zeros');
    file.truncate(size);
    file.allocate(0, size);
    const isZero = isAll(file, size, 0);
    file.close();
    return isZero;
  };
  expect(zeros((second.kernel.pages.freePages - 64) * PAGE_SIZE)).toBe(true);
  second.commit();
  expect(zeros((second.kernel.pages.freePages - 64) * PAGE_SIZE)).toBe(true);
});

test('one whose owner dies is recovered by the one that waits', async () => {
  using program = new Program(`
    const machine = await Machine.open({ name: NAME, size: '16MiB' });
    const file = machine.kernel.shmem.memfdCreate('file');
    file.write(new Uint8Array(5 * 2 ** 20).fill(7));
    await machine.kernel.luo.createSession('s').preserve(file, 1);
    say('running');
    setInterval(() => undefined, 1000);
  `);
  const owner = await program.start(name);
  const standby = await arm();
  expect(codeOf(() => standby.take())).toBe('EBUSY');
  await owner.end('SIGKILL');
  const machine = take(standby);
  expect([machine.origin, isAll(await found(machine), 5 * 2 ** 20, 7)]).toEqual(['recovered', true]);
  expect(codeOf(() => standby.take())).toBe('EBADF');
  await new Promise((resolve) => setImmediate(resolve));
  await machine.handOver();
});

test('views are there before they are asked for', async () => {
  const first = await openMachine(SIZE);
  await filled(first);
  const standby = await arm();
  const before = viewSpace().mappings;
  const second = take(standby, await first.seal());
  const file = await found(second);
  const { bytes } = file.map();
  expect([bytes.length, bytes.at(-1)]).toEqual([5 * 2 ** 20, 7]);
  expect(viewSpace().mappings).toBe(before);
  const again = file.map();
  expect(viewSpace().mappings).toBeGreaterThanOrEqual(before);
  again.unmap();
});

test('what changes after it was armed is taken over as it is', async () => {
  const first = await openMachine(SIZE);
  const { kept, own, session } = await filled(first);
  const standby = await arm();
  await session.unpreserve(1);
  kept.truncate(2 ** 20);
  await session.preserve(kept, 1);
  await first.kernel.luo.createSession('more').preserve(own, 5);
  const second = take(standby, await first.seal());
  const file = await found(second);
  expect(isAll(file, 2 ** 20, 7)).toBe(true);
  expect(file.map().bytes).toHaveLength(2 ** 20);
  const other = await second.kernel.luo.retrieveSession('more').retrieve(5, ShmemFile);
  expect(isAll(other, 3 * 2 ** 20 + 5, 9)).toBe(true);
  second.kernel.pages.assertConsistent();
});

test('no RAM: ENOENT; a file that nobody can read: ENOENT; and the owner goes on', async () => {
  expect(await codeFrom(Machine.arm({ name, size: SIZE }))).toBe('ENOENT');
  const first = await openMachine(SIZE);
  const files = await filled(first);
  expect(await codeFrom(Machine.arm({ name, handlers: () => [] }))).toBe('ENOENT');
  expectWhole(first, files);
});

test('a takeover that is refused leaves the RAM to its owner', async () => {
  const first = await openMachine(SIZE);
  const files = await filled(first);
  const small = await Machine.arm({ name, size: SIZE / 2 });
  armed.push(small);
  const sealed = await first.seal();
  expect(codeOf(() => small.take(sealed))).toBe('EINVAL');
  await first.unseal();
  expectWhole(first, files);
  const standby = await arm();
  const again = await first.seal();
  renameSync(first.path ?? '', `${first.path ?? ''}.away`);
  expect(codeOf(() => standby.take(again))).toBe('ENOENT');
  renameSync(`${first.path ?? ''}.away`, first.path ?? '');
  await first.unseal();
  expectWhole(first, files);
});

test('where nothing can be lent, nothing is sealed', async () => {
  const first = await openMachine(SIZE);
  const files = await filled(first);
  const { pages } = first.kernel;
  const allocRuns = pages.allocRuns.bind(pages);
  pages.allocRuns = () => {
    throw new KernelError('ENOMEM', 'for this test');
  };
  expect(await codeFrom(first.seal())).toBe('ENOMEM');
  pages.allocRuns = allocRuns;
  expectWhole(first, files);
  expect(await codeFrom(first.unseal())).toBe('EINVAL');
  const second = take(await arm(), await first.seal());
  expect(isAll(await found(second), 5 * 2 ** 20, 7)).toBe(true);
});

test('one that was released takes nothing', async () => {
  const first = await openMachine(SIZE);
  const standby = await arm();
  standby.release();
  const sealed = await first.seal();
  expect(codeOf(() => standby.take(sealed))).toBe('EBADF');
  await first.unseal();
});
