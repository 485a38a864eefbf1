import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import { afterEach, describe, expect, test } from 'vitest';
import { MappedRam } from './mapped-ram.ts';
import { nodeArgs, PACKAGE } from './test-child.ts';
import { trackWrites, type TrackOptions, type WriteTracker } from './write-tracker.ts';
import { codeOfThrown } from './test-thrown.ts';
import { viewPieces } from './test-view.ts';

const PAGE = 4096;
const MiB = 2 ** 20;
const GiB = 2 ** 30;
const undo: (() => void)[] = [];

afterEach(() => {
  for (const step of undo.splice(0).reverse()) step();
});

function ramOf(size: number): MappedRam {
  const ram = MappedRam.anonymous({ name: 'liveupdate-test-tracker', size });
  undo.push(() => {
    ram.close();
  });
  return ram;
}

/** RAM with every page touched. */
function populated(size: number): MappedRam {
  const ram = ramOf(size);
  ram.bytes(0, size).fill(1);
  return ram;
}

function tracked(ram: MappedRam, options?: TrackOptions): WriteTracker {
  const tracker = trackWrites(ram, options);
  undo.push(() => {
    tracker.stop();
  });
  return tracker;
}

/**
 * Mappings of this process that are registered for write protection (flag `uw` in smaps), and
 * descriptors of a userfaultfd.
 */
function leftovers(): { protectedRanges: number; descriptors: number } {
  const descriptors = fs.readdirSync('/proc/self/fd').filter((fd) => {
    try {
      return fs.readlinkSync(`/proc/self/fd/${fd}`).includes('[userfaultfd]');
    } catch {
      return false; // the descriptor by which the directory is read
    }
  }).length;
  const protectedRanges = fs
    .readFileSync('/proc/self/smaps', 'latin1')
    .split('\n')
    .filter((line) => line.startsWith('VmFlags:') && line.split(' ').includes('uw')).length;
  return { protectedRanges, descriptors };
}

const probe = ramOf(2 * PAGE);
const here = trackWrites(probe);
const { method } = here;
here.stop();
probe.close();

