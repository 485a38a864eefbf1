/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and
 * nothing is changed.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import {
  NO_BYTES,
  NO_OBJECT,
  NO_FUNCTION,
  NO_TEXT,
  NO_WHOLE,
  except,
  expectRefused,
  inputRows,
  optional,
  type InputCall,
} from '@liveupdate/base/test-inputs';
import { HeapRam, rowOf, type PageAllocator, type Ram } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { readBlobDescriptor, writeBlobDescriptor, type BlobDescriptor } from './blob-ser.ts';
import { BlockSet, readBlockSet } from './block-set.ts';
import { boot, bootCold, bootHandover, type BootOptions } from './boot.ts';
import { fdtString, type FdtNode } from './fdt.ts';
import { readFdt } from './fdt-reader.ts';
import { writeFdt } from './fdt-writer.ts';
import type { Kho } from './kho.ts';
import { RadixTree } from './radix-tree.ts';
import { walkRadixTree } from './radix-walk.ts';
import {
  readEntry,
  readHandover,
  readKhoTree,
  writeEntry,
  type EntryRecord,
  type Handover,
} from './read-handover.ts';
import {
  framesOfLive,
  orderInLeaves,
  readDeadKernel,
  readLiveLeaves,
  readLiveRecord,
  type LiveLeaf,
  type LiveRecord,
} from './read-live-record.ts';
import { chooseScratch } from './scratch.ts';
import { coldKho, snapshot } from './test-kho.ts';
import {
  readVmallocDescriptor,
  readVmallocPages,
  writeVmallocDescriptor,
  type VmallocDescriptor,
} from './vmalloc-ser.ts';

const EMPTY_NODE: FdtNode = { name: '', properties: new Map(), children: [] };
const NO_DATA = [...except(NO_WHOLE, 5n), 0];
const NO_ENTRY = [...NO_OBJECT, {}, { fdtAddr: Number.NaN, fdtSize: 4096, scratchAddr: 0, scratchSize: 0 }];
const NO_BLOB = [
  ...NO_OBJECT,
  {},
  { length: 5 },
  { length: Number.NaN, memory: { first: 0, totalPages: 0, flags: 0, order: 0 } },
];
const NO_VMALLOC = [
  ...NO_OBJECT,
  {},
  { first: 0.5, totalPages: 1, flags: 0, order: 0 },
  { first: 4096, totalPages: '1', flags: 0, order: 0 },
];

