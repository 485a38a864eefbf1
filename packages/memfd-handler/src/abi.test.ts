/**
 * What is written in memory, compared byte by byte with the ABI: offsets are spelt out here, not
 * taken from the code under test.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { POISON } from '@liveupdate/kho';
import { MFD_ALLOW_SEALING } from '@liveupdate/shmem';
import { expect, test } from 'vitest';
import { coldKernel, pattern } from './test-kernel.ts';

test('a record of memfd-v2, its folio array and the chunk that names that', async () => {
  const { kho, luo, shmem } = coldKernel({ huge: 'always' });
  const file = shmem.memfdCreate('f', MFD_ALLOW_SEALING);
  file.pwrite(pattern(10), 5 * PAGE_SIZE);
  file.truncate(16 * PAGE_SIZE + 77);
  file.addSeals(6);
  file.seek(0x1_2345_6789);
  const session = luo.createSession('s');
  await session.preserve(file, 1);
  file.seek(0x1_2345_678a); // freeze records it again
  await luo.reboot();

  const pfns = [0, 4, 5, 6, 8, 16].map((index) => file.inode.cache.at(index));
  const record = Number(session.files[0].data);
  const bytes = Buffer.from(kho.ram.bytes(record, 48));
  const first = Number(bytes.readBigUInt64LE(32));

  const expected = Buffer.alloc(48);
  expected.writeBigUInt64LE(0x1_2345_678an, 0); // position
  expected.writeBigUInt64LE(BigInt(16 * PAGE_SIZE + 77), 8); // size
  expected.writeUInt32LE(6, 16); // seals
  expected.writeUInt32LE(0, 20); // flags
  expected.writeBigUInt64LE(6n, 24); // folios
  expected.writeBigUInt64LE(BigInt(first), 32); // the first chunk
  expected.writeUInt32LE(1, 40); // pages of the array
  expected.writeUInt16LE(1, 44); // ALLOC
  expected.writeUInt16LE(0, 46); // order
  expect(bytes.equals(expected)).toBe(true);

  // Up to the zero that ends the list, and no further.
  const chunk = Buffer.from(kho.ram.bytes(first, 24));
  const array = Number(chunk.readBigUInt64LE(8));
  const expectedChunk = Buffer.alloc(24);
  expectedChunk.writeBigUInt64LE(0n, 0); // no next chunk
  expectedChunk.writeBigUInt64LE(BigInt(array), 8);
  expect(chunk.equals(expectedChunk)).toBe(true);

  const expectedArray = Buffer.alloc(7 * 16); // a record of zeros ends it
  for (const [i, index] of [0, 4, 5, 6, 8, 16].entries()) {
    expectedArray.writeBigUInt64LE(BigInt(pfns[i]) | (3n << 52n), i * 16); // dirty and up to date
    expectedArray.writeBigUInt64LE(BigInt(index), i * 16 + 8);
  }
  expect(Buffer.from(kho.ram.bytes(array, 7 * 16)).equals(expectedArray)).toBe(true);
  for (const pa of [record, first, array]) expect(kho.pages.isPreserved(pa / PAGE_SIZE)).toBe(true);
});

test('a record of an empty file has no array', async () => {
  const { kho, luo, shmem } = coldKernel();
  const session = luo.createSession('s');
  await session.preserve(shmem.memfdCreate('f'), 1);
  await luo.reboot();
  const bytes = Buffer.from(kho.ram.bytes(Number(session.files[0].data), 48));
  const expected = Buffer.alloc(48);
  expected.writeUInt32LE(1, 16); // SEAL_SEAL
  expect(bytes.equals(expected)).toBe(true);
});

test('nothing is written behind what the next kernel reads', async () => {
  const { kho, luo, shmem } = coldKernel(); // its free memory holds POISON
  const file = shmem.memfdCreate('f');
  file.write(pattern(3 * PAGE_SIZE));
  const session = luo.createSession('s');
  await session.preserve(file, 1);
  await luo.reboot();
  const record = kho.ram.bytes(Number(session.files[0].data), PAGE_SIZE);
  const chunk = kho.ram.bytes(Number(Buffer.from(record).readBigUInt64LE(32)), PAGE_SIZE);
  const array = kho.ram.bytes(Number(Buffer.from(chunk).readBigUInt64LE(8)), PAGE_SIZE);
  for (const [page, end] of [
    [record, 48],
    [chunk, 24],
    [array, 4 * 16],
  ] as const) {
    const behind = page.subarray(end);
    expect(behind.every((byte) => byte === POISON)).toBe(true);
  }
});

test('an array of 600 folios lies in three pages, listed in one chunk', async () => {
  const { kho, luo, shmem } = coldKernel();
  const file = shmem.memfdCreate('f');
  file.write(pattern(600 * PAGE_SIZE));
  const session = luo.createSession('s');
  await session.preserve(file, 1);
  await luo.reboot();
  const record = Buffer.from(kho.ram.bytes(Number(session.files[0].data), 48));
  expect([record.readBigUInt64LE(24), record.readUInt32LE(40)]).toEqual([600n, 3]);
  const chunk = Buffer.from(kho.ram.bytes(Number(record.readBigUInt64LE(32)), PAGE_SIZE));
  for (let i = 0; i < 600; i++) {
    const piece = Number(chunk.readBigUInt64LE(8 + 8 * Math.floor(i / 256)));
    const entry = Buffer.from(kho.ram.bytes(piece + (i % 256) * 16, 16));
    expect(entry.readBigUInt64LE(0)).toBe(BigInt(file.inode.cache.at(i)) | (3n << 52n));
    expect(entry.readBigUInt64LE(8)).toBe(BigInt(i));
  }
  expect(chunk.readBigUInt64LE(32)).toBe(0n);
});
