/**
 * A generation that dies before its event loop turns, because the program is broken or a signal
 * came too early: as long as it has published nothing, the handover is whole.
 */
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { setImmediate as turn } from 'node:timers/promises';
import { codeOf, PAGE_SIZE } from '@liveupdate/base';
import { ShmemFile } from '@liveupdate/shmem';
import { Machine } from './machine.ts';
import type { MachineOptions } from './machine-options.ts';
import { Program, removeRam, testName } from './test-process.ts';

const SIZE = 8 * 2 ** 20;

let name: string;
beforeEach(() => {
  name = testName();
  onTestFinished(() => {
    removeRam(name);
  });
});

async function open(options: MachineOptions = {}): Promise<Machine> {
  const machine = await Machine.open({ name, size: SIZE, ...options });
  onTestFinished(() => {
    machine.close();
  });
  return machine;
}

/** Leaves a file of so many pages and one of one page. */
async function handOver(pages: number): Promise<void> {
  const machine = await open();
  const { luo, shmem } = machine.kernel;
  const session = luo.createSession('s');
  for (const [token, length] of [pages, 1].entries()) {
    const file = shmem.memfdCreate('f');
    file.write(new Uint8Array(length * PAGE_SIZE).fill(token + 1));
    await session.preserve(file, token);
  }
  await machine.handOver();
}

/** What is in the two files; they are finished with. */
async function takeBoth(machine: Machine): Promise<number[]> {
  const session = machine.kernel.luo.retrieveSession('s');
  const bytes: number[] = [];
  for (const token of [0, 1]) {
    const file = await session.retrieve(token, ShmemFile);
    const { bytes: all } = file.map();
    expect(all.every((byte) => byte === all[0])).toBe(true);
    bytes.push(all[0]);
  }
  await session.finish();
  return bytes;
}

/**
 * Retrieves all, finishes, frees the large file, fills RAM with other things.
 */
const AT_WORK = `
  import { ShmemFile } from '@liveupdate/shmem';
  const machine = await Machine.open({ name: NAME });
  const { luo, shmem, pages } = machine.kernel;
  const before = luo.retrieveSession('s');
  const [large, small] = [await before.retrieve(0, ShmemFile), await before.retrieve(1, ShmemFile)];
  await before.finish();
  large.close();
  const other = shmem.memfdCreate('other');
  for (let i = 0; i < 16; i++) other.write(new Uint8Array(16384).fill(9));
`;
/** Is the owner from then on. */
const PRESERVES = "await luo.createSession('s').preserve(small, 1);";

describe('a generation that ends before its event loop turns', () => {
  it.each([
    ['by an exception', "throw new Error('broken');", 1, null],
    [
      'by a signal',
      "process.kill(process.pid, 'SIGTERM'); await new Promise(() => setInterval(() => 0, 9));",
      null,
      'SIGTERM',
    ],
    [
      'killed',
      "process.kill(process.pid, 'SIGKILL'); await new Promise(() => setInterval(() => 0, 9));",
      null,
      'SIGKILL',
    ],
    ['because it has no more to do', '', 0, null],
    ['by an exit', 'process.exit(3);', 3, null],
    [
      'because it asks for more memory than there can be',
      "shmem.memfdCreate('more').allocate(0, 2 ** 24);",
      1,
      null,
    ],
  ])('%s leaves what it was handed', async (_, end, status, signal) => {
    await handOver(100);
    using program = new Program(AT_WORK + end);
    for (let times = 0; times < 2; times++) expect(program.run(name)).toMatchObject({ status, signal });
    const machine = await open();
    expect([machine.origin, machine.generation]).toEqual(['handover', 2]);
    expect(await takeBoth(machine)).toEqual([1, 2]);
    machine.kernel.pages.assertConsistent();
  });

  it.each([
    [
      'a moment later, what it finished is gone',
      'await new Promise((resolve) => setImmediate(resolve));',
      [],
    ],
    ['with what it preserved, that is found', PRESERVES, [1]],
  ])('%s', async (_, then, tokens) => {
    await handOver(100);
    using program = new Program(`${AT_WORK} ${then} process.exit(3);`);
    expect(program.run(name)).toMatchObject({ status: 3 });
    const machine = await open();
    expect([machine.origin, machine.lastOwner?.end]).toEqual(['recovered', 'exit']);
    const found = machine.kernel.luo.incomingSessions.flatMap(({ files }) =>
      files.map(({ token }) => Number(token)),
    );
    expect(found).toEqual(tokens);
    for (const token of tokens) {
      const file = await machine.kernel.luo.retrieveSession('s').retrieve(token, ShmemFile);
      expect(file.map().bytes).toEqual(new Uint8Array(PAGE_SIZE).fill(2));
    }
    machine.kernel.pages.assertConsistent();
  });
});

describe('a generation that preserves what it finished, one file after the other', () => {
  it('is killed in between, in the same turn: the rest is in its old session still', async () => {
    await handOver(3);
    using program = new Program(`${AT_WORK} ${PRESERVES} process.kill(process.pid, 'SIGKILL');`);
    expect(program.run(name).signal).toBe('SIGKILL');
    const { kernel, origin } = await open();
    expect(origin).toBe('recovered');
    const { luo } = kernel;
    expect(luo.incomingSessions.map(({ files }) => files.map(({ token }) => token))).toEqual([[0n], [1n]]);
    const older = await luo.retrieveSession('s', { unfinished: true }).retrieve(0, ShmemFile);
    expect(older.map().bytes).toEqual(new Uint8Array(3 * PAGE_SIZE).fill(1));
    const newer = await luo.retrieveSession('s').retrieve(1, ShmemFile);
    expect(newer.map().bytes).toEqual(new Uint8Array(PAGE_SIZE).fill(2));
    kernel.pages.assertConsistent();
  });
});

describe('a generation in its first turn', () => {
  it('uses the memory of what it was handed where there is no other', async () => {
    await handOver(1200);
    const machine = await open();
    const { luo, shmem, pages } = machine.kernel;
    const session = luo.retrieveSession('s');
    const large = await session.retrieve(0, ShmemFile);
    await session.finish();
    large.close();
    expect(pages.freePages).toBeLessThan(1200);
    const file = shmem.memfdCreate('other');
    file.allocate(0, (pages.freePages + 600) * PAGE_SIZE);
    expect(pages.heldPages).toBe(0);
    pages.assertConsistent();
    machine.close();
  });

  it('has all its memory afterwards, as if nothing had been held', async () => {
    await handOver(300);
    const machine = await open();
    const { pages } = machine.kernel;
    await takeBoth(machine);
    const free = pages.freePages;
    const held = pages.heldPages;
    expect(held).toBeGreaterThan(0);
    await turn();
    await turn();
    expect(pages.heldPages).toBe(0);
    expect(pages.freePages).toBeGreaterThan(free);
    pages.assertConsistent();
    await machine.handOver();
    expect((await open()).kernel.luo.incomingSessions).toEqual([]);
  });

  it('may hand over at once, and in vain', async () => {
    await handOver(5);
    const machine = await open();
    expect(await takeBoth(machine)).toEqual([1, 2]);
    expect(await machine.kexec([], { file: '/no/such/program' }).then(() => '', codeOf)).toBe('ENOENT');
    await turn();
    await turn();
    expect(machine.kernel.pages.heldPages).toBe(0);
    await machine.handOver();
    const next = await open();
    expect([next.generation, next.origin]).toEqual([3, 'handover']);
  });
});
