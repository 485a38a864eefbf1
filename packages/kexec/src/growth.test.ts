/**
 * A RAM that is opened with a larger size is enlarged, with everything in it; until its new owner
 * is one for good, the old size stands.
 */
import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { RamFile } from '@liveupdate/linux';
import { ShmemFile } from '@liveupdate/shmem';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readBootPage } from './boot-page.ts';
import { Machine } from './machine.ts';
import type { MachineOptions } from './machine-options.ts';
import { ramPath } from './ram-source.ts';
import { Program, removeRam, testName } from './test-process.ts';

const MiB = 2 ** 20;
const SIZE = 16 * MiB;

let name: string;
let open: Machine[];

beforeEach(() => {
  name = testName();
  open = [];
});

afterEach(() => {
  for (const machine of open) machine.close();
  removeRam(name);
});

async function openMachine(options: Partial<MachineOptions> = {}): Promise<Machine> {
  const machine = await Machine.open({ name, ...options });
  open.push(machine);
  return machine;
}

const codeFrom = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'nothing',
    (error: unknown) => (error as { code: string }).code,
  );

/** The sizes of the file and of the RAM that its boot page tells of. */
function sizes(): { file: number; ram: number } {
  using file = RamFile.open(ramPath(name));
  return { file: file.size, ram: readBootPage(file.firstPage(), file.size).ramSize };
}

/** Bytes that are nowhere alike. */
function content(bytes: number, seed: number): Uint8Array {
  return createHash('shake256', { outputLength: bytes }).update(String(seed)).digest();
}

/** What stands for bytes when they are compared. */
function digest(bytes: Uint8Array): string {
  return `${bytes.length} ${createHash('sha256').update(bytes).digest('hex')}`;
}

async function preserve(machine: Machine, token: number, bytes: Uint8Array): Promise<void> {
  const file = machine.kernel.shmem.memfdCreate('file');
  file.write(bytes);
  const { luo } = machine.kernel;
  const session = luo.outgoingSessions.find((each) => each.name === 's') ?? luo.createSession('s');
  await session.preserve(file, token);
}

/** Preserves again what was handed over; what is in it, by token. */
async function takeAlong(machine: Machine): Promise<string[]> {
  const { luo } = machine.kernel;
  const before = luo.retrieveSession('s');
  const session = luo.createSession('s');
  const contents: string[] = [];
  for (const { token } of before.files) {
    const file = await before.retrieve(token, ShmemFile);
    await session.preserve(file, token);
    const bytes = new Uint8Array(file.size);
    file.pread(bytes, 0);
    contents.push(digest(bytes));
  }
  await before.finish();
  return contents;
}

async function handedOver(bytes = content(MiB, 1)): Promise<void> {
  const machine = await openMachine({ size: SIZE });
  await preserve(machine, 1, bytes);
  await machine.handOver();
}

/** The next generation finds the old size and what was handed over, and nothing behind its end. */
async function expectOldSize(): Promise<void> {
  const machine = await openMachine();
  expect([machine.generation, machine.origin, machine.ram.size]).toEqual([2, 'handover', SIZE]);
  expect(await takeAlong(machine)).toEqual([digest(content(MiB, 1))]);
  expect(sizes().file).toBe(SIZE);
  machine.kernel.pages.assertConsistent();
}

