import { PAGE_SIZE } from '@liveupdate/base';
import { FolioRuns } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import { coldKho, folioOfEachOrder, MiB, nextKho, rowOfPages, snapshot, withCode } from './test-kho.ts';

describe('restoring', () => {
  test('a folio of each order comes back as it was, once', () => {
    const kho = coldKho(32 * MiB);
    const pfns = folioOfEachOrder(kho.pages);
    kho.preserveFolios(pfns);
    for (const [order, pfn] of pfns.entries()) kho.pages.folioBytes(pfn).fill(order + 1); // after preserving
    const next = nextKho(kho, { freeMemory: 'poison' });
    for (const [order, pfn] of pfns.entries()) {
      expect([next.isIncoming(pfn), order > 0 && next.isIncoming(pfn + 1)]).toEqual([true, false]);
      next.restoreFolio(pfn);
      expect([next.pages.orderOf(pfn), next.pages.table.refsOf(pfn), next.isIncoming(pfn)]).toEqual([
        order,
        1,
        false,
      ]);
      const bytes = next.pages.folioBytes(pfn);
      expect([bytes[0], bytes[bytes.length - 1]]).toEqual([order + 1, order + 1]);
      expect(() => next.restoreFolio(pfn)).toThrow(withCode('ENOENT'));
    }
    next.pages.assertConsistent();
  });

  test('what is no preserved folio is ENOENT, and nothing changes', () => {
    const kho = coldKho(64 * MiB, { freeMemory: 'zero' });
    const folio = kho.allocPreserve(4 * 4096);
    const long = rowOfPages(kho, 2048, 2048);
    kho.preservePages(long, 2048);
    const next = nextKho(kho);
    const own = next.pages.alloc(0);
    const before = snapshot(next);
    for (const pfn of [
      0,
      folio.pa / PAGE_SIZE + 1,
      own,
      next.ram.size / PAGE_SIZE,
      2 ** 31,
      -1,
      0.5,
      Number.NaN,
      long,
      long + 0.5,
    ]) {
      expect(() => next.restoreFolio(pfn)).toThrow(withCode('ENOENT'));
      expect(() => next.restoreFree(pfn * PAGE_SIZE)).toThrow(withCode('ENOENT'));
      expect(next.restoreFolios(Uint32Array.of(pfn))).toBe(0);
    }
    expect(() => next.restoreFree(folio.pa + 8)).toThrow(withCode('ENOENT'));
    expect(() => next.restoreFree(BigInt(folio.pa) + 8n)).toThrow(withCode('ENOENT'));
    expect(snapshot(next)).toEqual(before);
    next.restoreFree(BigInt(folio.pa));
    next.restorePages(long, 2048);
    next.pages.assertConsistent();
  });

  test('on a cold boot there is nothing to restore', () => {
    const kho = coldKho();
    const pfn = kho.pages.alloc(0);
    expect(() => kho.restoreFolio(pfn)).toThrow(withCode('ENOENT'));
    expect(() => kho.restoreFolio(1000)).toThrow(withCode('ENOENT'));
    expect(kho.retrieveSubtree('kexec-metadata')).toBeUndefined();
    kho.commit();
  });

  test('a list is restored up to the first that cannot be', () => {
    const kho = coldKho(16 * MiB);
    const row = rowOfPages(kho, 12);
    const folios = Uint32Array.from([kho.pages.alloc(3), kho.pages.alloc(0), kho.pages.alloc(3)]);
    const list = Uint32Array.from([...Array.from({ length: 12 }, (_, i) => row + i), ...folios]);
    kho.preserveFolios(list);
    for (let bad = 0; bad < list.length; bad++) {
      const next = nextKho(kho, { freeMemory: 'keep' });
      next.restoreFolio(list[bad]);
      expect(next.restoreFolios(list)).toBe(bad);
      expect([...list].map((pfn) => next.isIncoming(pfn)).indexOf(true)).toBe(
        bad + 1 < list.length ? bad + 1 : -1,
      );
      expect(next.restoreFolios(list, bad + 1)).toBe(list.length - bad - 1);
      next.pages.putBulk(list);
      next.pages.assertConsistent();
    }
    expect(nextKho(kho, { freeMemory: 'keep' }).restoreFolios(list)).toBe(list.length);
  });

  test('runs are restored up to the first that cannot be, which is left whole', () => {
    const kho = coldKho(64 * MiB, { freeMemory: 'zero' });
    const row = rowOfPages(kho, 12);
    const [a, b] = [kho.pages.alloc(3), kho.pages.alloc(3)];
    const long = rowOfPages(kho, 2048, 2048);
    kho.preservePages(long, 2048);
    const runs = new FolioRuns();
    runs.push(0, row, 5, 0);
    runs.push(5, a, b === a + 8 ? 2 : 1, 3);
    runs.push(100, row + 5, 7, 0);
    kho.preserveRows(runs);
    const next = nextKho(kho, { freeMemory: 'keep' });
    next.restoreFolio(row + 9);
    expect(next.restoreRows(runs)).toBe(2);
    expect([next.isIncoming(row + 5), next.isIncoming(row + 11), next.pages.isHead(a)]).toEqual([
      true,
      true,
      true,
    ]);
    expect(next.restoreRows(runs)).toBe(0);
    const huge = new FolioRuns();
    huge.push(0, long, 1, 11);
    expect(next.restoreRows(huge)).toBe(0);
    const outside = new FolioRuns();
    outside.push(0, next.ram.size / PAGE_SIZE - 1, 2, 0);
    expect(next.restoreRows(outside)).toBe(0);
    next.pages.assertConsistent();
  });
});
