import { PAGE_SIZE } from '@liveupdate/base';
import {
  MFD_ALLOW_SEALING,
  SEAL_ALL,
  SEAL_EXEC,
  SEAL_FUTURE_WRITE,
  SEAL_GROW,
  SEAL_SEAL,
  SEAL_SHRINK,
  SEAL_WRITE,
  ShmemFile,
  type HugePolicy,
} from '@liveupdate/shmem';
import { describe, expect, test } from 'vitest';
import { coldKernel, contents, layoutOf, METADATA, nextKernel, outcome, pattern } from './test-kernel.ts';

const MIB = 2 ** 20;

interface Case {
  readonly name: string;
  readonly make: (file: ShmemFile) => void;
  /** Orders of the folios that arrive. */
  readonly layout?: readonly number[];
  readonly huge?: HugePolicy;
}

const cases: Case[] = [
  { name: 'empty', make: () => undefined, layout: [] },
  { name: 'one byte', make: (file) => file.write(pattern(1)), layout: [0] },
  { name: 'a page less a byte', make: (file) => file.write(pattern(PAGE_SIZE - 1)), layout: [0] },
  { name: 'a page', make: (file) => file.write(pattern(PAGE_SIZE)), layout: [0] },
  { name: 'a page and a byte', make: (file) => file.write(pattern(PAGE_SIZE + 1)), layout: [0, 0] },
  { name: 'a megabyte and some', make: (file) => file.write(pattern(MIB + 12_345)) },
  {
    name: 'sparse',
    make: (file) => {
      for (const page of [1, 5, 6, 20]) file.pwrite(pattern(100, page), page * PAGE_SIZE + 50);
    },
    layout: Array<number>(21).fill(0),
  },
  {
    name: 'a hole at the end',
    make: (file) => {
      file.write(pattern(100));
      file.truncate(5 * PAGE_SIZE + 1);
    },
    layout: Array<number>(6).fill(0),
  },
  { name: 'nothing but a hole', make: (file) => file.truncate(3 * PAGE_SIZE), layout: [0, 0, 0] },
  { name: 'allocated and never written', make: (file) => file.allocate(0, 3 * PAGE_SIZE), layout: [0, 0, 0] },
  {
    name: 'shrunk',
    make: (file) => {
      file.write(pattern(5 * PAGE_SIZE));
      file.truncate(PAGE_SIZE + 100);
    },
    layout: [0, 0],
  },
  { name: 'a 2 MiB folio', make: (file) => file.write(pattern(2 * MIB)), layout: [9], huge: 'always' },
  {
    name: 'mixed orders',
    make: (file) => file.pwrite(pattern(2 * MIB + 7 * PAGE_SIZE), PAGE_SIZE),
    layout: [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 3],
    huge: 'always',
  },
  {
    name: 'large folios around single ones',
    make: (file) => {
      file.pwrite(pattern(10), 5 * PAGE_SIZE);
      file.truncate(16 * PAGE_SIZE);
    },
    layout: [2, 0, 0, 1, 3],
    huge: 'always',
  },
  {
    name: 'a large folio split',
    make: (file) => {
      file.write(pattern(2 * MIB));
      file.truncate(40 * PAGE_SIZE);
    },
    layout: Array<number>(40).fill(0),
    huge: 'always',
  },
  {
    name: 'more folios than a page of the array lists',
    make: (file) => file.write(pattern(600 * PAGE_SIZE)),
  },
  {
    name: 'a position',
    make: (file) => {
      file.write(pattern(100));
      file.seek(77);
    },
  },
  {
    name: 'a position past the end',
    make: (file) => {
      file.write(pattern(100));
      file.seek(2 ** 53 - 1);
    },
  },
  ...[0, SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_WRITE, SEAL_FUTURE_WRITE, SEAL_EXEC, SEAL_ALL].map(
    (seals) => ({
      name: `seals ${seals}`,
      make: (file: ShmemFile) => {
        file.write(pattern(5000));
        file.addSeals(seals);
      },
    }),
  ),
];