describe('a larger size', () => {
  it('grows a RAM over three generations: every byte stays, and what is new is used', async () => {
    const first = content(10 * MiB, 1);
    const second = content(30 * MiB, 2);
    await handedOver(first);
    const two = await openMachine({ size: '64MiB' });
    expect([two.generation, two.origin, two.ram.size]).toEqual([2, 'handover', 64 * MiB]);
    expect(await takeAlong(two)).toEqual([digest(first)]);
    await preserve(two, 2, second);
    two.kernel.pages.assertConsistent();
    await two.handOver();
    expect(sizes()).toEqual({ file: 64 * MiB, ram: 64 * MiB });
    const three = await openMachine({ size: '256MiB' });
    expect(await takeAlong(three)).toEqual([digest(first), digest(second)]);
    await preserve(three, 3, content(70 * MiB, 3));
    await three.handOver();
    const four = await openMachine({ size: '256MiB' });
    expect(await takeAlong(four)).toEqual([digest(first), digest(second), digest(content(70 * MiB, 3))]);
    four.kernel.pages.assertConsistent();
  });

  it('is the old one until the first turn, and then for good', async () => {
    await handedOver();
    const machine = await openMachine({ size: 2 * SIZE });
    expect(sizes()).toEqual({ file: 2 * SIZE, ram: SIZE });
    await new Promise(setImmediate);
    expect(sizes()).toEqual({ file: 2 * SIZE, ram: 2 * SIZE });
    expect(await takeAlong(machine)).toEqual([digest(content(MiB, 1))]);
  });

  it.each<[what: string, end: (machine: Machine) => void]>([
    ['was given up', (machine) => machine.close()],
    ['was given up before the first turn', (machine) => machine.close()],
  ])('grows an empty RAM that %s', async (what, end) => {
    const machine = await openMachine({ size: SIZE });
    if (!what.includes('before')) await new Promise(setImmediate);
    end(machine);
    const next = await openMachine({ size: 2 * SIZE });
    expect([next.generation, next.origin]).toEqual([2, 'cold']);
    expect(sizes()).toEqual({ file: 2 * SIZE, ram: 2 * SIZE });
    await preserve(next, 1, content(20 * MiB, 1));
  });

  it('grows one whose owner died, recovered or not', async () => {
    using program = new Program(`
      await Machine.open({ name: NAME, size: ${SIZE} });
      process.kill(process.pid, 'SIGKILL');`);
    program.run(name);
    expect(await codeFrom(openMachine({ size: 2 * SIZE, onCrash: 'refuse' }))).toBe('EIO');
    expect(sizes()).toEqual({ file: SIZE, ram: SIZE });
    const machine = await openMachine({ size: 2 * SIZE });
    expect([machine.generation, machine.ram.size, machine.origin]).toEqual([2, 2 * SIZE, 'recovered']);
    await turn();
    expect(sizes()).toEqual({ file: 2 * SIZE, ram: 2 * SIZE });
    machine.close();
    const cold = await openMachine({ size: 4 * SIZE, onCrash: 'cold' });
    expect([cold.generation, cold.ram.size]).toEqual([3, 4 * SIZE]);
  });

  it('grows one that is inherited over kexec, with its name', () => {
    using program = new Program(`
      const sizes = ['16MiB', '64MiB', '64MiB', '128MiB'];
      const at = Number(process.env.AT ?? 0);
      const machine = await Machine.open({ name: NAME, size: sizes[at] });
      const { luo, shmem } = machine.kernel;
      const { ShmemFile } = await import('@liveupdate/shmem');
      let file = shmem.memfdCreate('f');
      if (at === 0) file.write(new Uint8Array(8 * 2 ** 20).fill(7));
      else {
        const before = luo.retrieveSession('s');
        file = await before.retrieve(1, ShmemFile);
        await before.finish();
      }
      const bytes = new Uint8Array(file.size);
      file.pread(bytes, 0);
      say(at, machine.generation, machine.ram.size / 2 ** 20, bytes.length / 2 ** 20, bytes.every((b) => b === 7));
      await luo.createSession('s').preserve(file, 1);
      if (at < 3) await machine.kexec(undefined, { env: { ...process.env, AT: String(at + 1) } });
      machine.remove();`);
    const { lines, stderr } = program.run(name);
    expect(stderr).toBe('');
    expect(lines).toEqual(['0 1 16 8 true', '1 2 64 8 true', '2 3 64 8 true', '3 4 128 8 true']);
  });

  it('is EPERM for RAM without a name, whose size is sealed: it can be opened as it is', () => {
    using program = new Program(`
      const machine = await Machine.open({ size: process.env.AT ? '64MiB' : '16MiB' }).catch((error) => {
        say(codeOf(error));
        return Machine.open({ size: '16MiB' });
      });
      say(machine.generation, machine.origin, machine.ram.size / 2 ** 20);
      if (!process.env.AT) await machine.kexec(undefined, { env: { ...process.env, AT: '1' } });
      machine.close();`);
    const { lines, stderr } = program.run(name);
    expect(stderr).toBe('');
    expect(lines).toEqual(['1 cold 16', 'EPERM', '2 handover 16']);
  });
});

