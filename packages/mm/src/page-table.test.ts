import { PAGE_SIZE } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import {
  FREE,
  HEAD,
  INCOMING_HEAD,
  INCOMING_TAIL,
  KIND,
  PageTable,
  PRESERVED,
  RESERVED,
  SCRATCH,
  STALE,
  TAIL,
} from './page-table.ts';

describe('PageTable', () => {
  test('begins with every frame free; a part of a page is no frame', () => {
    const table = new PageTable(10 * PAGE_SIZE + 100);
    expect(table.frames).toBe(10);
    expect(table.isUnclaimed(0, 10)).toBe(true);
    expect(table.isUnclaimed(0, 11)).toBe(false);
    expect(table.isUnclaimed(10, 0)).toBe(true);
  });

  test('what is not memory is reserved from the start', () => {
    const table = new PageTable(16 * PAGE_SIZE, [
      { pa: 4 * PAGE_SIZE, length: 3 * PAGE_SIZE },
      { pa: 10 * PAGE_SIZE, length: 6 * PAGE_SIZE },
    ]);
    const runs: number[][] = [];
    table.forEachFreeRun((pfn, count) => runs.push([pfn, count]));
    expect(runs).toEqual([
      [4, 3],
      [10, 6],
    ]);
    expect([table.isUnclaimed(4, 3), table.isUnclaimed(3, 2), table.isUnclaimed(6, 2)]).toEqual([
      true,
      false,
      false,
    ]);
  });

  test('folios that are alike are counted up to the first that is not, or to the end of RAM', () => {
    const table = new PageTable(64 * PAGE_SIZE);
    table.claimIncoming(5, 0, 59);
    for (const pfn of [8, 16, 24]) table.claimIncoming(pfn, 3);
    expect(table.foliosAlike(KIND, INCOMING_HEAD, 0, 5, 100)).toBe(3);
    expect(table.foliosAlike(KIND, INCOMING_HEAD, 0, 32, 100)).toBe(32);
    expect(table.foliosAlike(KIND, INCOMING_HEAD, 0, 33, 7)).toBe(7);
    expect(table.foliosAlike(KIND, INCOMING_HEAD, 3, 8, 100)).toBe(3);
    expect(table.foliosAlike(KIND, INCOMING_HEAD, 3, 16, 2)).toBe(2);
    expect(table.foliosAlike(KIND, INCOMING_HEAD, 3, 56, 2)).toBe(0);
    expect(table.foliosAlike(KIND, HEAD, 0, 5, 1)).toBe(0);
  });

  test('claims incoming folios and runs, which are then not unclaimed', () => {
    const table = new PageTable(32 * PAGE_SIZE);
    table.claimIncoming(8, 2);
    table.claimIncoming(20, 0, 3);
    expect([...table.snapshot().flags.subarray(7, 13)]).toEqual([
      FREE,
      INCOMING_HEAD,
      INCOMING_TAIL,
      INCOMING_TAIL,
      INCOMING_TAIL,
      FREE,
    ]);
    expect([...table.snapshot().flags.subarray(19, 24)]).toEqual([
      FREE,
      ...Array<number>(3).fill(INCOMING_HEAD),
      FREE,
    ]);
    expect([table.orderOf(8), table.orderOf(20)]).toEqual([2, 0]);
    for (const [pfn, count, unclaimed] of [
      [0, 8, true],
      [0, 9, false],
      [11, 1, false],
      [12, 8, true],
      [12, 9, false],
    ] as const)
      expect([pfn, count, table.isUnclaimed(pfn, count)]).toEqual([pfn, count, unclaimed]);
  });

  test('a reserved frame stays in its scratch area', () => {
    const table = new PageTable(8 * PAGE_SIZE);
    table.setFlag(SCRATCH, 2, 2);
    table.reserve(1, 2);
    expect([...table.snapshot().flags.subarray(0, 4)]).toEqual([
      FREE,
      RESERVED,
      RESERVED | SCRATCH,
      FREE | SCRATCH,
    ]);
  });

  test('markStale marks what is free and nothing else', () => {
    const table = new PageTable(8 * PAGE_SIZE);
    table.reserve(0, 1);
    table.claimIncoming(2, 1);
    table.setFlag(SCRATCH, 4, 2);
    table.set(6, HEAD);
    table.markStale();
    expect([...table.snapshot().flags]).toEqual([
      RESERVED,
      FREE | STALE,
      INCOMING_HEAD,
      INCOMING_TAIL,
      FREE | SCRATCH | STALE,
      FREE | SCRATCH | STALE,
      HEAD,
      FREE | STALE,
    ]);
  });

  test('flags are set, cleared and asked for over a range', () => {
    const table = new PageTable(8 * PAGE_SIZE);
    table.setFlag(PRESERVED, 2, 3);
    expect(table.allHave(PRESERVED, true, 2, 3)).toBe(true);
    expect(table.allHave(PRESERVED, true, 1, 3)).toBe(false);
    expect(table.allHave(PRESERVED, false, 5, 3)).toBe(true);
    expect(table.allHave(PRESERVED, false, 4, 3)).toBe(false);
    table.clearFlag(PRESERVED, 3, 1);
    expect(table.allHave(PRESERVED, true, 2, 3)).toBe(false);
    expect(table.allHave(PRESERVED, false, 3, 1)).toBe(true);
    expect(table.flagsOf(2)).toBe(FREE | PRESERVED);
  });

  test('kinds have names for messages, outside RAM too', () => {
    const table = new PageTable(8 * PAGE_SIZE);
    for (const [pfn, kind] of [FREE, RESERVED, HEAD, TAIL, INCOMING_HEAD, INCOMING_TAIL].entries())
      table.set(pfn, kind);
    const names = [0, 1, 2, 3, 4, 5, 8].map((pfn) => table.kindName(pfn));
    expect(new Set(names).size).toBe(7);
  });
});
