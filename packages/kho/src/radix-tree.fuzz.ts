/** The preserved memory map against a Map of keys. */
import { Prng } from '@liveupdate/base';
import { HeapRam } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { MAX_RUN_ORDER } from './radix-key.ts';
import { RadixTree } from './radix-tree.ts';
import { walkRadixTree } from './radix-walk.ts';
import { allocatorFor, MiB } from './test-kho.ts';
import { seed } from '@liveupdate/base/test-seed';

const OPERATIONS = 4_000;

test(`${OPERATIONS} random operations from seed ${seed}`, () => {
  const random = new Prng(seed);
  const ram = new HeapRam(4 * MiB);
  const pages = allocatorFor(ram, []);
  const tree = new RadixTree(pages);
  /** Index of each folio in the map, by order. */
  const model = Array.from({ length: MAX_RUN_ORDER + 1 }, () => new Set<number>());
  /** Few places, so that runs meet; both sides of the borders of leaves and tables. */
  const bases = [0, 32_700, 65_500, 512 * 32_768 - 60, 2 ** 31, 2 ** 40];
  const orders = [0, 0, 0, 1, 3, 9, 10, 17, MAX_RUN_ORDER];

  const walk = (): Set<number>[] => {
    const found = Array.from({ length: MAX_RUN_ORDER + 1 }, () => new Set<number>());
    let before: [order: number, pfn: number] = [Number.POSITIVE_INFINITY, 0];
    walkRadixTree(ram, tree.root, (pfn, count, order) => {
      expect(order < before[0] || (order === before[0] && pfn > before[1])).toBe(true);
      before = [order, pfn];
      for (let i = 0; i < count; i++) found[order].add(pfn / 2 ** order + i);
    });
    return found;
  };

  for (let i = 0; i < OPERATIONS; i++) {
    const order = orders[random.below(orders.length)];
    const set = model[order];
    const first = bases[random.below(bases.length)] + random.below(120) + 1;
    if (first + 200 > 2 ** (52 - order)) continue; // no such key
    // As many as are in the same state as the first one.
    const present = set.has(first);
    let count = 1;
    while (count < random.below(80) && set.has(first + count) === present) count += 1;
    if (present) tree.deleteRun(first * 2 ** order, count, order);
    else tree.addRun(first * 2 ** order, count, order);
    for (let k = first; k < first + count; k++) {
      if (present) set.delete(k);
      else set.add(k);
    }
    const other = first + random.below(200) - 100;
    if (other >= 0 && tree.has(other * 2 ** order, order) !== set.has(other))
      throw new Error(`operation ${i} of seed ${seed}: key ${other} of order ${order}`);
    if (i % 400 === 0) expect(walk()).toEqual(model);
  }
  expect(walk()).toEqual(model);
  expect(model.reduce((sum, { size }) => sum + size, 0)).toBeGreaterThan(100);
  pages.assertConsistent();
});
