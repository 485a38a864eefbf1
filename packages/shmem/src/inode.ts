/**
 * One shmem file: its pages, size and seals, shared by all descriptions that are open on it
 * (kernel: mm/shmem.c).
 *
 * Always: folios are freed when they leave the file and nobody else holds them; bytes of the last
 * page beyond the size are zero; while the file is frozen its size and its set of pages do not
 * change.
 */
import {
  assert,
  checkWhole,
  DISPOSE,
  HUGE_ORDER,
  KernelError,
  PAGE_SIZE,
  pagesFor,
  type PageIndex,
  isBranded,
  type Branded,
} from '@liveupdate/base';
import type { FolioRuns } from '@liveupdate/mm';
import { copyIn, copyOver } from './copy-in.ts';
import { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, punchHole } from './fallocate.ts';
import { FilePages } from './file-pages.ts';
import { fillHoles, type FillOptions } from './fill.ts';
import { viewPages, type ShmemMapping } from './mapping.ts';
import type { PageCache } from './page-cache.ts';
import type { PageRange } from './page-range.ts';
import type { Folios } from './folios.ts';
import { leaveScratch, type PinnedFolios } from './pin.ts';
import {
  SEAL_EXEC,
  SEAL_FUTURE_WRITE,
  SEAL_GROW,
  SEAL_SEAL,
  SEAL_SHRINK,
  SEAL_WRITE,
  SEALS_WITH_EXEC,
} from './seals.ts';
import type { ShmemMount } from './mount.ts';
import { COPY } from './package-copy.ts';

const BRAND: Branded = { className: 'ShmemInode', copy: COPY };

export class ShmemInode {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to objects of other copies too. */
  static [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  readonly shmem: ShmemMount;
  readonly name: string;
  size = 0;
  seals: number;
  /** Whether large folios were asked for. */
  advisedHuge = false;
  /** Names that the file has in the mount. */
  links = 0;
  readonly #pages: FilePages;
  #frozen = false;
  /** Live mappings, and those of them that are or may become writable. */
  #mappings = 0;
  #writable = 0;
  /**
   * A view may have written beyond the end since that was zeroed last: the file shrank under it.
   */
  #tailWritten = false;
  /**
   * Live mappings with holes: what is stored through them is known only when the system is asked.
   */
  #sparse = 0;
  /** Open descriptions, mappings, names, and references of whoever else holds the file. */
  #references = 0;

  constructor(shmem: ShmemMount, name: string, seals: number) {
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

  /** What the file is called in messages. Names are not handed over. */
  get title(): string {
    return this.name === '' ? 'the file without a name' : `file '${this.name}'`;
  }

  /** Whether anybody still has the file open. */
  get isOpen(): boolean {
    return this.#references > 0;
  }

  // ---- Contents ---------------------------------------------------------------------------------

  /**
   * Copies up to `target.length` bytes from `position` on; holes read as zeros. Returns how many, 0
   * at the end.
   */
  read(target: Uint8Array, position: number): number {
    const { residency } = this.shmem.pages;
    const length = Math.max(0, Math.min(target.length, this.size - position));
    this.#pages.eachPart(position, length, (at, bytes, pa) => {
      const part = target.subarray(at - position, at - position + bytes);
      if (pa === 0) part.fill(0);
      else residency.read(pa, part);
    });
    return length;
  }

