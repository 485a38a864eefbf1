/**
 * The device tree's page is handed over, as Linux does it: Linux reads it again after it has put
 * all other memory to use.
 */
import { physToPfn } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { boot } from './boot.ts';
import { coldKho, nextKho } from './test-kho.ts';
import { openLinux } from './test-linux.ts';
import { walkRadixTree } from './radix-walk.ts';
import type { Kho } from './kho.ts';
import { readHandover } from './read-handover.ts';

function isInMap({ ram, entry }: Kho, pa: number): boolean {
  const { preservedMap } = readHandover(ram, entry);
  let found = false;
  walkRadixTree(ram, preservedMap, (pfn, count, order) => {
    found ||= physToPfn(pa) >= pfn && physToPfn(pa) < pfn + count * 2 ** order;
  });
  return found;
}

test('the published tree is preserved, and no other page for it', () => {
  const kho = coldKho();
  const before = kho.entry.fdtAddr;
  expect(isInMap(kho, before)).toBe(true);
  kho.addSubtree('x', kho.allocPreserve(8).pa, 8);
  const { fdtAddr } = kho.entry;
  expect([fdtAddr === before, isInMap(kho, fdtAddr), isInMap(kho, before)]).toEqual([false, true, false]);
  kho.pages.assertConsistent();
});

test('the next kernel frees it when it has taken over, also that of Linux', () => {
  const { image, entry } = openLinux();
  for (const next of [nextKho(coldKho()), boot(image, entry, { freeMemory: 'keep' })]) {
    const pfn = physToPfn(next.incoming!.entry.fdtAddr);
    expect(next.pages.table.kindName(pfn)).toBe('reserved');
    next.commit();
    expect(next.pages.table.kindName(pfn)).toBe('free');
    next.pages.assertConsistent();
  }
});
