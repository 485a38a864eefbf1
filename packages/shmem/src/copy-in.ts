/** Copying what is written into a file's pages, from one array or several. */
import type { FilePages } from './file-pages.ts';

/** Writes `length` bytes of the arrays at `position`, where all pages are there, and in memory. */
export function copyOver(
  file: FilePages,
  sources: readonly Uint8Array[],
  position: number,
  length: number,
): void {
  const { ram } = file.shmem;
  copyRange(file, sources, position, position, position + length, (pa, bytes) => {
    ram.bytes(pa, bytes.length).set(bytes);
  });
}

/**
 * Writes `length` bytes of the arrays at `position`, where there are pages. Those that are not in
 * memory yet come first: the system may have none for them, and then nothing else was changed.
 *
 * @throws KernelError ENOSPC, ENOMEM: the system has no memory for a page
 */
export function copyIn(
  file: FilePages,
  sources: readonly Uint8Array[],
  position: number,
  length: number,
): void {
  const { ram, pages } = file.shmem;
  const { there, missing } = file.residentParts(position, length);
  for (let i = 0; i < missing.length; i += 2) {
    copyRange(file, sources, position, missing[i], missing[i + 1], (pa, bytes) => {
      pages.residency.write(pa, bytes);
    });
  }
  for (let i = 0; i < there.length; i += 2) {
    copyRange(file, sources, position, there[i], there[i + 1], (pa, bytes) => {
      ram.bytes(pa, bytes.length).set(bytes);
    });
  }
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
