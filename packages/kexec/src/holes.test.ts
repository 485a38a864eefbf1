/**
 * A page that nobody wrote costs nothing: not by being preserved, handed over, read, freed, or used
 * again.
 */
import { MappedMemory, MappedRam } from '@liveupdate/linux';
import { ShmemFile } from '@liveupdate/shmem';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { Machine } from './machine.ts';
import { Program } from './test-process.ts';

const MIB = 2 ** 20;
const HOLE = 256 * MIB;

let number = 0;
const paths: string[] = [];

function newPath(): string {
  const path = `/dev/shm/liveupdate.holes-${process.pid}-${number++}`;
  paths.push(path);
  return path;
}

afterEach(() => {
  vi.restoreAllMocks();
  for (const path of paths.splice(0)) MappedRam.remove(path);
});

/** Files of another generation: the machine was handed over to itself. */
async function next(machine: Machine, path: string): Promise<{ machine: Machine; file: ShmemFile }> {
  await machine.handOver();
  const after = await Machine.open({ path });
  const session = after.kernel.luo.retrieveSession('s');
  const file = await session.retrieve(1, ShmemFile);
  await session.finish();
  return { machine: after, file };
}

/**
 * A machine with a preserved file of 256 MiB, all hole but for some bytes at the end of its first
 * half.
 */
async function withHole(path: string): Promise<{ machine: Machine; file: ShmemFile }> {
  const machine = await Machine.open({ path, size: '1GiB' });
  const file = machine.kernel.shmem.memfdCreate('hole');
  file.truncate(HOLE);
  file.pwrite(Uint8Array.of(1, 2, 3), HOLE / 2 - 2);
  await machine.kernel.luo.createSession('s').preserve(file, 1);
  return { machine, file };
}

function readAll(file: ShmemFile): void {
  const bytes = new Uint8Array(MIB);
  for (let at = 0; at < file.size; at += MIB) {
    bytes.fill(9);
    file.pread(bytes, at);
    const data = at === HOLE / 2 - MIB ? [1, 2] : at === HOLE / 2 ? [3] : [];
    const place = at === HOLE / 2 - MIB ? MIB - 2 : 0;
    expect(Buffer.compare(bytes.subarray(place, place + data.length), Uint8Array.from(data))).toBe(0);
    bytes.fill(0, place, place + data.length);
    expect(Buffer.compare(bytes, new Uint8Array(MIB))).toBe(0);
  }
}

test('reading takes nothing, before and after preserve and in each generation that follows', async () => {
  const path = newPath();
  let { machine, file } = await withHole(path);
  for (let generation = 0; generation < 3; generation++) {
    const before = machine.ram.allocated();
    readAll(file);
    expect(machine.ram.allocated()).toBe(before);
    if (generation > 0) await machine.kernel.luo.createSession('s').preserve(file, 1);
    readAll(file);
    ({ machine, file } = await next(machine, path));
  }
  machine.remove();
});

test('being preserved, freed and used again costs the records', async () => {
  const machine = await Machine.open({ path: newPath(), size: '1GiB' });
  const { luo, shmem } = machine.kernel;
  const before = machine.ram.allocated();
  for (const name of ['first', 'second', 'third']) {
    const hole = shmem.memfdCreate(name);
    hole.truncate(HOLE);
    const session = luo.createSession(name);
    await session.preserve(hole, 1);
    await session.close();
    hole.close();
  }
  expect(machine.ram.allocated() - before).toBeLessThan(4 * MIB);
  machine.kernel.pages.assertConsistent();
  machine.remove();
});

test('what a sparse view stored is read, zeroed and freed like anything else', async () => {
  const path = newPath();
  const { machine, file } = await withHole(path);
  const { kernel } = machine;
  const view = file.map({ sparse: true });
  view.bytes[HOLE - 1] = 77;
  view.bytes[5] = 55;
  const byte = new Uint8Array(1);
  file.pread(byte, HOLE - 1);
  expect(byte[0]).toBe(77);
  view.unmap();
  const after = await next(machine, path);
  after.file.pread(byte, 5);
  expect(byte[0]).toBe(55);
  after.file.truncate(0);
  const all = after.machine.kernel.shmem.memfdCreate('all');
  all.allocate(0, 512 * MIB);
  const bytes = new Uint8Array(MIB);
  for (let at = 0; at < all.size; at += MIB) {
    all.pread(bytes, at);
    expect(Buffer.compare(bytes, new Uint8Array(MIB))).toBe(0);
  }
  expect(kernel).not.toBe(after.machine.kernel);
  after.machine.remove();
});

