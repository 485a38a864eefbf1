/** What every RAM promises, proved for each backend of this package. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import { ElfCoreRam, rawImageRam } from './elf-core-ram.ts';
import { HeapRam } from './heap-ram.ts';
import { checkRamSize, forEachBlock, MAX_RAM_SIZE, type Ram } from './ram.ts';
import { overlayRam, SparseRam } from './sparse-ram.ts';
import { elfCore } from './test-elf.ts';

const MiB = 2 ** 20;
/** Two whole blocks of 4 MiB and a short one. */
const SIZE = 2 * MAX_FOLIO_SIZE + 5 * PAGE_SIZE;
const fixture = gunzipSync(
  readFileSync(new URL('../../../fixtures/linux-7.3/handover.elf.gz', import.meta.url)),
);

/** RAM with something in it everywhere, so that a discard that does nothing shows. */
function filled(ram: Ram): Ram {
  forEachBlock(0, ram.size, (pa, length) => ram.bytes(pa, length).fill(0x77));
  return ram;
}

const full = new Uint8Array(SIZE).fill(0x77);
const backends: [name: string, size: number, make: () => Ram][] = [
  ['HeapRam', SIZE, () => new HeapRam(SIZE)],
  ['HeapRam, written', SIZE, () => filled(new HeapRam(SIZE))],
  ['SparseRam', SIZE, () => new SparseRam(SIZE)],
  ['SparseRam, written', SIZE, () => filled(new SparseRam(SIZE))],
  ['SparseRam with a loader', SIZE, () => new SparseRam(SIZE, (block) => block.fill(0x55))],
  ['an overlay', SIZE, () => overlayRam(filled(new HeapRam(SIZE)))],
  ['an overlay, written', SIZE, () => filled(overlayRam(new HeapRam(SIZE)))],
  ['a raw image', SIZE, () => rawImageRam(full)],
  ['ElfCoreRam', SIZE, () => new ElfCoreRam(elfCore([{ pa: 0, bytes: full }]))],
  ['ElfCoreRam, the handover of Linux 7.3', 256 * MiB, () => new ElfCoreRam(fixture, 256 * MiB)],
];

const withCode = (code: string): unknown => expect.objectContaining({ code });

/** 0 where all bytes are alike, so that megabytes are compared without an assertion per byte. */
function differing(bytes: Uint8Array, value: number): number {
  let count = 0;
  for (const byte of bytes) if (byte !== value) count += 1;
  return count;
}

