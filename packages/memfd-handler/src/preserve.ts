/**
 * Preserving memfds, one or many: each step is one for all files, so that of thousands of small
 * ones only their records are work for each. What is done is undone by hand: steps to undo, as
 * closures, are a tenth of what a small file costs.
 */
import { KernelError, pagesFor, pfnToPhys, type PhysAddr } from '@liveupdate/base';
import type { Kho } from '@liveupdate/kho';
import { FolioRuns, type FolioRows } from '@liveupdate/mm';
import { SEAL_ALL, type ShmemInode, type PageRange, type ShmemFile } from '@liveupdate/shmem';
import { recordPages, writeRecord } from './outgoing.ts';
import { MAX_MEMFD_PAGES } from './read-memfd.ts';

/**
 * Freezes and pins a file, hands its folios over, and writes its record.
 *
 * @param found used for the file's folios
 * @returns pa of the record
 */
export function preserveOne(kho: Kho, file: ShmemFile, found: FolioRuns): PhysAddr {
  const { inode } = file;
  checkKept(inode);
  inode.freeze();
  try {
    const pinned = inode.pin(found);
    try {
      const memory = handOver(kho, pinned.rows, recordPages(pinned.runs.folios));
      writeRecord(kho.words, memory, 0, file, pinned.runs);
      return pfnToPhys(memory[0]);
    } catch (error) {
      inode.undoPin(pinned);
      throw error;
    }
  } catch (error) {
    inode.thaw();
    throw error;
  }
}

/** The same for many files, all or none. The folios of all are rows of one list. */
export function preserveMany(kho: Kho, files: readonly ShmemFile[], found: FolioRuns): { data: PhysAddr }[] {
  const rows = new FolioRuns();
  /** Holes that were filled, of each file that is pinned. */
  const filled: (readonly PageRange[])[] = [];
  let pages = 0;
  try {
    for (const { inode } of files) {
      checkKept(inode);
      const pinned = inode.pin(found);
      inode.freeze();
      filled.push(pinned.filled);
      rows.pushRows(pinned.rows);
      pages += recordPages(pinned.runs.folios);
    }
    const memory = handOver(kho, rows, pages);
    let at = 0;
    return files.map((file) => {
      const record = memory[at];
      const { runs } = file.inode.folios(found);
      writeRecord(kho.words, memory, at, file, runs);
      at += recordPages(runs.folios);
      return { data: pfnToPhys(record) };
    });
  } catch (error) {
    for (let i = filled.length - 1; i >= 0; i--) {
      const { inode } = files[i];
      inode.thaw();
      inode.undoPin({ ...inode.folios(found), filled: filled[i] });
    }
    throw error;
  }
}

/** Marks folios, and gives preserved pages for the records. Both or neither. */
function handOver(kho: Kho, rows: FolioRows, pages: number): Uint32Array {
  kho.preserveRows(rows);
  try {
    return kho.allocPreservePages(pages);
  } catch (error) {
    kho.unpreserveRows(rows);
    throw error;
  }
}

/** @throws KernelError EOPNOTSUPP, EFBIG: memfd-v2 has no room for what the file is */
function checkKept(inode: ShmemInode): void {
  if ((inode.seals & ~SEAL_ALL) !== 0)
    throw new KernelError('EOPNOTSUPP', `${inode.title} has seals that memfd-v2 cannot keep`);
  if (pagesFor(inode.size) > MAX_MEMFD_PAGES)
    throw new KernelError('EFBIG', `${inode.title} has more than 2^32 - 1 pages`);
}
