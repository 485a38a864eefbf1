import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { bootCold, writeVmallocDescriptor } from '@liveupdate/kho';
import type { FileHandler, PreservableFile } from '@liveupdate/luo-core';
import { LiveUpdateOrchestrator, NO_FLBS } from '@liveupdate/luo-core';
import { HeapRam, vmalloc, type Ram } from '@liveupdate/mm';
import { ShmemFile } from '@liveupdate/shmem';
import { beforeAll, describe, expect, test } from 'vitest';
import {
  contents,
  failEachAllocation,
  layoutOf,
  METADATA,
  nextKernel,
  outcome,
  pattern,
  type TestKernel,
} from './test-kernel.ts';
import { readMemfdFolios, readMemfdRecord, readMemfdRuns, type MemfdRecord } from './read-memfd.ts';
import { bootDamaged, handOver, wordAt, writeWord, type HandedOver } from './test-records.ts';

/** Ends the session and tells how many pages are not free that were before the file was made. */
async function endAndCount({ luo, kho, shmem }: TestKernel, { freePages }: HandedOver): Promise<number> {
  const [session] = luo.incomingSessions;
  const other = await session.retrieve(2, ShmemFile);
  expect([...contents(other)]).toEqual([1, 2, 3]);
  await session.finish();
  other.close();
  expect(shmem.used).toBe(0);
  kho.pages.assertConsistent();
  return freePages - METADATA - kho.pages.freePages;
}

describe('a limit in the way of retrieving', () => {
  test.each([
    ['single pages', 20, 'never', { memoryLimit: 19 * PAGE_SIZE }, 'ENOMEM'],
    ['a large folio', 512, 'always', { memoryLimit: 511 * PAGE_SIZE }, 'ENOMEM'],
    ['the mount', 20, 'never', { blockLimit: 19 * PAGE_SIZE }, 'ENOSPC'],
  ] as const)('%s: all of the file is freed, the failure remembered', async (_, pages, huge, mount, code) => {
    const before = await handOver((file) => file.write(pattern(pages * PAGE_SIZE)), { huge });
    const kernel = bootDamaged(before, () => undefined, mount);
    const session = kernel.luo.retrieveSession('s');
    expect(await outcome(() => session.retrieve(1))).toBe(code);
    expect(await outcome(() => session.retrieve(1))).toBe(code);
    expect(kernel.shmem.used).toBe(0);
    kernel.kho.pages.assertConsistent();
    expect(await endAndCount(kernel, before)).toBe(0);
  });

  test('is exact to the page', async () => {
    const before = await handOver((file) => file.write(pattern(20 * PAGE_SIZE)));
    const kernel = bootDamaged(before, () => undefined, { memoryLimit: 20 * PAGE_SIZE });
    const file = await kernel.luo.retrieveSession('s').retrieve(1, ShmemFile);
    expect(contents(file)).toEqual(pattern(20 * PAGE_SIZE));
  });
});

