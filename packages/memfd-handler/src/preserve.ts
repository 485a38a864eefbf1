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

/** Pages of records that are taken at once: they are in the caches still when they are written. */
const PAGES_AT_ONCE = 1536;

/** The same for many files, all or none. The folios of all are rows of one list. */
export function preserveMany(kho: Kho, files: readonly ShmemFile[], found: FolioRuns): { data: PhysAddr }[] {
  const rows = new FolioRuns();
  /** Holes that were filled, of each file that is pinned. */
  const filled: (readonly PageRange[])[] = [];
  const sizes = new Uint32Array(files.length);
  try {
    for (const [i, { inode }] of files.entries()) {
      checkKept(inode);
      const pinned = inode.pin(found);
      inode.freeze();
      filled.push(pinned.filled);
      rows.pushRows(pinned.rows);
      sizes[i] = recordPages(pinned.runs.folios);
    }
    kho.preserveRows(rows);
    try {
      return writeRecords(kho, files, sizes, found);
    } catch (error) {
      kho.unpreserveRows(rows);
      throw error;
    }
  } catch (error) {
    for (let i = filled.length - 1; i >= 0; i--) {
      const { inode } = files[i];
      inode.thaw();
      inode.undoPin({ ...inode.folios(found), filled: filled[i] });
    }
    throw error;
  }
}

/** The records of all files, or none. */
function writeRecords(
  kho: Kho,
  files: readonly ShmemFile[],
  sizes: Uint32Array,
  found: FolioRuns,
): { data: PhysAddr }[] {
  const made: Uint32Array[] = [];
  const records: { data: PhysAddr }[] = [];
  try {
    for (let from = 0; from < files.length;) {
      let pages = 0;
      let to = from;
      while (to < files.length && (pages === 0 || pages + sizes[to] <= PAGES_AT_ONCE)) pages += sizes[to++];
      const memory = kho.allocPreservePages(pages);
      made.push(memory);
      for (let at = 0; from < to; at += sizes[from++]) {
        const file = files[from];
        writeRecord(kho.words, memory, at, file, file.inode.folios(found).runs);
        records.push({ data: pfnToPhys(memory[at]) });
      }
    }
    return records;
  } catch (error) {
    for (const memory of made) kho.unpreserveFreePages(memory);
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
