import { Prng, PAGE_SIZE } from '@liveupdate/base';
import { HeapRam, overlayRam, SparseRam, vmalloc } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import { boot, bootCold, POISON, type FreeMemory } from './boot.ts';
import type { Kho } from './kho.ts';
import { readEntry, readHandover, writeEntry, type EntryRecord } from './read-handover.ts';
import { allAre, coldKho, MiB, nextKho, scatteredPages, withCode } from './test-kho.ts';
import { seed } from '@liveupdate/base/test-seed';
import type { VmallocDescriptor } from './vmalloc-ser.ts';

describe('a cold boot', () => {
  test.for([PAGE_SIZE, 16 * PAGE_SIZE, 31 * PAGE_SIZE])('RAM of %i bytes is too small: EINVAL', (size) => {
    expect(() => bootCold(new HeapRam(size))).toThrow(withCode('EINVAL'));
  });

  test('the smallest RAM boots, hands over and boots again', () => {
    const ram = new SparseRam(32 * PAGE_SIZE);
    const next = nextKho(bootCold(ram));
    next.commit();
    next.pages.assertConsistent();
  });

  test('page 0 is nobody’s, scratch is for movable memory', () => {
    const kho = coldKho();
    expect(kho.incoming).toBeUndefined();
    const all = new Uint32Array(kho.pages.freePages + kho.pages.freeScratchPages);
    expect(() => kho.pages.allocBulk(all, 0, all.length)).toThrow(withCode('ENOMEM'));
    kho.pages.allocBulk(all, 0, all.length, { movable: true });
    expect(all.includes(0)).toBe(false);
  });
});

describe('memory that nobody preserved', () => {
  /**
   * All free pages of a kernel after a boot in this mode, as one byte each: -1 where a page is not
   * all alike.
   */
  function freeBytes(kho: Kho): Set<number> {
    const bytes = new Set<number>();
    kho.pages.forEachFreeRun((pfn, count) => {
      for (let i = pfn; i < pfn + count; i++) {
        const page = kho.ram.bytes(i * PAGE_SIZE, PAGE_SIZE);
        bytes.add(allAre(page, page[0]) ? page[0] : -1);
      }
    });
    return bytes;
  }

  /** A kernel that leaves garbage everywhere, and what it preserved. */
  function before(): { kho: Kho; pa: number } {
    const kho = coldKho();
    const block = kho.allocPreserve(PAGE_SIZE);
    block.bytes.fill(0x11);
    const garbage = new Uint32Array(kho.pages.freePages + kho.pages.freeScratchPages);
    kho.pages.allocBulk(garbage, 0, garbage.length, { movable: true });
    for (const pfn of garbage) kho.pages.folioBytes(pfn).fill(0xdd);
    return { kho, pa: block.pa };
  }

  test.for<[mode: FreeMemory | undefined, bytes: number[]]>([
    ['discard', [0]],
    [undefined, [0]],
    ['poison', [POISON]],
    ['keep', [0xdd]],
  ])('%s', ([mode, bytes]) => {
    const { kho, pa } = before();
    const next = nextKho(kho, mode === undefined ? {} : { freeMemory: mode });
    // The kernel's own first pages were freed and used in between; all that is free now must be as
    // the mode says.
    const found = freeBytes(next);
    if (mode === 'keep') found.delete(-1); // pages that the previous kernel used for itself
    if (mode === 'keep') found.delete(0);
    expect([...found]).toEqual(bytes);
    expect(allAre(next.at(pa).bytes, 0x11)).toBe(true);
    const fresh = vmalloc(next.pages, next.pages.freePages * PAGE_SIZE);
    for (let i = 0; i < fresh.pfns.length; i++) expect(allAre(fresh.piece(i), 0)).toBe(true);
    next.pages.assertConsistent();
  });

  test('a RAM said to be zero is not touched', () => {
    const ram = new SparseRam(64 * MiB);
    const discarded: number[] = [];
    ram.discard = (pa) => discarded.push(pa);
    bootCold(ram, { freeMemory: 'zero' });
    expect(discarded).toEqual([]);
  });

  test('discarding costs nothing where an image was not looked at', () => {
    const loaded: number[] = [];
    const small = coldKho(8 * MiB);
    const image = small.ram;
    const ram = new SparseRam(64 * 1024 * MiB, (block, pa) => {
      loaded.push(pa);
      if (pa < image.size) block.set(image.bytes(pa, block.length));
    });
    const next = boot(ram, small.entry);
    expect(next.pages.freePages).toBeGreaterThan(16 * MiB - 10_000);
    expect(loaded).toHaveLength(1);
  });
});

