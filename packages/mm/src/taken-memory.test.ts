/**
 * How memory is taken from the system: before it is handed out, ahead of need, and together where
 * many pages are wanted.
 */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { rowOf } from './folio-runs.ts';
import { describe, expect, test } from 'vitest';
import { HeapRam } from './heap-ram.ts';
import { PageAllocator } from './page-allocator.ts';
import { FREE, KIND, PageTable } from './page-table.ts';
import { HUGE_PAGE, type RamPiece } from './ram.ts';

const FRAMES = 4096;

type How = 'reserve' | 'populate' | 'huge' | 'write';

/** A RAM of a system that has only so many pages, and says which ones it was asked for. */
class MeteredRam extends HeapRam {
  readonly system = this;
  readonly taken = new Set<number>();
  readonly asked: { how: How; pages: number }[] = [];
  left = FRAMES;
  /** Looks at every frame that is asked for. */
  watch: (pfn: number) => void = () => undefined;

  reserve(pa: number, length: number): void {
    this.take('reserve', pa, length);
  }

  populate(pa: number, length: number): void {
    this.take('populate', pa, length);
  }

  populateHuge(pa: number, isEmpty?: boolean): boolean {
    expect([pa % HUGE_PAGE, isEmpty]).toEqual([0, true]);
    return false;
  }

  read(pa: number, target: Uint8Array): void {
    target.set(this.bytes(pa, target.length));
  }

  write(pa: number, bytes: Uint8Array): void {
    const first = Math.floor(pa / PAGE_SIZE) * PAGE_SIZE;
    this.take('write', first, Math.ceil((pa + bytes.length) / PAGE_SIZE) * PAGE_SIZE - first);
    this.bytes(pa, bytes.length).set(bytes);
  }

  dataPieces(pa: number, length: number): RamPiece[] {
    const pieces: RamPiece[] = [];
    for (let at = pa; at < pa + length; at += PAGE_SIZE)
      if (this.taken.has(at / PAGE_SIZE)) pieces.push({ pa: at, length: PAGE_SIZE });
    return pieces;
  }

  override discard(pa: number, length: number): void {
    super.discard(pa, length);
    for (let pfn = pa / PAGE_SIZE; pfn < (pa + length) / PAGE_SIZE; pfn++)
      if (this.taken.delete(pfn)) this.left += 1;
  }

  protected take(how: How, pa: number, length: number): void {
    this.asked.push({ how, pages: length / PAGE_SIZE });
    for (let pfn = pa / PAGE_SIZE; pfn < (pa + length) / PAGE_SIZE; pfn++) {
      this.watch(pfn);
      if (this.taken.has(pfn)) continue;
      if (this.left === 0) throw new KernelError('ENOSPC', 'the system is full');
      this.left -= 1;
      this.taken.add(pfn);
    }
  }
}

/** The same of a system that has huge pages, so many. */
class HugeRam extends MeteredRam {
  hugeLeft = FRAMES;

  override populateHuge(pa: number, isEmpty = false): boolean {
    expect(pa % HUGE_PAGE).toBe(0);
    expect(pa + HUGE_PAGE).toBeLessThanOrEqual(this.size);
    if (this.hugeLeft === 0) {
      // As the real one, which needs a page there to make a huge one of.
      if (!isEmpty && this.left > 0) this.take('reserve', pa, PAGE_SIZE);
      return false;
    }
    this.hugeLeft -= 1;
    this.take('huge', pa, HUGE_PAGE);
    return true;
  }

  /** Numbers of the huge pages that were taken, in order. */
  readonly huge: number[] = [];

  protected override take(how: How, pa: number, length: number): void {
    super.take(how, pa, length);
    if (how === 'huge') this.huge.push(pa / HUGE_PAGE);
  }
}

function allocatorOn<R extends MeteredRam>(ram: R): { ram: R; pages: PageAllocator } {
  const table = new PageTable(ram.size);
  table.reserve(0, 1);
  return { ram, pages: new PageAllocator(ram, table) };
}

