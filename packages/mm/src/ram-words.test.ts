import { PAGE_SIZE } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { HeapRam } from './heap-ram.ts';
import { withMemoryMap } from './memory-map.ts';
import { RamWords } from './ram-words.ts';
import { overlayRam, SparseRam } from './sparse-ram.ts';

const MIB = 2 ** 20;
const SIZE = 9 * MIB + 3 * PAGE_SIZE;

test.each([
  ['HeapRam', () => new HeapRam(SIZE)],
  ['an overlay', () => overlayRam(new SparseRam(SIZE))],
  [
    'RAM with a hole in its midst',
    () =>
      withMemoryMap(new SparseRam(SIZE), [
        { pa: 0, length: SIZE, kind: 'usable' },
        { pa: 5 * MIB, length: MIB, kind: 'reserved' },
      ]),
  ],
])('pages of %s, in any order: what is written is in RAM', (_, make) => {
  const ram = make();
  const words = new RamWords(ram);
  const pages = [1, 1023, 1024, 1279, 1536, 5, 2306, 1537, 1].map((pfn) =>
    Math.min(pfn, SIZE / PAGE_SIZE - 1),
  );
  for (const [i, pfn] of pages.entries()) {
    const at = words.page(pfn);
    words.words[at] = 100 + i;
    words.words[at + PAGE_SIZE / 4 - 1] = 200 + i;
  }
  for (const pfn of pages) {
    const bytes = ram.bytes(pfn * PAGE_SIZE, PAGE_SIZE);
    const i = pages.lastIndexOf(pfn);
    expect([bytes[0], bytes[PAGE_SIZE - 4]]).toEqual([100 + i, 200 + i]);
  }
});
