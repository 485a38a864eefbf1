/**
 * Pinning a file's folios: what a handler needs before it hands them to the next kernel (kernel:
 * memfd_pin_folios).
 */
import { KernelError, pfnToPhys } from '@liveupdate/base';
import { FolioRuns, SCRATCH, type FolioRows } from '@liveupdate/mm';
import type { FilePages } from './file-pages.ts';
import type { Folios, FoundFolios } from './folios.ts';
import type { PageRange } from './page-range.ts';

/** The pinned folios of a file. */
export interface PinnedFolios extends Folios {
  /** Holes that were given pages for this. */
  readonly filled: readonly PageRange[];
}

/**
 * Moves those folios that lie in a scratch area to where the next kernel finds them. All or none.
 *
 * @param isMapped a live view shows the folios where they are, so none can be moved
 * @returns the folios where they are now
 * @throws KernelError EBUSY: a folio lies in scratch and is mapped. ENOMEM, ENOSPC: no memory
 * outside scratch.
 */
export function leaveScratch(file: FilePages, found: FoundFolios, isMapped: boolean): Folios {
  const { runs, rows } = found;
  if (found.areOutsideScratch || !touchesScratch(file, rows)) return found;
  if (isMapped)
    throw new KernelError(
      'EBUSY',
      'the file is mapped and lies in scratch memory, which the next kernel overwrites: unmap it, so that it can be moved',
    );
  const { pages } = file.shmem;
  const { pfns, indices } = runs.list();
  const moving = pfns.filter((pfn) => pages.isScratch(pfn));
  const targets = new Uint32Array(moving.length);
  let n = 0;
  try {
    // A page that nobody wrote is not taken from the system for being moved.
    for (; n < moving.length; n++)
      targets[n] = pages.alloc(pages.orderOf(moving[n]), { zero: true, taken: 'when touched' });
    for (let i = 0; i < moving.length; i++) {
      const count = 1 << pages.orderOf(moving[i]);
      if (pages.residency.hasAny(moving[i], count)) pages.residency.take(targets[i], count);
    }
  } catch (error) {
    pages.putBulk(targets, 0, n);
    throw error;
  }
  const moved = new FolioRuns();
  n = 0;
  for (let i = 0; i < pfns.length; i++) {
    let pfn = pfns[i];
    if (pages.isScratch(pfn)) {
      const to = targets[n++];
      if (pages.residency.hasAny(pfn, 1 << pages.orderOf(pfn)))
        pages.residency.read(pfnToPhys(pfn), pages.folioWindow(to));
      file.replace(indices[i], pfn, to);
      pfn = to;
    }
    moved.push(indices[i], pfn, 1, pages.orderOf(pfn));
  }
  return { runs: moved, rows: moved.rows() };
}

function touchesScratch(file: FilePages, { length, pfns, counts, orders }: FolioRows): boolean {
  const { table } = file.shmem.pages;
  // A folio lies in scratch whole or not at all: its head says it.
  for (let i = 0; i < length; i++)
    if (table.foliosAlike(SCRATCH, 0, orders[i], pfns[i], counts[i]) < counts[i]) return true;
  return false;
}
