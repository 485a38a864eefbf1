/**
 * Memory is refused: every time that an operation asks for some, once, it gets none, of the
 * allocator (ENOMEM) or of the system (ENOSPC). After each refusal everything is as before, by a
 * full snapshot; which blocks are free follows from which frames are, and is proved by
 * assertConsistent.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { FolioRuns, PageAllocator, vmalloc, rowOf } from '@liveupdate/mm';
import { refusingSystem, removeSystem } from '@liveupdate/mm/test-system';
import { expect, test } from 'vitest';
import { BlockSet } from './block-set.ts';
import { bootCold } from './boot.ts';
import { Kho } from './kho.ts';
import { readHandover } from './read-handover.ts';
import {
  allAre,
  coldKho,
  failEachAllocation,
  folioOfEachOrder,
  MiB,
  nextKho,
  rowOfPages,
  scatteredPages,
  snapshot,
  withFailure,
} from './test-kho.ts';

/** What an operation needs, made before memory is refused, and the operation. */
type Prepare = (kho: Kho) => () => void;

function runsOfEachOrder(kho: Kho): FolioRuns {
  const runs = new FolioRuns();
  for (const [order, pfn] of folioOfEachOrder(kho.pages).entries()) runs.push(4096 * order, pfn, 1, order);
  return runs;
}

function blockSetOf(kho: Kho, entries: number): BlockSet {
  const set = new BlockSet(kho, 2000); // two in a block
  for (let i = 0; i < entries; i++) set.announce();
  return set;
}

const BYTES = new Uint8Array(2_200_000).fill(7); // more than one chunk of pages

/** Operations of one kernel, and how often each asks for memory at least. */
const OPERATIONS: Record<string, [asks: number, prepare: Prepare]> = {
  alloc: [2, (kho) => () => kho.pages.alloc(3, { zero: true })],
  'alloc, movable': [2, (kho) => () => kho.pages.alloc(0, { movable: true })],
  'allocBulk in many blocks': [
    5,
    (kho) => {
      scatteredPages(kho.pages, 40);
      return () => kho.pages.allocBulk(new Uint32Array(900), 0, 900, { zero: true });
    },
  ],
  vmalloc: [3, (kho) => () => vmalloc(kho.pages, 5 * MiB)],
  'vmalloc in pieces of order 3': [40, (kho) => () => vmalloc(kho.pages, 20 * 8 * PAGE_SIZE, 3)],
  preserveFolio: [
    10,
    (kho) => {
      const pfn = kho.pages.alloc(4);
      return () => kho.preserveFolio(pfn);
    },
  ],
  preserveRun: [
    10,
    (kho) => {
      const folio = kho.pages.alloc(3);
      return () => kho.preserveRows(rowOf(folio, 1, 3));
    },
  ],
  preserveRows: [
    20,
    (kho) => {
      const runs = runsOfEachOrder(kho);
      return () => kho.preserveRows(runs);
    },
  ],
  preserveFolios: [
    20,
    (kho) => {
      const pfns = folioOfEachOrder(kho.pages);
      return () => kho.preserveFolios(pfns);
    },
  ],
  preservePages: [
    10,
    (kho) => {
      const row = rowOfPages(kho, 40);
      return () => kho.preservePages(row + 1, 35);
    },
  ],
  allocPreserve: [12, (kho) => () => kho.allocPreserve(5 * PAGE_SIZE)],
  preserveVmalloc: [
    4,
    (kho) => {
      const area = vmalloc(kho.pages, 3500 * PAGE_SIZE);
      scatteredPages(kho.pages, 40); // the pages that list it are taken at once: from several blocks
      return () => kho.preserveVmalloc(area);
    },
  ],
  'preserveVmalloc in pieces of order 2': [
    4,
    (kho) => {
      const area = vmalloc(kho.pages, 600 * 4 * PAGE_SIZE, 2);
      return () => kho.preserveVmalloc(area);
    },
  ],
  preserveBlob: [6, (kho) => () => kho.preserveBlob(BYTES)],
  'addSubtree of a new block': [
    2,
    (kho) => () => {
      const block = kho.allocPreserve(8);
      kho.addSubtree('x', block.pa, 8);
    },
  ],
  'announce, the first': [2, (kho) => () => blockSetOf(kho, 1)],
  'announce, the one that needs another block': [
    2,
    (kho) => {
      const set = blockSetOf(kho, 4);
      return () => set.announce();
    },
  ],
};

