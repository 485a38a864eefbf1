import { PAGE_SIZE } from '@liveupdate/base';
import { describe, expect, test } from 'vitest';
import { KexecMetadataSer, ScratchSer } from './abi.ts';
import { readHandover } from './read-handover.ts';
import { coldKho, MiB, nextKho, withCode } from './test-kho.ts';
import type { Kho } from './kho.ts';

describe('subtrees', () => {
  test('are in the device tree as long as they are named', () => {
    const kho = coldKho();
    const block = kho.allocPreserve(3 * PAGE_SIZE);
    const entry = kho.entry;
    kho.addSubtree('LUO', block.pa, 32);
    expect(kho.entry.fdtAddr).not.toBe(entry.fdtAddr); // published by the address, never half-written
    kho.addSubtree('inside', block.pa + 8, 4 * PAGE_SIZE - 8);
    const { subtrees } = readHandover(kho.ram, kho.entry);
    expect([...subtrees.keys()]).toEqual(['kexec-metadata', 'LUO', 'inside']);
    expect(subtrees.get('LUO')).toEqual({ name: 'LUO', pa: block.pa, size: 32 });
    kho.removeSubtree('LUO');
    expect([...readHandover(kho.ram, kho.entry).subtrees.keys()]).toEqual(['kexec-metadata', 'inside']);
    expect(() => kho.removeSubtree('LUO')).toThrow(withCode('ENOENT'));
    const next = nextKho(kho);
    expect(next.retrieveSubtree('inside')).toEqual({
      name: 'inside',
      pa: block.pa + 8,
      size: 4 * PAGE_SIZE - 8,
    });
    expect(next.retrieveSubtree('LUO')).toBeUndefined();
  });

  test.for<[what: string, code: string, add: (kho: Kho, pa: number) => void]>([
    ['a name that is taken', 'EEXIST', (kho, pa) => kho.addSubtree('taken', pa, 8)],
    ['the name of the metadata', 'EEXIST', (kho, pa) => kho.addSubtree('kexec-metadata', pa, 8)],
    ['no name', 'EINVAL', (kho, pa) => kho.addSubtree('', pa, 8)],
    ['a name with a NUL', 'EINVAL', (kho, pa) => kho.addSubtree('a\0b', pa, 8)],
    ['a path', 'EINVAL', (kho, pa) => kho.addSubtree('a/b', pa, 8)],
    ['no bytes, which the next kernel would refuse', 'EINVAL', (kho, pa) => kho.addSubtree('x', pa, 0)],
    ['a negative size', 'EINVAL', (kho, pa) => kho.addSubtree('x', pa, -1)],
    ['a size that is no number', 'EINVAL', (kho, pa) => kho.addSubtree('x', pa, Number.NaN)],
    ['half a byte', 'EINVAL', (kho, pa) => kho.addSubtree('x', pa, 0.5)],
    ['more than is preserved', 'EINVAL', (kho, pa) => kho.addSubtree('x', pa, PAGE_SIZE + 1)],
    [
      'more than is preserved from where it begins',
      'EINVAL',
      (kho, pa) => kho.addSubtree('x', pa + 1, PAGE_SIZE),
    ],
    [
      'memory that is not preserved',
      'EINVAL',
      (kho) => kho.addSubtree('x', kho.pages.alloc(0) * PAGE_SIZE, 8),
    ],
    ['address 0', 'EINVAL', (kho) => kho.addSubtree('x', 0, 8)],
    ['an address outside RAM', 'EINVAL', (kho) => kho.addSubtree('x', kho.ram.size, 8)],
    ['no address', 'EINVAL', (kho) => kho.addSubtree('x', Number.NaN, 8)],
    ['a name that no page holds', 'ENOMEM', (kho, pa) => kho.addSubtree('x'.repeat(4000), pa, 8)],
  ])('%s: %s', ([, code, add]) => {
    const kho = coldKho();
    const block = kho.allocPreserve(8);
    kho.addSubtree('taken', block.pa, 8);
    const published = kho.ram.bytes(kho.entry.fdtAddr, PAGE_SIZE).slice();
    const { entry } = kho;
    expect(() => add(kho, block.pa)).toThrow(withCode(code));
    expect(kho.entry).toEqual(entry);
    expect(kho.ram.bytes(kho.entry.fdtAddr, PAGE_SIZE)).toEqual(published);
    kho.addSubtree('fine', block.pa, 8);
    expect([...readHandover(kho.ram, kho.entry).subtrees.keys()]).toEqual([
      'kexec-metadata',
      'taken',
      'fine',
    ]);
  });

  test('as many as fit in a page, then ENOMEM, and one more after one less', () => {
    const kho = coldKho();
    const block = kho.allocPreserve(8);
    let count = 0;
    const add = (): void => kho.addSubtree(`subtree-${count}`, block.pa, 8);
    expect(() => {
      for (; ; count++) add();
    }).toThrow(withCode('ENOMEM'));
    expect(count).toBeGreaterThan(40);
    expect(readHandover(kho.ram, kho.entry).subtrees.size).toBe(count + 1);
    kho.removeSubtree('subtree-0');
    add();
    expect(readHandover(kho.ram, kho.entry).subtrees.size).toBe(count + 1);
  });
});

