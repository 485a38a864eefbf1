import { MAX_FOLIO_SIZE, MAX_ORDER, PAGE_SIZE, pfnToPhys } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import { HeapRam } from './heap-ram.ts';
import { PageAllocator } from './page-allocator.ts';
import { PageTable } from './page-table.ts';
import { vmalloc, VmallocArea } from './vmalloc.ts';

const withCode = (code: string): unknown => expect.objectContaining({ code });

/** An allocator over `frames` frames, the first of them reserved, all memory dirty. */
function allocator(frames: number): PageAllocator {
  const ram = new HeapRam(frames * PAGE_SIZE);
  ram.bytes(0, ram.size).fill(0xdd);
  const table = new PageTable(ram.size);
  table.reserve(0, 1);
  table.markStale();
  return new PageAllocator(ram, table);
}

describe('vmalloc', () => {
  test.for<[bytes: number, order: number, pieces: number]>([
    [1, 0, 1],
    [PAGE_SIZE, 0, 1],
    [PAGE_SIZE + 1, 0, 2],
    [1, 3, 1],
    [PAGE_SIZE * 8 + 1, 3, 2],
    [MAX_FOLIO_SIZE, MAX_ORDER, 1],
  ])('%i bytes in pieces of order %i are %i pieces, zeroed', ([bytes, order, pieces]) => {
    const pages = allocator(4096);
    const free = pages.freePages;
    const area = vmalloc(pages, bytes, order);
    expect(area.pfns).toHaveLength(pieces);
    expect([area.order, area.pieceSize]).toEqual([order, PAGE_SIZE << order]);
    expect([area.length, area.pageCount]).toEqual([pieces * (PAGE_SIZE << order), pieces << order]);
    const content = new Uint8Array(area.length).fill(1);
    area.read(content);
    expect(content.every((byte) => byte === 0)).toBe(true);
    pages.assertConsistent();
    area.free();
    expect(pages.freePages).toBe(free);
    pages.assertConsistent();
  });

  test.for([0, 2])('reads and writes across pieces of order %i that lie anywhere', (order) => {
    const pages = allocator(256);
    const taken = Uint32Array.from({ length: 6 }, () => pages.alloc(order));
    const pfns = Uint32Array.from([taken[4], taken[0], taken[5], taken[2]]); // neither ascending nor side by side
    const area = new VmallocArea(pages, pfns, order);
    const model = new Uint8Array(area.length);
    area.write(model);
    const size = area.pieceSize;
    for (const [offset, length] of [
      [0, 10],
      [size - 3, 6],
      [size - 1, 2 * size + 2],
      [0, 4 * size],
      [4 * size - 1, 1],
      [4 * size, 0],
      [size, size],
    ]) {
      const bytes = Uint8Array.from({ length }, (_, i) => (offset + i * 3) % 256);
      area.write(bytes, offset);
      model.set(bytes, offset);
      const back = new Uint8Array(length);
      area.read(back, offset);
      expect(back).toEqual(bytes);
    }
    const whole = new Uint8Array(area.length);
    area.read(whole);
    expect(whole).toEqual(model);
    for (const [i, pfn] of pfns.entries()) {
      expect(area.piece(i)).toEqual(model.subarray(i * size, (i + 1) * size));
      expect(area.piece(i).byteOffset).toBe(pfnToPhys(pfn));
    }
  });

  test.for([
    [0, 8193],
    [8192, 1],
    [8191, 2],
  ])('%d + %d bytes of an area of 8192 are EFAULT', ([offset, length]) => {
    const area = vmalloc(allocator(64), 8192);
    expect(() => area.read(new Uint8Array(length), offset)).toThrow(withCode('EFAULT'));
    expect(() => area.write(new Uint8Array(length), offset)).toThrow(withCode('EFAULT'));
  });

  test.for<[what: string, bytes: number, order: number]>([
    ['more pages than are free', 63 * PAGE_SIZE + 1, 0],
    ['enough pages, but not in pieces so large', 62 * PAGE_SIZE, 5],
    ['more than any array can list', 2 ** 50, 0],
    ['more than any array can list, in large pieces', 2 ** 52, 10],
  ])('%s: ENOMEM, and nothing is kept', ([, bytes, order]) => {
    const pages = allocator(64);
    expect(() => vmalloc(pages, bytes, order)).toThrow(withCode('ENOMEM'));
    expect(pages.freePages).toBe(63);
    pages.assertConsistent();
  });

  test.for([0, 2])('an allocation that fails half-way leaves nothing (order %i)', (order) => {
    const pages = allocator(256);
    const free = pages.freePages;
    let left = 0;
    let failures = 0;
    pages.beforeAllocation = () => {
      if (left-- === 0) throw new Error('injected');
    };
    for (let n = 0; ; n++) {
      left = n;
      try {
        vmalloc(pages, 40 * PAGE_SIZE, order).free();
        break;
      } catch {
        failures += 1;
      }
      expect(pages.freePages).toBe(free);
      pages.assertConsistent();
    }
    expect(failures).toBe(order === 0 ? 1 : 10);
    expect(pages.freePages).toBe(free);
  });
});