describe.runIf(method === 'page tables')('by page tables', () => {
  test.each([1, 7, 511, 512, 513, 2800, 5000])('%i scattered pages count as so many', (count) => {
    const ram = populated(64 * MiB);
    const tracker = tracked(ram);
    expect(tracker.parts().ram).toBe(0);
    const bytes = ram.bytes(0, ram.size);
    for (let i = 0; i < count; i++) bytes[i * 3 * PAGE + (i % PAGE)] = 2;
    expect(tracker.parts().ram).toBe(count * PAGE);
  });

  test('a page counts once however often it is written, and reading counts none', () => {
    const ram = populated(MiB);
    const tracker = tracked(ram);
    const bytes = ram.bytes(0, MiB);
    let sum = 0;
    for (const byte of bytes) sum += byte;
    expect(sum).toBe(MiB);
    expect(tracker.parts().ram).toBe(0);
    for (let i = 0; i < 100; i++) bytes[5 * PAGE + i] = i;
    expect(tracker.parts().ram).toBe(PAGE);
    bytes[5 * PAGE] = 9;
    bytes[6 * PAGE] = 9;
    expect(tracker.parts().ram).toBe(2 * PAGE);
  });

  test('storing what is there already is a write', () => {
    const ram = populated(MiB);
    const tracker = tracked(ram);
    ram.bytes(0, 1)[0] = 1;
    expect(tracker.parts().ram).toBe(PAGE);
  });

  test('holes count when they are written, not when they are read', () => {
    const ram = ramOf(16 * MiB);
    const tracker = tracked(ram);
    const bytes = ram.bytes(0, ram.size);
    expect(bytes[3 * MiB]).toBe(0);
    expect(tracker.parts().ram).toBe(0);
    bytes[3 * MiB] = 1;
    bytes.fill(1, 8 * MiB, 9 * MiB);
    expect(tracker.parts().ram).toBe(MiB + PAGE);
  });

  test('a copy of 64 MiB inside RAM is seen whole', () => {
    const ram = populated(160 * MiB);
    const tracker = tracked(ram);
    ram.bytes(0, ram.size).copyWithin(80 * MiB, 0, 64 * MiB);
    expect(tracker.parts().ram).toBe(64 * MiB);
    expect(tracker.written()).toBeGreaterThanOrEqual(64 * MiB);
  });

  test('system calls that read into RAM succeed and count', () => {
    const ram = populated(MiB);
    const tracker = tracked(ram);
    const zero = fs.openSync('/dev/zero', 'r');
    expect(fs.readSync(zero, ram.bytes(0, MiB), 10 * PAGE, 3 * PAGE, null)).toBe(3 * PAGE);
    fs.closeSync(zero);
    expect(ram.bytes(12 * PAGE, 1)[0]).toBe(0);
    expect(tracker.parts().ram).toBe(3 * PAGE);
  });

  test('writes through a view or the descriptor are not seen, and arrive', () => {
    const ram = populated(MiB);
    const tracker = tracked(ram);
    const view = viewPieces(ram, [{ pa: 8 * PAGE, length: PAGE }]);
    view.bytes[0] = 7;
    fs.writeSync(ram.fd, new Uint8Array([8]), 0, 1, 9 * PAGE);
    expect([ram.bytes(8 * PAGE, 1)[0], ram.bytes(9 * PAGE, 1)[0]]).toEqual([7, 8]);
    expect(tracker.parts().ram).toBe(0);
    view.release();
  });

  test('memory given back does not count until it is touched again', () => {
    const ram = populated(MiB);
    const tracker = tracked(ram);
    ram.discard(0, 4 * PAGE);
    expect(tracker.parts().ram).toBe(0);
    ram.bytes(0, MiB).fill(3, 0, 2 * PAGE);
    expect(tracker.parts().ram).toBe(2 * PAGE);
  });

  test('4 GiB of RAM, at both ends and in between', () => {
    const ram = ramOf(4 * GiB);
    const tracker = tracked(ram);
    const bytes = ram.bytes(0, ram.size);
    for (const at of [0, GiB, 2 * GiB - 1, 2 * GiB, 4 * GiB - 1]) bytes[at] = 1;
    expect(tracker.parts().ram).toBe(5 * PAGE);
  });

  test('after stop() nothing is left behind, writes are free and the count stands', () => {
    expect(leftovers()).toEqual({ protectedRanges: 0, descriptors: 0 });
    const ram = populated(MiB);
    const tracker = tracked(ram);
    expect(leftovers()).toEqual({ protectedRanges: 1, descriptors: 1 });
    const bytes = ram.bytes(0, MiB);
    bytes[0] = 5;
    tracker.stop();
    tracker.stop();
    expect(leftovers()).toEqual({ protectedRanges: 0, descriptors: 0 });
    bytes.fill(6);
    expect(bytes.every((byte) => byte === 6)).toBe(true);
    expect(tracker.parts().ram).toBe(PAGE);
    const again = tracked(ram);
    expect(again.parts().ram).toBe(0);
    bytes[PAGE] = 1;
    expect(again.parts().ram).toBe(PAGE);
  });

  test('one tracker at a time: the second is refused and the first goes on', () => {
    const ram = populated(MiB);
    const tracker = tracked(ram);
    expect(codeOfThrown(() => trackWrites(ram))).toBe('EBUSY');
    ram.bytes(0, 1)[0] = 2;
    expect(tracker.parts().ram).toBe(PAGE);
    expect(tracked(populated(MiB)).parts().ram).toBe(0); // another RAM is another matter
  });

  test('RAM that is closed meanwhile ends it: the last count stands', () => {
    const ram = populated(MiB);
    const tracker = trackWrites(ram);
    ram.bytes(0, 1)[0] = 2;
    expect(tracker.parts().ram).toBe(PAGE);
    ram.close();
    expect(tracker.parts().ram).toBe(PAGE);
    tracker.stop();
    expect(leftovers()).toEqual({ protectedRanges: 0, descriptors: 0 });
  });

  test('a process that starts a child, and never stops tracking, ends as it would', () => {
    const code = `
      import { spawnSync } from 'node:child_process';
      import { MappedRam, trackWrites } from './src/index.ts';
      const ram = MappedRam.anonymous({ name: 'x', size: 1048576 });
      const bytes = ram.bytes(0, 1048576).fill(1);
      const tracker = trackWrites(ram);
      bytes[0] = 2;
      console.log(spawnSync('/bin/sh', ['-c', 'ls -l /proc/$$/fd | grep -c userfaultfd'], { encoding: 'utf8' }).stdout.trim());
      bytes[4096] = 2;
      console.log(tracker.parts().ram, bytes[0] + bytes[4096]);`;
    const { stdout, status } = spawnSync(process.execPath, nodeArgs(code), {
      cwd: PACKAGE,
      encoding: 'utf8',
    });
    expect(stdout).toBe('0\n8192 4\n');
    expect(status).toBe(0);
  });
});

