import { AssertionError, PAGE_SIZE, pfnToPhys } from '@liveupdate/base';
import { HeapRam, type PageAllocator, type Ram } from '@liveupdate/mm';
import { describe, expect, test } from 'vitest';
import { MAX_RUN_ORDER } from './radix-key.ts';
import { RadixTree } from './radix-tree.ts';
import { walkRadixTree } from './radix-walk.ts';
import { allAre, allocatorFor, keysOf, MiB, withCode } from './test-kho.ts';

function setup(): { pages: PageAllocator; tree: RadixTree; ram: Ram } {
  const ram = new HeapRam(MiB);
  const pages = allocatorFor(ram, []);
  return { ram, pages, tree: new RadixTree(pages) };
}

type Run = [pfn: number, count: number, order: number];

describe('RadixTree', () => {
  test('an empty map is one page of zeros', () => {
    const { ram, tree } = setup();
    expect(tree.nodePages()).toBe(1);
    expect(allAre(ram.bytes(tree.root, PAGE_SIZE), 0)).toBe(true);
    expect(keysOf(ram, tree.root)).toEqual([]);
  });

  test.for<[what: string, runs: Run[], keys: string[], nodes: number]>([
    ['one page', [[5, 1, 0]], ['5 x1, order 0'], 6],
    ['pages side by side', [[5, 1000, 0]], ['5 x1000, order 0'], 6],
    ['a run over the border of a leaf', [[32_760, 16, 0]], ['32760 x8, order 0', '32768 x8, order 0'], 7],
    [
      'a run over three leaves',
      [[32_767, 32_770, 0]],
      ['32767 x1, order 0', '32768 x32768, order 0', '65536 x1, order 0'],
      8,
    ],
    [
      'high orders come first',
      [
        [512, 1, 0],
        [1024, 2, 9],
        [4096, 1, 10],
      ],
      ['4096 x1, order 10', '1024 x2, order 9', '512 x1, order 0'],
      15, // orders 9 and 10 share one table below the root
    ],
    ['above 4 GiB', [[2 ** 33 + 7, 2, 0]], [`${2 ** 33 + 7} x2, order 0`], 6],
    ['the largest run', [[2 ** 30, 1, MAX_RUN_ORDER]], [`${2 ** 30} x1, order ${MAX_RUN_ORDER}`], 6],
  ])('%s', ([, runs, keys, nodes]) => {
    const { ram, pages, tree } = setup();
    for (const run of runs) tree.addRun(...run);
    expect(keysOf(ram, tree.root)).toEqual(keys);
    expect(tree.nodePages()).toBe(nodes);
    for (const [pfn, count, order] of runs) {
      expect([tree.has(pfn, order), tree.has(pfn + (count - 1) * 2 ** order, order)]).toEqual([true, true]);
      expect([tree.has(pfn, order + 1), tree.has(pfn + count * 2 ** order, order)]).toEqual([false, false]);
    }
    const walked: number[] = [];
    walkRadixTree(
      ram,
      tree.root,
      () => undefined,
      (pfn) => walked.push(pfn),
    );
    expect(walked).toHaveLength(nodes);
    expect(walked.every((pfn) => pages.isHead(pfn))).toBe(true);
    for (const run of runs) tree.deleteRun(...run);
    expect(keysOf(ram, tree.root)).toEqual([]);
    expect(tree.nodePages()).toBe(nodes); // nodes stay
    pages.assertConsistent();
  });

  test('the bytes of one key are those of the ABI', () => {
    const { ram, tree } = setup();
    tree.addRun(0x12345, 1, 0);
    const key = (1n << 52n) | 0x12345n;
    let pa = tree.root;
    for (const shift of [51n, 42n, 33n, 24n, 15n]) {
      const table = new BigUint64Array(ram.bytes(pa, PAGE_SIZE).slice().buffer);
      const used = [...table.entries()].filter(([, child]) => child !== 0n);
      expect(used.map(([i]) => BigInt(i))).toEqual([(key >> shift) & 511n]);
      pa = Number(used[0][1]);
    }
    const words = new BigUint64Array(ram.bytes(pa, PAGE_SIZE).slice().buffer);
    const bit = key & 0x7fffn;
    expect(words[Number(bit >> 6n)]).toBe(1n << (bit & 63n));
    expect(words.filter((word) => word !== 0n)).toHaveLength(1);
  });

  test('what is not in the map cannot be taken out of it', () => {
    const { tree } = setup();
    tree.addRun(8, 4, 0);
    for (const run of [
      [7, 2, 0],
      [11, 2, 0],
      [8, 1, 1],
      [2 ** 20, 1, 0],
    ] as Run[])
      expect(() => tree.deleteRun(...run)).toThrow(AssertionError);
    expect([8, 9, 10, 11].every((pfn) => tree.has(pfn, 0))).toBe(true);
  });

  test('an address beyond the keys is ERANGE', () => {
    const { ram, tree } = setup();
    expect(() => tree.addRun(2 ** 52, 1, 0)).toThrow(withCode('ERANGE'));
    expect(keysOf(ram, tree.root)).toEqual([]);
  });

  test.for<[what: string, before: Run[], run: Run, allocations: number]>([
    ['a first key', [], [5, 1, 0], 5],
    ['a second leaf', [[5, 1, 0]], [32_768, 1, 0], 1],
    ['another order', [[5, 1, 0]], [8, 1, 3], 5],
    ['a run over four leaves', [], [1, 100_000, 0], 8],
    ['a run over leaves of which one is there', [[40_000, 1, 0]], [50_000, 50_000, 0], 2],
    ['a run within a leaf that is there', [[5, 1, 0]], [6, 1, 0], 0],
  ])('%s: ENOMEM at each allocation leaves the map as it was', ([, before, run, allocations]) => {
    const { ram, pages, tree } = setup();
    for (const each of before) tree.addRun(...each);
    const state = (): unknown => [
      keysOf(ram, tree.root),
      tree.nodePages(),
      pages.freePages,
      ram.bytes(tree.root, PAGE_SIZE).slice(),
    ];
    const was = state();
    for (let n = 0; ; n++) {
      let left = n;
      pages.beforeAllocation = () => {
        if (left-- === 0) throw new Error('injected');
      };
      try {
        tree.addRun(...run);
        expect(n).toBe(allocations);
        break;
      } catch (error) {
        expect(String(error)).toBe('Error: injected');
      }
      expect(state()).toEqual(was);
      pages.assertConsistent();
      expect(tree.has(run[0], run[2])).toBe(false);
    }
    expect(tree.has(run[0], run[2])).toBe(true);
    expect(tree.has(run[0] + (run[1] - 1) * 2 ** run[2], run[2])).toBe(true);
  });

  test('no page for the root is ENOMEM', () => {
    const { pages } = setup();
    const all = new Uint32Array(pages.freePages);
    pages.allocBulk(all, 0, all.length);
    expect(() => new RadixTree(pages)).toThrow(withCode('ENOMEM'));
  });
});

