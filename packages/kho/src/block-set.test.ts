import { AssertionError, PAGE_SIZE, pfnToPhys, StructView } from '@liveupdate/base';
import { HeapRam, type Ram } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import { blockCapacity, BlockHeaderSer, MAX_BLOCKS } from './abi.ts';
import { BlockSet, readBlockSet } from './block-set.ts';
import type { Kho } from './kho.ts';
import { allAre, coldKho, failEachAllocation, MiB, snapshot, withCode } from './test-kho.ts';

const VALUE = { at: 0, bytes: 8 };

/** Writes i * 3 + 1 into entry i, and gives back what a reader finds. */
function roundTrip(kho: Kho, set: BlockSet, entrySize: number): number[] {
  set.serialise((entry, i) => {
    expect(allAre(entry.bytes, 0)).toBe(true);
    entry.setU64(VALUE, i * 3 + 1);
    entry.bytes.fill(0xee, 8);
  });
  return readBlockSet(kho.ram, set.pa, entrySize).entries.map((entry) => entry.getNumber(VALUE));
}

const expected = (count: number): number[] => Array.from({ length: count }, (_, i) => i * 3 + 1);

describe('capacity of a block', () => {
  test.for([
    [16, 255],
    [64, 63],
    [80, 51],
    [4080, 1],
    [4081, 0],
  ])('%i bytes: %i entries', ([size, capacity]) => {
    expect(blockCapacity(size)).toBe(capacity);
  });

  test('an entry that fits in no block is a bug', () => {
    expect(() => new BlockSet(coldKho(), 4081)).toThrow(AssertionError);
  });
});

describe('BlockSet', () => {
  test.for([0, 1, 50, 51, 52, 102, 103, 500])('%i entries of 80 bytes', (count) => {
    const kho = coldKho();
    const before = kho.pages.freePages;
    const set = new BlockSet(kho, 80);
    for (let i = 0; i < count; i++) set.announce();
    expect(roundTrip(kho, set, 80)).toEqual(expected(count));
    const blocks = Math.ceil(count / 51);
    expect(readBlockSet(kho.ram, set.pa, 80).blocks).toHaveLength(blocks);
    expect(set.pa === 0).toBe(count === 0);
    for (let i = 0; i < count; i++) set.retract();
    expect([set.pa, kho.mapPages]).toEqual([0, coldKho().mapPages]);
    expect(kho.pages.freePages).toBe(before);
    kho.pages.assertConsistent();
  });

  test('grows and shrinks over the border of a block, and is right at every size', () => {
    const kho = coldKho();
    const set = new BlockSet(kho, 1000); // four to a block
    let count = 0;
    for (const step of [3, 1, 1, -1, 1, 4, -5, 2, -6, 9, -9]) {
      for (let i = 0; i < Math.abs(step); i++) {
        if (step > 0) set.announce();
        else set.retract();
      }
      count += step;
      expect(roundTrip(kho, set, 1000)).toEqual(expected(count));
      kho.pages.assertConsistent();
    }
    expect(count).toBe(0);
    expect(() => set.retract()).toThrow(AssertionError);
  });

  test('blocks are preserved: the next kernel reads them where they are', () => {
    const kho = coldKho();
    const set = new BlockSet(kho, 64);
    for (let i = 0; i < 100; i++) set.announce();
    roundTrip(kho, set, 64);
    const { blocks } = readBlockSet(kho.ram, set.pa, 64);
    for (const pa of blocks) expect(kho.pages.isPreserved(pa / PAGE_SIZE)).toBe(true);
  });

  test.for([0, 3, 4, 7])('with %i entries: ENOMEM leaves everything as it was', (count) => {
    const failures = failEachAllocation(() => {
      const kho = coldKho(MiB);
      const set = new BlockSet(kho, 1000);
      for (let i = 0; i < count; i++) set.announce();
      const operation = (): void => {
        set.announce();
        expect(roundTrip(kho, set, 1000)).toEqual(expected(count + 1));
      };
      return { kho, operation };
    });
    expect(failures > 0).toBe(count % 4 === 0);
  });

  test(`${MAX_BLOCKS} blocks are the end: ENOSPC`, () => {
    const kho = coldKho(64 * MiB, { freeMemory: 'zero' });
    const set = new BlockSet(kho, 4080);
    for (let i = 0; i < MAX_BLOCKS; i++) set.announce();
    const before = snapshot(kho);
    expect(() => set.announce()).toThrow(withCode('ENOSPC'));
    expect(snapshot(kho)).toEqual(before);
    set.serialise((entry, i) => entry.setU64(VALUE, i));
    const { entries, blocks } = readBlockSet(kho.ram, set.pa, 4080);
    expect([blocks.length, entries.at(-1)?.getNumber(VALUE)]).toEqual([MAX_BLOCKS, MAX_BLOCKS - 1]);
    set.retract();
    set.announce();
  });
});