describe('where it does not come about, the old size stands', () => {
  it('a boot that is refused', async () => {
    await handedOver();
    expect(await codeFrom(Machine.open({ name, size: 4 * SIZE, handlers: () => [] }))).toBe('ENOENT');
    expect(sizes()).toEqual({ file: SIZE, ram: SIZE });
    await expectOldSize();
  });

  it('a death between the file and the boot page', async () => {
    await handedOver();
    using program = new Program(`
      await Machine.open({
        name: NAME, size: ${4 * SIZE},
        handlers: ({ pages, ram }) => {
          ram.bytes(${2 * SIZE}, 4096).fill(0xff); // something is there already
          process.kill(process.pid, 'SIGKILL');
        },
      });`);
    expect(program.run(name).signal).toBe('SIGKILL');
    expect(sizes()).toEqual({ file: 4 * SIZE, ram: SIZE });
    await expectOldSize();
  });

  it('a death after the boot, before the first turn; the next growth begins with zeros', async () => {
    await handedOver();
    using program = new Program(`
      const { ram } = await Machine.open({ name: NAME, size: ${4 * SIZE} });
      ram.bytes(${2 * SIZE}, 4096).fill(0xff);
      process.kill(process.pid, 'SIGKILL');`);
    expect(program.run(name).signal).toBe('SIGKILL');
    expect(sizes()).toEqual({ file: 4 * SIZE, ram: SIZE });
    const machine = await openMachine({ size: 4 * SIZE, freeMemory: 'keep' });
    expect(machine.ram.bytes(2 * SIZE, 4096).every((byte) => byte === 0)).toBe(true);
    expect(await takeAlong(machine)).toEqual([digest(content(MiB, 1))]);
  });

  it('a machine that keeps what it was handed, and is abandoned', async () => {
    await handedOver();
    const machine = await openMachine({ size: 4 * SIZE, keepHandover: true });
    await takeAlong(machine);
    await preserve(machine, 2, content(30 * MiB, 2));
    await new Promise(setImmediate);
    expect(sizes()).toEqual({ file: 4 * SIZE, ram: SIZE });
    machine.abandon();
    expect(sizes()).toEqual({ file: SIZE, ram: SIZE });
    await expectOldSize();
  });

  it('and is final where such a one hands over', async () => {
    await handedOver();
    const machine = await openMachine({ size: 4 * SIZE, keepHandover: true });
    await takeAlong(machine);
    await preserve(machine, 2, content(30 * MiB, 2));
    await machine.handOver();
    const next = await openMachine({ size: 4 * SIZE });
    expect(await takeAlong(next)).toEqual([digest(content(MiB, 1)), digest(content(30 * MiB, 2))]);
  });

  it('what is behind the end of a RAM goes when it is opened, and only then', async () => {
    await handedOver();
    fs.appendFileSync(ramPath(name), 'something');
    expect(await codeFrom(Machine.open({ name, handlers: () => [] }))).toBe('ENOENT');
    expect(sizes()).toEqual({ file: SIZE + 9, ram: SIZE });
    await expectOldSize();
  });
});

describe('other sizes', () => {
  it('a smaller one is EINVAL, and the message says what fits; RAM is as it was', async () => {
    await handedOver();
    const refused = Machine.open({ name, size: SIZE / 2 });
    await expect(refused).rejects.toMatchObject({ code: 'EINVAL' });
    await expect(refused).rejects.toThrow(`${SIZE} bytes (16 MiB)`);
    await expectOldSize();
  });

  it('the same one changes nothing', async () => {
    await handedOver();
    const machine = await openMachine({ size: '16MiB' });
    expect(await takeAlong(machine)).toEqual([digest(content(MiB, 1))]);
  });

  it('a file that was cut short is refused, whatever size is asked for', async () => {
    await handedOver();
    fs.truncateSync(ramPath(name), SIZE / 2);
    for (const size of [undefined, SIZE, 2 * SIZE])
      expect(await codeFrom(Machine.open({ name, ...(size !== undefined && { size }) }))).toBe('EINVAL');
    expect(fs.statSync(ramPath(name)).size).toBe(SIZE / 2);
  });
});

it('the largest RAM works to its last frame, and is handed over', async () => {
  const { SparseRam, withMemoryMap } = await import('@liveupdate/mm');
  const { bootKernel } = await import('./kernel.ts');
  const END = 2 ** 44;
  const ram = withMemoryMap(new SparseRam(END), [{ pa: END - SIZE, length: SIZE, kind: 'usable' }]);
  const kernel = bootKernel(ram, undefined);
  const all = kernel.shmem.memfdCreate('all');
  all.write(content(8 * MiB, 1));
  const fill = (): void => {
    for (;;) all.allocate(all.size, 4096);
  };
  expect(fill).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
  kernel.pages.assertConsistent();
  all.truncate(all.size - 200 * 4096);
  await kernel.luo.createSession('s').preserve(all, 1);
  await kernel.luo.reboot();
  const next = bootKernel(ram, kernel.kho.entry);
  const file = await next.luo.retrieveSession('s').retrieve(1, ShmemFile);
  const bytes = new Uint8Array(8 * MiB);
  file.pread(bytes, 0);
  expect(Buffer.compare(bytes, content(8 * MiB, 1))).toBe(0);
  next.pages.assertConsistent();
});
