/** Copying what is written into a file's pages, from one array or several. */
import { PAGE_SIZE } from '@liveupdate/base';
import type { FilePages } from './file-pages.ts';
import type { PageRange } from './page-cache.ts';

/**
 * Writes `length` bytes of the arrays at `position`, where there are pages. Those that were just given to holes come first: their memory may still
 * have to be taken from the system, and where that fails nothing else was changed.
 *
 * @param fresh pages that were holes, in order
 * @throws KernelError ENOSPC, ENOMEM: the system has no memory for a fresh page
 */
export function copyIn(
  file: FilePages,
  sources: readonly Uint8Array[],
  position: number,
  length: number,
  fresh: readonly PageRange[],
): void {
  const { ram } = file.shmem;
  const end = position + length;
  const view = (pa: number, bytes: Uint8Array): void => {
    ram.bytes(pa, bytes.length).set(bytes);
  };
  const take = ram.write ? (pa: number, bytes: Uint8Array): void => ram.write?.(pa, bytes) : view;
  for (const { index, count } of fresh) {
    const from = Math.max(position, index * PAGE_SIZE);
    copyRange(file, sources, position, from, Math.min(end, (index + count) * PAGE_SIZE), take);
  }
  let from = position;
  for (const { index, count } of fresh) {
    copyRange(file, sources, position, from, index * PAGE_SIZE, view);
    from = (index + count) * PAGE_SIZE;
  }
  copyRange(file, sources, position, from, end, view);
}

/** Puts the bytes for [from, to) of the file; the arrays begin at `position`. */
function copyRange(
  file: FilePages,
  sources: readonly Uint8Array[],
  position: number,
  from: number,
  to: number,
  put: (pa: number, bytes: Uint8Array) => void,
): void {
  let start = position;
  for (const source of sources) {
    if (start >= to) return;
    const first = Math.max(from, start);
    const last = Math.min(to, start + source.length);
    const base = start;
    file.eachPart(first, last - first, (at, bytes, pa) => {
      put(pa, source.subarray(at - base, at - base + bytes));
    });
    start += source.length;
  }
}
