/**
 * A next kernel may come at any instant: after every single store that preserving makes, the
 * outgoing device tree and memory map are valid, and say either what they said before or what they
 * say after.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { HeapRam } from '@liveupdate/mm';
import { storesOf } from '@liveupdate/mm/test-stores';
import { describe, expect, it } from 'vitest';
import { bootCold } from './boot.ts';
import type { Kho } from './kho.ts';
import { readHandover } from './read-handover.ts';
import { keysOf } from './test-kho.ts';

const SIZE = 256 * PAGE_SIZE;

/** What a kernel that comes now would find. */
function foundIn(image: Uint8Array, { entry }: Kho): string {
  const ram = new HeapRam(image.length);
  ram.bytes(0, image.length).set(image);
  const { subtrees, preservedMap } = readHandover(ram, entry);
  return `${keysOf(ram, preservedMap).join('; ')} | ${[...subtrees.keys()].join()}`;
}

const OPERATIONS: Record<string, (kho: Kho) => () => unknown> = {
  'preserving the first large folio, which needs new nodes': (kho) => {
    const folio = kho.pages.alloc(3);
    return () => kho.preserveFolio(folio);
  },
  'preserving another page': (kho) => {
    const page = kho.pages.alloc(0);
    return () => kho.preserveFolio(page);
  },
  'taking a page back': (kho) => {
    const page = kho.pages.alloc(0);
    kho.preserveFolio(page);
    return () => kho.unpreserveFolio(page);
  },
};

describe('after every store of', () => {
  it.each(Object.entries(OPERATIONS))('%s', async (_, prepare) => {
    const ram = new HeapRam(SIZE);
    const kho = bootCold(ram);
    const operation = prepare(kho);
    const all = ram.bytes(0, SIZE);
    const image = all.slice();
    const before = foundIn(image, kho);
    const stores = await storesOf(all.buffer, () => void operation());
    const after = foundIn(all, kho);
    expect(after).not.toBe(before);
    for (const { at, bytes } of stores) {
      image.set(bytes, at);
      expect([before, after]).toContain(foundIn(image, kho));
    }
    expect(Buffer.compare(image, all), 'all stores were seen').toBe(0);
  });
});