describe('what a kernel tells the next', () => {
  test('the metadata: release and number of handovers', () => {
    let kho = coldKho(4 * MiB, { release: 'one' });
    for (const [count, release] of ['one', 'two', 'three'].entries()) {
      const { incoming } = (kho = nextKho(kho, { release: ['two', 'three', 'four'][count] }));
      expect(incoming?.kexecMetadata).toEqual({
        version: 1,
        previousRelease: release,
        kexecCount: count + 1,
      });
      expect(incoming?.subtrees.get('kexec-metadata')?.size).toBe(KexecMetadataSer.SIZE);
    }
  });

  test('a number of handovers at the end of its 32 bits begins anew, as in Linux', () => {
    const first = coldKho();
    const { subtrees } = readHandover(first.ram, first.entry);
    const { pa } = subtrees.get('kexec-metadata')!;
    const { at } = KexecMetadataSer.kexecCount;
    first.ram.bytes(pa + at, 4).fill(0xff);
    const second = nextKho(first);
    expect(second.incoming?.kexecMetadata?.kexecCount).toBe(0xffff_ffff);
    expect(nextKho(second).incoming?.kexecMetadata?.kexecCount).toBe(0);
  });

  test.for([
    ['', true],
    ['x'.repeat(64), true],
    ['x'.repeat(65), false],
    ['ü'.repeat(33), false],
  ] as const)("a release of '%s': %s", ([release, fits]) => {
    if (fits)
      expect(nextKho(coldKho(4 * MiB, { release })).incoming?.kexecMetadata?.previousRelease).toBe(release);
    else expect(() => coldKho(4 * MiB, { release })).toThrow(withCode('EINVAL'));
  });

  test('the scratch areas, in an array that the entry names', () => {
    const scratch = [
      { addr: 40 * PAGE_SIZE, size: 8 * PAGE_SIZE },
      { addr: 8 * PAGE_SIZE, size: 4 * PAGE_SIZE },
    ];
    const kho = coldKho(4 * MiB, { scratch });
    expect(kho.entry.scratchSize).toBe(2 * ScratchSer.SIZE);
    expect(readHandover(kho.ram, kho.entry).scratch).toEqual(scratch);
  });
});

describe('room for the next kernel', () => {
  /** Preserves single pages until so many are free. */
  function fill(kho: Kho, free: number): number[] {
    const pfns: number[] = [];
    while (kho.pages.freePages > free) {
      const pfn = kho.pages.alloc(0);
      kho.preserveFolio(pfn); // which may take a node for the map
      pfns.push(pfn);
    }
    return pfns;
  }

  test.each([1, 4])('as much as it needs to begin, in %i MiB', (size) => {
    const kho = coldKho(size * MiB);
    const [last] = fill(kho, 15);
    expect(kho.pages.freePages).toBe(15);
    expect(() => kho.checkRoomForNext()).toThrow(withCode('ENOMEM'));
    kho.unpreserveFolio(last); // it stays in use here, and is free there
    kho.checkRoomForNext();
    const next = nextKho(kho);
    next.commit();
    next.checkRoomForNext();
    next.pages.assertConsistent();
  });

  test('what is in use and not preserved is as good as free, in scratch and outside RAM it is not', () => {
    const kho = coldKho(4 * MiB);
    fill(kho, 40);
    while (kho.pages.freeScratchPages > 0) kho.pages.alloc(0, { movable: true });
    expect(kho.pages.freePages).toBe(0);
    kho.checkRoomForNext();
    nextKho(kho).pages.assertConsistent();
  });

  test('what nobody restored is free in the kernel after the next', () => {
    const kho = coldKho(4 * MiB);
    fill(kho, 40);
    const next = nextKho(kho);
    next.commit();
    while (next.pages.freePages > 0) next.preserveFolio(next.pages.alloc(0));
    next.checkRoomForNext();
    nextKho(next).pages.assertConsistent();
  });
});

describe('what is made ahead', () => {
  test('the places in the map of what was handed over: preserving it again takes no page', () => {
    const kho = coldKho(8 * MiB);
    const folios = [kho.pages.alloc(0), kho.pages.alloc(0), kho.pages.alloc(4), kho.pages.alloc(9)];
    for (const pfn of folios) kho.preserveFolio(pfn);
    const next = nextKho(kho);
    next.commit();
    for (const pfn of folios) next.restoreFolio(pfn);
    expect(next.incoming?.leaves.map(({ order }) => order)).toEqual([9, 4, 0]);
    next.prepare();
    const { mapPages } = next;
    const free = next.pages.freePages;
    for (const pfn of folios) next.preserveFolio(pfn);
    expect([next.mapPages, next.pages.freePages]).toEqual([mapPages, free]);
    next.prepare();
    expect(next.mapPages).toBe(mapPages);
    next.pages.assertConsistent();
    for (const pfn of folios) nextKho(next).restoreFolio(pfn);
  });

  test('nothing, where there is no memory or nothing was handed over', () => {
    const cold = coldKho();
    const { mapPages } = cold;
    cold.prepare();
    expect(cold.mapPages).toBe(mapPages);
    const folio = cold.pages.alloc(4);
    cold.preserveFolio(folio);
    const next = nextKho(cold);
    next.commit();
    const free = next.pages.freePages;
    const nodes = next.mapPages;
    for (const left of [31, 3]) {
      next.pages.allocBulk(new Uint32Array(free), 0, next.pages.freePages - left);
      next.prepare();
      expect([next.mapPages, next.pages.freePages]).toEqual([nodes, left]);
      next.pages.assertConsistent();
    }
  });
});
