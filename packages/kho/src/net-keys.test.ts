import { Prng } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { expect, test } from 'vitest';
import { NetKeys } from './net-keys.ts';

/** Keys as `order/frame`, one by one. */
function keysIn({ length, pfns, counts, orders }: ReturnType<NetKeys['rows']>['added']): string[] {
  const keys: string[] = [];
  for (let i = 0; i < length; i++)
    for (let f = 0; f < counts[i]; f++) keys.push(`${orders[i]}/${pfns[i] + f * 2 ** orders[i]}`);
  return keys.sort();
}

test('what keys come to that are added and removed in any order is what a map of them is before and after', () => {
  const random = new Prng(seed);
  for (let round = 0; round < 200; round++) {
    const before = new Set<string>();
    for (let i = 0; i < 300; i++) before.add(`${random.below(2)}/${2 * random.below(200)}`);
    const now = new Set(before);
    const net = new NetKeys();
    for (let i = 0; i < random.below(60); i++) {
      const order = random.below(2);
      const pfn = 2 * random.below(200);
      const name = `${order}/${pfn}`;
      if (now.has(name)) net.remove(pfn, 1, order);
      else net.add(pfn, 1, order);
      if (!now.delete(name)) now.add(name);
    }
    const { added, removed } = net.rows();
    expect(keysIn(added)).toEqual([...now].filter((key) => !before.has(key)).sort());
    expect(keysIn(removed)).toEqual([...before].filter((key) => !now.has(key)).sort());
    net.clear();
    expect([net.rows().added.length, net.rows().removed.length]).toEqual([0, 0]);
  }
});

test('runs across a border of leaves, taken back in part', () => {
  const net = new NetKeys();
  net.add(32_760, 20, 0);
  net.remove(32_765, 5, 0);
  net.remove(100, 3, 0);
  net.add(101, 1, 0);
  const { added, removed } = net.rows();
  expect(keysIn(added)).toEqual(
    Array.from({ length: 20 }, (_, i) => 32_760 + i)
      .filter((pfn) => pfn < 32_765 || pfn >= 32_770)
      .map((pfn) => `0/${pfn}`)
      .sort(),
  );
  expect(keysIn(removed)).toEqual(['0/100', '0/102']);
});