describe.for(backends)('%s', ([, size, make]) => {
  let shared: Ram | undefined;
  /** One RAM for the tests that change nothing. */
  const any = (): Ram => (shared ??= make());

  test('has the size that was asked for', () => {
    expect(any().size).toBe(size);
  });

  test.for<[pa: number, length: number]>([
    [-1, 1],
    [-PAGE_SIZE, PAGE_SIZE],
    [0, -1],
    [size, 1],
    [size - 1, 2],
    [0, size + 1],
    [2 ** 53, 1],
    [-(2 ** 40), 2 ** 40],
  ])('bytes(%d, %d) is EFAULT, and so is its discard', ([pa, length]) => {
    expect(() => any().bytes(pa, length)).toThrow(withCode('EFAULT'));
    expect(() => any().discard(pa, length)).toThrow(withCode('EFAULT'));
  });

  test.for<[pa: number, length: number]>([
    [1, PAGE_SIZE],
    [0, 1],
    [PAGE_SIZE, 100],
    [PAGE_SIZE - 1, PAGE_SIZE + 1],
  ])('discard(%d, %d) is EINVAL', ([pa, length]) => {
    expect(() => any().discard(pa, length)).toThrow(withCode('EINVAL'));
  });

  test('shows nothing of no bytes, at the end too', () => {
    const ram = make();
    for (const pa of [0, 1, size - 1, size]) expect(ram.bytes(pa, 0)).toHaveLength(0);
    ram.discard(size, 0);
  });

  test('views are live and of the right length', () => {
    const ram = make();
    const all = ram.bytes(0, MAX_FOLIO_SIZE);
    expect(all).toHaveLength(MAX_FOLIO_SIZE);
    const part = ram.bytes(5_000, 300);
    part.fill(0xa5);
    expect(all.subarray(5_000, 5_300)).toEqual(part);
    all[5_001] = 1;
    expect([part[1], ram.bytes(5_001, 1)[0]]).toEqual([1, 1]);
  });

  test('every byte has its own address', () => {
    const ram = make();
    const places = [0, 1, PAGE_SIZE - 1, PAGE_SIZE, MAX_FOLIO_SIZE - 1, MAX_FOLIO_SIZE, size - 1];
    for (const [i, pa] of places.entries()) ram.bytes(pa, 1)[0] = 100 + i;
    expect(places.map((pa) => ram.bytes(pa, 1)[0])).toEqual([100, 101, 102, 103, 104, 105, 106]);
  });

  test('a discarded page reads as zeros, through views taken before too, and its neighbours stay', () => {
    const ram = make();
    const view = ram.bytes(0, 3 * PAGE_SIZE).fill(0xa5);
    ram.discard(PAGE_SIZE, PAGE_SIZE);
    expect(differing(view.subarray(PAGE_SIZE, 2 * PAGE_SIZE), 0)).toBe(0);
    expect(differing(view.subarray(0, PAGE_SIZE), 0xa5)).toBe(0);
    expect(differing(view.subarray(2 * PAGE_SIZE), 0xa5)).toBe(0);
    view[PAGE_SIZE] = 9;
    expect(ram.bytes(PAGE_SIZE, 1)[0]).toBe(9);
  });

  test('a page that was never looked at reads as zeros once discarded', () => {
    const ram = make();
    ram.discard(2 * PAGE_SIZE, PAGE_SIZE);
    expect(differing(ram.bytes(2 * PAGE_SIZE, PAGE_SIZE), 0)).toBe(0);
  });

  test('discard of everything, in one call, leaves zeros everywhere', () => {
    const ram = make();
    const early = ram.bytes(MAX_FOLIO_SIZE, PAGE_SIZE).fill(1);
    ram.discard(0, ram.size);
    expect(differing(early, 0)).toBe(0);
    let left = 0;
    forEachBlock(0, Math.min(size, 16 * MiB), (pa, length) => (left += differing(ram.bytes(pa, length), 0)));
    expect(left).toBe(0);
    expect(differing(ram.bytes(size - PAGE_SIZE, PAGE_SIZE), 0)).toBe(0);
    // A second discard, and one of a part, find nothing to do.
    ram.discard(0, ram.size);
    ram.discard(PAGE_SIZE, PAGE_SIZE);
  });

  test('close takes every view down, and nothing can be had afterwards; a second close does nothing', () => {
    const ram = make();
    const views = [ram.bytes(0, 10), ram.bytes(MAX_FOLIO_SIZE, PAGE_SIZE), ram.bytes(size - 1, 1)];
    ram.close();
    expect(views.map((view) => view.length)).toEqual([0, 0, 0]);
    for (const length of [0, PAGE_SIZE]) {
      expect(() => ram.bytes(0, length)).toThrow(withCode('EBADF'));
      expect(() => ram.discard(0, length)).toThrow(withCode('EBADF'));
    }
    ram.close();
  });
});

describe('RAM in one piece and RAM in blocks', () => {
  test('HeapRam shows any range', () => {
    const ram = new HeapRam(SIZE);
    expect(ram.bytes(1, SIZE - 1)).toHaveLength(SIZE - 1);
  });

  test.for<[pa: number, length: number]>([
    [MAX_FOLIO_SIZE - 1, 2],
    [1, MAX_FOLIO_SIZE],
    [0, MAX_FOLIO_SIZE + 1],
    [0, SIZE],
  ])('SparseRam shows no range across blocks: bytes(%d, %d) is ERANGE', ([pa, length]) => {
    expect(() => new SparseRam(SIZE).bytes(pa, length)).toThrow(withCode('ERANGE'));
  });

  test('forEachBlock cuts a range into parts that every RAM can show', () => {
    const ram = new SparseRam(SIZE);
    for (const [pa, length] of [
      [0, SIZE],
      [5, 10],
      [MAX_FOLIO_SIZE - 3, 6],
      [7, 0],
      [MAX_FOLIO_SIZE, MAX_FOLIO_SIZE],
    ]) {
      let next = pa;
      forEachBlock(pa, length, (at, bytes) => {
        expect(at).toBe(next);
        next = at + ram.bytes(at, bytes).length;
      });
      expect(next).toBe(pa + length);
    }
  });
});

