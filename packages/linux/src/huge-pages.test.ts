/**
 * RAM in huge pages: asked for one at a time, mapped as one entry of the page tables, and the same
 * memory as any other.
 */
import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HUGE_PAGE } from '@liveupdate/mm';
import { afterEach, beforeEach, describe, expect, test, vi, type TestContext } from 'vitest';
import { MappedRam } from './mapped-ram.ts';
import { codeOfThrown } from './test-thrown.ts';
import { collectGarbage } from './test-garbage.ts';
import { viewPieces } from './test-view.ts';

const undo: (() => void)[] = [];

afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
});

function anonymous(size: number): MappedRam {
  const ram = MappedRam.anonymous({ name: 'liveupdate-test', size });
  undo.push(() => {
    ram.close();
  });
  return ram;
}

/** RAM whose huge page at 0 was taken; the test is skipped on systems that give none. */
function hugeRam(context: TestContext, size = 4 * HUGE_PAGE): MappedRam {
  const ram = anonymous(size);
  if (!ram.system.populateHuge(0))
    context.skip('this system gives no huge page now: MADV_COLLAPSE needs Linux 6.1');
  return ram;
}

/** Bytes of a mapping that are in the page tables as huge pages. */
function mappedHuge(address: bigint): number {
  const smaps = fs.readFileSync('/proc/self/smaps', 'utf8');
  const from = smaps.indexOf(`\n${address.toString(16)}-`);
  const found = /\nShmemPmdMapped: +(?<kib>\d+) kB/.exec(smaps.slice(from));
  return Number(found?.groups?.['kib']) * 1024;
}

describe('a huge page of RAM', () => {
  // However busy this machine is, none of these took too long.
  beforeEach(() => {
    const clock = vi.spyOn(performance, 'now').mockReturnValue(0);
    undo.push(() => {
      clock.mockRestore();
    });
  });

  test('is taken whole, is one entry of the page tables, and keeps what was there', (context) => {
    const ram = hugeRam(context);
    expect(ram.allocated()).toBe(HUGE_PAGE);
    expect(ram.bytes(0, HUGE_PAGE).every((byte) => byte === 0)).toBe(true);
    expect(mappedHuge(ram.address)).toBe(HUGE_PAGE);
    ram.bytes(HUGE_PAGE + 5 * 4096 + 7, 1)[0] = 9;
    ram.system.write(2 * HUGE_PAGE - 3, Uint8Array.of(1, 2, 3, 4));
    expect(ram.system.populateHuge(HUGE_PAGE)).toBe(true);
    expect(ram.allocated()).toBe(2 * HUGE_PAGE + 4096);
    expect(ram.bytes(HUGE_PAGE + 5 * 4096 + 7, 1)[0]).toBe(9);
    expect([...ram.bytes(2 * HUGE_PAGE - 4, 5)]).toEqual([0, 1, 2, 3, 4]);
  });

  test('is taken once', (context) => {
    const ram = hugeRam(context);
    ram.bytes(0, 3).set([1, 2, 3]);
    expect(ram.system.populateHuge(0)).toBe(true);
    expect([ram.allocated(), ...ram.bytes(0, 3)]).toEqual([HUGE_PAGE, 1, 2, 3]);
  });

  test('is written where it should, also over its end into memory that is not huge', (context) => {
    const ram = hugeRam(context);
    const bytes = Uint8Array.from({ length: 20_000 }, (_, i) => 1 + (i % 250));
    ram.system.write(5, bytes);
    ram.system.write(HUGE_PAGE - 10_000, bytes);
    expect(ram.bytes(5, 20_000)).toEqual(bytes);
    expect(ram.bytes(HUGE_PAGE - 10_000, 20_000)).toEqual(bytes);
    expect(ram.allocated()).toBe(HUGE_PAGE + 3 * 4096);
    expect([ram.bytes(4, 1)[0], ram.bytes(20_005, 1)[0], ram.bytes(HUGE_PAGE + 10_000, 1)[0]]).toEqual([
      0, 0, 0,
    ]);
  });

  test('gives back a part of it, and takes that again when it is written', (context) => {
    const ram = hugeRam(context);
    ram.bytes(0, HUGE_PAGE).fill(7);
    ram.discard(4096, 8192);
    expect(ram.allocated()).toBe(HUGE_PAGE - 8192);
    expect([0, 4096, 12_287, 12_288].map((pa) => ram.bytes(pa, 1)[0])).toEqual([7, 0, 0, 7]);
    ram.system.write(4096, Uint8Array.of(5));
    expect(ram.bytes(4095, 3)).toEqual(Uint8Array.of(7, 5, 0));
    expect(ram.system.populateHuge(0)).toBe(true);
    expect(ram.allocated()).toBe(HUGE_PAGE);
    expect([0, 4096, 4097, 12_288].map((pa) => ram.bytes(pa, 1)[0])).toEqual([7, 5, 0, 7]);
  });

  test('lies as one entry in the next mapping of the RAM, and in a view', (context) => {
    const ram = hugeRam(context);
    for (const pa of [HUGE_PAGE, 2 * HUGE_PAGE]) expect(ram.system.populateHuge(pa)).toBe(true);
    using other = MappedRam.fromFd(fs.openSync(`/proc/self/fd/${ram.fd}`, 'r+'));
    for (let pa = 0; pa < 3 * HUGE_PAGE; pa += HUGE_PAGE) other.bytes(pa, 1)[0] = 1;
    expect(mappedHuge(other.address)).toBe(3 * HUGE_PAGE);
    const before = countHuge();
    const view = viewPieces(ram, [
      { pa: 3 * HUGE_PAGE, length: 3 * 4096 },
      { pa: 4096, length: 3 * HUGE_PAGE - 4096 },
    ]);
    for (let at = 0; at < view.bytes.length; at += 4096) view.bytes[at] = 2;
    expect(countHuge() - before).toBe(2 * HUGE_PAGE); // the first of three lacks a page
    view.release();
  });

  test('is none where less than one is left of RAM, and only there', (context) => {
    const ram = hugeRam(context, HUGE_PAGE + 8192);
    expect(ram.system.populateHuge(HUGE_PAGE)).toBe(false);
    expect(ram.allocated()).toBe(HUGE_PAGE);
    expect(codeOfThrown(() => ram.system.populateHuge(4096))).toBe('EINVAL');
    expect(codeOfThrown(() => ram.system.populateHuge(2 * HUGE_PAGE))).toBe('EFAULT');
    expect(codeOfThrown(() => ram.system.populateHuge(-HUGE_PAGE))).toBe('EFAULT');
    ram.close();
    expect(codeOfThrown(() => ram.system.populateHuge(0))).toBe('EBADF');
  });

  test('that a file system has no room for is refused, and what was there stays', (context) => {
    if (process.geteuid?.() !== 0) context.skip('only root can mount a small tmpfs');
    const path = fs.mkdtempSync(join(tmpdir(), 'liveupdate-tmpfs-'));
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'none', path]);
    undo.push(() => {
      execFileSync('umount', [path]);
      fs.rmdirSync(path);
    });
    using ram = MappedRam.create({ path: join(path, 'x.ram'), size: 4 * HUGE_PAGE });
    if (!ram.system.populateHuge(0))
      context.skip('this system gives no huge page now: MADV_COLLAPSE needs Linux 6.1');
    ram.system.write(HUGE_PAGE + 4096, Uint8Array.of(1, 2, 3));
    expect(ram.system.populateHuge(HUGE_PAGE)).toBe(false);
    expect(ram.allocated()).toBeLessThanOrEqual(HUGE_PAGE + 2 * 4096);
    expect([...ram.bytes(HUGE_PAGE + 4096, 4)]).toEqual([1, 2, 3, 0]);
    const held = ram.allocated();
    expect(ram.system.populateHuge(2 * HUGE_PAGE)).toBe(false); // for a second it is not even asked
    expect(ram.allocated()).toBe(held);
    const clock = vi.spyOn(performance, 'now').mockReturnValue(performance.now() + 2000);
    undo.push(() => {
      clock.mockRestore();
    });
    expect(ram.system.populateHuge(2 * HUGE_PAGE, true)).toBe(false);
    expect(ram.allocated()).toBe(held); // where all is empty nothing stays taken of what was tried
    ram.system.reserve(HUGE_PAGE, 1024 * 1024);
    expect(
      codeOfThrown(() => {
        ram.system.reserve(2 * HUGE_PAGE, HUGE_PAGE);
      }),
    ).toBe('ENOSPC');
  });
});

