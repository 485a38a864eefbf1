import * as fs from 'node:fs';
import { crc32 } from 'node:zlib';
import { PAGE_SIZE, type ErrnoCode } from '@liveupdate/base';
import type { FileHandler } from '@liveupdate/luo-core';
import { ShmemFile } from '@liveupdate/shmem';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readBootPage } from './boot-page.ts';
import { Machine } from './machine.ts';
import { ramPath } from './ram-source.ts';
import { removeRam, testName } from './test-process.ts';

const SIZE = 16 * 2 ** 20;
const text = new TextEncoder();

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

async function openMachine(options: Partial<Parameters<typeof Machine.open>[0]> = {}): Promise<Machine> {
  const machine = await Machine.open({ name, size: SIZE, ...options });
  open.push(machine);
  return machine;
}

async function codeFrom(work: Promise<unknown>): Promise<ErrnoCode | 'nothing'> {
  return work.then(
    () => 'nothing' as const,
    (error: unknown) => (error as { code: ErrnoCode }).code,
  );
}

/** A machine that handed over one file with this content, under session 's', token 1. */
async function handedOver(content: string): Promise<void> {
  const machine = await openMachine();
  const file = machine.kernel.shmem.memfdCreate('file');
  file.write(text.encode(content));
  await machine.kernel.luo.createSession('s').preserve(file, 1);
  await machine.handOver();
}

async function readBack(machine: Machine): Promise<string> {
  const session = machine.kernel.luo.retrieveSession('s');
  const file = await session.retrieve(1, ShmemFile);
  const bytes = new Uint8Array(file.size);
  file.pread(bytes, 0);
  await session.finish();
  return new TextDecoder().decode(bytes);
}