describe('what is there goes over', () => {
  test('in the live record: the next generation does not ask the system', async () => {
    const path = newPath();
    const { machine } = await withHole(path);
    await machine.handOver();
    const asked = vi.spyOn(MappedMemory.prototype, 'dataPieces');
    const after = await Machine.open({ path });
    expect(asked).not.toHaveBeenCalled();
    expect(after.kernel.pages.residency.pages).toBeLessThan(4096);
    expect(after.kernel.kho.incoming?.subtrees.has('liveupdate-residency')).toBe(false);
    after.remove();
  });

  test('in a record of its own, where a view of holes is up to the end', async () => {
    const path = newPath();
    const { machine, file } = await withHole(path);
    file.map({ sparse: true });
    await machine.handOver();
    const asked = vi.spyOn(MappedMemory.prototype, 'dataPieces');
    const after = await Machine.open({ path });
    expect(asked).not.toHaveBeenCalled();
    expect(after.kernel.pages.residency.pages).toBeLessThan(4096);
    expect(after.kernel.kho.incoming?.subtrees.has('liveupdate-residency')).toBe(true);
    after.remove();
  });

  test('so does what is there whole, in a word for each 128 MiB', async () => {
    const path = newPath();
    const { machine, file } = await withHole(path);
    const full = machine.kernel.shmem.memfdCreate('full');
    full.allocate(0, HOLE + 128 * MIB);
    file.map({ sparse: true });
    const before = machine.kernel.pages.residency.pages;
    await machine.handOver();
    const asked = vi.spyOn(MappedMemory.prototype, 'dataPieces');
    const after = await Machine.open({ path, freeMemory: 'keep' });
    expect(asked).not.toHaveBeenCalled();
    expect(after.kernel.pages.residency.pages).toBeGreaterThan(before - 4096);
    after.remove();
  });

  test.each([false, true])(
    'also from an owner that was killed; a view of holes was up: %s',
    async (isShown) => {
      const path = newPath();
      using program = new Program(`
const machine = await Machine.open({ path: '${path}', size: '1GiB' });
const file = machine.kernel.shmem.memfdCreate('hole');
file.truncate(${HOLE});
await machine.kernel.luo.createSession('s').preserve(file, 1);
if (${isShown}) file.map({ sparse: true }).bytes[5] = 55;
process.kill(process.pid, 'SIGKILL');
`);
      expect(program.run('').signal).toBe('SIGKILL');
      const asked = vi.spyOn(MappedMemory.prototype, 'dataPieces');
      const after = await Machine.open({ path });
      expect(after.origin).toBe('recovered');
      expect(asked.mock.calls.length > 0).toBe(isShown);
      const file = await after.kernel.luo.retrieveSession('s').retrieve(1, ShmemFile);
      const bytes = new Uint8Array(6);
      file.pread(bytes, 0);
      expect(bytes).toEqual(Uint8Array.of(0, 0, 0, 0, 0, isShown ? 55 : 0));
      expect(after.kernel.pages.residency.pages).toBeLessThan(4096);
      after.remove();
    },
  );

  test('and where the record is none that we know, the system is asked', async () => {
    const path = newPath();
    const { machine, file: before } = await withHole(path);
    const { kho } = machine.kernel;
    before.map({ sparse: true });
    vi.spyOn(kho, 'recordResidency').mockReturnValue(() => undefined);
    const { machine: after, file } = await next(machine, path);
    expect(after.kernel.kho.incoming?.subtrees.has('liveupdate-residency')).toBe(false);
    const allocated = after.ram.allocated();
    readAll(file);
    expect(after.ram.allocated()).toBe(allocated);
    after.remove();
  });

  test('and is taken back where the handover is called off', async () => {
    const path = newPath();
    const { machine, file } = await withHole(path);
    const before = machine.kernel.pages.freePages;
    for (let i = 0; i < 5; i++)
      await expect(machine.kexec([], { file: '/no/such/program' })).rejects.toMatchObject({ code: 'ENOENT' });
    expect(machine.kernel.pages.freePages).toBe(before);
    machine.kernel.pages.assertConsistent();
    readAll(file);
    machine.remove();
  });
});
