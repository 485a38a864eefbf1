import { PAGE_SIZE } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { forEachDataRun } from './data-runs.ts';

function runs(bytes: Uint8Array, position = 0): [number, number][] {
  const found: [number, number][] = [];
  forEachDataRun(bytes, position, (from, to) => found.push([from, to]));
  return found;
}

test.each([0, 1, 2, 3])('pages of zeros are left out, wherever the bytes begin (offset %d)', (offset) => {
  const bytes = new Uint8Array(8 * PAGE_SIZE + offset).subarray(offset);
  expect(runs(bytes)).toEqual([]);
  bytes[PAGE_SIZE] = 1;
  bytes[3 * PAGE_SIZE - 1] = 1;
  bytes[7 * PAGE_SIZE + 5] = 1;
  expect(runs(bytes)).toEqual([
    [PAGE_SIZE, 3 * PAGE_SIZE],
    [7 * PAGE_SIZE, 8 * PAGE_SIZE],
  ]);
});

test('the pages are those of the file', () => {
  const bytes = new Uint8Array(2 * PAGE_SIZE);
  bytes[100] = 1;
  expect(runs(bytes, PAGE_SIZE - 50)).toEqual([[50, PAGE_SIZE + 50]]);
  expect(runs(bytes.subarray(0, 120), PAGE_SIZE - 200)).toEqual([[0, 120]]);
  expect(runs(new Uint8Array(0))).toEqual([]);
});
