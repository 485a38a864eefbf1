/**
 * Memory as it is after every single store of an operation, and in the midst of bulk ones: what a
 * next owner finds there.
 */
import { expect } from 'vitest';
import { find, TestRam } from './test-generations.ts';
import { forEachPrefix, storesOf } from '@liveupdate/mm/test-stores';

/** What is there before an operation, and the operation. */
export interface Scene {
  readonly ram: TestRam;
  readonly operation: () => void | Promise<void>;
}

/**
 * Runs a scene, and looks at memory after every store: there is what was there before it, and from
 * one store on what is there after it. Gives how often it looked.
 */
export async function everyPrefix({ ram, operation }: Scene): Promise<number> {
  const image = ram.memory8.slice();
  const before = await find(TestRam.of(image));
  const stores = await storesOf(ram.memory8.buffer, operation);
  const after = await find(TestRam.of(ram.memory8));
  let last = before;
  const prefixes = await forEachPrefix(image, stores, async (now) => {
    const found = await find(TestRam.of(now));
    if (found !== before && found !== after) expect.fail(`found ${found}, not ${before} and not ${after}`);
    if (last === after && found !== after) expect.fail(`found ${found} when there had been ${after}`);
    last = found;
  });
  expect(Buffer.compare(image, ram.memory8), 'all stores were seen').toBe(0);
  expect(last).toBe(after);
  return prefixes;
}