/** Bytes of shared memory that this process has in its page tables as huge pages. */
function countHuge(): number {
  const rollup = fs.readFileSync('/proc/self/smaps_rollup', 'utf8');
  return Number(/ShmemPmdMapped: +(?<kib>\d+) kB/.exec(rollup)?.groups?.['kib']) * 1024;
}

test('a system that takes long to find a huge page is not asked again for a second', (context) => {
  const ram = hugeRam(context);
  const clock = vi.spyOn(performance, 'now');
  undo.push(() => {
    clock.mockRestore();
  });
  const times = [1e6, 1e6 + 30, 1e6 + 40, 1e6 + 1029, 1e6 + 1031, 1e6 + 1032];
  clock.mockImplementation(() => times.shift() ?? Number.NaN);
  expect(ram.system.populateHuge(HUGE_PAGE)).toBe(true); // in 30 ms
  expect([ram.system.populateHuge(2 * HUGE_PAGE), ram.system.populateHuge(2 * HUGE_PAGE)]).toEqual([
    false,
    false,
  ]);
  expect(ram.allocated()).toBe(2 * HUGE_PAGE);
  expect(ram.system.populateHuge(2 * HUGE_PAGE)).toBe(true);
  expect(times).toEqual([]);
});

test.each([8192, HUGE_PAGE - 4096, HUGE_PAGE, 5 * HUGE_PAGE + 4096])(
  'RAM of %d bytes and views of it leave no address space behind',
  async (size) => {
    const addressSpace = (): number => {
      const found = /VmSize:\s+(?<kib>\d+) kB/.exec(fs.readFileSync('/proc/self/status', 'utf8'));
      return Number(found?.groups?.['kib']) * 1024;
    };
    const once = (): void => {
      const ram = anonymous(size);
      const view = viewPieces(ram, [
        { pa: 4096, length: size - 4096 },
        { pa: 0, length: 4096 },
      ]);
      if (size >= HUGE_PAGE) expect(ram.address % BigInt(HUGE_PAGE)).toBe(0n);
      view.release();
      ram.close();
    };
    once(); // loads what the first call loads
    const before = addressSpace();
    for (let i = 0; i < 300; i++) once();
    await collectGarbage();
    expect(addressSpace() - before).toBeLessThan(100 * HUGE_PAGE); // what the engine takes meanwhile
  },
);