function metered(): { ram: MeteredRam; pages: PageAllocator } {
  return allocatorOn(new MeteredRam(FRAMES * PAGE_SIZE));
}

function withHugePages(frames = FRAMES): { ram: HugeRam; pages: PageAllocator } {
  return allocatorOn(new HugeRam(frames * PAGE_SIZE));
}

test('the more pages are wanted, the fewer times the system is asked; each is taken before it is handed out', () => {
  const { ram, pages } = metered();
  ram.watch = (pfn) => {
    expect(pages.table.flagsOf(pfn) & KIND).toBe(FREE);
  };
  for (let i = 0; i < 1000; i++) expect(ram.taken.has(pages.alloc(0))).toBe(true);
  expect(ram.asked[0].pages).toBe(1);
  expect(Math.max(...ram.asked.map((asked) => asked.pages))).toBe(64);
  expect(ram.asked.length).toBeLessThan(1000 / 64 + 12);
  expect(ram.taken.size).toBeLessThan(1000 + 64);
});

test('freed and wanted again, nothing is asked; between what is in use, only what is free is taken', () => {
  const { ram, pages } = metered();
  const all = Array.from({ length: 500 }, () => pages.alloc(0));
  for (const pfn of all) if (pfn % 3 === 0) pages.put(pfn);
  const before = ram.asked.length;
  for (let i = 0; i < 100; i++) pages.alloc(0);
  expect(ram.asked.length).toBe(before);
  ram.watch = (pfn) => {
    expect(pages.table.flagsOf(pfn) & KIND).toBe(FREE);
  };
  for (let i = 0; i < 500; i++) expect(ram.taken.has(pages.alloc(i % 3))).toBe(true);
  pages.assertConsistent();
});

test('a system that is nearly full gives what is wanted to the last page, then ENOSPC, and the page stays free', () => {
  const { ram, pages } = metered();
  for (let i = 0; i < 100; i++) pages.alloc(0);
  const known = ram.taken.size - 100; // taken and free
  ram.left = 5;
  for (let i = 0; i < known + 5; i++) expect(ram.taken.has(pages.alloc(0))).toBe(true);
  const free = pages.freePages;
  expect(() => pages.alloc(0)).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
  expect(pages.freePages).toBe(free);
  pages.assertConsistent();
  ram.left = 1;
  expect(ram.taken.has(pages.alloc(0))).toBe(true);
});

test('what is prepared is what is handed out next', () => {
  const { ram, pages } = metered();
  for (let i = 0; i < 10; i++) pages.alloc(0);
  pages.prepare(64);
  const before = ram.asked.length;
  for (let i = 0; i < 64; i++) pages.alloc(0);
  expect(ram.asked.length).toBe(before);
  pages.assertConsistent();
});

test('where the system has nothing, preparing does nothing', () => {
  const { ram, pages } = metered();
  ram.left = 0;
  pages.prepare(64);
  expect([ram.taken.size, pages.freePages]).toEqual([0, FRAMES - 1]);
  ram.left = FRAMES;
  expect(ram.taken.has(pages.alloc(3))).toBe(true);
});

/** Frames in a huge page. */
const HUGE = HUGE_PAGE / PAGE_SIZE;

