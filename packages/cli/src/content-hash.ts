/**
 * The content of a preserved file as its next owner reads it: folio by folio, cut at the file's size. Holes are zeros, and so are folios that
 * are not up to date: they were allocated and never written, whatever is in them.
 */
import { createHash } from 'node:crypto';
import { setImmediate as turn } from 'node:timers/promises';
import { MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';
import { FOLIO_UPTODATE, type FolioList } from '@liveupdate/memfd-handler';
import type { Ram } from '@liveupdate/mm';
import type { Progress } from './progress.ts';

const ZEROS = new Uint8Array(2 ** 20);

/**
 * Calls `visit` for the parts of a file in order. Folios that follow each other in the file and in RAM are one part, up to the 4 MiB that
 * every RAM shows in one piece.
 */
async function forEachPart(
  ram: Ram,
  size: number,
  folios: FolioList,
  orders: Uint8Array,
  visit: (part: Uint8Array) => void,
): Promise<void> {
  const { pfns, indices, flags } = folios;
  let done = 0;
  for (let i = 0; i < pfns.length && done < size;) {
    if ((flags[i] & FOLIO_UPTODATE) === 0) {
      i += 1;
      continue;
    }
    const start = indices[i] * PAGE_SIZE;
    if (start > done) await visitZeros(start - done, visit);
    const pa = pfns[i] * PAGE_SIZE;
    const room = MAX_FOLIO_SIZE - (pa % MAX_FOLIO_SIZE);
    let length = PAGE_SIZE * 2 ** orders[pfns[i++]];
    while (i < pfns.length && length < room) {
      const next = PAGE_SIZE * 2 ** orders[pfns[i]];
      if (pfns[i] * PAGE_SIZE !== pa + length || indices[i] * PAGE_SIZE !== start + length) break;
      if (length + next > room || (flags[i] & FOLIO_UPTODATE) === 0) break;
      length += next;
      i += 1;
    }
    visit(ram.bytes(pa, Math.min(length, size - start)));
    done = Math.min(size, start + length);
    await turn(); // signals and the display of progress get their turn
  }
  await visitZeros(size - done, visit);
}

async function visitZeros(length: number, visit: (part: Uint8Array) => void): Promise<void> {
  for (let left = length; left > 0; left -= ZEROS.length) {
    visit(ZEROS.subarray(0, Math.min(left, ZEROS.length)));
    await turn();
  }
}

/** SHA-256 of a file of `size` bytes, in hex. `orders`: order of each folio at its head frame. */
export async function hashContent(
  ram: Ram,
  size: number,
  folios: FolioList,
  orders: Uint8Array,
  progress: Progress,
): Promise<string> {
  const hash = createHash('sha256');
  await forEachPart(ram, size, folios, orders, (part) => {
    hash.update(part);
    progress.add(part.length);
  });
  return hash.digest('hex');
}
