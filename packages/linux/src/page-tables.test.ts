/**
 * What a RAM costs the process that maps it: collections for its views, page table entries for its
 * pages.
 */
import * as fs from 'node:fs';
import { codeOf } from '@liveupdate/base';
import { afterEach, describe, expect, test } from 'vitest';
import { MappedRam } from './mapped-ram.ts';
import { runChild } from './test-child.ts';
import { viewPieces } from './test-view.ts';

const PAGE = 4096;
const MiB = 2 ** 20;
const undo: (() => void)[] = [];

afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
});

function ramOf(size: number): MappedRam {
  const ram = MappedRam.anonymous({ name: 'liveupdate-test-tables', size });
  undo.push(() => {
    ram.close();
  });
  return ram;
}

/** Bytes of the RAM's file in our page tables, all mappings together. */
function mapped(): number {
  let inside = false;
  let kibibytes = 0;
  for (const line of fs.readFileSync('/proc/self/smaps', 'latin1').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) inside = line.includes('liveupdate-test-tables');
    else if (inside && line.startsWith('Rss:')) kibibytes += Number(/\d+/.exec(line)?.[0]);
  }
  return kibibytes * 1024;
}

describe('views', () => {
  test.each([0, 8 * MiB - 3, 24 * MiB - 5])(
    'at %i are one memory, small or large, whichever came first',
    (at) => {
      const ram = ramOf(25 * MiB);
      const small = ram.bytes(at, 2);
      const across = ram.bytes(at, 16);
      const smallAgain = ram.bytes(at + 8, 8);
      across.set([1, 2, 3, 4, 5, 6, 7, 8, 9]);
      expect([...small, ...smallAgain.subarray(0, 1)]).toEqual([1, 2, 9]);
      smallAgain[7] = 42;
      expect(across[15]).toBe(42);
      ram.close();
      expect([small.length, across.length, smallAgain.length]).toEqual([0, 0, 0]);
    },
  );

  test('of a few pages of 8 GiB cost no collection', () => {
    const code = `
      import { setFlagsFromString } from 'node:v8';
      import { MappedRam } from './src/index.ts';
      setFlagsFromString('--trace-gc');
      const ram = MappedRam.anonymous({ name: 'x', size: 2 ** 33 });
      for (const at of [0, 2 ** 32, 2 ** 33 - 4096]) ram.bytes(at, 4096)[0] = 1;
      for (let i = 0, waste = []; i < 1000; i++) waste = [i, waste.length]; // interrupts are served here
      ram.close();`;
    const { stdout, status } = runChild(code);
    expect(status).toBe(0);
    expect(stdout).not.toContain('external memory pressure');
  });
});

describe('dropPageTables', () => {
  test('takes every page out of the page tables, step by step, and leaves its content', () => {
    const ram = ramOf(64 * MiB);
    const bytes = ram.bytes(0, 64 * MiB).fill(7);
    expect(mapped()).toBe(64 * MiB);

    const seen = Array.from(ram.dropPageTables(), mapped);
    expect(seen).toEqual([56, 48, 40, 32, 24, 16, 8, 0].map((left) => left * MiB));
    expect(ram.allocated()).toBe(64 * MiB);
    expect(bytes.every((byte) => byte === 7)).toBe(true);
  });

  test('includes views, and goes past one that is released meanwhile', () => {
    const ram = ramOf(20 * MiB);
    ram.bytes(0, 20 * MiB).fill(7);
    const released = viewPieces(ram, [{ pa: 0, length: 18 * MiB }]);
    const kept = viewPieces(ram, [{ pa: MiB, length: MiB }]);
    released.bytes.fill(8);
    kept.bytes.fill(9);
    const steps = ram.dropPageTables();
    for (let i = 0; i < 3; i++) steps.next(); // RAM itself
    steps.next(); // the first part of what is released now
    released.release();
    expect([...steps]).toHaveLength(0);
    expect(mapped()).toBe(0);
    expect([kept.bytes[0], ram.bytes(0, 1)[0], ram.bytes(19 * MiB, 1)[0]]).toEqual([9, 8, 7]);
  });

  test('a view is brought in when it is made, and again by populate: a store faults no more', async () => {
    const size = 20 * MiB;
    const ram = ramOf(size);
    ram.system.reserve(0, size);
    const view = ram.view([{ pa: 0, length: size }], { size, populate: true });
    const faultsOfStores = (): number => {
      const before = process.resourceUsage().minorPageFault;
      for (let at = 0; at < size; at += PAGE) view.bytes[at] = 7;
      return process.resourceUsage().minorPageFault - before;
    };
    expect(mapped()).toBe(size);
    expect(faultsOfStores()).toBeLessThan(size / PAGE / 10);
    Array.from(ram.dropPageTables());
    expect(mapped()).toBe(0);
    await view.populate();
    expect(mapped()).toBe(size);
    expect(faultsOfStores()).toBeLessThan(size / PAGE / 10);
  });

  test('of RAM that is closed, before or meanwhile, is EBADF', () => {
    const ram = ramOf(32 * MiB);
    const steps = ram.dropPageTables();
    steps.next();
    ram.close();
    for (const call of [() => steps.next(), () => ram.dropPageTables().next()]) {
      let code = 'nothing thrown';
      try {
        call();
      } catch (error) {
        code = codeOf(error);
      }
      expect(code).toBe('EBADF');
    }
  });

  test('costs by what is in the file: a hole is one step, however long', () => {
    const ram = ramOf(4 * 2 ** 40);
    for (const pa of [0, 2 ** 40, 3 * 2 ** 40]) ram.bytes(pa, PAGE)[0] = 1;
    expect(mapped()).toBe(3 * PAGE);
    expect([...ram.dropPageTables()].length).toBeLessThanOrEqual(6);
    expect(mapped()).toBe(0);
  });

  test('tells the kernel about whole RAM, also where it is no multiple of a step', () => {
    const ram = ramOf(16 * MiB + PAGE);
    ram.bytes(16 * MiB, 1)[0] = 1;
    expect([...ram.dropPageTables()]).toHaveLength(1);
    expect(mapped()).toBe(0);
  });
});
