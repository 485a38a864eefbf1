/**
 * The content of a preserved file as its next owner reads it: folio by folio, cut at the file's
 * size. Holes are zeros, and so are folios that are not up to date: they were allocated and never
 * written, whatever is in them.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';
import { FOLIO_UPTODATE, type FolioList } from '@liveupdate/memfd-handler';
import type { Ram } from '@liveupdate/mm';

/** A preserved file, and the RAM that its folios are in. */
export interface FileContent {
  readonly ram: Ram;
  /** Bytes. */
  readonly size: number;
  readonly folios: FolioList;
  /** Of each folio. */
  readonly orders: Uint8Array;
}

/**
 * Calls `visit` for the parts of a file that have content, in order; between them lie zeros. Folios
 * that follow each other in the file and in RAM are one part, up to the 4 MiB that every RAM shows
 * in one piece.
 */
export async function forEachPart(
  { ram, size, folios: { pfns, indices, flags }, orders }: FileContent,
  visit: (part: Uint8Array, position: number) => void | Promise<void>,
): Promise<void> {
  for (let i = 0; i < pfns.length;) {
    const start = indices[i] * PAGE_SIZE;
    if (start >= size) return;
    if ((flags[i] & FOLIO_UPTODATE) === 0) {
      i += 1;
      continue;
    }
    const pa = pfns[i] * PAGE_SIZE;
    const room = MAX_FOLIO_SIZE - (pa % MAX_FOLIO_SIZE);
    let length = PAGE_SIZE * 2 ** orders[i++];
    while (i < pfns.length && length < room) {
      const next = PAGE_SIZE * 2 ** orders[i];
      if (pfns[i] * PAGE_SIZE !== pa + length || indices[i] * PAGE_SIZE !== start + length) break;
      if (length + next > room || (flags[i] & FOLIO_UPTODATE) === 0) break;
      length += next;
      i += 1;
    }
    await visit(ram.bytes(pa, Math.min(length, size - start)), start);
    await turn(); // signals and the display of progress get their turn
  }
}
