/**
 * Where scratch areas lie in a RAM that boots for the first time. Every later generation keeps
 * them.
 */
import {
  checkObject,
  checkWhole,
  KernelError,
  MAX_FOLIO_SIZE,
  PAGE_SIZE,
  type PhysAddr,
} from '@liveupdate/base';
import { memoryOf, type Ram } from '@liveupdate/mm';
import { ScratchSer } from './abi.ts';

/** An area in which the next kernel boots. */
export interface ScratchArea {
  readonly addr: PhysAddr;
  readonly size: number;
}

/**
 * Scratch is 1/256 of RAM, within these bounds: a boot of ours needs a few pages, not a kernel
 * image.
 */
const SCRATCH_SHARE = 256;
const MAX_SCRATCH = 64 * 2 ** 20;

/** Areas of one machine, at most: their array is one page. */
const MAX_AREAS = PAGE_SIZE / ScratchSer.SIZE;

/**
 * Checks the areas of one machine. One of size 0 stands for none.
 *
 * @throws KernelError EINVAL: too many, not whole pages, outside memory, or two that overlap
 */
export function checkScratch(areas: readonly ScratchArea[], ram: Pick<Ram, 'size' | 'memory'>): void {
  if (areas.length > MAX_AREAS)
    throw new KernelError('EINVAL', `${areas.length} scratch areas, at most ${MAX_AREAS} can be handed over`);
  const memory = memoryOf(ram);
  for (const area of areas) {
    checkObject(area, 'a scratch area');
    const { addr, size } = area;
    checkWhole(addr, 'an address of a scratch area');
    checkWhole(size, 'a size of a scratch area');
    // Written so that NaN and fractions fail too.
    const isWhole = addr >= 0 && size >= 0 && addr % PAGE_SIZE === 0 && size % PAGE_SIZE === 0;
    const isMemory = memory.some(({ pa, length }) => addr >= pa && addr + size <= pa + length);
    if (!isWhole || !(isMemory || (size === 0 && addr <= ram.size)))
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

/**
 * One area, in the largest range of memory: past its first 4 MiB block where it has more than one.
 *
 * @throws KernelError EINVAL: no RAM
 */
export function chooseScratch(ram: Pick<Ram, 'size' | 'memory'>): ScratchArea[] {
  checkObject(ram, 'a RAM');
  checkWhole(ram.size, 'bytes of RAM');
  const memory = memoryOf(ram);
  const total = memory.reduce((sum, { length }) => sum + length, 0);
  const home = memory.reduce((best, range) => (range.length > best.length ? range : best));
  const share = Math.floor(total / SCRATCH_SHARE / PAGE_SIZE) * PAGE_SIZE;
  const addr =
    home.length >= 4 * MAX_FOLIO_SIZE
      ? (Math.floor(home.pa / MAX_FOLIO_SIZE) + 1) * MAX_FOLIO_SIZE
      : home.pa + PAGE_SIZE;
  const room = home.pa + home.length - addr;
  return [
    {
      addr,
      size: Math.max(PAGE_SIZE, Math.min(MAX_SCRATCH, share, Math.floor(room / 2 / PAGE_SIZE) * PAGE_SIZE)),
    },
  ];
}