describe('a folio that is not there', () => {
  const takers: [string, string, (pages: number) => number[]][] = [
    ['the first', 'never', () => [0]],
    ['one in the middle', 'never', (pages) => [pages >> 1]],
    ['the last', 'never', (pages) => [pages - 1]],
    ['several', 'never', (pages) => [1, 2, 7, pages - 2]],
    ['all', 'never', (pages) => Array.from({ length: pages }, (_, i) => i)],
  ];
  test.each(takers)('%s: EIO, all others are freed', async (_, huge, which) => {
    const pages = 40;
    const before = await handOver((file) => file.write(pattern(pages * PAGE_SIZE)), {
      huge: huge as 'never',
    });
    const kernel = bootDamaged(before, () => undefined);
    // Somebody else has them: restored by frame, as by a record that names the same frames.
    const gone = which(pages).map((i) => frameOf(kernel.kho.ram, before, i));
    for (const pfn of gone) kernel.kho.restoreFolio(pfn);
    expect(await outcome(() => kernel.luo.retrieveSession('s').retrieve(1))).toBe('EIO');
    kernel.kho.pages.assertConsistent();
    expect(gone.every((pfn) => kernel.kho.pages.isHead(pfn))).toBe(true); // not ours to free
    for (const pfn of gone) kernel.kho.pages.put(pfn);
    expect(await endAndCount(kernel, before)).toBe(0);
  });

  describe('each one in turn, of folios of all orders around single ones', () => {
    const make = (file: ShmemFile): void => {
      file.pwrite(pattern(10), 5 * PAGE_SIZE);
      file.pwrite(pattern(600 * PAGE_SIZE), 7 * PAGE_SIZE);
      file.truncate(616 * PAGE_SIZE);
    };
    let before: HandedOver;
    let folios: number;
    beforeAll(async () => {
      before = await handOver(make, { huge: 'always' });
      folios = Number(wordAt(before.ram, before.record + RECORD.count).getBigUint64(0, true));
    });

    /** Somebody else takes folio \`i\`, as a record would that names the same frame. */
    function without(i: number): { kernel: TestKernel; pfn: number } {
      const kernel = bootDamaged(before, () => undefined, { huge: 'always' });
      const pfn = frameOf(kernel.kho.ram, before, i);
      kernel.kho.restoreFolio(pfn);
      return { kernel, pfn };
    }

    test('retrieve fails, is remembered, and leaks nothing', async () => {
      expect(folios).toBeGreaterThan(15);
      for (let i = 0; i < folios; i++) {
        const { kernel, pfn } = without(i);
        const session = kernel.luo.retrieveSession('s');
        for (let again = 0; again < 2; again++) expect(await outcome(() => session.retrieve(1))).toBe('EIO');
        kernel.kho.pages.assertConsistent();
        expect(kernel.kho.pages.isHead(pfn)).toBe(true);
        kernel.kho.pages.put(pfn);
        expect(await endAndCount(kernel, before)).toBe(0);
      }
    });

    test('finish frees all the others', async () => {
      for (let i = 0; i < folios; i++) {
        const { kernel, pfn } = without(i);
        kernel.luo.retrieveSession('s');
        expect(await endAndCount(kernel, before)).toBe(2 ** kernel.kho.pages.orderOf(pfn));
        kernel.kho.pages.put(pfn);
        kernel.kho.pages.assertConsistent();
      }
    });
  });

  test('finish without retrieve frees what is there', async () => {
    const before = await handOver((file) => file.write(pattern(40 * PAGE_SIZE)));
    const kernel = bootDamaged(before, () => undefined);
    const pfn = frameOf(kernel.kho.ram, before, 5);
    kernel.kho.restoreFolio(pfn);
    expect(await endAndCount(kernel, before)).toBe(1);
    kernel.kho.pages.put(pfn);
    kernel.kho.pages.assertConsistent();
  });
});

const RECORD = {
  position: 0,
  size: 8,
  seals: 16,
  flags: 20,
  count: 24,
  first: 32,
  pages: 40,
  vmallocFlags: 44,
  order: 46,
};
const PAGES = 300; // two pages of array

/**
 * Damage to one field each: what it is, how retrieve answers, and how many pages stay out of use
 * because nothing names them any more.
 */
