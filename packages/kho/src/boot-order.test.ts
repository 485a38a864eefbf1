/**
 * What a boot looks at before it knows what was preserved: the structures of the handover and
 * nothing else, and it writes nothing. After that it may write what is free, and never what was
 * preserved.
 */
import { MAX_FOLIO_SIZE, PAGE_SIZE, pfnToPhys, physToPfn } from '@liveupdate/base';
import { overlayRam, SparseRam, vmalloc, type Ram } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import { bootHandover } from './boot.ts';
import { walkRadixTree } from './radix-walk.ts';
import { readHandover, type EntryRecord } from './read-handover.ts';
import { coldKho, MiB } from './test-kho.ts';
import { openLinux } from './test-linux.ts';

/** RAM that notes which frames are looked at, and keeps what they held then. */
class RecordingRam implements Ram {
  readonly size: number;
  readonly #under: Ram;
  readonly looks = new Map<number, Uint8Array>();
  readonly discards: number[] = [];

  constructor(under: Ram) {
    this.#under = under;
    this.size = under.size;
  }

  bytes(pa: number, length: number): Uint8Array {
    for (let pfn = physToPfn(pa); pfnToPhys(pfn) < pa + length; pfn++) {
      if (!this.looks.has(pfn)) this.looks.set(pfn, this.page(pfn));
    }
    return this.#under.bytes(pa, length);
  }

  page(pfn: number): Uint8Array {
    return this.#under.bytes(pfnToPhys(pfn), PAGE_SIZE).slice();
  }

  discard(pa: number, length: number): void {
    this.discards.push(pa);
    this.#under.discard(pa, length);
  }

  close(): void {
    this.#under.close();
  }
}

/** A handover of ours with folios, a long vmalloc area and a subtree in it. */
function ours(): { ram: Ram; entry: EntryRecord } {
  const kho = coldKho(16 * MiB);
  kho.preserveFolio(kho.pages.alloc(5));
  kho.preserveVmalloc(vmalloc(kho.pages, 3 * MiB));
  kho.addSubtree('x', kho.allocPreserve(9000).pa, 9000);
  return { ram: kho.ram, entry: kho.entry };
}

function linux(): { ram: Ram; entry: EntryRecord } {
  const { image, entry } = openLinux();
  return { ram: overlayRam(image), entry };
}

describe.for([
  ['a handover of ours', ours],
  ['the handover of Linux 7.3.4', linux],
] as const)('%s', ([, open]) => {
  test('until the map is walked only its structures are read, and nothing is written', () => {
    const { ram: under, entry } = open();
    const ram = new RecordingRam(under);
    const handover = readHandover(ram, entry);
    const structures = new Set([physToPfn(entry.fdtAddr), physToPfn(entry.scratchAddr)]);
    walkRadixTree(
      under,
      handover.preservedMap,
      () => undefined,
      (node) => structures.add(node),
    );
    const metadata = handover.subtrees.get('kexec-metadata');
    for (let at = metadata!.pa; at < metadata!.pa + metadata!.size; at++) structures.add(physToPfn(at));
    expect([...ram.looks.keys()].filter((pfn) => !structures.has(pfn))).toEqual([]);
    expect(ram.looks.size).toBe(structures.size);
    for (const [pfn, was] of ram.looks) expect(Buffer.compare(ram.page(pfn), was)).toBe(0);
    expect(ram.discards).toEqual([]);
  });

  test.for(['discard', 'keep', 'poison'] as const)(
    'after that, what was preserved stays as it was (%s)',
    (freeMemory) => {
      const { ram, entry } = open();
      const preserved: [pa: number, was: string][] = [];
      const text = (pa: number, length: number): string =>
        Buffer.from(ram.bytes(pa, length)).toString('latin1');
      const handover = readHandover(ram, entry);
      walkRadixTree(ram, handover.preservedMap, (pfn, count, order) => {
        for (let i = 0; i < count * 2 ** order; i++)
          preserved.push([pfnToPhys(pfn + i), text(pfnToPhys(pfn + i), PAGE_SIZE)]);
      });
      for (const pfn of handover.structure) preserved.push([pfnToPhys(pfn), text(pfnToPhys(pfn), PAGE_SIZE)]);
      const kho = bootHandover(ram, handover, { freeMemory });
      vmalloc(kho.pages, 2 * MiB).write(new Uint8Array(2 * MiB).fill(1));
      expect(preserved.filter(([pa, was]) => text(pa, PAGE_SIZE) !== was)).toEqual([]);
    },
  );
});

test('an image of 64 GiB with a few preserved pages costs what is touched of it', () => {
  const GiB = 2 ** 30;
  const loaded = new Set<number>();
  const kho = coldKho(8 * MiB);
  const image = kho.ram;
  const ram = new SparseRam(64 * GiB, (block, pa) => {
    loaded.add(pa);
    if (pa < image.size) block.set(image.bytes(pa, block.length));
  });
  let entry = kho.entry;
  // Two generations on a copy-on-write overlay of it: blocks of 4 MiB are loaded, those in which
  // its structures lie.
  const over = overlayRam(ram);
  for (let generation = 1; generation <= 2; generation++) {
    const next = bootHandover(over, readHandover(over, entry));
    expect(next.pages.freePages).toBeGreaterThan((63 * GiB) / PAGE_SIZE);
    next.commit();
    next.preserveFolio(next.pages.alloc(0));
    entry = next.entry;
  }
  expect([...loaded].filter((pa) => pa >= 2 * MAX_FOLIO_SIZE)).toEqual([]);
});
