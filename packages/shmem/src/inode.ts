/**
 * One shmem file: its pages, size and seals, shared by all descriptions that are open on it (kernel: mm/shmem.c).
 *
 * Always: folios are freed when they leave the file and nobody else holds them; bytes of the last page beyond the size are zero; while the file is
 * frozen its size and its set of pages do not change.
 */
import { assert, HUGE_ORDER, KernelError, PAGE_SIZE, pagesFor, type PageIndex } from '@liveupdate/base';
import type { FolioRuns } from '@liveupdate/mm';
import { FilePages } from './file-pages.ts';
import { fillHoles, type FillOptions } from './fill.ts';
import { viewPages, type FolioView, type ShmemMapping } from './mapping.ts';
import type { PageCache, PageRange } from './page-cache.ts';
import { leaveScratch, type PinnedFolios } from './pin.ts';
import { SEAL_FUTURE_WRITE, SEAL_GROW, SEAL_SEAL, SEAL_SHRINK, SEAL_WRITE } from './seals.ts';
import type { Shmem } from './shmem.ts';

export class ShmemInode {
  readonly shmem: Shmem;
  readonly name: string;
  size = 0;
  seals: number;
  /** Whether large folios were asked for. */
  advisedHuge = false;
  readonly #pages: FilePages;
  #frozen = false;
  /** Live writable mappings. */
  #mappings = 0;
  /** Open descriptions, mappings, and references of whoever else holds the file. */
  #references = 0;

  constructor(shmem: Shmem, name: string, seals: number) {
    this.shmem = shmem;
    this.name = name;
    this.seals = seals;
    this.#pages = new FilePages(shmem);
  }

  get cache(): PageCache {
    return this.#pages.cache;
  }

  get(): void {
    this.#references += 1;
  }