describe('a machine', () => {
  it('hands over nothing that leaves the next generation no memory to boot, and goes on', async () => {
    const machine = await openMachine();
    const { shmem, luo, pages } = machine.kernel;
    const session = luo.createSession('s');
    const file = shmem.memfdCreate('file');
    file.write(text.encode('kept'));
    await session.preserve(file, 1);
    const large = shmem.memfdCreate('large');
    large.truncate((pages.freePages - 30) * PAGE_SIZE);
    await session.preserve(large, 2);
    for (const left = shmem.memfdCreate('left'); pages.freePages > 15;) {
      left.truncate(left.size + PAGE_SIZE);
      await session.preserve(left, 3);
      if (pages.freePages > 15) await session.unpreserve(3);
    }
    expect(await codeFrom(machine.handOver())).toBe('ENOMEM');
    expect(await codeFrom(machine.kexec())).toBe('ENOMEM');
    await session.unpreserve(2);
    await machine.handOver();
    expect(await readBack(await openMachine())).toBe('kept');
  });

  it('that is handed over keeps no memory that nobody needs', async () => {
    const machine = await openMachine();
    const { shmem, luo } = machine.kernel;
    const [kept, dropped] = [shmem.memfdCreate('kept'), shmem.memfdCreate('dropped')];
    kept.write(text.encode('kept'));
    dropped.allocate(0, SIZE / 2);
    dropped.close();
    await luo.createSession('s').preserve(kept, 1);
    const taken = (): number => fs.statSync(ramPath(name)).blocks * 512;
    expect(taken()).toBeGreaterThan(SIZE / 2);
    await machine.handOver();
    expect(taken()).toBeLessThan(SIZE / 8);
    expect(await readBack(await openMachine())).toBe('kept');
  });

  it('boots cold where there is no RAM yet, in a file of mode 0600', async () => {
    const machine = await openMachine();
    expect(machine.origin).toBe('cold');
    expect(machine.generation).toBe(1);
    expect(fs.statSync(ramPath(name)).mode & 0o777).toBe(0o600);
    machine.kernel.pages.assertConsistent();
  });

  it('hands over to whoever opens it by name next, once', async () => {
    await handedOver('hello from before');
    const second = await openMachine();
    expect(second.origin).toBe('handover');
    expect(second.generation).toBe(2);
    expect(second.kernel.luo.liveupdateNumber).toBe(1n);
    expect(await readBack(second)).toBe('hello from before');
    second.kernel.pages.assertConsistent();
    second.close();
    const third = await openMachine();
    expect(third.origin).toBe('cold');
    expect(third.kernel.luo.incomingSessions).toEqual([]);
  });

  it('gives back everything that was not preserved, in the file itself', async () => {
    const machine = await openMachine();
    const lost = machine.kernel.shmem.memfdCreate('lost');
    lost.write(new Uint8Array(4 * 2 ** 20).fill(0xaa));
    const kept = machine.kernel.shmem.memfdCreate('kept');
    kept.write(new Uint8Array(2 ** 20).fill(0xbb));
    const scratch = machine.kernel.kho.scratch[0];
    machine.ram.bytes(scratch.addr, scratch.size).fill(0xcc);
    await machine.kernel.luo.createSession('s').preserve(kept, 1);
    const full = fs.statSync(ramPath(name)).blocks * 512;
    await machine.handOver();
    const next = await openMachine();
    const bytes = fs.readFileSync(ramPath(name));
    expect(bytes.includes(Buffer.alloc(64, 0xaa))).toBe(false);
    expect(bytes.includes(Buffer.alloc(64, 0xcc))).toBe(false);
    expect(bytes.includes(Buffer.alloc(2 ** 20, 0xbb))).toBe(true);
    expect(fs.statSync(ramPath(name)).blocks * 512).toBeLessThan(full - 4 * 2 ** 20);
    next.kernel.pages.assertConsistent();
  });

  it('has one owner: a second opener gets EBUSY with the pid of the first', async () => {
    await openMachine();
    const second = Machine.open({ name });
    await expect(second).rejects.toMatchObject({ code: 'EBUSY' });
    await expect(second).rejects.toThrow(String(process.pid));
  });

  it('keeps many handovers in a row on one RAM', async () => {
    await handedOver('again');
    const free: number[] = [];
    for (let i = 0; i < 20; i++) {
      const machine = await openMachine();
      const session = machine.kernel.luo.retrieveSession('s');
      const file = await session.retrieve(1, ShmemFile);
      await session.finish();
      await machine.kernel.luo.createSession('s').preserve(file, 1);
      machine.kernel.pages.assertConsistent();
      free.push(machine.kernel.pages.freePages);
      await machine.handOver();
    }
    expect(new Set(free).size).toBe(1);
    expect(await readBack(await openMachine())).toBe('again');
  });

  it('goes on as before when a freeze fails', async () => {
    const stubborn = { put: () => undefined };
    let fails = true;
    const handler: FileHandler<typeof stubborn> = {
      compatible: 'stubborn-v1',
      canPreserve: (file): file is typeof stubborn => file === stubborn,
      preserve: () => ({ data: 0n }),
      freeze: () => {
        if (fails) throw new Error('not now');
        return undefined;
      },
      unpreserve: () => undefined,
      retrieve: () => stubborn,
      finish: () => undefined,
    };
    const machine = await openMachine({ handlers: () => [handler] });
    await machine.kernel.luo.createSession('s').preserve(stubborn, 1);
    await expect(machine.handOver()).rejects.toThrow('not now');
    expect(readBootPage(machine.ram.bytes(0, PAGE_SIZE), machine.ram.size).state).toBe('running');
    machine.kernel.luo.createSession('still works');
    fails = false;
    await machine.handOver();
    const next = await openMachine({ handlers: () => [handler] });
    expect(next.kernel.luo.incomingSessions.map((session) => session.name)).toEqual(['s', 'still works']);
  });

  it('goes on serving until the files are frozen: what is preserved meanwhile goes along', async () => {
    const machine = await openMachine({ size: 4 * SIZE }); // four steps
    const file = machine.kernel.shmem.memfdCreate('file');
    const session = machine.kernel.luo.createSession('s');
    const handover = machine.handOver();
    expect(await codeFrom(machine.handOver())).toBe('EBUSY');
    file.write(text.encode('just in time'));
    await session.preserve(file, 1);
    await handover;
    expect(await readBack(await openMachine({ size: 4 * SIZE }))).toBe('just in time');
  });

  it('can be closed while a handover begins, which then is none', async () => {
    const machine = await openMachine();
    const handover = machine.handOver();
    machine.close();
    expect(await codeFrom(handover)).toBe('EBADF');
    expect(await codeFrom(machine.handOver())).toBe('EBADF');
    expect((await openMachine()).origin).toBe('cold');
  });

  it('refuses a handover with a file that no handler reads, and leaves it to the right program', async () => {
    await handedOver('for the right program');
    const refused = Machine.open({ name, handlers: () => [] });
    await expect(refused).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(refused).rejects.toThrow('memfd-v2');
    expect(await readBack(await openMachine())).toBe('for the right program');
  });

  it('can be closed and opened again, empty; and removed', async () => {
    const machine = await openMachine();
    machine.close();
    machine.close();
    const again = await openMachine();
    expect(again.origin).toBe('cold');
    expect(again.generation).toBe(2);
    again.remove();
    expect(fs.existsSync(ramPath(name))).toBe(false);
    expect(await codeFrom(again.handOver())).toBe('EBADF');
  });

  it('removes what it handed over, and not what another owns by then', async () => {
    const first = await openMachine();
    await first.handOver();
    const second = await openMachine();
    expect(() => first.remove()).toThrow(expect.objectContaining({ code: 'EBUSY' }));
    expect(fs.existsSync(ramPath(name))).toBe(true);
    await second.handOver(); // nobody owns it, but it is not as the first left it
    expect(() => first.remove()).toThrow(expect.objectContaining({ code: 'EBUSY' }));
    const third = await openMachine();
    await third.handOver();
    third.remove();
    expect(fs.existsSync(ramPath(name))).toBe(false);
    for (const machine of [first, second, third]) machine.remove(); // there is nothing any more
    fs.writeFileSync(ramPath(name), '', { mode: 0o600 });
    third.remove(); // another's
    expect(fs.existsSync(ramPath(name))).toBe(true);
  });

  it.each(['close', 'abandon'] as const)('removes what it let go of by %s', async (how) => {
    const first = await openMachine();
    await first.handOver();
    const machine = await openMachine({ keepHandover: true });
    machine[how]();
    machine.remove();
    expect(fs.existsSync(ramPath(name))).toBe(false);
  });

  it.each(['removed', 'replaced by another'])('does not hand over a RAM whose file was %s', async (how) => {
    const machine = await openMachine();
    const file = machine.kernel.shmem.memfdCreate('f');
    file.write(Uint8Array.of(1));
    await machine.kernel.luo.createSession('s').preserve(file, 1);
    fs.rmSync(ramPath(name));
    if (how !== 'removed') fs.writeFileSync(ramPath(name), Buffer.alloc(SIZE), { mode: 0o600 });
    expect(await codeFrom(machine.handOver())).toBe('ENOENT');
    expect(await codeFrom(machine.kexec())).toBe('ENOENT');
    expect(file.pwrite(Uint8Array.of(2), 0)).toBe(1); // everything goes on
  });
});