describe('sizes', () => {
  test.for([
    0,
    -PAGE_SIZE,
    1,
    PAGE_SIZE - 1,
    PAGE_SIZE + 1,
    0.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    MAX_RAM_SIZE + PAGE_SIZE,
    2 ** 53,
  ])('RAM of %d bytes is EINVAL', (size) => {
    expect(() => checkRamSize(size)).toThrow(withCode('EINVAL'));
    expect(() => new HeapRam(size)).toThrow(withCode('EINVAL'));
    expect(() => new SparseRam(size)).toThrow(withCode('EINVAL'));
  });

  test('a RAM below the least number of pages is EINVAL', () => {
    checkRamSize(2 * PAGE_SIZE, 2);
    expect(() => checkRamSize(PAGE_SIZE, 2)).toThrow(withCode('EINVAL'));
  });

  test('more than the tables hold is EINVAL that says how much they hold, on every way in', () => {
    const image = elfCore([{ pa: MAX_RAM_SIZE - 1, bytes: Uint8Array.of(1, 2) }]);
    const small = elfCore([{ pa: 0, bytes: Uint8Array.of(1) }]);
    for (const way of [
      () => new HeapRam(MAX_RAM_SIZE + PAGE_SIZE),
      () => new SparseRam(MAX_RAM_SIZE + PAGE_SIZE),
      () => new ElfCoreRam(image),
      () => new ElfCoreRam(small, MAX_RAM_SIZE + PAGE_SIZE),
    ]) {
      expect(way).toThrow(withCode('EINVAL'));
      expect(way).toThrow('16 TiB');
    }
    expect(new SparseRam(MAX_RAM_SIZE).bytes(MAX_RAM_SIZE - 1, 1)).toEqual(Uint8Array.of(0));
  });

  test('a heap that no engine gives is ENOMEM', () => {
    const heaps: HeapRam[] = [];
    // One may be had where the system promises all that is asked for; eight do not fit into an
    // address space.
    const fill = (): void => {
      for (let i = 0; i < 8; i++) heaps.push(new HeapRam(MAX_RAM_SIZE));
    };
    expect(fill).toThrow(withCode('ENOMEM'));
    for (const heap of heaps) heap.close();
  });
});

describe('the overlay', () => {
  test('shows what is under it and never writes there', () => {
    const under = filled(new HeapRam(SIZE));
    const over = overlayRam(under);
    expect(differing(over.bytes(0, PAGE_SIZE), 0x77)).toBe(0);
    over.bytes(0, PAGE_SIZE).fill(1);
    over.discard(MAX_FOLIO_SIZE, MAX_FOLIO_SIZE);
    over.close();
    expect(differing(under.bytes(0, SIZE), 0x77)).toBe(0);
  });

  test('a block keeps what it was when first touched; a discarded one never shows what is under it again', () => {
    const under = filled(new HeapRam(SIZE));
    const over = overlayRam(under);
    over.bytes(0, 1);
    over.discard(MAX_FOLIO_SIZE, MAX_FOLIO_SIZE);
    under.bytes(0, SIZE).fill(0x11);
    expect([over.bytes(1, 1)[0], over.bytes(MAX_FOLIO_SIZE, 1)[0]]).toEqual([0x77, 0]);
    expect(over.bytes(2 * MAX_FOLIO_SIZE, 1)[0]).toBe(0x11);
  });
});

describe('raw images', () => {
  test.for([1, PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1, MAX_FOLIO_SIZE + 1])(
    'a file of %i bytes is physical memory from 0 on, its last page filled up with zeros',
    (length) => {
      const file = Uint8Array.from({ length }, (_, i) => (i % 251) + 1);
      const ram = rawImageRam(file);
      expect(ram.size).toBe(Math.ceil(length / PAGE_SIZE) * PAGE_SIZE);
      for (const pa of [0, length - 1]) expect(ram.bytes(pa, 1)[0]).toBe((pa % 251) + 1);
      expect(differing(ram.bytes(length, ram.size - length), 0)).toBe(0);
    },
  );

  test('a file of no bytes is no RAM', () => {
    expect(() => rawImageRam(new Uint8Array(0))).toThrow(withCode('EINVAL'));
  });
});

describe('large and sparse', () => {
  test('64 GiB open, read and discard for the price of the blocks that are looked at', () => {
    const GiB = 2 ** 30;
    const bytes = new Uint8Array(PAGE_SIZE).fill(3);
    const before = process.memoryUsage().arrayBuffers;
    const ram = new ElfCoreRam(
      elfCore([
        { pa: 0, bytes },
        { pa: 33 * GiB + PAGE_SIZE, bytes },
        { pa: 64 * GiB - PAGE_SIZE, bytes },
        { pa: 40 * GiB, bytes: new Uint8Array(0), memory: GiB },
      ]),
    );
    expect(ram.size).toBe(64 * GiB);
    for (const pa of [0, 33 * GiB + PAGE_SIZE, 64 * GiB - PAGE_SIZE])
      expect(differing(ram.bytes(pa, PAGE_SIZE), 3)).toBe(0);
    expect(differing(ram.bytes(33 * GiB, PAGE_SIZE), 0)).toBe(0);
    ram.discard(PAGE_SIZE, ram.size - 2 * PAGE_SIZE);
    expect(ram.bytes(0, 1)[0]).toBe(3);
    expect(ram.bytes(64 * GiB - PAGE_SIZE, 1)[0]).toBe(3);
    expect(ram.bytes(33 * GiB + PAGE_SIZE, 1)[0]).toBe(0);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(32 * MiB);
  });
});