describe('by growth', () => {
  test('pages that RAM did not have count, those it had do not', () => {
    const ram = ramOf(16 * MiB);
    const bytes = ram.bytes(0, ram.size).fill(1, 0, MiB);
    const tracker = tracked(ram, { method: 'growth' });
    expect(tracker.method).toBe('growth');
    bytes.fill(2, 0, MiB);
    expect(tracker.parts().ram).toBe(0);
    bytes.fill(2, 4 * MiB, 5 * MiB);
    expect(tracker.parts().ram).toBe(MiB);
    ram.discard(0, 2 * MiB);
    expect(tracker.parts().ram).toBe(0);
  });

  test('a view writes the same memory', () => {
    const ram = ramOf(MiB);
    const tracker = tracked(ram, { method: 'growth' });
    const view = viewPieces(ram, [{ pa: 8 * PAGE, length: 2 * PAGE }]);
    view.bytes.fill(7);
    expect(tracker.parts().ram).toBe(2 * PAGE);
    view.release();
  });

  test('is what remains where page tables cannot be had', () => {
    // A process without a descriptor to spare.
    const code = `
      import * as fs from 'node:fs';
      import { MappedRam, trackWrites } from './src/index.ts';
      const ram = MappedRam.anonymous({ name: 'x', size: 1048576 });
      trackWrites(ram).stop();
      const taken = [];
      try { for (;;) taken.push(fs.openSync('/dev/null')); } catch (error) { console.log(error.code); }
      const tracker = trackWrites(ram);
      for (const fd of taken) fs.closeSync(fd);
      ram.bytes(0, 4096)[0] = 1;
      console.log(tracker.method, tracker.parts().ram);`;
    const { stdout, stderr } = spawnSync(
      '/bin/sh',
      ['-c', 'ulimit -n 128; exec "$@"', 'sh', process.execPath, ...nodeArgs(code)],
      { cwd: PACKAGE, encoding: 'utf8' },
    );
    expect(stderr).toBe('');
    expect(stdout).toBe('EMFILE\ngrowth 4096\n');
  });
});

/** Copies that stay: one that is collected while the next is made would take its growth back. */
const kept: Uint8Array[] = [];

describe.each([[undefined], ['growth' as const]])('by %s, either way', (wanted) => {
  const options = wanted === undefined ? {} : { method: wanted };

  test('a copy of 64 MiB to private memory is seen', () => {
    const ram = populated(64 * MiB);
    const tracker = tracked(ram, options);
    const copy = Uint8Array.from(ram.bytes(0, 64 * MiB));
    kept.push(copy);
    expect(tracker.parts().anonymous).toBeGreaterThan(63 * MiB);
    expect(tracker.written()).toBeGreaterThan(63 * MiB);
    expect(copy.length).toBe(64 * MiB);
  });

  test('the end of a `using` block is a stop', () => {
    const ram = ramOf(MiB);
    let kept: WriteTracker;
    {
      using tracker = trackWrites(ram, options);
      kept = tracker;
    }
    ram.bytes(0, MiB).fill(1);
    expect(kept.parts().ram).toBe(0);
  });

  test('closed RAM is refused', () => {
    const ram = ramOf(MiB);
    ram.close();
    expect(codeOfThrown(() => trackWrites(ram, options))).toBe('EBADF');
  });
});
