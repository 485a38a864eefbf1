/**
 * Memory as it is after every single store of an operation, and in the midst of bulk ones: what a
 * next owner finds there.
 */
import { Prng } from '@liveupdate/base';
import { expect } from 'vitest';
import { find, TestRam } from './test-generations.ts';
import { storesOf, type Store } from '@liveupdate/mm/test-stores';

/** What is there before an operation, and the operation. */
export interface Scene {
  readonly ram: TestRam;
  readonly operation: () => void | Promise<void>;
}

/**
 * Bytes of a bulk store that is cut short: those from one place on or before it are there, or a
 * random half.
 */
function torn(image: Uint8Array, { at, bytes }: Store, random: Prng): Uint8Array[] {
  const cut = random.below(bytes.length);
  const [before, behind, half] = [image.slice(), image.slice(), image.slice()];
  before.set(bytes.subarray(0, cut), at);
  behind.set(bytes.subarray(cut), at + cut);
  const bits = random.below(2 ** 31);
  for (let i = 0; i < bytes.length; i++) if (((bits >>> (i % 29)) & 1) === 0) half[at + i] = bytes[i];
  return [before, behind, half];
}

/** Calls `visit` with memory as it is after each store, and in the midst of bulk ones. */
export async function forEachPrefix(
  image: Uint8Array,
  stores: readonly Store[],
  visit: (image: Uint8Array) => Promise<void>,
): Promise<number> {
  const random = new Prng(stores.length);
  let prefixes = 0;
  for (const store of stores) {
    const { at, bytes, isBulk } = store;
    if (isBulk && bytes.length > 4) {
      for (const part of torn(image, store, random)) {
        await visit(part);
        prefixes += 1;
      }
    }
    image.set(bytes, at);
    await visit(image);
    prefixes += 1;
  }
  return prefixes;
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