test.for(Object.entries(OPERATIONS))('%s', ([, [asks, prepare]]) => {
  const failures = failEachAllocation(() => {
    const kho = coldKho(24 * MiB, { freeMemory: 'zero' });
    return { kho, operation: prepare(kho) };
  });
  expect(failures).toBeGreaterThanOrEqual(asks);
});

/** Operations that need no memory: they work when there is none at all. */
const FRUGAL: Record<string, Prepare> = {
  unpreserveFolios: (kho) => {
    const pfns = folioOfEachOrder(kho.pages);
    kho.preserveFolios(pfns);
    return () => kho.unpreserveFolios(pfns);
  },
  unpreserveRows: (kho) => {
    const runs = runsOfEachOrder(kho);
    kho.preserveRows(runs);
    return () => kho.unpreserveRows(runs);
  },
  unpreservePages: (kho) => {
    const row = rowOfPages(kho, 40);
    kho.preservePages(row + 1, 35);
    return () => kho.unpreservePages(row + 1, 35);
  },
  unpreserveFree: (kho) => {
    const { pa } = kho.allocPreserve(9000);
    return () => kho.unpreserveFree(pa);
  },
  unpreserveVmalloc: (kho) => {
    const descriptor = kho.preserveVmalloc(vmalloc(kho.pages, 3 * MiB));
    return () => kho.unpreserveVmalloc(descriptor);
  },
  unpreserveBlob: (kho) => {
    const blob = kho.preserveBlob(BYTES);
    return () => kho.unpreserveBlob(blob);
  },
  'removeSubtree and addSubtree': (kho) => {
    const { pa } = kho.allocPreserve(9000);
    kho.addSubtree('x', pa, 9000);
    return () => {
      kho.removeSubtree('x');
      kho.addSubtree('y', pa, 9000);
    };
  },
  'retract and serialise': (kho) => {
    const set = blockSetOf(kho, 5);
    return () => {
      set.retract();
      set.serialise(() => undefined);
    };
  },
  putRows: (kho) => {
    const runs = runsOfEachOrder(kho);
    return () => kho.pages.putRows(runs);
  },
};

test.for(Object.entries(FRUGAL))('%s asks for no memory', ([, prepare]) => {
  const kho = coldKho(32 * MiB, { freeMemory: 'zero' });
  const operation = prepare(kho);
  expect(withFailure(kho, 0, operation)).toBeUndefined();
  kho.pages.assertConsistent();
});

test('restoring asks for no memory, whatever was handed over', () => {
  const kho = coldKho(32 * MiB, { freeMemory: 'zero' });
  const folios = folioOfEachOrder(kho.pages);
  kho.preserveFolios(folios);
  const row = rowOfPages(kho, 40);
  kho.preservePages(row, 40);
  const descriptor = kho.preserveVmalloc(vmalloc(kho.pages, 3 * MiB));
  const blob = kho.preserveBlob(BYTES);
  const { pa } = kho.allocPreserve(9000);
  const next = nextKho(kho, { freeMemory: 'poison' });
  const restoreAll = (): void => {
    next.restoreFolios(folios);
    next.restorePages(row, 40);
    next.restoreVmalloc(descriptor);
    expect(allAre(next.restoreBlob(blob), 7)).toBe(true);
    next.restoreFree(pa);
    next.commit();
  };
  expect(withFailure(next, 0, restoreAll)).toBeUndefined();
  next.pages.assertConsistent();
});

test('a boot: what was handed over is whole, and the next attempt reads the same', () => {
  const kho = coldKho();
  const block = kho.allocPreserve(100);
  block.bytes.fill(7);
  const state = (): unknown => {
    const { table, ...rest } = readHandover(kho.ram, kho.entry);
    return [rest, table.snapshot()];
  };
  const before = [state(), snapshot(kho)];
  for (let n = 0; ; n++) {
    const incoming = readHandover(kho.ram, kho.entry);
    const pages = new PageAllocator(kho.ram, incoming.table);
    const init = { pages, scratch: incoming.scratch, incoming, release: 'x' };
    if (withFailure({ pages, ram: kho.ram }, n, () => new Kho(init)) === undefined) {
      expect(n).toBeGreaterThanOrEqual(20);
      break;
    }
    expect([state(), snapshot(kho)]).toEqual(before);
    expect(allAre(block.bytes.subarray(0, 100), 7)).toBe(true);
  }
});

test('a cold boot that gets no memory fails, and works on the same RAM when there is some', () => {
  const { pages, ram } = coldKho();
  refusingSystem(pages, () => {
    throw Object.assign(new Error('full'), { code: 'ENOSPC' });
  });
  expect(() => bootCold(ram)).toThrow('full');
  removeSystem(ram);
  bootCold(ram).pages.assertConsistent();
});
