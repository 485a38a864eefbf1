/**
 * What is recorded of residency is believed as soon as it says so: by then all of it has to be
 * there.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { expect, it } from 'vitest';
import { PageTable } from './page-table.ts';
import { CHUNK_FRAMES } from './frame-chunk.ts';
import { Residency, UNSURE } from './residency.ts';
import { storesOf } from './test-stores.ts';
import { SparseSystem } from './test-system.ts';

it('a chunk is trusted after its bits are recorded, not before', async () => {
  const ram = new SparseSystem(CHUNK_FRAMES + 64);
  const residency = new Residency(ram, new PageTable(ram.size));
  const memory = new Uint32Array((2 * PAGE_SIZE) / 4);
  const bits = memory.subarray(PAGE_SIZE / 4);
  residency.recordIn(memory);
  residency.trust();
  residency.note(CHUNK_FRAMES + 3, 7);
  expect([residency.unrecorded, residency.isSure]).toEqual([1, false]);
  const image = new Uint8Array(memory.buffer).slice();
  const words = new Uint32Array(image.buffer);
  let trusted = 0;
  for (const { at, bytes } of await storesOf(memory.buffer, () => {
    residency.record(1, bits);
  })) {
    image.set(bytes, at);
    if (words[UNSURE] > 0) continue;
    trusted += 1;
    expect(words[PAGE_SIZE / 4]).toBe(0b11_1111_1000);
  }
  expect([trusted > 0, residency.isSure]).toEqual([true, true]);
});
