/**
 * An ELF core as QEMU's dump-guest-memory and kdump write it, and as /proc/kcore shows the memory
 * of the running kernel.
 */
import { PAGE_SIZE } from '@liveupdate/base';
import { checkRamSize, SparseRam } from '@liveupdate/mm';
import { fillFromSegments, readElfCore, type ReadableBytes } from './elf-core-ram.ts';
import { Damage } from './damage.ts';
import type { MemoryImage } from './image.ts';
import { WindowRam } from './window-ram.ts';

/** @throws KernelError EINVAL: no 64-bit core, or nothing in it can be read */
export function openElf(file: ReadableBytes): MemoryImage {
  const damage = new Damage();
  const { segments, end } = readElfCore(file, damage.tell);
  const covered = Math.ceil(end / PAGE_SIZE) * PAGE_SIZE;
  return {
    kind: 'ELF core',
    covered,
    pieces: segments.map(({ pa, length }) => ({ pa, length })),
    release: undefined,
    damage: damage.all,
    ram: (size = covered) => {
      checkRamSize(size);
      return new WindowRam(
        () =>
          new SparseRam(size, (block, pa) => {
            fillFromSegments(file, segments, block, pa);
          }),
      );
    },
  };
}
