
import { Machine, RAM_FD_VARIABLE, ramPath } from '@liveupdate/kexec';
import { KernelError, codeOf } from '@liveupdate/base';
const say = (...words) => process.stdout.write(words.join(' ') + '\n');
const NAME = process.env.TEST_NAME;

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
  const runs = file.inode.folioRuns();
  for (let i = 0; i < runs.length; i++) counts[runs.orders[i]] = (counts[runs.orders[i]] ?? 0) + runs.counts[i];
  return counts;
};
/** SHA-256 of all bytes; of a very large file of those that were written, and of a page between them. */
const hash = (file) => {
  const digest = createHash('sha256');
  const [step, length] = file.size > 2 ** 30 ? [SPARSELY, 2 * PAGE_SIZE] : [MIB, MIB];
  const part = new Uint8Array(length);
  for (let at = 0; at < file.size; at += step) digest.update(part.subarray(0, file.pread(part, at)));
  return digest.digest('hex');
};
const describe = (name, file) =>
  JSON.stringify([name, file.size, file.position, file.seals, orders(file), hash(file)]);

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
