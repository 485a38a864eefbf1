import { PAGE_SIZE } from '@liveupdate/base';
import { HeapRam } from '@liveupdate/mm';
import { describe, expect, it } from 'vitest';
import { crc32 } from './crc32.ts';
import { readBootPage, writeBootPage, type BootPage } from './boot-page.ts';

const SIZE = 16 * PAGE_SIZE;

function page(change: Partial<BootPage> = {}): BootPage {
  return {
    state: 'handed-over',
    ramSize: SIZE,
    generation: 7,
    entry: { fdtAddr: 0x1000, fdtSize: 4096, scratchAddr: 0x2000, scratchSize: 16 },
    kexecStart: 123_456_789_012_345n,
    kexecFrozen: 123_456_789_112_345n,
    ownerPid: 4711,
    live: 0x3000,
    liveChange: 0,
    ended: undefined,
    endedAt: 0,
    ...change,
  };
}

function read(ram: HeapRam): BootPage {
  return readBootPage(ram.bytes(0, PAGE_SIZE), ram.size);
}

describe('the boot page', () => {
  it('comes back as it was written, latest first', () => {
    const ram = new HeapRam(SIZE);
    for (let generation = 1; generation < 6; generation++) {
      writeBootPage(ram, page({ generation }));
      expect(read(ram)).toEqual(page({ generation }));
    }
  });

  it('stands when the write of the other copy is torn, at whatever byte', () => {
    const before = new HeapRam(SIZE);
    writeBootPage(before, page({ generation: 1 }));
    writeBootPage(before, page({ generation: 2 }));
    const after = new HeapRam(SIZE);
    after.bytes(0, PAGE_SIZE).set(before.bytes(0, PAGE_SIZE));
    writeBootPage(after, page({ generation: 3, state: 'running' }));
    const old = before.bytes(0, PAGE_SIZE);
    const next = after.bytes(0, PAGE_SIZE);
    const changed = [...next.keys()].filter((at) => next[at] !== old[at]);
    expect(changed.length).toBeGreaterThan(4);
    for (let stop = 0; stop < changed.length; stop++) {
      const torn = new HeapRam(SIZE);
      torn.bytes(0, PAGE_SIZE).set(old);
      for (const at of changed.slice(0, stop)) torn.bytes(at, 1)[0] = next[at];
      expect(read(torn).generation).toBe(2);
    }
    expect(read(after).generation).toBe(3);
  });

  it.each<[string, (ram: HeapRam) => void]>([
    ['never written', () => undefined],
    ['text', (ram) => ram.bytes(0, PAGE_SIZE).fill(0x41)],
    [
      'damaged in both copies',
      (ram) => {
        writeBootPage(ram, page());
        writeBootPage(ram, page());
        for (const at of [20, 2068]) ram.bytes(at, 1)[0] ^= 1;
      },
    ],
  ])('is refused: %s', (_, damage) => {
    const ram = new HeapRam(SIZE);
    damage(ram);
    expect(() => read(ram)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  it('is read where the file is longer, and refused where it is shorter', () => {
    const ram = new HeapRam(SIZE);
    writeBootPage(ram, page());
    const first = ram.bytes(0, PAGE_SIZE);
    expect(readBootPage(first, 2 * SIZE).ramSize).toBe(SIZE);
    expect(() => readBootPage(first, SIZE - PAGE_SIZE)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  const U64 = 2n ** 64n - 1n;
  it.each<[what: string, at: number, value: bigint | number, state?: BootPage['state']]>([
    ['no generation, and something handed over', 32, 0n],
    ['no generation, and it runs', 32, 0n, 'running'],
    ['a generation that has none after it', 32, 2n ** 53n - 1n],
    ['a generation beyond what is a number', 32, 2n ** 53n],
    ['a negative generation', 32, U64],
    ['no RAM', 24, 0n],
    ['one page of RAM', 24, BigInt(PAGE_SIZE)],
    ['half a page of RAM', 24, BigInt(SIZE - PAGE_SIZE / 2)],
    ['a negative size', 24, U64 - 4095n],
    ['more RAM than the tables hold', 24, 2n ** 44n + 4096n],
    ['no owner', 88, 0],
    ['an owner that no system has', 88, 2 ** 22 + 1],
    ['a negative pid', 88, 0xffff_ffff],
    ['never written', 40, 0n],
    ['written as often as can be', 40, U64],
    ['written in the place of the other copy', 40, 2n],
    ['frozen before the handover began', 92, 1n],
    ['a tree at 0', 48, 0n],
    ['a tree of no bytes', 56, 0n],
    ['a tree that begins outside', 48, BigInt(SIZE)],
    ['a tree that ends outside', 56, BigInt(SIZE)],
    ['a tree near 2^64', 48, U64 - 4095n],
    ['a scratch array at 0', 64, 0n],
    ['a scratch array that ends outside', 72, BigInt(SIZE)],
    ['a scratch array near 2^64', 64, U64],
    ['a state that there is not', 20, 3],
  ])('with a right checksum is refused all the same: %s', (_, at, value, state = 'handed-over') => {
    const ram = new HeapRam(SIZE);
    writeBootPage(ram, page({ state }));
    expect(read(ram).state).toBe(state);
    const copy = 2048; // the first write goes there
    const view = new DataView(ram.bytes(0, PAGE_SIZE).buffer);
    if (typeof value === 'bigint') view.setBigUint64(copy + at, value, true);
    else view.setUint32(copy + at, value, true);
    view.setUint32(copy + 124, crc32(ram.bytes(copy, 124)), true);
    const before = ram.bytes(0, SIZE).slice();
    expect(() => read(ram)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(ram.bytes(0, SIZE)).toEqual(before);
  });

  it('of an empty RAM that nobody owned for good has no generation', () => {
    const ram = new HeapRam(SIZE);
    writeBootPage(ram, page({ state: 'empty', generation: 0, live: 0 }));
    expect(read(ram).generation).toBe(0);
  });
});
