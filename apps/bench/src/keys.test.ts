import { expect, test } from 'vitest';
import { KEY_BYTES, keyOf, keysInOrder, VALUE_BYTES, valueOf, writeKey } from './keys.ts';

test('each order has all keys once, and another one for each seed', () => {
  const [first, second] = [1, 2].map((seed) => keysInOrder(1000, seed));
  const all = Array.from({ length: 1000 }, (_, i) => keyOf(i));
  expect(first.toSorted()).toEqual(all);
  expect(second.toSorted()).toEqual(all);
  expect(first).not.toEqual(second);
  expect(keysInOrder(1000, 1)).toEqual(first);
});

test.each([0, 7, 10, 9_999_999])('a key written to bytes is that text: %d', (number) => {
  const bytes = Buffer.from(keyOf(123_456));
  writeKey(bytes, number);
  expect(bytes.toString()).toBe(keyOf(number));
  expect(bytes).toHaveLength(KEY_BYTES);
});

test('values are of one length', () => {
  for (const place of [0, 1, 63, 64, 1e6]) expect(valueOf(place)).toHaveLength(VALUE_BYTES);
});