describe('until commit()', () => {
  test.for<FreeMemory>(['discard', 'poison', 'keep'])(
    'the handover stays whole whatever is allocated (%s)',
    (mode) => {
      const kho = coldKho();
      const block = kho.allocPreserve(100);
      block.bytes.fill(3);
      kho.addSubtree('x', block.pa, 100);
      const { entry } = kho;
      const first = readHandover(kho.ram, entry);
      const next = nextKho(kho, { freeMemory: mode });
      const all = new Uint32Array(next.pages.freePages + next.pages.freeScratchPages);
      next.pages.allocBulk(all, 0, all.length, { movable: true });
      for (const pfn of all) next.pages.folioBytes(pfn).fill(0xee);
      const again = readHandover(kho.ram, entry);
      expect({ ...again, table: undefined }).toEqual({ ...first, table: undefined });
      expect(again.table.snapshot()).toEqual(first.table.snapshot());
      const third = boot(overlayRam(kho.ram), entry);
      expect(allAre(third.at(block.pa).bytes, 3)).toBe(true);

      next.commit();
      expect(next.pages.freePages + next.pages.freeScratchPages).toBe(first.structure.length);
      next.pages.assertConsistent();
      next.commit(); // a second time: nothing
      next.pages.assertConsistent();
      expect(() => readHandover(kho.ram, entry)).toThrow(withCode('EINVAL'));
    },
  );

  test('a scratch array that lies in scratch (as Linux leaves it) is kept too', () => {
    const kho = coldKho();
    const [area] = kho.scratch;
    const moved: EntryRecord = { ...kho.entry, scratchAddr: area.addr + PAGE_SIZE };
    kho.ram.bytes(moved.scratchAddr, PAGE_SIZE).set(kho.ram.bytes(kho.entry.scratchAddr, PAGE_SIZE));
    const next = boot(kho.ram, moved, { freeMemory: 'poison' });
    const all = new Uint32Array(next.pages.freePages + next.pages.freeScratchPages);
    next.pages.allocBulk(all, 0, all.length, { movable: true });
    for (const pfn of all) next.pages.folioBytes(pfn).fill(0xee);
    expect(readHandover(kho.ram, moved).scratch).toEqual([area]);
    next.commit();
    expect(next.pages.freeScratchPages).toBe(1);
    next.pages.assertConsistent();
  });
});

describe('who waits for commit()', () => {
  test('is told once, at once where nothing was handed over, and all of them whatever one throws', () => {
    const cold = coldKho();
    const told: string[] = [];
    cold.whenCommitted(() => told.push('cold'));
    expect([cold.isCommitted, told]).toEqual([true, ['cold']]);

    const next = nextKho(cold, { freeMemory: 'keep' });
    const thrown = new Error('for the test');
    next.whenCommitted(() => {
      told.push(`first, committed: ${next.isCommitted}`);
      throw thrown;
    });
    next.whenCommitted(() => told.push('second'));
    expect([next.isCommitted, told]).toEqual([false, ['cold']]);
    expect(() => next.commit()).toThrow(thrown);
    expect([next.isCommitted, told.slice(1)]).toEqual([true, ['first, committed: true', 'second']]);
    next.commit();
    next.whenCommitted(() => told.push('late'));
    expect(told.slice(3)).toEqual(['late']);
    next.pages.assertConsistent();
  });
});

