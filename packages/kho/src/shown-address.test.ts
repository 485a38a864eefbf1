/** What a message says of an address that 53 bits do not hold: never 0xNaN. */
import { PAGE_SIZE, readU64 } from '@liveupdate/base';
import { HeapRam } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { walkRadixTree } from './radix-walk.ts';
import { shownAddress } from './shown-address.ts';

const BEYOND = readU64(new DataView(new Uint8Array(8).fill(0xff).buffer), 0);

test('an address is in hex, and one beyond is said to be', () => {
  expect([shownAddress(0x4d8000), shownAddress(BEYOND)]).toEqual(['0x4d8000', 'an address beyond 2^53']);
});

test('a map that leads beyond says so', () => {
  const ram = new HeapRam(16 * PAGE_SIZE);
  ram.bytes(PAGE_SIZE, PAGE_SIZE).fill(0xff);
  const walk = (): void => {
    walkRadixTree(ram, PAGE_SIZE, () => undefined);
  };
  expect(walk).toThrow('the preserved memory map is damaged: a node at an address beyond 2^53');
});
