import { PAGE_SIZE, Prng } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { beforeAll, expect, test } from 'vitest';
import { findFileBlock, findFlbs, findSessionBlock, readLuoHead } from './scan-luo.ts';
import { copyOf, handedOver, writeWord, type Original } from './test-records.ts';

let original: Original;
beforeAll(async () => {
  original = await handedOver();
});

test('the pages of a handover are what they are, and no other', () => {
  const { ram, handover, pa } = copyOf(original);
  const page = (at: number): Uint8Array => ram.bytes(at, PAGE_SIZE);
  const sessions = findSessionBlock(page(pa.sessions));
  expect(sessions).toMatchObject({ next: 0, entries: [{ name: 'a', files: pa.a, count: 2 }, { name: 'b' }] });
  expect(findFileBlock(page(pa.a))?.entries).toEqual([
    { compatible: 'counter-v1', data: BigInt(pa.data), token: 1n },
    expect.objectContaining({ token: 2n }),
  ]);
  expect(findFileBlock(page(pa.sessions))).toBeUndefined();
  for (const at of [pa.luo, pa.data, 0]) {
    expect(findSessionBlock(page(at))).toBeUndefined();
    expect(findFileBlock(page(at))).toBeUndefined();
    expect(findFlbs(page(at))).toBeUndefined();
  }
  for (const at of [pa.a, pa.b]) expect(findSessionBlock(page(at))).toBeUndefined();
  const luo = handover.subtrees.get('LUO')!;
  expect(readLuoHead(ram, luo)).toEqual({
    compatible: 'luo-v5',
    liveupdateNumber: 1n,
    sessions: pa.sessions,
    flbs: 0,
  });
});

test('a page of FLBs', () => {
  const page = new Uint8Array(PAGE_SIZE);
  const words = new BigUint64Array(page.buffer);
  words.set([1n, 2n]);
  page.set([0x66, 0x31], 16);
  page.set([0x66, 0x32], 80);
  words[(16 + 48) / 8] = 7n;
  expect(findFlbs(page)).toEqual([
    { name: 'f1', data: 7n, count: 0n },
    { name: 'f2', data: 0n, count: 0n },
  ]);
  words[0] = 2n;
  expect(findFlbs(page)).toBeUndefined();
});

test('a block with a byte that none can have is no block', () => {
  const { ram, pa } = copyOf(original);
  for (const [at, value] of [
    [0, 5], // no address of a page
    [8, 0], // no entry
    [8, 52], // more than fit
    [16 + 64, 0], // files at no address, and two of them
    [16 + 64, 4097],
    [16 + 56, 1], // behind the end of the name
  ] as const) {
    const before = ram.bytes(pa.sessions, PAGE_SIZE).slice();
    writeWord(ram, pa.sessions + at, value);
    expect(findSessionBlock(ram.bytes(pa.sessions, PAGE_SIZE))).toBeUndefined();
    ram.bytes(pa.sessions, PAGE_SIZE).set(before);
  }
});

test('noise is nothing', () => {
  const random = new Prng(seed);
  const page = new Uint8Array(PAGE_SIZE);
  for (let round = 0; round < 2000; round++) {
    for (let i = 0; i < 100; i++) page[random.below(PAGE_SIZE)] = random.below(256);
    expect([findSessionBlock(page), findFileBlock(page), findFlbs(page)]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  }
});