describe('preserved memory', () => {
  test('that nobody restores stays out of use for one generation, and is free in the one after', () => {
    const kho = coldKho();
    const block = kho.allocPreserve(8 * PAGE_SIZE);
    block.bytes.fill(9);
    const second = nextKho(kho, { freeMemory: 'poison' });
    second.commit();
    const all = new Uint32Array(second.pages.freePages);
    second.pages.allocBulk(all, 0, all.length);
    expect([...all].some((pfn) => pfn >= block.pa / PAGE_SIZE && pfn < block.pa / PAGE_SIZE + 8)).toBe(false);
    expect(allAre(second.at(block.pa).bytes, 9)).toBe(true);
    second.pages.putBulk(all);
    const third = nextKho(second, { freeMemory: 'poison' });
    expect(third.isIncoming(block.pa / PAGE_SIZE)).toBe(false);
    expect(third.ram.bytes(block.pa, 1)[0]).toBe(POISON);
  });

  test('that leaves no page for the next kernel: ENOMEM, and the handover is whole', () => {
    const kho = coldKho(MiB, { scratch: [] });
    const all = new Uint32Array(kho.pages.freePages - 20);
    kho.pages.allocBulk(all, 0, all.length);
    kho.preserveFolios(all);
    const rest = new Uint32Array(kho.pages.freePages);
    kho.pages.allocBulk(rest, 0, rest.length);
    kho.preserveFolios(rest);
    expect(() => nextKho(kho)).toThrow(withCode('ENOMEM'));
    expect(readHandover(kho.ram, kho.entry).preservedByOrder.get(0)).toBeGreaterThan(all.length);
    kho.unpreserveFolios(rest);
    nextKho(kho).pages.assertConsistent();
  });
});

interface Item {
  readonly kind: 'folio' | 'pages' | 'vmalloc';
  readonly pfn: number;
  readonly count: number;
  readonly order: number;
  readonly descriptor: VmallocDescriptor | undefined;
  readonly stamp: number;
}

/** One machine through many generations: what survives, and what must be there again. */
class Machine {
  kho: Kho;
  items: Item[] = [];
  readonly random: Prng;

  constructor(kho: Kho, from: number) {
    this.kho = kho;
    this.random = new Prng(from);
  }

  /** Makes something of a random kind, fills it, and preserves it. */
  add(): void {
    const { kho, random } = this;
    const stamp = 1 + random.below(250);
    const kinds = ['folio', 'pages', 'vmalloc'] as const;
    const kind = kinds[random.below(3)];
    const order = random.below(6);
    if (kind === 'folio') {
      const pfn = kho.pages.alloc(order);
      kho.pages.folioBytes(pfn).fill(stamp);
      kho.preserveFolio(pfn);
      this.items.push({ kind, pfn, count: 1, order, descriptor: undefined, stamp });
    } else if (kind === 'pages') {
      // A row of single pages: a folio that is split, without its first page, so that the row is
      // not aligned.
      const pfn = kho.pages.alloc(order + 1) + 1;
      kho.pages.split(pfn - 1);
      kho.pages.put(pfn - 1);
      const count = 2 ** (order + 1) - 1;
      kho.preservePages(pfn, count);
      for (let i = 0; i < count; i++) kho.pages.folioBytes(pfn + i).fill(stamp);
      this.items.push({ kind, pfn, count, order: 0, descriptor: undefined, stamp });
    } else {
      const area = vmalloc(kho.pages, (1 + random.below(700)) * PAGE_SIZE, random.below(3));
      for (let i = 0; i < area.pfns.length; i++) area.piece(i).fill(stamp);
      const descriptor = kho.preserveVmalloc(area);
      this.items.push({ kind, pfn: 0, count: 0, order: area.order, descriptor, stamp });
    }
  }