const damage: [string, (ram: Ram, at: HandedOver) => void, string, number][] = [
  ['position beyond 2^53', (ram, at) => writeWord(ram, at.record, 2n ** 60n), 'EOVERFLOW', 0],
  ['size beyond 2^53', (ram, at) => writeWord(ram, at.record + RECORD.size, 2n ** 64n - 1n), 'EOVERFLOW', 0],
  [
    'size beyond 2^32 - 1 pages',
    (ram, at) => writeWord(ram, at.record + RECORD.size, 2n ** 44n),
    'EINVAL',
    0,
  ],
  [
    'size too small for its folios',
    (ram, at) => writeWord(ram, at.record + RECORD.size, 5 * PAGE_SIZE),
    'EINVAL',
    0,
  ],
  ['size 0', (ram, at) => writeWord(ram, at.record + RECORD.size, 0), 'EINVAL', 0],
  ['unknown seals', (ram, at) => ram.bytes(at.record + RECORD.seals, 4).fill(0xff), 'EOPNOTSUPP', 0],
  ['unknown flags', (ram, at) => ram.bytes(at.record + RECORD.flags, 1).fill(1), 'EINVAL', 0],
  [
    'more folios than the array holds',
    (ram, at) => writeWord(ram, at.record + RECORD.count, 513),
    'EINVAL',
    0,
  ],
  ['folios beyond all memory', (ram, at) => writeWord(ram, at.record + RECORD.count, 2n ** 50n), 'EINVAL', 0],
  ['folios beyond 2^53', (ram, at) => writeWord(ram, at.record + RECORD.count, 2n ** 63n), 'EOVERFLOW', 0],
  ['no array', (ram, at) => writeWord(ram, at.record + RECORD.first, 0), 'EINVAL', PAGES + 2 + 1],
  [
    'array outside RAM',
    (ram, at) => writeWord(ram, at.record + RECORD.first, 2 ** 40),
    'EINVAL',
    PAGES + 2 + 1,
  ],
  [
    'array at no page',
    (ram, at) => writeWord(ram, at.record + RECORD.first, at.chunk + 8),
    'EINVAL',
    PAGES + 2 + 1,
  ],
  [
    'array beyond 2^53',
    (ram, at) => writeWord(ram, at.record + RECORD.first, 2n ** 63n),
    'EOVERFLOW',
    PAGES + 2 + 1,
  ],
  [
    'array of another length',
    (ram, at) => ram.bytes(at.record + RECORD.pages, 1).fill(3),
    'EINVAL',
    PAGES + 2 + 1,
  ],
  [
    'array of another order',
    (ram, at) => ram.bytes(at.record + RECORD.order, 1).fill(1),
    'EINVAL',
    PAGES + 2 + 1,
  ],
  [
    'array of an impossible order',
    (ram, at) => ram.bytes(at.record + RECORD.order, 2).fill(0xff),
    'EINVAL',
    PAGES + 2 + 1,
  ],
  ['array page outside RAM', (ram, at) => writeWord(ram, at.chunk + 8, 2 ** 40), 'EINVAL', PAGES + 2 + 1],
  [
    'array page of nobody',
    (ram, at) => writeWord(ram, at.chunk + 8, ram.size - PAGE_SIZE),
    'EINVAL',
    PAGES + 2 + 1,
  ],
  ['array page twice', (ram, at) => writeWord(ram, at.chunk + 16, at.array), 'EINVAL', PAGES + 2 + 1],
  ['chain of chunks in a circle', (ram, at) => writeWord(ram, at.chunk, at.chunk), 'EINVAL', PAGES + 2 + 1],
  ['folio outside RAM', (ram, at) => pfnOf(ram, at, 7, 2 ** 31), 'EIO', 1],
  ['folio beyond 16 TiB', (ram, at) => pfnOf(ram, at, 7, 2 ** 40 + frameOf(ram, at, 7)), 'EINVAL', 1],
  ['folio twice', (ram, at) => pfnOf(ram, at, 7, frameOf(ram, at, 6)), 'EIO', 1],
  ['folio that is the record', (ram, at) => pfnOf(ram, at, 7, at.record / PAGE_SIZE), 'EIO', 1],
  ['folio that is its array', (ram, at) => pfnOf(ram, at, 7, at.array / PAGE_SIZE), 'EIO', 1],
  ['folio of nobody', (ram, at) => pfnOf(ram, at, 7, ram.size / PAGE_SIZE - 1), 'EIO', 1],
  ['folios out of order', (ram, at) => writeWord(ram, at.array + 7 * 16 + 8, 3), 'EINVAL', 0],
  [
    'folio past the end',
    (ram, at) => writeWord(ram, at.array + 299 * 16 - 4096 + 4096 + 8 - 299 * 16 + 7 * 16, 300),
    'EINVAL',
    0,
  ],
  [
    'folio index beyond 2^32',
    (ram, at) => writeWord(ram, at.array + 7 * 16 + 8, 2n ** 33n + 7n),
    'EINVAL',
    0,
  ],
];

/** Frame of folio `i`, without its flags. */
function frameOf(ram: Ram, { array }: HandedOver, i: number): number {
  return Number(wordAt(ram, array + i * 16).getBigUint64(0, true) & (2n ** 52n - 1n));
}

/** Sets the frame of folio `i`, with the flags that go with it. */
function pfnOf(ram: Ram, { array }: HandedOver, i: number, pfn: number): void {
  writeWord(ram, array + i * 16, BigInt(pfn) | (3n << 52n));
}

