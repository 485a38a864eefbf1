import { PAGE_SIZE } from '@liveupdate/base';
import { HeapRam } from '@liveupdate/mm';
import { describe, expect, it } from 'vitest';
import { isBlank, readBootPage, writeBootPage, type BootPage } from './boot-page.ts';

const SIZE = 16 * PAGE_SIZE;

function page(change: Partial<BootPage> = {}): BootPage {
  return {
    state: 'handed-over',
    ramSize: SIZE,
    generation: 7,
    entry: { fdtAddr: 0x1000, fdtSize: 4096, scratchAddr: 0x2000, scratchSize: 16 },
    kexecStart: 123_456_789_012_345n,
    kexecFrozen: 123_456_789_112_345n,
    ownerPid: 4711,
    ...change,
  };
}

describe('the boot page', () => {
  it('comes back as it was written, latest first', () => {
    const ram = new HeapRam(SIZE);
    expect(isBlank(ram)).toBe(true);
    for (let generation = 1; generation < 6; generation++) {
      writeBootPage(ram, page({ generation }));
      expect(readBootPage(ram)).toEqual(page({ generation }));
    }
    expect(isBlank(ram)).toBe(false);
  });

  it('stands when the write of the other copy is torn, at whatever byte', () => {
    const before = new HeapRam(SIZE);
    writeBootPage(before, page({ generation: 1 }));
    writeBootPage(before, page({ generation: 2 }));
    const after = new HeapRam(SIZE);
    after.bytes(0, PAGE_SIZE).set(before.bytes(0, PAGE_SIZE));
    writeBootPage(after, page({ generation: 3, state: 'running' }));
    const old = before.bytes(0, PAGE_SIZE);
    const next = after.bytes(0, PAGE_SIZE);
    const changed = [...next.keys()].filter((at) => next[at] !== old[at]);
    expect(changed.length).toBeGreaterThan(4);
    for (let stop = 0; stop < changed.length; stop++) {
      const torn = new HeapRam(SIZE);
      torn.bytes(0, PAGE_SIZE).set(old);
      for (const at of changed.slice(0, stop)) torn.bytes(at, 1)[0] = next[at];
      expect(readBootPage(torn).generation).toBe(2);
    }
    expect(readBootPage(after).generation).toBe(3);
  });

  it.each<[string, (ram: HeapRam) => void]>([
    ['never written', () => undefined],
    ['text', (ram) => ram.bytes(0, PAGE_SIZE).fill(0x41)],
    [
      'damaged in both copies',
      (ram) => {
        writeBootPage(ram, page());
        writeBootPage(ram, page());
        for (const at of [20, 2068]) ram.bytes(at, 1)[0] ^= 1;
      },
    ],
  ])('is refused: %s', (_, damage) => {
    const ram = new HeapRam(SIZE);
    damage(ram);
    expect(() => readBootPage(ram)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  it('is refused where RAM has another size', () => {
    const ram = new HeapRam(SIZE);
    writeBootPage(ram, page({ ramSize: SIZE * 2 }));
    expect(() => readBootPage(ram)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });
});