describe('huge pages of the system', () => {
  test('are taken where half of one is wanted, and nothing else is asked for them', () => {
    const { ram, pages } = withHugePages();
    ram.watch = (pfn) => {
      expect(pages.table.flagsOf(pfn) & KIND).toBe(FREE);
    };
    for (let i = 0; i < 4; i++) pages.alloc(8); // frames 256 to 1279
    expect(ram.huge).toEqual([1, 2]);
    expect(pages.alloc(10)).toBe(4 * HUGE);
    expect(ram.huge).toEqual([1, 2, 4, 5]);
    expect(ram.asked.filter(({ how }) => how !== 'huge')).toEqual([{ how: 'reserve', pages: 256 }]); // frame 0 is not ours
    pages.assertConsistent();
  });

  test('are not taken for a few pages, but for those behind many that were wanted one by one', () => {
    const { ram, pages } = withHugePages();
    for (let i = 0; i < 64; i++) expect(ram.taken.has(pages.alloc(0))).toBe(true);
    expect([ram.huge, ram.taken.size < 128]).toEqual([[], true]);
    for (let i = 64; i < 3 * HUGE; i++) expect(ram.taken.has(pages.alloc(0))).toBe(true);
    expect(ram.huge).toEqual([1, 2, 3]);
    pages.prepare(1); // a new beginning
    const before = ram.taken.size;
    for (let i = 0; i < HUGE; i++) pages.alloc(0);
    expect(ram.taken.size - before).toBeLessThan(HUGE);
    pages.assertConsistent();
  });

  test('are not taken where a frame is in use, was used, or is taken already: its memory would be copied', () => {
    const { ram, pages } = withHugePages(6 * HUGE);
    const all: number[] = [];
    pages.allocRuns(6 * HUGE - 1, { taken: 'when touched' }, (pfn, count) => {
      for (let i = 0; i < count; i++) all.push(pfn + i);
    });
    expect(ram.asked).toEqual([]);
    pages.putRows(rowOf(2 * HUGE, 2 * HUGE - 1, 0)); // used, and one still in use
    expect(pages.alloc(9)).toBe(2 * HUGE);
    pages.alloc(8);
    expect([ram.huge, ram.asked.map(({ how }) => how)]).toEqual([[], ['reserve', 'reserve']]);
    const other = withHugePages();
    other.pages.prepare(HUGE); // small pages of what is free
    const at = other.ram.asked.length;
    other.pages.alloc(8);
    expect([other.ram.huge, other.ram.asked.length]).toEqual([[], at]);
  });

  test('where there are none, memory is taken as ever; the last short one of RAM is not asked for', () => {
    const { ram, pages } = withHugePages(3 * HUGE + 256);
    ram.hugeLeft = 1;
    for (let i = 0; i < 6; i++) {
      const pfn = pages.alloc(8);
      for (let j = 0; j < 256; j++) expect(ram.taken.has(pfn + j)).toBe(true);
    }
    expect(ram.huge).toHaveLength(1);
    pages.assertConsistent();
  });

  test('where there are none, what was tried leaves nothing taken', () => {
    const { ram, pages } = withHugePages();
    ram.hugeLeft = 0;
    ram.left = 255;
    expect(() => pages.alloc(8, { movable: true })).toThrow(expect.objectContaining({ code: 'ENOSPC' }));
    expect(ram.taken.size).toBe(0);
    ram.left = 256;
    const pfn = pages.alloc(8, { movable: true });
    expect(pfn % HUGE).toBe(256); // so what was tried lay before it
    expect(ram.taken.size).toBe(256);
    pages.assertConsistent();
  });

  test('where asking for one fails altogether, the block stays free', () => {
    const { ram, pages } = withHugePages();
    const { freePages } = pages;
    ram.populateHuge = () => {
      throw new KernelError('EBADF', 'this RAM is closed');
    };
    expect(() => pages.alloc(9)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(() => pages.alloc(9, { taken: 'by write' })).toThrow(expect.objectContaining({ code: 'EBADF' }));
    expect(pages.freePages).toBe(freePages);
    pages.assertConsistent();
  });

  test('memory that is about to be written is taken in huge pages, or by writing it; untouched memory is not', () => {
    const { ram, pages } = withHugePages();
    ram.hugeLeft = 1;
    for (let i = 0; i < 4; i++) pages.alloc(9, { taken: 'when touched' });
    expect(ram.asked).toEqual([]);
    for (let i = 0; i < 3; i++) pages.alloc(9, { taken: 'by write' });
    expect(ram.asked).toEqual([{ how: 'huge', pages: HUGE }]);
    pages.assertConsistent();
  });
});
