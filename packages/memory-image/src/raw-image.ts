/** A raw image: the file is physical memory from address 0 on, as QEMU's pmemsave writes it. */
import { KernelError, PAGE_SIZE } from '@liveupdate/base';
import { checkRamSize, SparseRam } from '@liveupdate/mm';
import type { ReadableBytes } from './elf-core-ram.ts';
import type { MemoryImage } from './image.ts';
import { WindowRam } from './window-ram.ts';

/** @throws KernelError EINVAL: no bytes */
export function openRaw(file: ReadableBytes): MemoryImage {
  if (file.size === 0) throw new KernelError('EINVAL', 'the image is empty: give one that has memory in it');
  const covered = Math.ceil(file.size / PAGE_SIZE) * PAGE_SIZE;
  return {
    kind: 'raw image',
    covered,
    pieces: [{ pa: 0, length: covered }],
    release: undefined,
    damage: [],
    ram: (size = covered) => {
      checkRamSize(size);
      return new WindowRam(
        () =>
          new SparseRam(size, (block, pa) => {
            file.read(block, pa);
          }),
      );
    },
  };
}
