import { createHash } from 'node:crypto';
import { fillRandom } from '@liveupdate/base';
import { HeapRam } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import { hashContent } from './content-hash.ts';
import { silent } from './progress.ts';

const PAGE = 4096;
const WRITTEN = 3;
const UNWRITTEN = 0;

interface Folio {
  readonly pfn: number;
  readonly index: number;
  readonly order: number;
  readonly flags: number;
}

const folio = (pfn: number, index: number, order = 0, flags = WRITTEN): Folio => ({
  pfn,
  index,
  order,
  flags,
});

test.each<readonly [string, number, readonly Folio[]]>([
  ['an empty file', 0, []],
  ['a hole', 3 * PAGE, []],
  ['one page', PAGE, [folio(5, 0)]],
  ['the end inside a page', PAGE + 1, [folio(5, 0), folio(9, 1)]],
  ['the end inside a folio', 2 * PAGE + 7, [folio(8, 0, 2)]],
  ['folios side by side in file and RAM', 4 * PAGE, [folio(5, 0), folio(6, 1), folio(8, 2, 1)]],
  ['side by side in RAM alone', 4 * PAGE, [folio(6, 0), folio(7, 2)]],
  [
    'side by side over a 4 MiB block',
    4 * PAGE,
    [folio(1022, 0), folio(1023, 1), folio(1024, 2), folio(1025, 3)],
  ],
  ['a hole before, between and after', 9 * PAGE + 5, [folio(5, 2), folio(6, 5)]],
  ['a folio that was never written', 3 * PAGE, [folio(5, 0), folio(6, 1, 0, UNWRITTEN), folio(7, 2)]],
  ['nothing but such folios', 2 * PAGE, [folio(6, 0, 1, UNWRITTEN)]],
  ['such a folio at the end', 2 * PAGE - 9, [folio(5, 0), folio(6, 1, 0, UNWRITTEN)]],
])('%s', async (_, size, folios) => {
  const ram = new HeapRam(2048 * PAGE);
  fillRandom(new Uint32Array(ram.bytes(0, ram.size).buffer), 1);
  const expected = new Uint8Array(size + 4 * PAGE);
  for (const { pfn, index, order, flags } of folios) {
    if (flags === WRITTEN) expected.set(ram.bytes(pfn * PAGE, PAGE << order), index * PAGE);
  }
  const list = {
    pfns: Uint32Array.from(folios, ({ pfn }) => pfn),
    indices: Uint32Array.from(folios, ({ index }) => index),
    flags: Uint16Array.from(folios, ({ flags }) => flags),
  };
  const orders = Uint8Array.from(folios, ({ order }) => order);
  expect(await hashContent({ ram, size, folios: list, orders }, silent)).toBe(
    createHash('sha256').update(expected.subarray(0, size)).digest('hex'),
  );
});
