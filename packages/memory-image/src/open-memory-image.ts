/**
 * An image of a machine's memory: which kind of file it is, where it has memory, and the memory
 * itself as RAM that is only read. Files are read as far as they are looked at, so that an image
 * may be larger than the memory of this host. Nothing in a file is trusted: what is damaged is
 * told, and the rest is there.
 */
import { checkFlag, checkFunction, checkObject, checkOptions, checkWhole } from '@liveupdate/base';
import { isElf, type ReadableBytes } from './elf-core-ram.ts';
import { openElf } from './elf-image.ts';
import { isFlattened, unflatten } from './flattened.ts';
import { isKdump, openKdump } from './kdump-image.ts';
import type { MemoryImage } from './image.ts';
import { openRaw } from './raw-image.ts';

export interface MemoryImageOptions {
  /**
   * The file is a raw image, whatever it begins with: that is the first page of memory. Default: it
   * is one where it is nothing else that is known here.
   */
  readonly raw?: boolean;
}

/**
 * Opens an image of memory.
 *
 * @param file is read whenever something is looked at
 * @throws KernelError EINVAL: no readable bytes, or a file that is so damaged that nothing can be
 * read. EOPNOTSUPP: a kdump that is compressed with lzo.
 */
export function openMemoryImage(file: ReadableBytes, options: MemoryImageOptions = {}): MemoryImage {
  checkObject(file, 'an image');
  checkWhole(file.size, 'bytes of an image');
  checkFunction(file.read, 'what reads an image');
  checkOptions(options, 'options of an image', ['raw']);
  if (options.raw !== undefined && checkFlag(options.raw, 'raw')) return openRaw(file);
  const head = new Uint8Array(16);
  file.read(head, 0);
  if (isElf(head)) return openElf(file);
  if (isKdump(head)) return openKdump(file, []);
  if (isFlattened(head)) {
    const { bytes, damage } = unflatten(file);
    return openKdump(bytes, damage);
  }
  return openRaw(file);
}