  /**
   * Writes arrays of `length` bytes together from `position` on, as if they were one; the file
   * grows. Nothing is written on failure.
   *
   * A write over the end of a file that may not grow ends, as on tmpfs, with the last page that
   * lies whole in it.
   *
   * @returns how many bytes were written
   */
  write(sources: readonly Uint8Array[], length: number, position: number): number {
    let end = position + length;
    if (!Number.isSafeInteger(end))
      throw new KernelError('EFBIG', `${end} bytes are more than a file can have`);
    if (length === 0) return 0;
    this.#checkWritable();
    if (end > this.size && this.#cannotGrow) {
      end = Math.floor(this.size / PAGE_SIZE) * PAGE_SIZE;
      if (end <= position) this.#checkGrow();
    }
    const first = Math.floor(position / PAGE_SIZE);
    const count = pagesFor(end) - first;
    this.#learnWritten();
    if (this.#pages.areThere(first, count)) {
      if (position > this.size) this.#zeroTail();
      copyOver(this.#pages, sources, position, end - position);
    } else {
      this.#writeNew(sources, position, end);
    }
    this.#pages.markWritten(first, count);
    this.size = Math.max(this.size, end);
    return end - position;
  }

  /** Writes where pages have to be taken, or memory for them. */
  #writeNew(sources: readonly Uint8Array[], position: number, end: number): void {
    const first = Math.floor(position / PAGE_SIZE);
    const count = pagesFor(end) - first;
    this.#attempt(() => {
      const options = { overwritten: { from: position, to: end }, taken: 'by write' } as const;
      const filled = this.#fill(first, count, pagesFor(Math.max(end, this.size)), options);
      if (position > this.size) this.#zeroTail();
      try {
        copyIn(this.#pages, sources, position, end - position);
      } catch (error) {
        this.#dropAll(filled);
        throw error;
      }
    });
  }

  truncate(size: number): void {
    checkWhole(size, 'a size of a file');
    if (size === this.size && this.#frozen) return;
    this.#checkNotFrozen();
    if (size > this.size) this.#checkGrow();
    if (size < this.size && (this.seals & SEAL_SHRINK) !== 0)
      throw new KernelError('EPERM', `${this.title} is sealed against shrinking`);
    this.#learnWritten();
    if (size > this.size) {
      this.#zeroTail();
    } else {
      // What was allocated beyond the end goes too, also where the size stays.
      const keep = pagesFor(size);
      const { end } = this.#pages.splitAt(keep);
      this.#pages.dropFrom(end);
      this.#pages.zeroFrom(size);
    }
    this.size = size;
  }

  /** fallocate(2). Nothing is kept on failure. */
  fallocate(mode: number, position: number, length: number): void {
    checkWhole(mode, 'a mode of fallocate');
    checkWhole(position, 'a position in a file');
    checkWhole(length, 'a length', { min: 1 });
    const punch = mode === (FALLOC_KEEP_SIZE | FALLOC_PUNCH_HOLE);
    if (!punch && mode !== 0 && mode !== FALLOC_KEEP_SIZE)
      throw new KernelError('EOPNOTSUPP', `a file in memory cannot do fallocate of mode ${mode}`);
    const end = position + length;
    if (!Number.isSafeInteger(end))
      throw new KernelError('EFBIG', `${end} bytes are more than a file can have`);
    this.#checkNotFrozen();
    if (punch) {
      this.#checkWritable();
      this.#learnWritten();
      punchHole(this.#pages, position, length, this.#mappings > 0);
      return;
    }
    if (end > this.size) this.#checkGrow();
    const size = mode === FALLOC_KEEP_SIZE ? this.size : Math.max(this.size, end);
    const first = Math.floor(position / PAGE_SIZE);
    this.#learnWritten();
    const filled = this.#attempt(() => {
      const holes = this.#fill(first, pagesFor(end) - first, pagesFor(size));
      try {
        this.#pages.take(first, pagesFor(end) - first); // of those that were no holes, too
        return holes;
      } catch (error) {
        this.#dropAll(holes);
        throw error;
      }
    });
    this.#pages.markWritten(first, pagesFor(end) - first); // what is allocated a second time is zeroed, and data from then on
    for (const { index, count } of filled) this.cache.markUnwritten(index, count);
    if (size > this.size) this.#zeroTail();
    this.size = size;
  }

  addSeals(seals: number): void {
    if ((this.seals & SEAL_SEAL) !== 0)
      throw new KernelError('EPERM', `${this.title} takes no more seals: create it with MFD_ALLOW_SEALING`);
    // A program that nobody may make one any more must not change either.
    const added = (seals & SEAL_EXEC) !== 0 && this.#isExecutable ? seals | SEALS_WITH_EXEC : seals;
    if ((added & ~this.seals & SEAL_WRITE) !== 0 && this.#writable > 0)
      throw new KernelError('EBUSY', `${this.title} is mapped writable: unmap it first`);
    this.seals |= added;
  }

  /**
   * One live view of the whole file; holes are given pages first, and those memory unless the view
   * may have holes. It keeps the file, as a description does.
   */
  map(readOnly: boolean, isSparse: boolean): ShmemMapping {
    if (!readOnly) this.#checkWritable();
    const pages = pagesFor(this.size);
    this.#learnWritten();
    const view = this.#attempt(() => {
      const filled = this.#fill(0, pages, pages, { taken: 'when touched' });
      try {
        if (!isSparse) this.#pages.take(0, pages);
        return viewPages(this.#pages, pages, this.size, isSparse);
      } catch (error) {
        this.#dropAll(filled);
        throw error;
      }
    });
    this.#pages.markWritten(0, pages);
    this.get();
    // As of a descriptor open for writing, a view for reading alone could be made writable until
    // the file is sealed.
    const counts = this.#isWritable ? 1 : 0;
    this.#mappings += 1;
    this.#tailWritten = true;
    this.#writable += counts;
    if (isSparse) this.#sparse += 1;
    let live = true;
    const unmap = (): void => {
      if (!live) return;
      live = false;
      view.release();
      this.#mappings -= 1;
      this.#writable -= counts;
      if (isSparse) this.#sparse -= 1;
      this.put();
    };
    return {
      bytes: view.bytes,
      populate: () => view.populate(),
      share: ({ readOnly = false } = {}) => view.share(readOnly),
      unmap,
      [DISPOSE]: unmap,
    };
  }

  // ---- For the handler --------------------------------------------------------------------------

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
   * @param into runs that nobody needs any more, to be used for the result
   * @throws KernelError ENOSPC, ENOMEM: no room to fill holes, or to move to. EBUSY: mapped, and in
   * scratch. After each of them all is as before.
   */
  pin(into?: FolioRuns): PinnedFolios {
    const pages = pagesFor(this.size);
    this.#learnWritten();
    // A file with fewer pages than its size takes has holes: their places are looked for once, in
    // #fill.
    const found = this.cache.count < pages ? undefined : this.#pages.runs(pages, into);
    if (!found || found.holes > 0 || !found.areOutsideScratch)
      return this.#attempt(() => this.#fillAndPin(pages, into));
    this.shmem.pages.pinRows(found.rows);
    return { runs: found.runs, rows: found.rows, filled: [] };
  }

  #fillAndPin(pages: number, into?: FolioRuns): PinnedFolios {
    const filled = this.#fill(0, pages, pages, { taken: 'when touched' });
    try {
      const found = this.#pages.runs(pages, into);
      const { runs, rows } = leaveScratch(this.#pages, found, this.#mappings > 0);
      this.shmem.pages.pinRows(rows);
      return { runs, rows, filled };
    } catch (error) {
      this.#dropAll(filled);
      throw error;
    }
  }

  /**
   * The folios of the file: all of them, of one that is pinned.
   *
   * @param into runs that nobody needs any more, to be used for the result
   */
  folios(into?: FolioRuns): Folios {
    return this.#pages.runs(pagesFor(this.size), into);
  }

  /**
   * Takes the pins back. Holes that were filled for them stay filled: their pages may have been
   * written.
   */
  unpin({ rows }: Pick<PinnedFolios, 'rows'>): void {
    this.shmem.pages.unpinRows(rows);
  }

  /**
   * Takes back a pin that came to nothing: the pins, and the pages that holes were given for it.
   * What left scratch stays where it went.
   */
  undoPin(pinned: PinnedFolios): void {
    this.unpin(pinned);
    this.#dropAll(pinned.filled);
  }

  /**
   * Puts folios in use, which the file then owns, at their indices (holes, each a multiple of its
   * folio's size); counts all their pages. All or none.
   *
   * @throws KernelError ENOSPC, ENOMEM: beyond a limit of the mount
   */
  adopt(runs: FolioRuns): void {
    this.#pages.adopt(runs);
  }

  /**
   * Size and seals of a file that was just made of adopted folios. What those hold beyond the size
   * is zeroed, as in any file.
   */
  restoreState(size: number, seals: number): void {
    this.size = size;
    this.seals = seals;
    this.#pages.zeroFrom(size);
  }

  // ---- Inside -----------------------------------------------------------------------------------

  /**
   * @param end pages that the file will have: where large folios must lie within its size, they end
   * there
   */
  #fill(first: PageIndex, count: number, end: PageIndex, options?: FillOptions): PageRange[] {
    const { huge } = this.shmem;
    const isAsked = huge === 'always' || (huge !== 'never' && this.advisedHuge);
    const maxOrder = isAsked || huge === 'within_size' ? HUGE_ORDER : 0;
    return fillHoles(this.#pages, first, count, { maxOrder, end: isAsked ? Infinity : end }, options);
  }

  /** Does `work`; what it took from the system is given back where that throws. */
  #attempt<T>(work: () => T): T {
    return this.shmem.pages.residency.attempt(work);
  }

  /** Before anything changes: which holes were written through a view. */
  #learnWritten(): void {
    if (this.#sparse > 0) this.#pages.look();
  }

  /**
   * A view that was made before the file shrank may have written beyond its end, also one that is
   * unmapped by now: that is not shown when the file grows again. Only in the last page: those
   * behind it left the file when it shrank.
   */
  #zeroTail(): void {
    if (!this.#tailWritten) return;
    this.#pages.zero(this.size, pagesFor(this.size) * PAGE_SIZE - this.size);
    this.#tailWritten = this.#mappings > 0;
  }

  #dropAll(ranges: readonly PageRange[]): void {
    for (const { index, count } of ranges) this.#pages.drop(index, count);
  }

  #checkNotFrozen(): void {
    if (this.#frozen)
      throw new KernelError(
        'EPERM',
        `${this.title} is preserved: its size and pages cannot change until it is unpreserved`,
      );
  }

  get #isExecutable(): boolean {
    return (this.seals & SEAL_EXEC) === 0;
  }

  get #isWritable(): boolean {
    return (this.seals & (SEAL_WRITE | SEAL_FUTURE_WRITE)) === 0;
  }

  get #cannotGrow(): boolean {
    return this.#frozen || (this.seals & SEAL_GROW) !== 0;
  }

  #checkWritable(): void {
    if (!this.#isWritable) throw new KernelError('EPERM', `${this.title} is sealed against writing`);
  }

  #checkGrow(): void {
    this.#checkNotFrozen();
    if ((this.seals & SEAL_GROW) !== 0)
      throw new KernelError('EPERM', `${this.title} is sealed against growing`);
  }
}
