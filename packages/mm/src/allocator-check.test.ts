import { AssertionError, MAX_FOLIO_SIZE } from '@liveupdate/base';
import { describe, expect, test, vi } from 'vitest';
import { FreeSet } from './free-set.ts';
import { type PageAllocator } from './page-allocator.ts';
import { FREE, HEAD, INCOMING_HEAD, PRESERVED, RESERVED, SCRATCH, STALE, TAIL } from './page-table.ts';
import { setup } from './test-allocator.ts';

describe('assertConsistent finds', () => {
  /**
   * Single pages everywhere, a folio of order 2, an incoming one, and scratch; `sets` are the free
   * sets that were filled.
   */
  function world(): { pages: PageAllocator; folio: number; single: number; sets: FreeSet[] } {
    const add = vi.spyOn(FreeSet.prototype, 'add');
    try {
      const pages = setup({ frames: 4096, scratch: [2048, 16], incoming: [[512, 2]] });
      const folio = pages.alloc(2);
      const single = pages.alloc(0);
      pages.assertConsistent();
      return { pages, folio, single, sets: [...new Set(add.mock.contexts as FreeSet[])] };
    } finally {
      add.mockRestore();
    }
  }
  const FREE_FRAME = 3000;
  const IN_SCRATCH = 2050;

  test.for<[rule: string, spoil: (w: ReturnType<typeof world>) => void]>([
    ['a frame in use inside a free block', ({ pages }) => pages.table.set(FREE_FRAME, HEAD)],
    ['a reserved frame inside a free block', ({ pages }) => pages.table.set(FREE_FRAME, RESERVED)],
    ['a block that leaves RAM', ({ sets }) => sets.forEach((set) => !set.has(4095) && set.add(4095))],
    ['a free frame in the wrong zone', ({ pages }) => pages.table.setFlag(SCRATCH, FREE_FRAME, 1)],
    ['a scratch frame in the wrong zone', ({ pages }) => pages.table.clearFlag(SCRATCH, IN_SCRATCH, 1)],
    [
      'a frame in two free blocks',
      ({ pages }) => {
        pages.table.set(FREE_FRAME, HEAD, 0, 1);
        pages.put(FREE_FRAME);
      },
    ],
    [
      'two buddies that are free apart',
      ({ pages, sets }) => {
        // The frame that an odd single page leaves free beside it, and that page itself, put back
        // behind the zone's back.
        const pfn = pages.alloc(0);
        const buddy = pages.alloc(0);
        expect(buddy).toBe(pfn ^ 1);
        pages.put(buddy);
        const singles = sets.find((set) => set.has(buddy) && !set.has(pfn))!;
        singles.add(pfn);
        pages.table.set(pfn, FREE);
      },
    ],
    ['an order that counts more blocks than it has', ({ sets }) => addTwice(filledSet(sets))],
    ['a zone that counts more frames than it has', ({ sets }) => removeFirst(filledSet(sets))],
    ['a free frame that is in no free block', ({ pages, single }) => pages.table.set(single, FREE)],
    ['a free frame with a reference', ({ pages }) => pages.table.set(FREE_FRAME, FREE | STALE, 0, 1)],
    ['a free frame with a pin', ({ pages }) => pages.table.set(FREE_FRAME, FREE | STALE, 0, 0, 1)],
    ['a tail page of no folio', ({ pages, single }) => pages.table.set(single, TAIL)],
    ['an unknown kind', ({ pages, single }) => pages.table.set(single, 7)],
    ['a folio that is not aligned', ({ pages, folio }) => moveHead(pages, folio)],
    ['a folio of too high an order', ({ pages, folio }) => pages.table.set(folio, HEAD, 11, 1)],
    ['a folio that leaves RAM', ({ pages, folio }) => pages.table.set(folio, HEAD, 30, 1)],
    ['a folio without a reference', ({ pages, folio }) => pages.table.set(folio, HEAD, 2, 0)],
    ['a folio with more pins than references', ({ pages, folio }) => pages.table.set(folio, HEAD, 2, 1, 2)],
    ['a folio whose tail is free', ({ pages, folio }) => pages.table.set(folio + 2, FREE)],
    ['a folio whose tail is a head', ({ pages, folio }) => pages.table.set(folio + 3, HEAD)],
    ['a folio half in scratch', ({ pages, folio }) => pages.table.setFlag(SCRATCH, folio + 2, 2)],
    ['a tail page with a reference', ({ pages, folio }) => pages.table.set(folio + 1, TAIL, 0, 1)],
    ['a tail page with a pin', ({ pages, folio }) => pages.table.set(folio + 1, TAIL, 0, 0, 1)],
    ['an incoming folio that is preserved', ({ pages }) => pages.table.setFlag(PRESERVED, 512, 1)],
    ['an incoming folio with an owner', ({ pages }) => pages.table.set(512, INCOMING_HEAD, 2, 1)],
    ['an incoming folio with a tail in use', ({ pages }) => pages.table.set(513, TAIL)],
    ['an incoming folio that is too short', ({ pages }) => pages.table.set(515, INCOMING_HEAD)],
    [
      'a preserved folio in scratch',
      ({ pages }) => {
        const out = new Uint32Array(pages.freePages + 1);
        pages.allocBulk(out, 0, out.length, { movable: true });
        pages.table.setFlag(PRESERVED, out[out.length - 1], 1);
      },
    ],
  ])('%s', ([, spoil]) => {
    const w = world();
    spoil(w);
    expect(() => w.pages.assertConsistent()).toThrow(AssertionError);
  });

  /**
   * The folio's four frames as a single page, a folio of two at an odd frame, and a single page.
   */
  function moveHead(pages: PageAllocator, folio: number): void {
    const { table } = pages;
    table.set(folio, HEAD, 0, 1);
    table.set(folio + 1, HEAD, 1, 1);
    table.set(folio + 2, TAIL);
    table.set(folio + 3, HEAD, 0, 1);
  }

  const filledSet = (sets: FreeSet[]): FreeSet => sets.find((set) => set.count > 0)!;
  const addTwice = (set: FreeSet): void => set.add(set.first());
  const removeFirst = (set: FreeSet): void => set.remove(set.first());

  test('nothing in a world that is whole', () => {
    const { pages } = world();
    pages.assertConsistent();
    expect(pages.ram.size).toBe(4 * MAX_FOLIO_SIZE);
  });
});
