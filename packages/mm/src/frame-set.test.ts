import { Prng } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { expect, test } from 'vitest';
import { FrameSet } from './frame-set.ts';

/** Across borders of chunks of 32,768 frames. */
const FRAMES = 3 * 32768 + 100;

test('a set of frames is what a naive one is, range by range', () => {
  const random = new Prng(seed);
  const set = new FrameSet();
  const model = new Set<number>();
  for (let round = 0; round < 60; round++) {
    const first = random.below(FRAMES);
    const count = 1 + random.below(Math.min(90_000, FRAMES - first));
    const isAdded = random.below(2) === 0;
    if (isAdded) set.add(first, count);
    else set.delete(first, count);
    for (let pfn = first; pfn < first + count; pfn++) {
      if (isAdded) model.add(pfn);
      else model.delete(pfn);
    }
    const runs: number[] = [];
    set.forEachRun(0, FRAMES, (pfn, length) => {
      for (let i = 0; i < length; i++) runs.push(pfn + i);
    });
    expect(runs).toEqual([...model].sort((a, b) => a - b));
    expect(set.isEmpty).toBe(model.size === 0);
    const at = random.below(FRAMES);
    expect(set.has(at)).toBe(model.has(at));
    let other = at;
    while (other < FRAMES && model.has(other) === model.has(at)) other += 1;
    expect(set.find(!model.has(at), at, FRAMES)).toBe(other);
  }
  set.delete(0, FRAMES);
  expect(set.isEmpty).toBe(true);
  set.add(0, 2 * 32768); // whole chunks, which share their bits
  set.delete(5, 1);
  expect([set.find(false, 0, FRAMES), set.find(false, 6, FRAMES)]).toEqual([5, 2 * 32768]);
});
