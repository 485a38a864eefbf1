/** Files for maps, in memory of this process. */
import { HeapRam, PageAllocator, PageTable } from '@liveupdate/mm';
import { Shmem, type ShmemFile } from '@liveupdate/shmem';

export function fileOf(size: number): ShmemFile {
  const ram = new HeapRam(size + 16 * 4096);
  const frames = new PageTable(ram.size);
  frames.reserve(0, 1);
  const file = new Shmem({ pages: new PageAllocator(ram, frames), memoryLimit: ram.size }).memfdCreate('map');
  file.truncate(size);
  return file;
}

/** Bytes without a file. */
export function bytesOf(size: number): { readonly bytes: Uint8Array<ArrayBuffer> } {
  return { bytes: new Uint8Array(size) };
}