describe('a damaged record', () => {
  let before: HandedOver;
  beforeAll(async () => {
    before = await handOver((file) => file.write(pattern(PAGES * PAGE_SIZE)));
  });

  test.each(damage)('%s: retrieve refuses, and what can be found is freed', async (_, harm, code, lost) => {
    const kernel = bootDamaged(before, (ram) => harm(ram, before));
    expect(await outcome(() => kernel.luo.retrieveSession('s').retrieve(1))).toBe(code);
    kernel.kho.pages.assertConsistent();
    expect(await endAndCount(kernel, before)).toBe(lost);
  });

  test.each(damage)(
    '%s: finish without retrieve ends the session all the same',
    async (_, harm, __, lost) => {
      const kernel = bootDamaged(before, (ram) => harm(ram, before));
      expect(await endAndCount(kernel, before)).toBe(lost);
    },
  );

  test.each(damage)('%s: both readers say the same, and change nothing', async (_, harm) => {
    const { kho } = bootDamaged(before, (ram) => harm(ram, before));
    const { freePages } = kho.pages;
    const { table } = kho.pages;
    const read = (): MemfdRecord => readMemfdRecord(kho.ram, before.record, 'memfd-v2');
    const lists: unknown[] = [];
    const codes = [
      await outcome(() =>
        lists.push(
          readMemfdFolios(kho.ram, read(), (pfn) => (pfn < table.frames ? table.orderOf(pfn) : 0)).pfns,
        ),
      ),
      await outcome(() => lists.push(readMemfdRuns(kho.ram, read(), kho.pages.table).list().pfns)),
    ];
    expect(codes[0]).toBe(codes[1]);
    expect(lists[0]).toEqual(lists[1]);
    expect(kho.pages.freePages).toBe(freePages);
  });

  test.each([
    ['0', 0n],
    ['no page', 8n],
    ['outside RAM', 2n ** 40n],
    ['beyond 2^53', 2n ** 64n - 1n],
    ['memory that is ours', undefined],
  ])('that is not there (%s): EINVAL, and nothing is touched', async (_, data) => {
    const { handler, kho } = bootDamaged(before, () => undefined);
    const { freePages } = kho.pages;
    const ours = kho.pages.alloc(0, { zero: true });
    const at = data ?? BigInt(ours * PAGE_SIZE);
    const context = { data: at, compatible: 'memfd-v2', flbs: NO_FLBS };
    expect(await outcome(() => handler.retrieve(context))).toBe('EINVAL');
    expect(await outcome(() => handler.finish({ ...context, retrieval: 'untried' }))).toBe('ok');
    expect(kho.pages.isHead(ours)).toBe(true);
    kho.pages.put(ours);
    expect(kho.pages.freePages).toBe(freePages);
  });

  test('is retrieved once', async () => {
    const { handler, kho } = bootDamaged(before, () => undefined);
    const context = { data: BigInt(before.record), compatible: 'memfd-v2', flbs: NO_FLBS };
    await handler.retrieve(context);
    expect(await outcome(() => handler.retrieve(context))).toBe('EINVAL');
    kho.pages.assertConsistent();
  });

  test('of a version that nobody knows', async () => {
    const { handler } = bootDamaged(before, () => undefined);
    const context = { data: BigInt(before.record), compatible: 'memfd-v3', flbs: NO_FLBS };
    expect(await outcome(() => handler.retrieve(context))).toBe('EINVAL');
  });
});

test('retrieving and finishing need no memory', async () => {
  const before = await handOver((file) => file.write(pattern(600 * PAGE_SIZE)));
  for (const retrieved of [true, false]) {
    const kernel = bootDamaged(before, () => undefined);
    const session = kernel.luo.retrieveSession('s');
    const work = async (): Promise<void> => {
      if (retrieved) (await session.retrieve(1, ShmemFile)).close();
      await session.finish();
    };
    expect(await failEachAllocation(kernel, work, () => undefined)).toBe(0);
    kernel.kho.pages.assertConsistent();
    expect(before.freePages - METADATA - kernel.kho.pages.freePages).toBe(0);
  }
});

test('a large folio that does not lie at a multiple of its size is damage', async () => {
  const before = await handOver((file) => file.write(pattern(512 * PAGE_SIZE)), { huge: 'always' });
  const kernel = bootDamaged(before, (ram) => writeWord(ram, before.array + 8, 1));
  expect(await outcome(() => kernel.luo.retrieveSession('s').retrieve(1))).toBe('EINVAL');
  expect(await endAndCount(kernel, before)).toBe(0);
});

describe('a folio that reaches past the end of its file, as Linux makes them', () => {
  test('is counted whole, given back whole, and shows no old bytes when the file grows', async () => {
    const before = await handOver((file) => file.write(pattern(512 * PAGE_SIZE)), { huge: 'always' });
    const kernel = bootDamaged(before, (ram) => writeWord(ram, before.record + RECORD.size, PAGE_SIZE + 10));
    const session = kernel.luo.retrieveSession('s');
    const file = await session.retrieve(1, ShmemFile);
    expect([file.size, kernel.shmem.used]).toEqual([PAGE_SIZE + 10, 512 * PAGE_SIZE]);
    file.truncate(3 * PAGE_SIZE);
    expect(
      contents(file)
        .subarray(PAGE_SIZE + 10)
        .every((byte) => byte === 0),
    ).toBe(true);
    file.close();
    expect(await endAndCount(kernel, before)).toBe(0);
  });
});

