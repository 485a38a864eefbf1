/** Where scratch areas lie in a RAM that boots for the first time. Every later generation keeps them. */
import { KernelError, MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';
import { ScratchSer } from './abi.ts';
import type { ScratchArea } from './read-handover.ts';

/** Scratch is 1/256 of RAM, within these bounds: a boot of ours needs a few pages, not a kernel image. */
const SCRATCH_SHARE = 256;
const MAX_SCRATCH = 64 * 2 ** 20;

/** Areas of one machine, at most: their array is one page. */
const MAX_AREAS = PAGE_SIZE / ScratchSer.SIZE;

/**
 * Checks the areas of one machine. One of size 0 stands for none.
 *
 * @throws KernelError EINVAL: too many, not whole pages, outside RAM, or two that overlap
 */
export function checkScratch(areas: readonly ScratchArea[], ramSize: number): void {
  if (areas.length > MAX_AREAS)
    throw new KernelError('EINVAL', `${areas.length} scratch areas, at most ${MAX_AREAS} can be handed over`);
  for (const { addr, size } of areas) {
    // Written so that NaN and fractions fail too.
    const isWhole = addr >= 0 && size >= 0 && addr % PAGE_SIZE === 0 && size % PAGE_SIZE === 0;
    if (!isWhole || !(addr + size <= ramSize))
      throw new KernelError(
        'EINVAL',
        `scratch area 0x${addr.toString(16)} + ${size} bytes is not inside RAM`,
      );
  }
  const used = areas.filter(({ size }) => size > 0).sort((a, b) => a.addr - b.addr);
  for (let i = 1; i < used.length; i++) {
    if (used[i - 1].addr + used[i - 1].size > used[i].addr)
      throw new KernelError('EINVAL', `two scratch areas overlap at 0x${used[i].addr.toString(16)}`);
  }
}

/** One area for a RAM of `ramSize` bytes, past the first 4 MiB block where RAM has more than one. */
export function chooseScratch(ramSize: number): ScratchArea[] {
  const wanted = Math.min(MAX_SCRATCH, Math.floor(ramSize / SCRATCH_SHARE / PAGE_SIZE) * PAGE_SIZE);
  const size = Math.max(PAGE_SIZE, wanted);
  const addr = ramSize >= 4 * MAX_FOLIO_SIZE ? MAX_FOLIO_SIZE : PAGE_SIZE;
  return [{ addr, size }];
}
