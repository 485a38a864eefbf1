/**
 * fallocate(2) on a file's pages: giving holes memory ahead, and taking it away in the midst of a
 * file (kernel: shmem_fallocate).
 */
import { PAGE_SIZE, pagesFor } from '@liveupdate/base';
import type { FilePages } from './file-pages.ts';

/** The file does not grow: memory beyond its end is taken ahead. */
export const FALLOC_KEEP_SIZE = 1;
/** The range becomes a hole; together with KEEP_SIZE. */
export const FALLOC_PUNCH_HOLE = 2;

/**
 * Makes a byte range a hole: whole pages are freed, large folios that have others too are split,
 * and pages that are only partly in it are zeroed there, as folios are that cannot be split.
 *
 * @param isMapped live views show the pages: then they stay, zeroed, so that what is written
 * through a view is still in the file
 */
export function punchHole(file: FilePages, position: number, length: number, isMapped: boolean): void {
  const end = position + length;
  const first = pagesFor(position);
  const last = Math.floor(end / PAGE_SIZE);
  if (isMapped || first >= last) {
    file.zero(position, length);
    return;
  }
  file.zero(position, first * PAGE_SIZE - position);
  file.zero(last * PAGE_SIZE, end - last * PAGE_SIZE);
  const from = Math.min(last, file.splitAt(first).end);
  const to = Math.max(from, file.splitAt(last).first);
  file.zero(first * PAGE_SIZE, (from - first) * PAGE_SIZE);
  file.zero(to * PAGE_SIZE, (last - to) * PAGE_SIZE);
  file.drop(from, to - from);
}