  /** Restores an item and looks at its bytes. Returns how it is given up again. */
  restore(item: Item): () => void {
    const { kho } = this;
    const check = (bytes: Uint8Array): void => {
      if (!allAre(bytes, item.stamp)) expect.fail(`${item.kind} at frame ${item.pfn} has changed`);
    };
    if (item.kind === 'vmalloc') {
      const area = kho.restoreVmalloc(item.descriptor!);
      for (let i = 0; i < area.pfns.length; i++) check(area.piece(i));
      return () => area.free();
    }
    if (item.kind === 'folio') kho.restoreFolio(item.pfn);
    else kho.restorePages(item.pfn, item.count);
    for (let i = 0; i < item.count; i++) check(kho.pages.folioBytes(item.pfn + i));
    return () => {
      for (let i = 0; i < item.count; i++) kho.pages.put(item.pfn + i);
    };
  }

  /** Preserves again what was restored. */
  keep(item: Item): void {
    const { kho } = this;
    if (item.kind === 'folio') kho.preserveFolio(item.pfn);
    else kho.preservePages(item.pfn, item.count);
    this.items.push(item);
  }

  next(freeMemory: FreeMemory): void {
    const record = new Uint8Array(32);
    writeEntry(record, this.kho.entry);
    this.kho = boot(this.kho.ram, readEntry(record), { freeMemory, release: `seed ${seed}` });
  }
}

describe('generation after generation', () => {
  test(`50 handovers of random contents from seed ${seed}`, () => {
    const cold = coldKho(32 * MiB);
    const machine = new Machine(cold, seed);
    const modes: FreeMemory[] = ['discard', 'poison', 'keep'];
    const start = [cold.pages.freePages, cold.pages.freeScratchPages];
    let restored = 0;
    for (let generation = 1; generation <= 50; generation++) {
      while (machine.items.length < 25) machine.add();
      machine.kho.pages.assertConsistent();
      machine.next(modes[generation % 3]);
      const { kho, random } = machine;
      expect(kho.incoming?.kexecMetadata?.kexecCount).toBe(generation);
      const items = machine.items;
      machine.items = [];
      if (generation % 2 === 0) kho.commit();
      for (const item of items) {
        if (random.below(4) === 0) continue; // nobody asks for it
        const giveUp = machine.restore(item);
        restored += 1;
        if (item.kind === 'vmalloc' || random.below(2) === 0) giveUp();
        else machine.keep(item);
      }
      kho.commit();
      kho.pages.assertConsistent();
    }
    expect(restored).toBeGreaterThan(500);
    // Nothing is preserved any more: after two handovers all memory is there again.
    for (const item of machine.items) {
      const { kho } = machine;
      if (item.kind === 'folio') kho.unpreserveFolio(item.pfn);
      else kho.unpreservePages(item.pfn, item.count);
    }
    for (let i = 0; i < 2; i++) {
      machine.next('poison');
      machine.kho.commit();
      machine.kho.pages.assertConsistent();
    }
    // The metadata of the generation before waits to be restored: one page, where the first kernel
    // had none.
    const { pages, incoming } = machine.kho;
    machine.kho.restoreFree(incoming!.subtrees.get('kexec-metadata')!.pa);
    expect([pages.freePages, pages.freeScratchPages]).toEqual(start);
  });

  test('a hundred handovers of nothing cost nothing', () => {
    let kho = coldKho(MiB);
    const free: number[] = [];
    for (let i = 0; i < 100; i++) {
      kho = nextKho(kho, { freeMemory: 'poison' });
      kho.commit();
      free.push(kho.pages.freePages);
    }
    expect(new Set(free).size).toBe(1);
  });

  test('scattered pages of a full machine', () => {
    const kho = coldKho(8 * MiB);
    const pages = scatteredPages(kho.pages, 900);
    for (const pfn of pages) kho.pages.folioBytes(pfn).fill(pfn & 0xff);
    kho.preserveFolios(pages);
    const next = nextKho(kho, { freeMemory: 'poison' });
    expect(next.restoreFolios(pages)).toBe(900);
    for (const pfn of pages) expect(next.pages.folioBytes(pfn)[4095]).toBe(pfn & 0xff);
    next.pages.assertConsistent();
  });
});
