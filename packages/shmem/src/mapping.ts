/** One contiguous live view over a whole file, and the references that keep its folios while it is up. */
import { KernelError, PAGE_SIZE, pfnToPhys } from '@liveupdate/base';
import { HEAD, KIND, type FolioRuns, type PageAllocator, type Ram, type RamPiece } from '@liveupdate/mm';
import type { FilePages } from './file-pages.ts';

/** A live view of a whole file. */
export interface ShmemMapping extends Disposable {
  /** `size` bytes; writes are in the file at once. */
  readonly bytes: Uint8Array;
  /** Takes the view down. A second call does nothing. */
  unmap(): void;
}

/** A view and what ends it, once. */
export interface FolioView {
  readonly bytes: Uint8Array;
  release(): void;
}

/**
 * A view of the first `size` bytes of a file without holes in its first `count` pages. Its folios stay until it is released, whatever becomes
 * of the file.
 *
 * @throws KernelError EOPNOTSUPP: the folios are scattered and this RAM cannot map them. ENOMEM: no address space for the view.
 */
export function viewPages(file: FilePages, count: number, size: number): FolioView {
  const { pages } = file.shmem;
  const pieces: RamPiece[] = [];
  file.cache.forEachRun(0, count, (_, length, pfn) => {
    pieces.push({ pa: pfnToPhys(pfn), length: length * PAGE_SIZE });
  });
  const view = viewPieces(pages.ram, pieces, size);
  const { runs } = file.runs(count);
  for (let i = 0; i < runs.length; i++) pages.getRun(runs.pfns[i], runs.counts[i], runs.orders[i]);
  return {
    bytes: view.bytes,
    release: () => {
      view.release();
      releaseFolios(pages, runs);
    },
  };
}

/** Drops a reference of each folio: of each of its pages, where it was split since (truncate does so), as each of them has its own then. */
function releaseFolios(pages: PageAllocator, runs: FolioRuns): void {
  for (let i = 0; i < runs.length; i++) {
    const order = runs.orders[i];
    const step = 1 << order;
    for (let pfn = runs.pfns[i], left = runs.counts[i]; left > 0;) {
      const whole = pages.table.foliosAlike(KIND, HEAD, order, pfn, left);
      if (whole > 0) pages.putRun(pfn, whole, order);
      else pages.putRun(pfn, step, 0);
      left -= Math.max(1, whole);
      pfn += Math.max(1, whole) * step;
    }
  }
}

/** A window on RAM where the pieces are one, mapped side by side else. */
function viewPieces(ram: Ram, pieces: readonly RamPiece[], size: number): FolioView {
  if (pieces.length === 0) return { bytes: new Uint8Array(0), release: () => undefined };
  const whole = pieces.length === 1 ? wholeView(ram, pieces[0].pa, size) : undefined;
  if (whole) return { bytes: whole, release: () => undefined };
  if (!ram.gather)
    throw new KernelError(
      'EOPNOTSUPP',
      `the file lies in pieces (${pieces.length}) that this RAM cannot show as one: use read()`,
    );
  const gathered = ram.gather(pieces);
  return {
    bytes: gathered.bytes.subarray(0, size),
    release: () => {
      gathered.release();
    },
  };
}

/** The range as one view; undefined where it is too large for this RAM to show in one piece. */
function wholeView(ram: Ram, pa: number, size: number): Uint8Array | undefined {
  try {
    return ram.bytes(pa, size);
  } catch (error) {
    if (error instanceof KernelError && error.code === 'ERANGE') return undefined;
    throw error;
  }
}