describe('memfd-v1', () => {
  /**
   * Writes a v1 record by hand, as Linux 6.19 does, and hands it over. Folios: [page index, order,
   * flags].
   */
  async function handOverV1(size: number, position: number, folios: readonly [number, number, number][]) {
    const kho = bootCold(new HeapRam(8 * 2 ** 20), { freeMemory: 'poison' });
    const old: FileHandler = {
      compatible: 'memfd-v1',
      canPreserve: (file): file is PreservableFile => typeof file === 'object',
      preserve() {
        const block = kho.allocPreserve(40);
        block.view.setBigUint64(0, BigInt(position), true);
        block.view.setBigUint64(8, BigInt(size), true);
        block.view.setBigUint64(16, BigInt(folios.length), true);
        const area = vmalloc(kho.pages, folios.length * 16);
        const words = new DataView(new ArrayBuffer(folios.length * 16));
        for (const [i, [index, order, flags]] of folios.entries()) {
          const pfn = flags < 0 ? 0 : kho.pages.alloc(order, { movable: false });
          if (pfn !== 0) {
            kho.pages.folioBytes(pfn).set(pattern(PAGE_SIZE << order, index));
            kho.preserveFolio(pfn);
          }
          words.setBigUint64(i * 16, BigInt(pfn) | (BigInt(Math.max(0, flags)) << 52n), true);
          words.setBigUint64(i * 16 + 8, BigInt(index), true);
        }
        area.write(new Uint8Array(words.buffer));
        writeVmallocDescriptor(block.bytes.subarray(24, 40), kho.preserveVmalloc(area));
        return { data: block.pa };
      },
      unpreserve: () => undefined,
      retrieve: () => ({}),
      finish: () => undefined,
    };
    const luo = new LiveUpdateOrchestrator({ kho, handlers: [old] });
    const { freePages } = kho.pages;
    await luo.createSession('s').preserve({}, 1);
    await luo.reboot();
    return { ...nextKernel({ kho }), freePages };
  }

  test('comes back with contents, size and position, unsealed; what was never written is zeros', async () => {
    const folios: [number, number, number][] = [
      [0, 0, 3], // dirty and up to date
      [1, 0, 2], // up to date: read, and never written since
      [2, 0, 0], // allocated, and never written: its memory holds anything
      [3, 0, -1], // pfn 0: left out
      [4, 2, 3],
      [8, 2, 1], // dirty alone: not up to date
    ];
    const { luo, kho, shmem, freePages } = await handOverV1(11 * PAGE_SIZE + 5, 77, folios);
    const session = luo.retrieveSession('s');
    expect(session.files[0].compatible).toBe('memfd-v1');
    const file = await session.retrieve(1, ShmemFile);
    await session.finish();
    const expected = new Uint8Array(11 * PAGE_SIZE + 5);
    expected.set(pattern(PAGE_SIZE, 0), 0);
    expected.set(pattern(PAGE_SIZE, 1), PAGE_SIZE);
    expected.set(pattern(4 * PAGE_SIZE, 4), 4 * PAGE_SIZE);
    expect(Buffer.compare(contents(file), expected)).toBe(0);
    expect([file.size, file.position, file.seals]).toEqual([11 * PAGE_SIZE + 5, 77, 0]);
    expect(layoutOf(file)).toEqual([0, 0, 0, -1, 2, 2]);
    file.addSeals(2);
    // Preserved again, it goes on as v2.
    const nodes = kho.mapPages;
    const out = luo.createSession('s');
    await out.preserve(file, 1);
    expect(out.files[0].compatible).toBe('memfd-v2');
    await out.close();
    file.close();
    expect(shmem.used).toBe(0);
    kho.pages.assertConsistent();
    expect(kho.pages.freePages).toBe(freePages - METADATA - (kho.mapPages - nodes));
  });

  test('finished without retrieve, it is free', async () => {
    const { luo, kho, freePages } = await handOverV1(8 * PAGE_SIZE, 0, [
      [0, 0, 3],
      [4, 2, 3],
    ]);
    await luo.retrieveSession('s').finish();
    kho.pages.assertConsistent();
    expect(kho.pages.freePages).toBe(freePages - METADATA);
  });
});

test('errors are KernelErrors', async () => {
  const before = await handOver(() => undefined);
  const { handler } = bootDamaged(before, (ram) => writeWord(ram, before.record + RECORD.count, 1));
  expect(() =>
    handler.retrieve({ data: BigInt(before.record), compatible: 'memfd-v2', flbs: NO_FLBS }),
  ).toThrow(KernelError);
});
