/** Real processes that die and are replaced. */
import * as fs from 'node:fs';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Machine } from './machine.ts';
import { ramPath } from './ram-source.ts';
import { Program, removeRam, testName } from './test-process.ts';

let name: string;

beforeEach(() => {
  name = testName();
});

afterEach(() => {
  removeRam(name);
});

/**
 * Carries a file with a growing text through generations; each says its number, pid, descriptor
 * number and what it found.
 */
const CARRY = (open: string): string => `
const machine = await Machine.open(${open});
const { luo, shmem, pages } = machine.kernel;
let file;
if (machine.origin === 'cold') {
  file = shmem.memfdCreate('carried');
} else {
  const session = luo.retrieveSession('s');
  file = await session.retrieve(1);
  await session.finish();
}
const before = new Uint8Array(file.size);
file.pread(before, 0);
say(machine.generation, process.pid, machine.origin, new TextDecoder().decode(before), process.env[RAM_FD_VARIABLE] === undefined);
file.pwrite(new TextEncoder().encode(String(machine.generation)), file.size);
pages.assertConsistent();
if (machine.generation < 4) {
  await luo.createSession('s').preserve(file, 1);
  await machine.kexec();
}
machine.remove();
`;

describe('kexec', () => {
  it.each([
    ['RAM with a name', '{ name: NAME, size: "16MiB" }'],
    ['RAM at a path', '{ path: ramPath(NAME), size: "16MiB" }'],
    ['RAM without a name', '{ size: "16MiB" }'],
  ])('replaces the process, same pid, for four generations: %s', (_, open) => {
    using program = new Program(CARRY(open));
    const { lines, status, pid, stderr } = program.run(name);
    expect(stderr).toBe('');
    expect(lines).toEqual([
      `1 ${pid} cold  true`,
      `2 ${pid} handover 1 true`,
      `3 ${pid} handover 12 true`,
      `4 ${pid} handover 123 true`,
    ]);
    expect(status).toBe(0);
    expect(fs.existsSync(ramPath(name))).toBe(false);
  });

  it('continues by name in another process after handing over and exiting', () => {
    using program = new Program(`
const machine = await Machine.open({ name: NAME, size: '16MiB' });
const { luo, shmem } = machine.kernel;
if (machine.origin === 'cold') {
  const file = shmem.memfdCreate('f');
  file.write(new TextEncoder().encode('from ' + process.pid));
  await luo.createSession('s').preserve(file, 1);
} else {
  const session = luo.retrieveSession('s');
  const file = await session.retrieve(1);
  const bytes = new Uint8Array(file.size);
  file.pread(bytes, 0);
  say(new TextDecoder().decode(bytes));
}
await machine.handOver();
`);
    const first = program.run(name);
    const second = program.run(name);
    expect(second.lines).toEqual([`from ${first.pid}`]);
  });

  it('goes on as before when there is no such program', async () => {
    const machine = await Machine.open({ name, size: '16MiB' });
    const file = machine.kernel.shmem.memfdCreate('f');
    const session = machine.kernel.luo.createSession('s');
    await session.preserve(file, 1);
    await expect(machine.kexec([], { file: '/no/such/program' })).rejects.toMatchObject({ code: 'ENOENT' });
    await session.unpreserve(1);
    file.write(new Uint8Array(1));
    machine.kernel.pages.assertConsistent();
    machine.remove();
  });

  it('recovers the RAM of a process that was killed, refuses it, or boots cold, as it is asked to', async () => {
    using program = new Program(`
const machine = await Machine.open({ name: NAME, size: '16MiB' });
say('up');
setInterval(() => {}, 1000);
`);
    const child = await program.start(name);
    expect(child.line).toBe('up');
    const busy = Machine.open({ name });
    await expect(busy).rejects.toMatchObject({ code: 'EBUSY' });
    await expect(busy).rejects.toThrow(String(child.pid));
    await child.end('SIGKILL');
    await expect(Machine.open({ name, onCrash: 'refuse' })).rejects.toMatchObject({ code: 'EIO' });
    const machine = await Machine.open({ name });
    expect(machine.origin).toBe('recovered');
    expect(machine.lastOwner).toEqual({ pid: child.pid, generation: 1, end: 'unknown', at: undefined });
    machine.close();
    const again = await program.start(name);
    await again.end('SIGKILL');
    const cold = await Machine.open({ name, onCrash: 'cold' });
    expect([cold.origin, cold.lastOwner]).toEqual(['cold', undefined]);
    cold.remove();
  });

  it('keeps the handover whole when the next generation dies before it is up', () => {
    using first = new Program(`
const machine = await Machine.open({ name: NAME, size: '16MiB' });
const file = machine.kernel.shmem.memfdCreate('f');
file.write(new TextEncoder().encode('survivor'));
await machine.kernel.luo.createSession('s').preserve(file, 1);
await machine.handOver();
`);
    // The handlers are made at the last moment before this generation becomes the owner.
    using dies = new Program(`
await Machine.open({ name: NAME, handlers: () => process.kill(process.pid, 'SIGKILL') });
`);
    using reads = new Program(`
const machine = await Machine.open({ name: NAME });
const file = await machine.kernel.luo.retrieveSession('s').retrieve(1);
const bytes = new Uint8Array(file.size);
file.pread(bytes, 0);
say(new TextDecoder().decode(bytes));
machine.remove();
`);
    expect(first.run(name).status).toBe(0);
    for (let i = 0; i < 3; i++) expect(dies.run(name).signal).toBe('SIGKILL');
    expect(reads.run(name).lines).toEqual(['survivor']);
  });
});
