/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and
 * nothing is changed. The methods that work frame by frame (of PageTable, Residency, FolioRuns,
 * folioBytes) are no such inputs: they take frames that there are.
 */
import { MAX_ORDER, PAGE_SIZE } from '@liveupdate/base';
import {
  BYTES_IN_ALL_SHAPES,
  except,
  expectRefused,
  FORTY_BYTES,
  inputRows,
  NO_BYTES,
  NO_FUNCTION,
  NO_INTEGER,
  NO_LIST,
  NO_OBJECT,
  NO_TEXT,
  NO_WHOLE,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import { expect, test } from 'vitest';
import { HeapRam } from './heap-ram.ts';
import { usableMemory, withMemoryMap, type MemoryMapEntry } from './memory-map.ts';
import { PageAllocator } from './page-allocator.ts';
import { PageTable } from './page-table.ts';
import { RamWords } from './ram-words.ts';
import { checkPages, checkRam, checkRamSize, checkRange, type Ram } from './ram.ts';
import { Residency } from './residency.ts';
import { overlayRam, SparseRam, type BlockLoader } from './sparse-ram.ts';
import { setup } from './test-allocator.ts';
import { vmalloc, VmallocArea } from './vmalloc.ts';

const SIZE = 64 * PAGE_SIZE;

interface World {
  readonly pages: PageAllocator;
  readonly area: VmallocArea;
}

/** Whole numbers that are no place in RAM are EFAULT: that is no wrong kind. */
const OUTSIDE = [-PAGE_SIZE, SIZE + PAGE_SIZE, 2 ** 53];
const NO_ADDRESS = except(NO_INTEGER, 2 ** 53);
const NO_SIZE = [...NO_WHOLE, 0, 5000, 2 ** 45];
const NO_RAM = [...NO_OBJECT, {}, { size: SIZE }, { size: '4096', bytes: () => new Uint8Array(0) }];
const NO_ORDER = [...NO_WHOLE, MAX_ORDER + 1];
const NO_COUNT = [...NO_WHOLE, 2 ** 32];
/** A file that has nothing in it. */
const NO_MAP = [
  ...NO_LIST,
  ...NO_OBJECT.map((given) => [given]),
  [{}],
  ...NO_WHOLE.map((pa) => [{ pa, length: PAGE_SIZE, kind: 'usable' }]),
  ...NO_WHOLE.map((length) => [{ pa: 0, length, kind: 'usable' }]),
  ...NO_TEXT.map((kind) => [{ pa: 0, length: PAGE_SIZE, kind }]),
  [{ pa: 0, length: PAGE_SIZE, kind: 'Usable' }],
];
const NO_PIECES = [...NO_LIST, ...NO_OBJECT.map((given) => [given]), [{}], [{ pa: 0.5, length: PAGE_SIZE }]];
const NO_FRAMES = [...NO_OBJECT, {}, [1, 2], Uint8Array.of(1)];

const RAMS: Record<string, () => Ram> = {
  HeapRam: () => new HeapRam(SIZE),
  SparseRam: () => new SparseRam(SIZE),
  'an overlay': () => overlayRam(new HeapRam(SIZE)),
  'a RAM with a map': () => withMemoryMap(new HeapRam(SIZE), [{ pa: 0, length: SIZE, kind: 'usable' }]),
};

const ranges = Object.entries(RAMS).flatMap(([name, make]): [string, InputCall<World>][] => [
  [`bytes of ${name}, address`, [(_, pa: number) => make().bytes(pa, 1), NO_ADDRESS]],
  [`bytes of ${name}, address outside`, [(_, pa: number) => make().bytes(pa, 1), OUTSIDE, 'EFAULT']],
  [`bytes of ${name}, length`, [(_, length: number) => make().bytes(0, length), NO_ADDRESS]],
  [`bytes of ${name}, length outside`, [(_, length: number) => make().bytes(0, length), OUTSIDE, 'EFAULT']],
  [
    `discard of ${name}, address`,
    [
      (_, pa: number) => {
        make().discard(pa, PAGE_SIZE);
      },
      [...NO_ADDRESS, 1],
    ],
  ],
  [
    `discard of ${name}, length`,
    [
      (_, length: number) => {
        make().discard(0, length);
      },
      [...NO_ADDRESS, 1],
    ],
  ],
]);

const CALLS: Record<string, InputCall<World>> = {
  ...Object.fromEntries(ranges),
  'new HeapRam': [(_, given: number) => new HeapRam(given), NO_SIZE],
  'new SparseRam size': [(_, given: number) => new SparseRam(given), NO_SIZE],
  'new SparseRam loader': [(_, given: BlockLoader) => new SparseRam(SIZE, given), optional(NO_FUNCTION)],
  overlayRam: [(_, given: Ram) => overlayRam(given), NO_RAM],
  'withMemoryMap RAM': [
    (_, given: Ram) => withMemoryMap(given, [{ pa: 0, length: SIZE, kind: 'usable' }]),
    NO_RAM,
  ],
  'withMemoryMap map': [
    (_, given: MemoryMapEntry[]) => withMemoryMap(new HeapRam(SIZE), given),
    [...NO_MAP, []],
  ],
  'usableMemory map': [(_, given: MemoryMapEntry[]) => usableMemory(given, SIZE), NO_MAP],
  'usableMemory size': [
    (_, given: number) => usableMemory([{ pa: 0, length: SIZE, kind: 'usable' }], given),
    NO_WHOLE,
  ],
  checkRam: [
    (_, given: Ram) => {
      checkRam(given);
    },
    NO_RAM,
  ],
  checkRamSize: [
    (_, given: number) => {
      checkRamSize(given);
    },
    NO_SIZE,
  ],
  'checkRange address': [
    (_, given: number) => {
      checkRange(SIZE, given, 1);
    },
    NO_ADDRESS,
  ],
  'checkPages length': [
    (_, given: number) => {
      checkPages(SIZE, 0, given);
    },
    [...NO_ADDRESS, 1],
  ],
  'new PageTable size': [(_, given: number) => new PageTable(given), [...NO_WHOLE, 2 ** 45]],
  'new PageTable memory': [(_, given: []) => new PageTable(SIZE, given), optional(NO_PIECES)],
  'new PageAllocator RAM': [(_, given: Ram) => new PageAllocator(given, new PageTable(SIZE)), NO_RAM],
  'new PageAllocator table': [
    (_, given: PageTable) => new PageAllocator(new HeapRam(SIZE), given),
    [...NO_OBJECT, {}],
  ],
  'new PageAllocator, the frames that it is confined to': [
    (_, given: number[]) => new PageAllocator(new HeapRam(SIZE), new PageTable(SIZE), given),
    [
      ...optional(NO_LIST),
      [1],
      [-1, 1],
      [1, -1],
      [1.5, 1],
      [0, SIZE / PAGE_SIZE + 1],
      [4, 2, 5, 1],
      [1, 1, 0, 1],
    ],
  ],
  'new Residency RAM': [(_, given: Ram) => new Residency(given, new PageTable(SIZE)), NO_RAM],
  'new RamWords': [(_, given: Ram) => new RamWords(given), NO_RAM],
  alloc: [({ pages }, given: number) => pages.alloc(given), NO_ORDER],
  'allocBulk list': [
    ({ pages }, given: Uint32Array) => {
      pages.allocBulk(given, 0, 1);
    },
    NO_FRAMES,
  ],
  'allocBulk index': [
    ({ pages }, given: number) => {
      pages.allocBulk(new Uint32Array(2), given, 1);
    },
    [...NO_WHOLE, 2],
  ],
  'allocBulk count': [
    ({ pages }, given: number) => {
      pages.allocBulk(new Uint32Array(2), 0, given);
    },
    [...NO_COUNT, 3],
  ],
  'allocRuns count': [
    ({ pages }, given: number) => {
      pages.allocRuns(given, {}, () => undefined);
    },
    except(NO_COUNT, 2 ** 32),
  ],
  prepare: [({ pages }, given: number) => pages.prepare(given), except(NO_COUNT, 2 ** 32)],
  hasFree: [({ pages }, given: number) => pages.hasFree(given), NO_INTEGER],
  holdFreed: [
    ({ pages }, given: () => void) => {
      pages.holdFreed(given);
    },
    optional(NO_FUNCTION),
  ],
  'holdFreed beside': [
    ({ pages }, given: number) => {
      pages.holdFreed(undefined, given);
    },
    optional(NO_WHOLE),
  ],
  'vmalloc pages': [(_, given: PageAllocator) => vmalloc(given, 1), [...NO_OBJECT, {}]],
  'vmalloc bytes': [({ pages }, given: number) => vmalloc(pages, given), [...NO_WHOLE, 0]],
  'vmalloc order': [({ pages }, given: number) => vmalloc(pages, 1, given), optional(NO_ORDER)],
  'new VmallocArea pages': [
    (_, given: PageAllocator) => new VmallocArea(given, Uint32Array.of(1), 0),
    [...NO_OBJECT, {}],
  ],
  'new VmallocArea frames': [({ pages }, given: Uint32Array) => new VmallocArea(pages, given, 0), NO_FRAMES],
  'new VmallocArea order': [
    ({ pages }, given: number) => new VmallocArea(pages, Uint32Array.of(1), given),
    NO_ORDER,
  ],
  'area.read target': [
    ({ area }, given: Uint8Array) => {
      area.read(given);
    },
    NO_BYTES,
  ],
  'area.read offset': [
    ({ area }, given: number) => {
      area.read(new Uint8Array(1), given);
    },
    optional(NO_WHOLE),
  ],
  'area.write source': [
    ({ area }, given: Uint8Array) => {
      area.write(given);
    },
    NO_BYTES,
  ],
  'area.write offset': [
    ({ area }, given: number) => {
      area.write(new Uint8Array(1), given);
    },
    optional(NO_WHOLE),
  ],
};

test.each(inputRows(CALLS))('$title is $code', async ({ call, code }) => {
  const pages = setup();
  const area = vmalloc(pages, 2 * PAGE_SIZE);
  area.write(new Uint8Array(area.length).fill(7));
  const before = [pages.freePages, pages.table.snapshot()];
  await expectRefused(() => call({ pages, area }), code);
  expect([pages.freePages, pages.table.snapshot()]).toEqual(before);
  const after = new Uint8Array(area.length);
  area.read(after);
  expect(after.every((byte) => byte === 7)).toBe(true);
  pages.assertConsistent();
});

test('a system under a RAM with a map is asked for the whole of what is written', () => {
  const under = new HeapRam(SIZE);
  const asked: [number, number][] = [];
  const system = {
    write: (pa: number, bytes: Uint8Array) => asked.push([pa, bytes.length]),
    read: (pa: number, bytes: Uint8Array) => asked.push([pa, bytes.length]),
  };
  Object.assign(under, { system });
  const ram = withMemoryMap(under, [{ pa: 0, length: PAGE_SIZE, kind: 'usable' }]);
  const words = new Uint16Array(4) as unknown as Uint8Array;
  ram.system?.write(PAGE_SIZE - 8, words);
  ram.system?.read(PAGE_SIZE - 8, words);
  expect(asked).toEqual([
    [PAGE_SIZE - 8, 8],
    [PAGE_SIZE - 8, 8],
  ]);
  expect(() => ram.system?.write(PAGE_SIZE - 4, words)).toThrow(expect.objectContaining({ code: 'EFAULT' }));
  expect(() => {
    ram.system?.read(PAGE_SIZE - 4, words);
  }).toThrow(expect.objectContaining({ code: 'EFAULT' }));
});

test.each(BYTES_IN_ALL_SHAPES)('the bytes of a %s are taken whole', (_, given) => {
  const area = vmalloc(setup(), 2 * PAGE_SIZE);
  area.write(given, PAGE_SIZE - 3);
  const target = new Float64Array(5);
  area.read(target, PAGE_SIZE - 3);
  expect(new Uint8Array(target.buffer)).toEqual(FORTY_BYTES);
});
