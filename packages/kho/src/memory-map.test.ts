/**
 * Machines whose RAM begins above 0 and has holes: nothing in a hole is ever used, and a handover
 * that names one is refused.
 */
import { PAGE_SIZE, physToPfn } from '@liveupdate/base';
import { overlayRam, SparseRam, vmalloc, withMemoryMap, type MemoryMapEntry, type Ram } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import { boot, bootCold } from './boot.ts';
import type { Kho } from './kho.ts';
import { readHandover } from './read-handover.ts';
import { openLinux } from './test-linux.ts';
import { allAre, MiB, withCode } from './test-kho.ts';

const GiB = 2 ** 30;

/**
 * RAM from 2 GiB on, with firmware in it, and more above 40 GiB; `firmware` ends where it is asked
 * to.
 */
function board(under: Ram, firmware = 4 * MiB): Ram {
  const map: MemoryMapEntry[] = [
    { pa: 2 * GiB, length: 24 * MiB, kind: 'usable' },
    { pa: 2 * GiB + 3 * MiB, length: firmware - 3 * MiB, kind: 'reserved' },
    { pa: 40 * GiB, length: 8 * MiB, kind: 'usable' },
  ];
  return withMemoryMap(under, map);
}

const isThere = (pfn: number): boolean => {
  const pa = pfn * PAGE_SIZE;
  const within = (from: number, to: number): boolean => pa >= from && pa < to;
  return (
    within(2 * GiB, 2 * GiB + 3 * MiB) ||
    within(2 * GiB + 4 * MiB, 2 * GiB + 24 * MiB) ||
    within(40 * GiB, 40 * GiB + 8 * MiB)
  );
};

describe('a machine with holes', () => {
  function cold(): { under: SparseRam; kho: Kho } {
    const under = new SparseRam(48 * GiB);
    return { under, kho: bootCold(board(under), { freeMemory: 'poison' }) };
  }

  test('all of its memory is given out, none of it twice, nothing else', () => {
    const { kho } = cold();
    kho.pages.assertConsistent();
    const all = new Uint32Array(kho.pages.freePages + kho.pages.freeScratchPages);
    kho.pages.allocBulk(all, 0, all.length, { movable: true });
    expect(all.every(isThere)).toBe(true);
    expect(new Set(all).size).toBe(all.length);
    expect(all.length).toBeGreaterThan((31 * MiB) / PAGE_SIZE - 20);
  });

  test('handovers go on and on, at any order, and end with the same memory', () => {
    let { kho } = cold();
    const free: number[] = [];
    for (let generation = 1; generation <= 12; generation++) {
      const area = vmalloc(kho.pages, 9 * MiB, generation % 4);
      for (let i = 0; i < area.pfns.length; i++) area.piece(i).fill(generation);
      const descriptor = kho.preserveVmalloc(area);
      kho = boot(kho.ram, kho.entry, { freeMemory: 'poison' });
      const again = kho.restoreVmalloc(descriptor);
      for (let i = 0; i < again.pfns.length; i++) expect(allAre(again.piece(i), generation)).toBe(true);
      again.free();
      kho.commit();
      kho.pages.assertConsistent();
      free.push(kho.pages.freePages + kho.pages.freeScratchPages);
    }
    expect(new Set(free).size).toBe(1);
  });

  test('a handover that preserves what this machine calls firmware is refused', () => {
    const { under, kho } = cold();
    const all = new Uint32Array(kho.pages.freePages - 20);
    kho.pages.allocBulk(all, 0, all.length);
    kho.preserveFolios(all.filter((pfn) => pfn >= physToPfn(2 * GiB + 4 * MiB)));
    readHandover(kho.ram, kho.entry);
    expect(() => readHandover(board(under, 5 * MiB), kho.entry)).toThrow(withCode('EINVAL'));
  });

  test.for<[what: string, offset: number]>([
    ['the device tree', 0],
    ['the scratch array', 16],
  ])('%s in a hole: EFAULT, and nothing there is looked at', ([, offset]) => {
    const { kho } = cold();
    const entry = { ...kho.entry, [offset === 0 ? 'fdtAddr' : 'scratchAddr']: 30 * GiB };
    expect(() => readHandover(kho.ram, entry)).toThrow(withCode('EFAULT'));
  });

  test('a node of the map in a hole: EFAULT', () => {
    const { kho } = cold();
    const root = readHandover(kho.ram, kho.entry).preservedMap;
    const bytes = kho.ram.bytes(root, PAGE_SIZE);
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(8 * 300, BigInt(30 * GiB), true);
    expect(() => readHandover(kho.ram, kho.entry)).toThrow(withCode('EFAULT'));
  });
});

describe('Linux 7.3.4 on a PC of 256 MiB', () => {
  /**
   * As a PC's firmware tells it: the first MiB has a hole for the BIOS, the end of RAM is for its
   * tables.
   */
  const PC: MemoryMapEntry[] = [
    { pa: 0, length: 0x9_fc00, kind: 'usable' },
    { pa: 0x9_fc00, length: 0x400, kind: 'reserved' },
    { pa: 0xf_0000, length: 0x1_0000, kind: 'reserved' },
    { pa: 0x10_0000, length: 0xfee_0000, kind: 'usable' },
    { pa: 0xffe_0000, length: 0x2_0000, kind: 'reserved' },
  ];

  test('its handover boots under the memory map, every frame accounted for', () => {
    const { image, entry, expected } = openLinux();
    const ram = withMemoryMap(overlayRam(image), PC);
    const kho = boot(ram, entry, { freeMemory: 'poison' });
    kho.pages.assertConsistent();
    const preserved = expected.preserved.bytes / PAGE_SIZE - 1; // without the device tree: see structure
    const structure = kho.incoming?.structure.length ?? 0;
    const own = kho.mapPages + 2 + 1 + 1; // the outgoing map, two trees, the scratch array, the metadata
    const usable = (0x9_f000 + 0xfee_0000) / PAGE_SIZE - 1; // page 0 is nobody's
    expect(kho.pages.freePages + kho.pages.freeScratchPages).toBe(usable - preserved - structure - own);
    kho.commit();
    kho.pages.assertConsistent();
    expect(kho.pages.freePages + kho.pages.freeScratchPages).toBe(usable - preserved - own);
  });
});