describe('readBlockSet refuses', () => {
  /** Blocks in pages 1, 2, 3 ... of two entries each, linked in a row. */
  function chain(blocks: number): Ram {
    const ram = new HeapRam((blocks + 1) * PAGE_SIZE);
    for (let pfn = 1; pfn <= blocks; pfn++) header(ram, pfn, pfn < blocks ? pfnToPhys(pfn + 1) : 0, 2);
    return ram;
  }
  function header(ram: Ram, pfn: number, next: bigint | number, count: bigint | number): void {
    const ser = new StructView(ram.bytes(pfnToPhys(pfn), BlockHeaderSer.SIZE));
    ser.setU64(BlockHeaderSer.next, next);
    ser.setU64(BlockHeaderSer.count, count);
  }

  test('nothing in a chain that is whole', () => {
    expect(readBlockSet(chain(3), PAGE_SIZE, 64).entries).toHaveLength(6);
    expect(readBlockSet(chain(3), 0, 64)).toEqual({ entries: [], blocks: [] });
  });

  test.for<[what: string, code: string, spoil: (ram: Ram) => void]>([
    ['a circle of one', 'EINVAL', (ram) => header(ram, 1, PAGE_SIZE, 1)],
    ['a circle of three', 'EINVAL', (ram) => header(ram, 3, PAGE_SIZE, 1)],
    ['a block outside RAM', 'EINVAL', (ram) => header(ram, 2, ram.size, 1)],
    ['a block half outside', 'EINVAL', (ram) => header(ram, 2, ram.size - 8, 1)],
    ['a block that is not aligned', 'EINVAL', (ram) => header(ram, 1, 2 * PAGE_SIZE + 8, 1)],
    ['a block beyond 2^53', 'EOVERFLOW', (ram) => header(ram, 1, 1n << 63n, 1)],
    ['a count of 0', 'EINVAL', (ram) => header(ram, 2, pfnToPhys(3), 0)],
    ['a count of 0 in the only block', 'EINVAL', (ram) => header(ram, 1, 0, 0)],
    ['a count above capacity', 'EINVAL', (ram) => header(ram, 2, pfnToPhys(3), 64)],
    ['a count beyond 2^53', 'EOVERFLOW', (ram) => header(ram, 2, pfnToPhys(3), (1n << 64n) - 1n)],
  ])('%s', ([, code, spoil]) => {
    const ram = chain(3);
    spoil(ram);
    expect(() => readBlockSet(ram, PAGE_SIZE, 64)).toThrow(withCode(code));
  });

  test('a count of just the capacity is fine', () => {
    const ram = chain(1);
    header(ram, 1, 0, 63);
    expect(readBlockSet(ram, PAGE_SIZE, 64).entries).toHaveLength(63);
  });

  test.for([1, 8, -PAGE_SIZE, 2 ** 40, Number.NaN, 0.5])('a first block at %d', (pa) => {
    expect(() => readBlockSet(chain(3), pa, 64)).toThrow(withCode('EINVAL'));
  });

  test('a chain that is too long', () => {
    expect(readBlockSet(chain(MAX_BLOCKS), PAGE_SIZE, 64).blocks).toHaveLength(MAX_BLOCKS);
    expect(() => readBlockSet(chain(MAX_BLOCKS + 1), PAGE_SIZE, 64)).toThrow(withCode('EINVAL'));
  });
});
