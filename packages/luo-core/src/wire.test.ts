/**
 * What is serialised, byte for byte as the ABI document says; written out by hand here, without the
 * layouts of abi.ts.
 */
import { readHandover } from '@liveupdate/kho';
import { expect, test } from 'vitest';
import { flbKernel } from './test-flb.ts';
import { Counter } from './test-kernel.ts';

const PAGE = 4096;

test('golden bytes: two sessions, files over the edge of a block, two FLBs', async () => {
  const { luo, kho, script } = flbKernel();
  const ramAt = (pa: bigint, length = PAGE): Buffer => Buffer.from(kho.ram.bytes(Number(pa), length));
  const wordAt = (pa: bigint): bigint => ramAt(pa, 8).readBigUInt64LE();
  const [full, empty] = [luo.createSession('full'), luo.createSession('empty – ü')];
  for (let i = 1; i <= 64; i++) await full.preserve(new Counter(i), BigInt(i) << 56n);
  await luo.reboot();

  const luoPa = BigInt(readHandover(kho.ram, kho.entry).subtrees.get('LUO')?.pa ?? 0);
  const sessionsPa = wordAt(luoPa + 16n);
  const flbsPa = wordAt(luoPa + 24n);
  const luoSer = Buffer.alloc(32);
  luoSer.write('luo-v5', 0, 'latin1');
  luoSer.writeBigUInt64LE(1n, 8); // this handover's number
  luoSer.writeBigUInt64LE(sessionsPa, 16);
  luoSer.writeBigUInt64LE(flbsPa, 24);
  expect(ramAt(luoPa, 32).toString('hex')).toBe(luoSer.toString('hex'));
  expect([sessionsPa % 4096n, flbsPa % 4096n]).toEqual([0n, 0n]);

  // A block of sessions: next, count, entries of 80 bytes.
  const filesPa = wordAt(sessionsPa + 16n + 64n);
  const sessions = Buffer.alloc(16 + 2 * 80);
  sessions.writeBigUInt64LE(2n, 8);
  sessions.write('full', 16, 'latin1');
  sessions.writeBigUInt64LE(filesPa, 16 + 64);
  sessions.writeBigUInt64LE(64n, 16 + 72);
  Buffer.from('empty – ü', 'utf8').copy(sessions, 16 + 80); // without files: 0 and 0
  expect(ramAt(sessionsPa, sessions.length).toString('hex')).toBe(sessions.toString('hex'));

  // 63 files of 64 bytes fill a block; one is in the next.
  const nextPa = wordAt(filesPa);
  const blocks = [Buffer.alloc(16 + 63 * 64), Buffer.alloc(16 + 64)];
  blocks[0].writeBigUInt64LE(nextPa, 0);
  blocks[0].writeBigUInt64LE(63n, 8);
  blocks[1].writeBigUInt64LE(1n, 8);
  for (const [i, { data }] of full.files.entries()) {
    const block = blocks[Math.floor(i / 63)];
    const at = 16 + (i % 63) * 64;
    block.write(i % 2 === 0 ? 'odd-v1' : 'even-v1', at, 'latin1');
    block.writeBigUInt64LE(data, at + 48);
    block.writeBigUInt64LE(BigInt(i + 1) << 56n, at + 56);
  }
  expect(ramAt(filesPa, blocks[0].length).toString('hex')).toBe(blocks[0].toString('hex'));
  expect(ramAt(nextPa, blocks[1].length).toString('hex')).toBe(blocks[1].toString('hex'));
  expect(empty.fileCount).toBe(0);

  // FLBs: pages, count, entries of 64 bytes.
  const flbs = Buffer.alloc(16 + 2 * 64);
  flbs.writeBigUInt64LE(1n, 0);
  flbs.writeBigUInt64LE(2n, 8);
  for (const [i, { compatible, data, files }] of luo.outgoingFlbs.entries()) {
    flbs.write(compatible, 16 + i * 64, 'latin1');
    flbs.writeBigUInt64LE(data ?? 0n, 16 + i * 64 + 48);
    flbs.writeBigUInt64LE(BigInt(files), 16 + i * 64 + 56);
  }
  expect(luo.outgoingFlbs.map(({ compatible, files }) => [compatible, files])).toEqual([
    ['flb-1', 32],
    ['flb-2', 64],
  ]);
  expect(ramAt(flbsPa, flbs.length).toString('hex')).toBe(flbs.toString('hex'));
  expect(script.log.filter((entry) => entry.startsWith('flb'))).toHaveLength(2);
});

test('blocks of records come and go with the files, 63 to a block', async () => {
  const { luo, kho } = flbKernel();
  const session = luo.createSession('s');
  const pages = (): number => kho.pages.freePages;
  const before = pages();
  for (let i = 0; i < 127; i++) await session.preserve(new Counter(2 * i), i); // 63 + 63 + 1
  // An FLB and its page, a page for each counter, three blocks.
  expect(before - pages()).toBe(2 + 127 + 3);
  for (let i = 126; i >= 63; i--) await session.unpreserve(i);
  expect(before - pages()).toBe(2 + 63 + 1);
});