  /** Drops a reference; the last one frees the file's pages. */
  put(): void {
    assert(this.#references > 0, 'a file is closed more often than it was opened');
    this.#references -= 1;
    if (this.#references > 0) return;
    assert(!this.#frozen && this.#mappings === 0, 'a file is freed while it is preserved or mapped');
    this.#pages.dropFrom(0);
  }

  /** Whether anybody still has the file open. */
  get isOpen(): boolean {
    return this.#references > 0;
  }

  // ---- Contents ----------------------------------------------------------------------------------------------------------------

  /** Copies up to `target.length` bytes from `position` on; holes read as zeros. Returns how many, 0 at the end. */
  read(target: Uint8Array, position: number): number {
    const length = Math.max(0, Math.min(target.length, this.size - position));
    this.#pages.eachPart(position, length, (at, bytes, pa) => {
      const part = target.subarray(at - position, at - position + bytes);
      if (pa === 0) part.fill(0);
      else part.set(this.shmem.ram.bytes(pa, bytes));
    });
    return length;
  }

  /** Copies `source` into the file from `position` on, growing it. Nothing is written on failure. */
  write(source: Uint8Array, position: number): number {
    const end = position + source.length;
    if (!Number.isSafeInteger(end))
      throw new KernelError('EFBIG', `${end} bytes are more than a file can have`);
    if (source.length === 0) return 0;
    this.#checkWritable();
    if (end > this.size) this.#checkGrow();
    const first = Math.floor(position / PAGE_SIZE);
    this.#fill(first, pagesFor(end) - first, { overwritten: { from: position, to: end } });
    this.#pages.eachPart(position, source.length, (at, bytes, pa) => {
      this.shmem.ram.bytes(pa, bytes).set(source.subarray(at - position, at - position + bytes));
    });
    this.size = Math.max(this.size, end);
    return source.length;
  }

  truncate(size: number): void {
    if (!Number.isSafeInteger(size) || size < 0)
      throw new KernelError('EINVAL', `${size} is no size of a file`);
    if (size === this.size) return;
    this.#checkNotFrozen();
    if (size > this.size) this.#checkGrow();
    if (size < this.size && (this.seals & SEAL_SHRINK) !== 0)
      throw new KernelError('EPERM', `file '${this.name}' is sealed against shrinking`);
    if (size < this.size) {
      const keep = pagesFor(size);
      this.#pages.splitAt(keep);
      this.#pages.dropFrom(keep);
      this.#pages.zeroFrom(size);
    }
    this.size = size;
  }

  /** Gives every hole of [position, position + length) a zeroed page, growing the file. Nothing is kept on failure. */
  allocate(position: number, length: number): void {
    const end = position + length;
    if (!(Number.isSafeInteger(position) && position >= 0 && length > 0 && Number.isSafeInteger(end)))
      throw new KernelError('EINVAL', `${position} + ${length} is no range of a file`);
    this.#checkNotFrozen();
    if (end > this.size) this.#checkGrow();
    const first = Math.floor(position / PAGE_SIZE);
    this.#fill(first, pagesFor(end) - first);
    this.size = Math.max(this.size, end);
  }

  addSeals(seals: number): void {
    if ((this.seals & SEAL_SEAL) !== 0)
      throw new KernelError(
        'EPERM',
        `file '${this.name}' takes no more seals: create it with MFD_ALLOW_SEALING`,
      );
    if ((seals & SEAL_WRITE) !== 0 && this.#mappings > 0)
      throw new KernelError('EBUSY', `file '${this.name}' is mapped writable: unmap it first`);
    this.seals |= seals;
  }

  /** One live view of the whole file; holes are given pages first. It keeps the file, as a description does. */
  map(): ShmemMapping {
    this.#checkWritable();
    const pages = pagesFor(this.size);
    const filled = this.#fill(0, pages, { lazy: true });
    let view: FolioView;
    try {
      view = viewPages(this.#pages, pages, this.size);
    } catch (error) {
      this.#dropAll(filled);
      throw error;
    }
    this.get();
    this.#mappings += 1;
    let live = true;
    const unmap = (): void => {
      if (!live) return;
      live = false;
      view.release();
      this.#mappings -= 1;
      this.put();
    };
    return { bytes: view.bytes, unmap, [Symbol.dispose]: unmap };
  }

  // ---- For the handler ---------------------------------------------------------------------------------------------------------

  /** From now on size and pages stay as they are; bytes may be overwritten in place. */
  freeze(): void {
    assert(!this.#frozen, 'a file is frozen twice');
    this.#frozen = true;
  }

  thaw(): void {
    assert(this.#frozen, 'a file is thawed that was not frozen');
    this.#frozen = false;
  }

  get isFrozen(): boolean {
    return this.#frozen;
  }

  /**
   * Fills every hole, moves what lies in scratch, takes one pin on each folio.
   *
   * @throws KernelError ENOSPC, ENOMEM: no room to fill holes, or to move to. EBUSY: mapped, and in scratch. After each of them all is as before.
   */
  pin(): PinnedFolios {
    const pages = pagesFor(this.size);
    const filled = this.#fill(0, pages, { lazy: true });
    try {
      const runs = leaveScratch(this.#pages, this.#pages.runs(pages), this.#mappings > 0);
      for (let i = 0; i < runs.length; i++)
        this.shmem.pages.pinRun(runs.pfns[i], runs.counts[i], runs.orders[i]);
      return { runs, filled };
    } catch (error) {
      this.#dropAll(filled);
      throw error;
    }
  }

  /** Takes the pins back. Holes that were filled for them stay filled: their pages may have been written. */
  unpin({ runs }: PinnedFolios): void {
    for (let i = 0; i < runs.length; i++)
      this.shmem.pages.unpinRun(runs.pfns[i], runs.counts[i], runs.orders[i]);
  }

  /** Takes back a pin that came to nothing: the pins, and the pages that holes were given for it. What left scratch stays where it went. */
  undoPin(pinned: PinnedFolios): void {
    this.unpin(pinned);
    this.#dropAll(pinned.filled);
  }

  /**
   * Puts folios in use, which the file then owns, at their indices (holes, each a multiple of its folio's size); counts all their pages. All
   * or none.
   *
   * @throws KernelError ENOSPC, ENOMEM: beyond a limit of the mount
   */
  adopt(runs: FolioRuns): void {
    this.#pages.adopt(runs);
  }

  /** Size and seals of a file that was just made of adopted folios. What those hold beyond the size is zeroed, as in any file. */
  restoreState(size: number, seals: number): void {
    this.size = size;
    this.seals = seals;
    this.#pages.zeroFrom(size);
  }

  // ---- Inside ------------------------------------------------------------------------------------------------------------------

  /** Largest order of new folios. */
  get #maxOrder(): number {
    const { huge } = this.shmem;
    return huge === 'always' || (huge === 'advise' && this.advisedHuge) ? HUGE_ORDER : 0;
  }

  #fill(first: PageIndex, count: number, options?: FillOptions): PageRange[] {
    return fillHoles(this.#pages, first, count, this.#maxOrder, options);
  }

  #dropAll(ranges: readonly PageRange[]): void {
    for (const { index, count } of ranges) this.#pages.drop(index, count);
  }

  #checkNotFrozen(): void {
    if (this.#frozen)
      throw new KernelError(
        'EPERM',
        `file '${this.name}' is preserved: its size and pages cannot change until it is unpreserved`,
      );
  }

  #checkWritable(): void {
    if ((this.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE)) !== 0)
      throw new KernelError('EPERM', `file '${this.name}' is sealed against writing`);
  }

  #checkGrow(): void {
    this.#checkNotFrozen();
    if ((this.seals & SEAL_GROW) !== 0)
      throw new KernelError('EPERM', `file '${this.name}' is sealed against growing`);
  }
}
