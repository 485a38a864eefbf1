/** The keys and values of the trials of maps: 20 bytes and 100 bytes, all of them ASCII. */
import { Prng } from '@liveupdate/base';

export const KEY_BYTES = 20;
export const VALUE_BYTES = 100;

const PREFIX = 'key:';
const DIGITS = KEY_BYTES - PREFIX.length;
const DIFFERENT_VALUES = 64;
const SPACE = 0x20;

const VALUES = Array.from({ length: DIFFERENT_VALUES }, (_, i) => Buffer.alloc(VALUE_BYTES, SPACE + i));

/** The value that the key at a place in its row gets. Nobody may change it. */
export function valueOf(place: number): Buffer {
  return VALUES[place & (DIFFERENT_VALUES - 1)];
}

/**
 * The keys from 0 to `count` in an order of its own for each seed. The texts are made here, one
 * after the other, so that to take the next one costs the same for all: as a server has the text of
 * a request at hand that has just come in.
 */
export function keysInOrder(count: number, seed: number): string[] {
  const numbers = Uint32Array.from({ length: count }, (_, i) => i);
  const random = new Prng(seed);
  for (let i = count - 1; i > 0; i--) {
    const other = random.below(i + 1);
    [numbers[i], numbers[other]] = [numbers[other], numbers[i]];
  }
  // By way of bytes: one piece of memory each, and not a tree of parts.
  return Array.from(numbers, (number) => Buffer.from(keyOf(number)).toString('latin1'));
}

export function keyOf(number: number): string {
  return `${PREFIX}${String(number).padStart(DIGITS, '0')}`;
}

/** Writes the digits of a key into bytes that are a key already: no memory is taken for it. */
export function writeKey(into: Uint8Array, number: number): void {
  let rest = number;
  for (let at = KEY_BYTES - 1; at >= PREFIX.length; at--) {
    const next = Math.floor(rest / 10);
    into[at] = 0x30 + rest - 10 * next;
    rest = next;
  }
}

/** Bytes of a file for each key: with room to spare. */
const ROOM = 160;
const HUGE_PAGE = 2 ** 21;

/** How large a file is for so many keys. */
export function mapFileSize(count: number): number {
  return Math.ceil((count * ROOM) / HUGE_PAGE + 1) * HUGE_PAGE;
}
