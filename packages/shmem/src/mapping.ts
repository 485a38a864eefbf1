/**
 * One contiguous live view over a whole file, and the references that keep its folios while it is
 * up.
 */
import { KernelError, PAGE_SIZE, pfnToPhys, type Disposing } from '@liveupdate/base';
import {
  FolioRuns,
  type FolioRows,
  type PageAllocator,
  type Ram,
  type RamPiece,
  type RamView,
  type SharedView,
  type ViewOptions,
} from '@liveupdate/mm';
import type { FilePages } from './file-pages.ts';

/** A live view of a whole file. */
export interface ShmemMapping extends Disposing {
  /**
   * `size` bytes; writes are in the file at once. It is a buffer of its own with nothing before or
   * behind it, and whatever detaches it ends this view alone. (Over a HeapRam, whose memory is one
   * buffer, it is a window on that.)
   */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /**
   * Brings all pages in ahead of the first touch, about 1 ms of it in each turn of the event loop.
   * `map` does that at once for the first 256 MiB.
   *
   * @throws KernelError ENOSPC, ENOMEM: the system has no memory for a hole of a sparse view.
   * EBADF: unmapped.
   */
  populate(): Promise<void>;
  /**
   * The same bytes for worker threads: send it by `postMessage`, and open it there (openSharedView
   * of `@liveupdate/linux`). It ends with this view.
   *
   * @param options.readOnly what a worker stores reaches nobody. A page that it stored to no longer
   * follows the file, for all who share it so
   * @throws KernelError EOPNOTSUPP: this RAM lies in no memory that threads share. ENOMEM: no
   * address space. EBADF: unmapped.
   */
  share(options?: { readonly readOnly?: boolean }): SharedView;
  /**
   * Takes the view down: `bytes` has length 0. Whoever still has its address meets memory of
   * nobody. A second call does nothing.
   */
  unmap(): void;
}

/**
 * A view of the first `size` bytes of a file without holes in its first `count` pages. Its folios
 * stay until it is released, whatever becomes of the file.
 *
 * @param isSparse not all of its pages are in memory
 * @throws KernelError EOPNOTSUPP: the folios are scattered and this RAM cannot map them. ENOMEM: no
 * address space for the view. ENOSPC: no memory for it.
 */
export function viewPages(file: FilePages, count: number, size: number, isSparse: boolean): RamView {
  const { pages } = file.shmem;
  const pieces: RamPiece[] = [];
  file.cache.forEachRun(0, count, (_, length, pfn) => {
    pieces.push({ pa: pfnToPhys(pfn), length: length * PAGE_SIZE });
  });
  const view = viewPieces(pages.ram, pieces, { size, populate: !isSparse });
  const { rows } = file.runs(count);
  pages.getRows(rows);
  if (isSparse) pages.residency.viewBegan();
  return {
    bytes: view.bytes,
    populate: () => view.populate(),
    share: (readOnly) => view.share(readOnly),
    release: () => {
      view.release();
      // What was stored to holes is known before a page of them can be used again.
      if (isSparse) {
        lookAt(pages, rows);
        pages.residency.viewEnded();
      }
      releaseFolios(pages, rows);
    },
  };
}

function lookAt({ residency }: PageAllocator, rows: FolioRows): void {
  for (let i = 0; i < rows.length; i++) {
    const count = rows.counts[i] << rows.orders[i];
    if (!residency.has(rows.pfns[i], count)) residency.look(rows.pfns[i], count);
  }
}

/**
 * Drops a reference of each folio: of each of its pages, where it was split since (truncate does
 * so), as each of them has its own then.
 */
function releaseFolios(pages: PageAllocator, { length, pfns, counts, orders }: FolioRows): void {
  const now = new FolioRuns();
  for (let i = 0; i < length; i++) now.pushPages(0, pfns[i], counts[i] << orders[i], pages.table);
  pages.putRows(now);
}

/** A view of the pieces where this RAM can map them; a window on it else, where they are one. */
function viewPieces(ram: Ram, pieces: readonly RamPiece[], options: ViewOptions): RamView {
  if (pieces.length === 0) return unmapped(new Uint8Array(0));
  if (ram.view) return ram.view(pieces, options);
  if (pieces.length > 1)
    throw new KernelError(
      'EOPNOTSUPP',
      `the file lies in pieces (${pieces.length}) that this RAM cannot show as one: use read()`,
    );
  return unmapped(ram.bytes(pieces[0].pa, options.size));
}

/** Bytes that are there without a mapping. */
function unmapped(bytes: Uint8Array): RamView {
  return {
    bytes: bytes as Uint8Array<ArrayBuffer>,
    populate: () => Promise.resolve(),
    share: () => {
      throw new KernelError(
        'EOPNOTSUPP',
        'there is no memory here that threads could share: use a mapped RAM',
      );
    },
    release: () => undefined,
  };
}
