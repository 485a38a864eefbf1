/**
 * Memory runs out in the system while RAM, which is sparse, promises more: an error, not the end of
 * the process.
 */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Machine } from './machine.ts';
import { Program } from './test-process.ts';
import { NO_TMPFS, smallTmpfs } from './test-tmpfs.ts';

it('a full file system is ENOSPC, undone whole', async (context) => {
  const directory = smallTmpfs(16);
  if (directory === undefined) return context.skip(NO_TMPFS);
  const machine = await Machine.open({ path: join(directory, 'ram'), size: '256MiB' });
  const { shmem, pages } = machine.kernel;
  const kept = shmem.memfdCreate('kept');
  kept.write(new Uint8Array(2 ** 20).fill(1));
  const free = pages.freePages;
  for (const huge of [false, true]) {
    const file = shmem.memfdCreate('too large');
    if (huge) file.adviseHuge();
    expect(() => file.write(new Uint8Array(32 * 2 ** 20))).toThrow(
      expect.objectContaining({ code: 'ENOSPC' }),
    );
    expect(() => file.allocate(0, 32 * 2 ** 20)).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    expect([file.size, pages.freePages]).toEqual([0, free]);
    pages.assertConsistent();
    file.close();
  }
  expect(shmem.used).toBe(2 ** 20);
  machine.remove();
});

it('a RAM is opened in what is left of a file system, or ENOSPC: nobody dies of it, and nothing is left', (context) => {
  const directory = smallTmpfs(16);
  if (directory === undefined) return context.skip(NO_TMPFS);
  using program = new Program(`
    import * as fs from 'node:fs';
    const turn = () => new Promise(setImmediate);
    for (let left = 0; left < 24; left++) {
      fs.writeFileSync(NAME + '/fill', new Uint8Array(16 * 2 ** 20 - left * 4096));
      const path = NAME + '/ram';
      const machine = await Machine.open({ path, size: '256MiB' }).catch(codeOf);
      await turn().then(turn); // what the owner makes ready ahead finds no memory either
      if (machine instanceof Machine) machine.remove();
      say(left, machine instanceof Machine ? 'open' : machine, fs.readdirSync(NAME));
      fs.rmSync(NAME + '/fill');
    }`);
  const { lines, status, signal, stderr } = program.run(directory);
  expect([status, signal, stderr]).toEqual([0, null, '']);
  expect(lines[0]).toBe('0 ENOSPC fill');
  expect(lines.at(-1)).toBe('23 open fill');
  expect(
    lines.map((line) => line.split(' ')[1]).filter((word) => word !== 'ENOSPC' && word !== 'open'),
  ).toEqual([]);
  expect(lines.filter((line) => !line.endsWith(' fill'))).toEqual([]);
});