describe('what is preserved in one kernel is there in the next', () => {
  test.each(cases)('$name', async ({ make, layout, huge = 'never' }) => {
    const first = coldKernel({ huge });
    const { freePages } = first.kho.pages;
    const file = first.shmem.memfdCreate('f', MFD_ALLOW_SEALING);
    make(file);
    const bytes = contents(file);
    await first.luo.createSession('s').preserve(file, 1);
    const orders = layoutOf(file);
    if (layout) expect(orders).toEqual(layout);
    await first.luo.reboot();

    const second = nextKernel(first, { huge });
    const session = second.luo.retrieveSession('s');
    expect(session.files.map(({ compatible }) => compatible)).toEqual(['memfd-v2']);
    const same = await session.retrieve(1, ShmemFile);
    await session.finish();
    expect([same.size, same.position, same.seals]).toEqual([file.size, file.position, file.seals]);
    expect(Buffer.compare(contents(same), bytes)).toBe(0);
    expect(layoutOf(same)).toEqual(orders);
    expect(second.shmem.used).toBe(orders.reduce((sum, order) => sum + 2 ** order, 0) * PAGE_SIZE);
    second.kho.pages.assertConsistent();
    same.close(); // ours; the session's went with finish
    expect(second.shmem.used).toBe(0);
    second.kho.pages.assertConsistent();
    expect(second.kho.pages.freePages).toBe(freePages - METADATA);
  });

  test.each(cases)(
    '$name, and nobody wants it: all of it is free again',
    async ({ make, huge = 'never' }) => {
      const first = coldKernel({ huge });
      const { freePages } = first.kho.pages;
      const file = first.shmem.memfdCreate('f', MFD_ALLOW_SEALING);
      make(file);
      await first.luo.createSession('s').preserve(file, 1);
      await first.luo.reboot();
      const second = nextKernel(first);
      await second.luo.retrieveSession('s').finish();
      expect(second.shmem.used).toBe(0);
      second.kho.pages.assertConsistent();
      expect(second.kho.pages.freePages).toBe(freePages - METADATA);
    },
  );

  test.each(cases)(
    '$name, taken back: everything is as if it had never been preserved',
    async ({ make, huge = 'never' }) => {
      const kernel = coldKernel({ huge });
      const file = kernel.shmem.memfdCreate('f', MFD_ALLOW_SEALING);
      make(file);
      const bytes = contents(file);
      const session = kernel.luo.createSession('s');
      await session.preserve(file, 1);
      expect(file.inode.isFrozen).toBe(true);
      const used = kernel.shmem.used;
      await session.unpreserve(1);
      expect(file.inode.isFrozen).toBe(false);
      expect(Buffer.compare(contents(file), bytes)).toBe(0);
      // Its holes stay filled, as others may have written there; a second round takes nothing more.
      expect(kernel.shmem.used).toBe(used);
      await session.preserve(file, 1);
      await session.close();
      kernel.kho.pages.assertConsistent();
      file.close();
      expect(kernel.shmem.used).toBe(0);
    },
  );
});

test('all files at once, through ten generations, changed in each', async () => {
  let kernel = coldKernel({ huge: 'advise' }, 32 * MIB);
  let files = cases.map(({ make, name }) => {
    const file = kernel.shmem.memfdCreate(name, MFD_ALLOW_SEALING);
    if (name.includes('large') || name.includes('2 MiB') || name.includes('mixed')) file.adviseHuge();
    make(file);
    return file;
  });
  const free: number[] = [];
  for (let generation = 0; generation < 10; generation++) {
    const expected = files.map((file) => contents(file));
    const out = kernel.luo.createSession('s');
    for (const [i, file] of files.entries()) await out.preserve(file, i);
    for (const [i, file] of files.entries()) {
      if (file.size === 0 || (file.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE)) !== 0) continue;
      file.pwrite(Uint8Array.of(generation + 1), generation % file.size); // after preserve, before the handover
      expected[i][generation % file.size] = generation + 1;
      file.seek(generation);
    }
    await kernel.luo.reboot();
    kernel = nextKernel(kernel, { huge: 'advise' });
    const session = kernel.luo.retrieveSession('s');
    files = [];
    for (const { token } of session.files) files.push(await session.retrieve(token, ShmemFile));
    await session.finish();
    expect(files.map((file, i) => Buffer.compare(contents(file), expected[i]))).toEqual(files.map(() => 0));
    kernel.kho.pages.assertConsistent();
    free.push(kernel.kho.pages.freePages);
  }
  expect(new Set(free.slice(1)).size).toBe(1); // generations cost nothing
});

test('what a mapping writes between preserve and handover arrives', async () => {
  const first = coldKernel();
  const file = first.shmem.memfdCreate('f');
  file.allocate(0, 8 * PAGE_SIZE);
  const mapping = file.map();
  const session = first.luo.createSession('s');
  await session.preserve(file, 1);
  mapping.bytes.set(pattern(8 * PAGE_SIZE));
  await first.luo.reboot();
  mapping.bytes[0] = 99; // frozen or not: the memory is the same until the next kernel has it
  const same = await nextKernel(first).luo.retrieveSession('s').retrieve(1, ShmemFile);
  const expected = pattern(8 * PAGE_SIZE);
  expected[0] = 99;
  expect(contents(same)).toEqual(expected);
});

