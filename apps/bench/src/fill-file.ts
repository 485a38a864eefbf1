/** A file with every page written, which is what a service's memory looks like. */
import type { ShmemFile } from '@liveupdate/shmem';

export function fillFile(file: ShmemFile, size: number): void {
  file.allocate(0, size);
  using mapped = file.map();
  mapped.bytes.fill(0x5a);
}

/** Reads a byte of each page, so that all of it is in this process's page tables. */
export function touchFile(file: ShmemFile): number {
  using mapped = file.map();
  const { bytes } = mapped;
  let sum = 0;
  for (let at = 0; at < bytes.length; at += 4096) sum += bytes[at];
  return sum;
}
