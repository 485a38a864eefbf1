/**
 * Files of every shape, preserved by one process and retrieved by another: bytes, size, position,
 * seals and folios are the same.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { Program, removeRam, testName } from './test-process.ts';

/**
 * The table, as both processes know it: what is done to a new file, and whether it has large
 * folios. `put` writes bytes that follow from their position, and notes them, so that the second
 * process knows them too.
 */
const TABLE = `
import { createHash } from 'node:crypto';
import { PAGE_SIZE } from '@liveupdate/base';
import { memfdHandler } from '@liveupdate/memfd-handler';
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, Shmem, ShmemFile } from '@liveupdate/shmem';
const MIB = 2 ** 20;
const SPARSELY = 16 * PAGE_SIZE;
const put = (file, position, length) => {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = 1 + ((position + i) * 7 + ((position + i) >> 8)) % 255;
  file.pwrite(bytes, position);
};
const rows = {
  'empty': () => {},
  'one byte': (file) => put(file, 0, 1),
  'a page less a byte': (file) => put(file, 0, PAGE_SIZE - 1),
  'a page': (file) => put(file, 0, PAGE_SIZE),
  'a page and a byte': (file) => put(file, 0, PAGE_SIZE + 1),
  'sparse': (file) => { for (const page of [1, 5, 6, 300]) put(file, page * PAGE_SIZE + 9, 500); },
  'a hole at the end': (file) => { put(file, 0, 100); file.truncate(50 * PAGE_SIZE + 1); },
  'a hole punched in the midst': (file) => {
    put(file, 0, 20 * PAGE_SIZE);
    file.fallocate(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, 3 * PAGE_SIZE + 1, 9 * PAGE_SIZE);
  },
  'huge: 2 MiB folios': (file) => put(file, 0, 6 * MIB),
  'huge: mixed orders': (file) => put(file, PAGE_SIZE, 3 * MIB + 5),
  'huge: a large folio with a hole punched': (file) => {
    put(file, 0, 4 * MIB);
    file.fallocate(FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE, MIB, MIB / 2);
  },
  'sealed': (file) => { put(file, 0, 10_000); file.addSeals(2 | 4 | 8); },
  'sealed against all': (file) => { put(file, 0, 10_000); file.addSeals(63); },
  'a position': (file) => { put(file, 0, 10_000); file.seek(777); },
  'allocated and never written': (file) => file.allocate(0, 40 * PAGE_SIZE),
  'allocated beyond the end': (file) => { put(file, 0, 100); file.fallocate(FALLOC_KEEP_SIZE, 0, 9 * PAGE_SIZE); },
  '3 GiB': (file) => {
    file.truncate(3 * 2 ** 30);
    for (let at = 0; at < file.size; at += SPARSELY) put(file, at, 8);
  },
};
const orders = (file) => {
  const counts = {};
  const { runs } = file.inode.folios();
  for (let i = 0; i < runs.length; i++) counts[runs.orders[i]] = (counts[runs.orders[i]] ?? 0) + runs.counts[i];
  return counts;
};
/**
 * SHA-256 of all bytes; of a very large file of those that were written, and of a page between
 * them.
 */
const hash = (file) => {
  const digest = createHash('sha256');
  const [step, length] = file.size > 2 ** 30 ? [SPARSELY, 2 * PAGE_SIZE] : [MIB, MIB];
  const part = new Uint8Array(length);
  for (let at = 0; at < file.size; at += step) digest.update(part.subarray(0, file.pread(part, at)));
  return digest.digest('hex');
};
const describe = (name, file) =>
  JSON.stringify([name, file.size, file.position, file.seals, orders(file), hash(file)]);
`;

const PRESERVE = `${TABLE}
const machine = await Machine.open({ name: NAME, size: '4GiB' });
const session = machine.kernel.luo.createSession('files');
for (const [token, [name, make]] of Object.entries(rows).entries()) {
  const file = machine.kernel.shmem.memfdCreate(name, 2);
  if (name.startsWith('huge')) file.adviseHuge();
  make(file);
  await session.preserve(file, token);
  say(describe(name, file));
}
await machine.handOver();
`;

const RETRIEVE = `${TABLE}
const machine = await Machine.open({ name: NAME });
const { luo, shmem, pages } = machine.kernel;
const session = luo.retrieveSession('files');
const files = [];
for (const [token, name] of Object.keys(rows).entries()) {
  const file = await session.retrieve(token, ShmemFile);
  say(describe(name, file));
  files.push(file);
}
await session.finish();
for (const file of files) file.close();
pages.assertConsistent();
if (shmem.used !== 0) throw new Error('files that are closed take ' + shmem.used + ' bytes');
machine.remove();
`;

let name: string;
let programs: Program[];

beforeAll(() => {
  name = testName();
  programs = [];
});

afterAll(() => {
  for (const program of programs) program[Symbol.dispose]();
  removeRam(name);
});

function run(code: string): string[] {
  const program = new Program(code);
  programs.push(program);
  const { lines, status, stderr } = program.run(name);
  expect({ stderr, status }).toEqual({ stderr: '', status: 0 });
  return lines;
}

it('every row of the table', () => {
  const preserved = run(PRESERVE);
  expect(preserved).toHaveLength(17);
  const retrieved = run(RETRIEVE);
  expect(retrieved).toEqual(preserved);
  const rowOf = (row: string): unknown[] =>
    JSON.parse(retrieved.find((line) => line.startsWith(`["${row}"`)) ?? '[]') as unknown[];
  expect(rowOf('huge: 2 MiB folios')[4]).toEqual({ 9: 3 });
  expect(rowOf('3 GiB').slice(1, 5)).toEqual([3 * 2 ** 30, 0, 0, { 0: 786_432 }]);
  expect(rowOf('sealed')[3]).toBe(14);
  expect(rowOf('a position')[2]).toBe(777);
});

it.each([
  ['block limit', 'blockLimit', 'ENOSPC'],
  ['memory limit', 'memoryLimit', 'ENOMEM'],
])(
  'over the %s of the process that retrieves: %s is refused, the rest arrives, nothing leaks',
  (_, limit, code) => {
    run(`${TABLE}
    const machine = await Machine.open({ name: NAME, size: '64MiB' });
    const session = machine.kernel.luo.createSession('files');
    for (const [token, pages] of [21, 20].entries()) {
      const file = machine.kernel.shmem.memfdCreate('f');
      put(file, 0, pages * PAGE_SIZE);
      await session.preserve(file, token);
    }
    await machine.handOver();
  `);
    const lines = run(`${TABLE}
    let shmem;
    const handlers = ({ kho, pages }) => {
      shmem = new Shmem({ pages, ${limit}: 20 * PAGE_SIZE });
      return [memfdHandler({ kho, shmem })];
    };
    const machine = await Machine.open({ name: NAME, handlers });
    const session = machine.kernel.luo.retrieveSession('files');
    for (let again = 0; again < 2; again++)
      await session.retrieve(0).then(() => say('arrived'), (error) => say(codeOf(error)));
    say(shmem.used);
    const file = await session.retrieve(1, ShmemFile);
    say(file.size === 20 * PAGE_SIZE, shmem.used === file.size);
    await session.finish();
    file.close();
    machine.kernel.pages.assertConsistent();
    say(shmem.used);
    machine.remove();
  `);
    expect(lines).toEqual([code, code, '0', 'true true', '0']);
  },
);