describe('a damaged map', () => {
  /** One page of order 0 in the map; the frames of the six nodes, root first. */
  function world(): { ram: Ram; tree: RadixTree; nodes: number[] } {
    const { ram, tree } = setup();
    tree.addRun(5, 1, 0);
    const nodes: number[] = [];
    walkRadixTree(
      ram,
      tree.root,
      () => undefined,
      (pfn) => nodes.push(pfnToPhys(pfn)),
    );
    return { ram, tree, nodes };
  }

  /** Writes entry 3 of a node, which is empty. */
  function link(ram: Ram, node: number, child: bigint): void {
    const bytes = ram.bytes(node, PAGE_SIZE);
    new DataView(bytes.buffer, bytes.byteOffset).setBigUint64(3 * 8, child, true);
  }

  test.for<[what: string, spoil: (w: ReturnType<typeof world>) => void]>([
    ['a child that is the root', ({ ram, nodes }) => link(ram, nodes[3], BigInt(nodes[0]))],
    ['a child that is the node itself', ({ ram, nodes }) => link(ram, nodes[2], BigInt(nodes[2]))],
    ['a table linked twice', ({ ram, nodes }) => link(ram, nodes[1], BigInt(nodes[2]))],
    ['a leaf linked twice', ({ ram, nodes }) => link(ram, nodes[4], BigInt(nodes[5]))],
    ['a leaf that is a table', ({ ram, nodes }) => link(ram, nodes[4], BigInt(nodes[1]))],
    ['a node just outside RAM', ({ ram, nodes }) => link(ram, nodes[2], BigInt(ram.size))],
    ['a node far outside RAM', ({ ram, nodes }) => link(ram, nodes[2], 1n << 52n)],
    ['a node beyond 2^53', ({ ram, nodes }) => link(ram, nodes[2], (1n << 64n) - 4096n)],
    ['a node that is not aligned', ({ ram, nodes }) => link(ram, nodes[2], BigInt(nodes[5]) + 8n)],
  ])('%s', ([, spoil]) => {
    const w = world();
    expect(keysOf(w.ram, w.tree.root)).toEqual(['5 x1, order 0']);
    spoil(w);
    expect(() => keysOf(w.ram, w.tree.root)).toThrow(withCode('EINVAL'));
  });

  test.for([0, 1, -4096, 8, 2 ** 20, 2 ** 60, Number.NaN])('a root at %d', (root) => {
    expect(() => keysOf(world().ram, root)).toThrow(withCode('EINVAL'));
  });

  test.for<[what: string, path: number[]]>([
    ['below every order', [0, 0, 0, 0, 0]],
    ['of too high an order', [0, 0, 0, 0, 1]],
    ['above order 0', [4, 0, 0, 0, 0]],
    ['above every order', [511, 511, 511, 511, 511]],
  ])('a key %s', ([, path]) => {
    const ram = new HeapRam(MiB);
    for (const [i, index] of path.entries()) {
      const bytes = ram.bytes((i + 1) * PAGE_SIZE, PAGE_SIZE);
      new DataView(bytes.buffer, bytes.byteOffset).setUint32(index * 8, (i + 2) * PAGE_SIZE, true);
    }
    const leaf = (path.length + 1) * PAGE_SIZE;
    expect(keysOf(ram, PAGE_SIZE)).toEqual([]); // an empty leaf says nothing
    ram.bytes(leaf, 1)[0] = 1;
    expect(() => keysOf(ram, PAGE_SIZE)).toThrow(withCode('EINVAL'));
  });
});