test('files of one inode are one file: a second description is refused', async () => {
  const { luo, shmem } = coldKernel();
  const file = shmem.memfdCreate('f');
  const other = new ShmemFile(file.inode);
  const session = luo.createSession('s');
  await session.preserve(file, 1);
  expect(await outcome(() => session.preserve(other, 2))).toBe('EBUSY');
  await session.unpreserve(1);
  await session.preserve(other, 2);
});

test('the file goes on as an ordinary one in the next kernel', async () => {
  const first = coldKernel();
  const file = first.shmem.memfdCreate('f');
  file.write(pattern(PAGE_SIZE + 100));
  await first.luo.createSession('s').preserve(file, 1);
  await first.luo.reboot();
  const { luo, kho, shmem } = nextKernel(first);
  const session = luo.retrieveSession('s');
  const same = await session.retrieve(1, ShmemFile);
  await session.finish();
  same.truncate(3 * PAGE_SIZE);
  expect(
    contents(same)
      .subarray(PAGE_SIZE + 100)
      .every((byte) => byte === 0),
  ).toBe(true);
  same.write(pattern(2 * PAGE_SIZE, 5));
  same.truncate(100);
  expect(shmem.used).toBe(PAGE_SIZE);
  same.close();
  expect(shmem.used).toBe(0);
  kho.pages.assertConsistent();
});

describe('what changes between preserve and the handover arrives as it is at the handover', () => {
  const late: [name: string, change: (file: ShmemFile) => void][] = [
    ['the position', (file) => file.seek(33)],
    ...[SEAL_SEAL, SEAL_SHRINK, SEAL_GROW, SEAL_WRITE, SEAL_FUTURE_WRITE, SEAL_EXEC].map(
      (seals): [string, (file: ShmemFile) => void] => [
        `seal ${seals}`,
        (file) => {
          file.addSeals(seals);
        },
      ],
    ),
    [
      'seals in two steps, and the position',
      (file) => {
        file.addSeals(SEAL_SHRINK);
        file.seek(12);
        file.addSeals(SEAL_SEAL);
      },
    ],
  ];

  test.each(late)('%s', async (_, change) => {
    const first = coldKernel();
    const file = first.shmem.memfdCreate('f', MFD_ALLOW_SEALING);
    file.write(pattern(5000));
    await first.luo.createSession('s').preserve(file, 1);
    change(file);
    await first.luo.reboot();
    const same = await nextKernel(first).luo.retrieveSession('s').retrieve(1, ShmemFile);
    expect([same.seals, same.position]).toEqual([file.seals, file.position]);
    expect(contents(same)).toEqual(pattern(5000));
  });

  test.each(late)('%s, after a handover that was called off', async (_, change) => {
    const first = coldKernel();
    const file = first.shmem.memfdCreate('f', MFD_ALLOW_SEALING);
    file.write(pattern(5000));
    await first.luo.createSession('s').preserve(file, 1);
    await first.luo.reboot();
    await first.luo.cancelReboot();
    change(file);
    await first.luo.reboot();
    const same = await nextKernel(first).luo.retrieveSession('s').retrieve(1, ShmemFile);
    expect([same.seals, same.position]).toEqual([file.seals, file.position]);
  });
});

describe('a file closed once too often', () => {
  test('stays with its session, and with the next kernel', async () => {
    const first = coldKernel();
    const file = first.shmem.memfdCreate('f');
    file.write(pattern(5000));
    const session = first.luo.createSession('s');
    await session.preserve(file, 1);
    file.close();
    for (const close of ['close', 'put', 'close'] as const)
      expect(await outcome(() => file[close]())).toBe('EBADF');
    await first.luo.reboot();
    const second = nextKernel(first);
    const incoming = second.luo.retrieveSession('s');
    const same = await incoming.retrieve(1, ShmemFile);
    same.close();
    expect(
      await outcome(() => {
        same.close();
      }),
    ).toBe('EBADF');
    const again = await incoming.retrieve(1, ShmemFile);
    expect(contents(again)).toEqual(pattern(5000));
    again.close();
    expect(
      await outcome(() => {
        again.close();
      }),
    ).toBe('EBADF');
    await incoming.finish();
    expect(second.shmem.used).toBe(0);
    second.kho.pages.assertConsistent();
  });

  test('is taken back as any other', async () => {
    const { luo, shmem, kho } = coldKernel();
    const session = luo.createSession('s');
    for (const end of [() => session.unpreserve(1), () => session.close()]) {
      const file = shmem.memfdCreate('f');
      file.write(pattern(5000));
      await session.preserve(file, 1);
      file.close();
      expect(
        await outcome(() => {
          file.close();
        }),
      ).toBe('EBADF');
      await end();
      expect(shmem.used).toBe(0);
      expect(await outcome(() => file.size && file.read(new Uint8Array(1)))).toBe('EBADF');
    }
    kho.pages.assertConsistent();
  });
});