describe('bad input', () => {
  // What is of a wrong kind is in inputs.test.ts.
  it.each<[string, Record<string, unknown>, ErrnoCode]>([
    ['no such RAM and no size', { name: 'test-that-is-not-there' }, 'ENOENT'],
    ['nothing', {}, 'EINVAL'],
    ['a RAM too small for a kernel', { name: 'test-bad-size', size: 2 * PAGE_SIZE }, 'EINVAL'],
    ['no size for RAM without a name', { size: 0 }, 'EINVAL'],
  ])('%s', async (_, options, code) => {
    expect(await codeFrom(Machine.open(options))).toBe(code);
    const made = /^liveupdate\.test-(?:bad-size|that-is-not-there)$/; // other tests make other files
    expect(fs.readdirSync('/dev/shm').filter((file) => made.test(file))).toEqual([]);
  });

  it.each<[string, (path: string) => void, ErrnoCode]>([
    [
      'a file that is not ours',
      (path) => fs.writeFileSync(path, Buffer.alloc(SIZE, 7), { mode: 0o600 }),
      'EINVAL',
    ],
    [
      'with content behind a blank page',
      (path) =>
        fs.writeFileSync(path, Buffer.concat([Buffer.alloc(SIZE - 1), Buffer.of(7)]), { mode: 0o600 }),
      'EINVAL',
    ],
    ['cut short', (path) => fs.truncateSync(path, SIZE / 2), 'EINVAL'],
    ['not whole pages', (path) => fs.truncateSync(path, SIZE - 1), 'EINVAL'],
    ['writable by the group', (path) => fs.chmodSync(path, 0o660), 'EACCES'],
    ['of another layout version', (path) => patchVersion(path, 99), 'EINVAL'],
    ['with a damaged handover', (path) => damageTree(path), 'EINVAL'],
  ])('a RAM file %s is refused and not touched', async (_, damage, code) => {
    await handedOver('left alone');
    damage(ramPath(name));
    const before = fs.readFileSync(ramPath(name));
    expect(await codeFrom(Machine.open({ name }))).toBe(code);
    expect(fs.readFileSync(ramPath(name)).equals(before)).toBe(true);
  });

  it.skipIf(process.getuid?.() !== 0)(
    'a RAM file of another user is refused (root can make one)',
    async () => {
      await handedOver('theirs');
      fs.chownSync(ramPath(name), 12345, 12345);
      expect(await codeFrom(Machine.open({ name }))).toBe('EPERM');
    },
  );
});

