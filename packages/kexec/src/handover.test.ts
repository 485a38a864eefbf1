/**
 * A handover that fails at each of its steps, and on the way back too: the first cause is thrown,
 * and everything goes on.
 */
import { codeOf, PAGE_SIZE, suppressedBy } from '@liveupdate/base';
import { BEFORE_REPLACE_EVENT } from '@liveupdate/linux';
import type { FileHandler } from '@liveupdate/luo-core';
import { memfdHandler } from '@liveupdate/memfd-handler';
import { ShmemFile } from '@liveupdate/shmem';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { readBootPage, type BootPage } from './boot-page.ts';
import { Machine } from './machine.ts';
import type { HandlerFactory } from './kernel.ts';
import { removeRam, testName } from './test-process.ts';

const SIZE = 32 * 2 ** 20; // two steps of page tables
const text = new TextEncoder();

/** Throws at the nth call of anything that goes through it. */
class Faults {
  #left = Infinity;
  /** What is thrown; undefined while nothing was. */
  thrown: Error | undefined;

  arm(n: number): void {
    this.#left = n;
    this.thrown = undefined;
  }

  disarm(): void {
    this.#left = Infinity;
  }

  pass(what: string): void {
    this.#left -= 1;
    if (this.#left !== 0) return;
    this.thrown = new Error(`injected at ${what}`);
    throw this.thrown;
  }
}

class Odd {
  readonly kind = 'odd';
}

/** What the unfreeze of an odd file throws: anything can be thrown. */
const THROWN: readonly (() => unknown)[] = [
  () => new Error('unfreeze'),
  () => undefined,
  () => null,
  () => 'text',
  () => Object.freeze({}),
];

let faults: Faults;
let names: string[];
let machines: Machine[];

beforeEach(() => {
  faults = new Faults();
  names = [testName(), testName()];
  machines = [];
});

afterEach(() => {
  vi.restoreAllMocks();
  for (const machine of machines) machine.close();
  for (const name of names) removeRam(name);
});

function handlers(whatIsThrown: readonly (() => unknown)[]): HandlerFactory {
  let thrown = 0;
  const odd: FileHandler<Odd> = {
    compatible: 'odd-v1',
    canPreserve: (file): file is Odd => file instanceof Odd,
    preserve: () => ({ data: 1n }),
    unpreserve: () => undefined,
    freeze: () => {
      faults.pass('freeze');
    },
    unfreeze: () => {
      if (whatIsThrown.length > 0) throw whatIsThrown[thrown++ % whatIsThrown.length]();
    },
    retrieve: () => new Odd(),
    finish: () => undefined,
  };
  return ({ kho, shmem }) => [memfdHandler({ kho, shmem }), odd];
}

/** Two machines in this process, one of them without a name, with files in sessions. */
async function openTwo(thrown: readonly (() => unknown)[]): Promise<Machine[]> {
  const options = { size: SIZE, handlers: handlers(thrown) };
  for (const machine of [await Machine.open({ ...options, name: names[0] }), await Machine.open(options)]) {
    machines.push(machine);
    const { luo, shmem, kho } = machine.kernel;
    const file = shmem.memfdCreate('f');
    file.write(text.encode('kept'));
    const session = luo.createSession('s');
    await session.preserve(file, 1);
    for (const token of [2, 3]) await session.preserve(new Odd(), token);
    const check = kho.checkRoomForNext.bind(kho);
    kho.checkRoomForNext = () => {
      faults.pass('the check for room');
      check();
    };
    const { ram } = machine;
    const bytes = ram.bytes.bind(ram);
    ram.bytes = (pa, length) => {
      if (pa < PAGE_SIZE) faults.pass('the boot page');
      return bytes(pa, length);
    };
    const drop = ram.dropPageTables.bind(ram);
    ram.dropPageTables = function* (): Generator<undefined, void> {
      for (const step of drop()) {
        faults.pass('page tables');
        yield step;
      }
    };
  }
  return machines;
}

function stateOf({ ram }: Machine): BootPage['state'] {
  return readBootPage(ram.bytes(0, PAGE_SIZE), ram.size).state;
}

/** Everything that a running machine can do. */
async function expectUsable(machine: Machine): Promise<void> {
  const { luo, shmem, pages } = machine.kernel;
  expect([stateOf(machine), luo.state]).toEqual(['running', 'running']);
  const file = shmem.memfdCreate('new');
  file.write(text.encode('new'));
  const session = luo.createSession('new');
  await session.preserve(file, 1);
  await session.unpreserve(1);
  await session.close();
  file.close();
  pages.assertConsistent();
}

async function thrownBy(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe.each<[string, readonly (() => unknown)[]]>([
  ['nothing', []],
  ['errors', [() => new Error('unfreeze')]],
  ['anything', THROWN],
])('where unfreeze throws %s', (what, thrown) => {
  it('a kexec that fails at any step throws what failed first, and all machines go on', async () => {
    const [first, second] = await openTwo(thrown);
    const steps = new Set<string>();
    const disarm = (): void => {
      faults.disarm(); // what comes behind it is the way back
    };
    (process as NodeJS.EventEmitter).on(BEFORE_REPLACE_EVENT, disarm);
    onTestFinished(() => void process.removeListener(BEFORE_REPLACE_EVENT, disarm));
    for (let n = 1; ; n++) {
      faults.arm(n);
      const error = await thrownBy(first.kexec([], { file: '/no/such/program' }));
      faults.disarm();
      if (faults.thrown) expect(error).toBe(faults.thrown);
      else expect(codeOf(error)).toBe('ENOENT');
      steps.add(faults.thrown?.message ?? 'exec');
      if (what === 'nothing') expect(suppressedBy(error)).toEqual([]);
      else if (what === 'errors' && !faults.thrown) expect(suppressedBy(error)).toHaveLength(4); // two files in each of two
      for (const machine of [first, second]) await expectUsable(machine);
      if (!faults.thrown) break;
    }
    const reached = ['page tables', 'the check for room', 'freeze', 'the boot page'];
    expect([...steps]).toEqual([...reached.map((step) => `injected at ${step}`), 'exec']);
  });

  it('a handOver that fails at any step does, too; in the end it arrives', async () => {
    const [first] = await openTwo(thrown);
    for (let n = 1; ; n++) {
      faults.arm(n);
      const error = await thrownBy(first.handOver());
      faults.disarm();
      if (!faults.thrown) {
        expect(error).toBeUndefined();
        break;
      }
      expect(error).toBe(faults.thrown);
      await expectUsable(first);
    }
    const next = await Machine.open({ name: names[0], handlers: handlers([]) });
    machines.push(next);
    const file = await next.kernel.luo.retrieveSession('s').retrieve(1, ShmemFile);
    const bytes = new Uint8Array(4);
    file.pread(bytes, 0);
    expect(new TextDecoder().decode(bytes)).toBe('kept');
  });
});

describe('two at once', () => {
  const absent = { file: '/no/such/program' };

  it('a second kexec is EBUSY, of whichever machine, and the first goes on', async () => {
    const [first, second] = await openTwo([]);
    const going = thrownBy(first.kexec([], absent));
    const others = [first.kexec([], absent), second.kexec([], absent), second.handOver(), first.handOver()];
    const codes = (await Promise.all(others.map(thrownBy))).map((error) => codeOf(error));
    expect(codes).toEqual(['EBUSY', 'EBUSY', 'EINVAL', 'EBUSY']);
    expect(codeOf(await going)).toBe('ENOENT');
    for (const machine of [first, second]) await expectUsable(machine);
  });

  it('a kexec while another machine is handed over names that one', async () => {
    const [first, second] = await openTwo([]);
    const handover = first.handOver();
    const error = await thrownBy(second.kexec([], absent));
    expect(codeOf(error)).toBe('EBUSY');
    expect((error as Error).message).toContain(names[0]);
    await handover;
    await expectUsable(second);
  });

  it('a machine that is opened meanwhile goes along, or is refused once files are frozen', async () => {
    const [first] = await openTwo([]);
    const open = (): Promise<Machine> => Machine.open({ name: names[1], size: SIZE });
    const freeze = vi.spyOn(first.kernel.luo, 'reboot');
    let refused: unknown;
    freeze.mockImplementation(async () => {
      refused = await thrownBy(open());
      throw new Error('enough');
    });
    const going = thrownBy(first.kexec([], absent));
    const third = await open();
    machines.push(third);
    const reboot = vi.spyOn(third.kernel.luo, 'reboot');
    expect(await going).toMatchObject({ message: 'enough' });
    expect(codeOf(refused)).toBe('EBUSY');
    freeze.mockRestore();
    expect(codeOf(await thrownBy(first.kexec([], absent)))).toBe('ENOENT');
    expect(reboot).toHaveBeenCalledOnce();
    for (const machine of machines) await expectUsable(machine);
  });

  it.each([0, 1])('machine %i can be closed while a kexec begins', async (which) => {
    const two = await openTwo([]);
    const going = thrownBy(two[0].kexec([], absent));
    two[which].close();
    expect(codeOf(await going)).toBe(which === 0 ? 'EBADF' : 'ENOENT');
    await expectUsable(two[1 - which]);
  });

  it('a machine whose file was removed keeps the others here, and is named', async () => {
    const [first, second] = await openTwo([]);
    removeRam(names[0]);
    const error = await thrownBy(second.kexec([], absent));
    expect(codeOf(error)).toBe('ENOENT');
    expect((error as Error).message).toContain(`${names[0]} cannot go along`);
    for (const machine of [first, second]) await expectUsable(machine);
  });

  it('a RAM that this process owns by another copy of this package, or in a worker, is not lost, and named', async () => {
    const [first, second] = await openTwo([]);
    vi.resetModules();
    const copy = await import('./machine.ts');
    const stranger = await copy.Machine.open({ name: names[1], size: SIZE });
    onTestFinished(() => {
      stranger.close();
    });
    const error = await thrownBy(first.kexec([], absent));
    expect(codeOf(error)).toBe('EBUSY');
    expect((error as Error).message).toContain(names[1]);
    for (const machine of [first, second]) await expectUsable(machine);
    await stranger.handOver();
    expect(codeOf(await thrownBy(first.kexec([], absent)))).toBe('ENOENT');
  });
});