const CALLS: Record<string, InputCall<Kho>> = {
  preserveFolio: [
    (kho, given: number) => {
      kho.preserveFolio(given);
    },
    NO_WHOLE,
  ],
  'preserveRun pfn': [
    (kho, given: number) => {
      kho.preserveRows(rowOf(given, 1, 0));
    },
    NO_WHOLE,
  ],
  'preserveRun count': [
    (kho, given: number) => {
      kho.preserveRows(rowOf(kho.pages.alloc(0), given, 0));
    },
    NO_WHOLE,
  ],
  'preserveRun order': [
    (kho, given: number) => {
      kho.preserveRows(rowOf(kho.pages.alloc(0), 1, given));
    },
    NO_WHOLE,
  ],
  'preserveFolios list': [
    (kho, given: Uint32Array) => {
      kho.preserveFolios(given, 0, 1);
    },
    [...NO_OBJECT, {}, [5]],
  ],
  'preserveFolios from': [
    (kho, given: number) => {
      kho.preserveFolios(Uint32Array.of(5), given, 1);
    },
    optional(NO_WHOLE),
  ],
  'preserveFolios count': [
    (kho, given: number) => {
      kho.preserveFolios(Uint32Array.of(5), 0, given);
    },
    [...optional(NO_WHOLE), 2],
  ],
  'preservePages pfn': [
    (kho, given: number) => {
      kho.preservePages(given, 1);
    },
    NO_WHOLE,
  ],
  'preservePages count': [
    (kho, given: number) => {
      kho.preservePages(kho.pages.alloc(0), given);
    },
    NO_WHOLE,
  ],
  allocPreserve: [
    (kho, given: number) => kho.allocPreserve(given),
    [0, ...NO_WHOLE.filter((each) => typeof each !== 'number' || !(each > 0))],
  ],
  allocPreservePages: [(kho, given: number) => kho.allocPreservePages(given), [...NO_WHOLE, 2 ** 40]],
  at: [(kho, given: number) => kho.at(given), NO_DATA],
  unpreserveFree: [
    (kho, given: number) => {
      kho.unpreserveFree(given);
    },
    NO_DATA.filter((each) => typeof each !== 'number'),
  ],
  restoreFree: [
    (kho, given: number) => {
      kho.restoreFree(given);
    },
    NO_DATA.filter((each) => typeof each !== 'number'),
  ],
  'restorePages pfn': [
    (kho, given: number) => {
      kho.restorePages(given, 1);
    },
    NO_WHOLE,
  ],
  'restorePages count': [
    (kho, given: number) => {
      kho.restorePages(5, given);
    },
    NO_WHOLE,
  ],
  preserveBlob: [(kho, given: Uint8Array) => kho.preserveBlob(given), NO_BYTES],
  unpreserveBlob: [
    (kho, given: BlobDescriptor) => {
      kho.unpreserveBlob(given);
    },
    NO_BLOB,
  ],
  restoreBlob: [(kho, given: BlobDescriptor) => kho.restoreBlob(given), NO_BLOB],
  unpreserveVmalloc: [
    (kho, given: VmallocDescriptor) => {
      kho.unpreserveVmalloc(given);
    },
    NO_VMALLOC,
  ],
  restoreVmalloc: [(kho, given: VmallocDescriptor) => kho.restoreVmalloc(given), NO_VMALLOC],
  'addSubtree name': [
    (kho, given: string) => {
      kho.addSubtree(given, kho.entry.fdtAddr, 8);
    },
    [...NO_TEXT, '', 'a/b', 'a\0'],
  ],
  'addSubtree address': [
    (kho, given: number) => {
      kho.addSubtree('a', given, 8);
    },
    NO_WHOLE,
  ],
  'addSubtree size': [
    (kho, given: number) => {
      kho.addSubtree('a', kho.entry.fdtAddr, given);
    },
    [...NO_WHOLE, 0],
  ],
  whenCommitted: [
    (kho, given: () => void) => {
      kho.whenCommitted(given);
    },
    NO_FUNCTION,
  ],
  removeSubtree: [
    (kho, given: string) => {
      kho.removeSubtree(given);
    },
    NO_TEXT,
  ],
  retrieveSubtree: [(kho, given: string) => kho.retrieveSubtree(given), NO_TEXT],
  readFdt: [(_, given: Uint8Array) => readFdt(given), NO_BYTES],
  writeFdt: [(_, given: FdtNode) => writeFdt(given, 4096), [...NO_OBJECT, {}, { name: '' }]],
  'writeFdt size': [(_, given: number) => writeFdt(EMPTY_NODE, given), NO_WHOLE],
  fdtString: [(_, given: FdtNode) => fdtString(given, 'compatible'), [...NO_OBJECT, {}]],
  'walkRadixTree RAM': [(_, given: Ram) => walkRadixTree(given, 4096, () => undefined), NO_OBJECT],
  'walkRadixTree root': [(kho, given: number) => walkRadixTree(kho.ram, given, () => undefined), NO_WHOLE],
  'walkRadixTree onDamage': [
    (kho, given: () => void) => walkRadixTree(kho.ram, 4096, () => undefined, undefined, given),
    optional(NO_FUNCTION),
  ],
  'walkRadixTree visit': [(kho, given: () => void) => walkRadixTree(kho.ram, 4096, given), NO_FUNCTION],
  'new RadixTree': [(_, given: PageAllocator) => new RadixTree(given), NO_OBJECT],
  chooseScratch: [(_, given: Ram) => chooseScratch(given), NO_OBJECT],
  readEntry: [(_, given: Uint8Array) => readEntry(given), [...NO_BYTES, new Uint8Array(31)]],
  'writeEntry bytes': [
    (kho, given: Uint8Array) => {
      writeEntry(given, kho.entry);
    },
    [...NO_BYTES, new Uint8Array(31)],
  ],
  'writeEntry entry': [
    (_, given: EntryRecord) => {
      writeEntry(new Uint8Array(32), given);
    },
    NO_ENTRY,
  ],
  'readLiveRecord RAM': [(_, given: Ram) => readLiveRecord(given, 4096), NO_OBJECT],
  'readLiveRecord address': [(kho, given: number) => readLiveRecord(kho.ram, given), NO_WHOLE],
  'readLiveRecord what is told of damage': [
    (kho, given: () => void) => readLiveRecord(kho.ram, 4096, 1, given),
    optional(NO_FUNCTION),
  ],
  'readLiveLeaves RAM': [(_, given: Ram) => readLiveLeaves(given, { pages: [] } as never), NO_OBJECT],
  'readLiveLeaves record': [(kho, given: LiveRecord) => readLiveLeaves(kho.ram, given), [...NO_OBJECT, {}]],
  'readDeadKernel RAM': [(_, given: Ram) => readDeadKernel(given, {} as LiveRecord), NO_OBJECT],
  'readDeadKernel record': [(kho, given: LiveRecord) => readDeadKernel(kho.ram, given), [...NO_OBJECT, {}]],
  framesOfLive: [(_, given: LiveRecord) => framesOfLive(given), [...NO_OBJECT, {}]],
  orderInLeaves: [(_, given: LiveLeaf[]) => orderInLeaves(given), [...NO_OBJECT, {}]],
  'readHandover onDamage': [
    (kho, given: () => void) => readHandover(kho.ram, kho.entry, given),
    optional(NO_FUNCTION),
  ],
  'readKhoTree RAM': [(_, given: Ram) => readKhoTree(given, 4096), NO_OBJECT],
  'readKhoTree address': [(kho, given: number) => readKhoTree(kho.ram, given), [...NO_WHOLE, 0, 100]],
  readHandover: [(kho, given: EntryRecord) => readHandover(kho.ram, given), NO_ENTRY],
  'boot entry': [(kho, given: EntryRecord) => boot(kho.ram, given), NO_ENTRY],
  readVmallocDescriptor: [
    (_, given: Uint8Array) => readVmallocDescriptor(given),
    [...NO_BYTES, new Uint8Array(15)],
  ],
  'writeVmallocDescriptor bytes': [
    (_, given: Uint8Array) => {
      writeVmallocDescriptor(given, { first: 0, totalPages: 0, flags: 0, order: 0 });
    },
    [...NO_BYTES, new Uint8Array(15)],
  ],
  'writeVmallocDescriptor descriptor': [
    (_, given: VmallocDescriptor) => {
      writeVmallocDescriptor(new Uint8Array(16), given);
    },
    NO_VMALLOC,
  ],
  readVmallocPages: [(kho, given: VmallocDescriptor) => readVmallocPages(kho.ram, given), NO_VMALLOC],
  readBlobDescriptor: [
    (_, given: Uint8Array) => readBlobDescriptor(given),
    [...NO_BYTES, new Uint8Array(23)],
  ],
  'writeBlobDescriptor descriptor': [
    (_, given: BlobDescriptor) => {
      writeBlobDescriptor(new Uint8Array(24), given);
    },
    NO_BLOB,
  ],
  'new BlockSet': [(kho, given: number) => new BlockSet(kho, given), [...NO_WHOLE, 0]],
  'readBlockSet address': [(kho, given: number) => readBlockSet(kho.ram, given, 16), NO_WHOLE],
  'readBlockSet size': [(kho, given: number) => readBlockSet(kho.ram, 0, given), [...NO_WHOLE, 0]],
  'bootCold options': [(_, given: BootOptions) => bootCold(new HeapRam(2 ** 20), given), optional(NO_OBJECT)],
  'bootCold confinedTo': [
    (_, confinedTo: number[]) => bootCold(new HeapRam(2 ** 20), { confinedTo }),
    [null, 5, 'a', {}, [], [1, 1]],
  ],
  'bootCold freeMemory': [
    (_, freeMemory: 'keep') => bootCold(new HeapRam(2 ** 20), { freeMemory }),
    ['', 'Keep', null, 5, true, {}],
  ],
  'bootCold release': [
    (_, release: string) => bootCold(new HeapRam(2 ** 20), { release }),
    [...optional(NO_TEXT), 'a'.repeat(65)],
  ],
  'bootCold scratch': [
    (_, scratch: []) => bootCold(new HeapRam(2 ** 20), { scratch }),
    [
      null,
      5,
      'a',
      {},
      [5],
      [null],
      [{}],
      [{ addr: Number.NaN, size: PAGE_SIZE }],
      [{ addr: PAGE_SIZE, size: 0.5 }],
    ],
  ],
  'bootHandover options': [
    (kho, freeMemory: 'keep') => bootHandover(kho.ram, {} as Handover, { freeMemory }),
    ['', 'Keep', null, 5],
  ],
};

test.each(inputRows(CALLS))('$title', async ({ call }) => {
  const kho = coldKho(2 ** 20, { freeMemory: 'zero' });
  const { pages } = kho;
  const allocated: number[] = [];
  const alloc = pages.alloc.bind(pages);
  pages.alloc = (...args) => {
    const pfn = alloc(...args);
    allocated.push(pfn);
    return pfn;
  };
  const before = snapshot(kho);
  await expectRefused(() => call(kho));
  for (const pfn of allocated) pages.put(pfn); // what the call was given
  expect(snapshot(kho)).toEqual(before);
});