/** Both copies of the boot page with another version and a right checksum. */
function patchVersion(path: string, version: number): void {
  const bytes = fs.readFileSync(path);
  for (const at of [0, 2048]) {
    bytes.writeUInt32LE(version, at + 16);
    bytes.writeUInt32LE(crc32(bytes.subarray(at, at + 124)), at + 124);
  }
  fs.writeFileSync(path, bytes);
}

/** Zeroes the device tree that the boot page leads to. */
function damageTree(path: string): void {
  const bytes = fs.readFileSync(path);
  const sequence = (at: number): bigint => bytes.readBigUInt64LE(at + 40);
  const latest = sequence(0) > sequence(2048) ? 0 : 2048;
  const tree = Number(bytes.readBigUInt64LE(latest + 48));
  bytes.fill(0, tree, tree + PAGE_SIZE);
  fs.writeFileSync(path, bytes);
}

describe('a machine that keeps what it was handed', () => {
  const keep = { keepHandover: true };

  /** Takes all over and fills the rest of RAM, as far as it goes. */
  async function useAll(machine: Machine): Promise<void> {
    const { luo, shmem } = machine.kernel;
    const incoming = luo.retrieveSession('s');
    await luo.createSession('s').preserve(await incoming.retrieve(1, ShmemFile), 1);
    await incoming.finish();
    const file = shmem.memfdCreate('all');
    const grow = (): void => {
      for (;;) file.allocate(file.size, PAGE_SIZE);
    };
    expect(grow).toThrow(expect.objectContaining({ code: 'ENOMEM' }));
    file.map().bytes.fill(0xff);
    machine.kernel.pages.assertConsistent();
  }

  it('leaves it as it was found when it is abandoned, whatever it did', async () => {
    await handedOver('kept');
    for (let times = 0; times < 3; times++) {
      const machine = await openMachine(keep);
      expect([machine.generation, machine.origin]).toEqual([2, 'handover']);
      await useAll(machine);
      expect(await codeFrom(Machine.open({ name }))).toBe('EBUSY');
      machine.abandon();
      machine.abandon();
      expect(await codeFrom(machine.handOver())).toBe('EBADF');
    }
    expect(await readBack(await openMachine())).toBe('kept');
  });

  it('leaves it so too when it cannot be replaced', async () => {
    await handedOver('kept');
    const machine = await openMachine(keep);
    await useAll(machine);
    expect(await codeFrom(machine.kexec([], { file: '/no/such/program' }))).toBe('ENOENT');
    machine.abandon();
    expect(await readBack(await openMachine())).toBe('kept');
  });

  it('hands over as any other', async () => {
    await handedOver('kept');
    const machine = await openMachine(keep);
    const { luo } = machine.kernel;
    const incoming = luo.retrieveSession('s');
    await luo.createSession('s').preserve(await incoming.retrieve(1, ShmemFile), 1);
    await incoming.finish();
    await machine.handOver();
    const next = await openMachine();
    expect([next.generation, await readBack(next)]).toEqual([3, 'kept']);
    next.kernel.pages.assertConsistent();
  });

  it('in a new RAM leaves an empty one', async () => {
    (await openMachine(keep)).abandon();
    const next = await openMachine();
    expect([next.generation, next.origin]).toEqual([1, 'cold']);
  });

  it('that was opened without it cannot be abandoned', async () => {
    await handedOver('kept');
    const machine = await openMachine();
    expect(() => {
      machine.abandon();
    }).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(await readBack(machine)).toBe('kept');
  });
});
