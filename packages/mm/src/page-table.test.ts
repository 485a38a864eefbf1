import { PAGE_SIZE } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import {
  FREE,
  HEAD,
  INCOMING_HEAD,
  INCOMING_TAIL,
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

  test('claims incoming folios and runs, which are then not unclaimed', () => {
    const table = new PageTable(32 * PAGE_SIZE);
    table.claimIncoming(8, 2);
    table.claimIncomingRun(20, 3);
    expect([...table.flags.subarray(7, 13)]).toEqual([
      FREE,
      INCOMING_HEAD,
      INCOMING_TAIL,
      INCOMING_TAIL,
      INCOMING_TAIL,
      FREE,
    ]);
    expect([...table.flags.subarray(19, 24)]).toEqual([FREE, ...Array<number>(3).fill(INCOMING_HEAD), FREE]);
    expect([table.orders[8], table.orders[20]]).toEqual([2, 0]);
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
    expect([...table.flags.subarray(0, 4)]).toEqual([FREE, RESERVED, RESERVED | SCRATCH, SCRATCH]);
  });

  test('markStale marks what is free and nothing else', () => {
    const table = new PageTable(8 * PAGE_SIZE);
    table.reserve(0, 1);
    table.claimIncoming(2, 1);
    table.setFlag(SCRATCH, 4, 2);
    table.flags[6] = HEAD;
    table.markStale();
    expect([...table.flags]).toEqual([
      RESERVED,
      STALE,
      INCOMING_HEAD,
      INCOMING_TAIL,
      SCRATCH | STALE,
      SCRATCH | STALE,
      HEAD,
      STALE,
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
    expect(table.flags[2]).toBe(PRESERVED);
  });

  test('kinds have names for messages, outside RAM too', () => {
    const table = new PageTable(8 * PAGE_SIZE);
    table.flags.set([FREE, RESERVED, HEAD, TAIL, INCOMING_HEAD, INCOMING_TAIL]);
    const names = [0, 1, 2, 3, 4, 5, 8].map((pfn) => table.kindName(pfn));
    expect(new Set(names).size).toBe(7);
  });
});
