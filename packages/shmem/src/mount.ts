/**
 * What all files of a mount share: its memory, its limits, and its policy for large folios (kernel:
 * the superblock of a tmpfs mount).
 */
import {
  AssertionError,
  checkObject,
  checkOneOf,
  checkOptions,
  checkWhole,
  KernelError,
  PAGE_SIZE,
} from '@liveupdate/base';
import type { PageAllocator, Ram } from '@liveupdate/mm';

/** Policy for large folios, as the tmpfs mount option `huge=` names it. */
export type HugePolicy = 'never' | 'always' | 'within_size' | 'advise';

const HUGE_POLICIES = ['never', 'always', 'within_size', 'advise'] as const;

export interface ShmemOptions {
  readonly pages: PageAllocator;
  /**
   * Which files get folios of the largest order that fits what is written or allocated, up to 2
   * MiB, instead of 4 KiB: none (`never`), all (`always`), all but beyond their size
   * (`within_size`), or those that `adviseHuge` was called for (`advise`, the default).
   */
  readonly huge?: HugePolicy;
  /** Bytes that all files together may take (ENOSPC beyond). Default: no limit. */
  readonly blockLimit?: number;
  /** Bytes of memory that the group may use (ENOMEM beyond). Default: no limit. */
  readonly memoryLimit?: number;
}

export class ShmemMount {
  readonly pages: PageAllocator;
  readonly huge: HugePolicy;
  readonly #blockLimit: number;
  readonly #memoryLimit: number;
  #used = 0;
  #hasEnded = false;

  /** @throws KernelError EINVAL: no such policy or limit, or an option that is not known */
  constructor(options: ShmemOptions) {
    checkOptions(options, 'a mount', ['pages', 'huge', 'blockLimit', 'memoryLimit']);
    const { pages, huge = 'advise', blockLimit = Infinity, memoryLimit = Infinity } = options;
    checkObject(pages, 'a page allocator');
    this.pages = pages;
    this.huge = checkOneOf(huge, 'a policy for large folios', HUGE_POLICIES);
    for (const limit of [blockLimit, memoryLimit]) if (limit !== Infinity) checkWhole(limit, 'a limit');
    this.#blockLimit = Math.floor(blockLimit / PAGE_SIZE);
    this.#memoryLimit = Math.floor(memoryLimit / PAGE_SIZE);
  }

  /**
   * The memory is another's now, or nobody's: every call on the mount and on its files but closing
   * them is EBADF from here on.
   */
  end(): void {
    this.#hasEnded = true;
  }

  /** @throws KernelError EBADF: the mount has ended */
  checkLive(): void {
    if (this.#hasEnded)
      throw new KernelError('EBADF', 'the RAM of this mount was closed or handed over: open it again');
  }

  get ram(): Ram {
    return this.pages.ram;
  }

  /** Bytes that all files take. */
  get used(): number {
    return this.#used * PAGE_SIZE;
  }

  /**
   * Throws what charge and allocation would for so many pages more, before any of them is looked
   * for.
   */
  checkRoom(pages: number): void {
    this.#checkLimits(pages);
    if (!this.pages.hasFree(pages, { movable: true }))
      throw new KernelError('ENOMEM', `${pages} pages more are beyond the free memory: make RAM larger`);
  }

  /** Counts pages that a file is given. @throws KernelError ENOSPC, ENOMEM: beyond a limit */
  charge(pages: number): void {
    this.#checkLimits(pages);
    this.#used += pages;
  }

  uncharge(pages: number): void {
    if (pages > this.#used)
      throw new AssertionError(`${pages} pages are given back, ${this.#used} are counted`);
    this.#used -= pages;
  }

  #checkLimits(pages: number): void {
    if (pages <= 0) return;
    if (this.#used + pages > this.#blockLimit)
      throw new KernelError('ENOSPC', `${pages} pages more are beyond the mount's block limit`);
    if (this.#used + pages > this.#memoryLimit)
      throw new KernelError('ENOMEM', `${pages} pages more are beyond the memory limit`);
  }
}
