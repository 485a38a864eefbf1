/**
 * State of every page frame, in typed arrays outside RAM (the kernel's struct page array). It is
 * rebuilt at every boot.
 *
 * Frames come in blocks of 2 MiB. A block whose folios are all alike (one large folio, free memory,
 * the pages of one file) has one entry, a mixed one has an entry for each frame: work on memory
 * that lies well is done per block, and boot writes nothing for a single frame of it.
 *
 * Always: each frame has one kind. A folio is its head frame followed by (1 << order) - 1 tail
 * frames. At most 6 bytes per frame, for stretches of 32 MiB in which a block is, or was, a mixed
 * one; a few bytes per block for all others.
 */
import {
  checkObject,
  checkList,
  checkWhole,
  HUGE_ORDER,
  physToPfn,
  type Pfn,
  isBranded,
  type Branded,
} from '@liveupdate/base';
import { firstOther } from './byte-scan.ts';
import { MIXED, PageBlocks } from './page-blocks.ts';
import { countOf, Entries, pinsIn, refsIn, type Held } from './page-table-entries.ts';
import { checkRange, MAX_RAM_SIZE, type RamPiece } from './ram.ts';
import { COPY } from './package-copy.ts';

/**
 * What a frame is; the low three bits of its flags. Never handed out: the boot page, holes in
 * physical memory.
 */
export const RESERVED = 0;
export const FREE = 1;
/** First frame of a folio in use. */
export const HEAD = 2;
export const TAIL = 3;
/** First frame of a folio that the previous kernel preserved and nobody restored yet. */
export const INCOMING_HEAD = 4;
export const INCOMING_TAIL = 5;
export const KIND = 7;
/** The content is unknown and must be cleared before it may be read as zeros. */
export const STALE = 8;
/** Inside a scratch area: movable memory only. */
export const SCRATCH = 16;
/** Handed to the next kernel. A frame in use that may not be freed, moved or preserved again. */
export const PRESERVED = 32;

/** All bits of a flag byte. */
const ALL = 0xff;

const BLOCK_ORDER = HUGE_ORDER;
/** Frames in a block. */
const BLOCK = 1 << BLOCK_ORDER;
const STRETCH_SHIFT = 13;
/** Frames that get entries together, when a block among them becomes a mixed one. */
const STRETCH = 1 << STRETCH_SHIFT;

const KIND_NAMES = [
  'reserved',
  'free',
  'in use',
  'a tail page',
  'incoming',
  'an incoming tail page',
  '?',
  '?',
];

/** Flags of the frames that follow a head with these. */
function tailOf(flags: number): number {
  return (flags & SCRATCH) | ((flags & KIND) + 1);
}

/** What is left of a frame number is its place in its folio, as far as that lies in one block. */
function placeMask(order: number): number {
  return order < BLOCK_ORDER ? (1 << order) - 1 : BLOCK - 1;
}

/** Blocks from the head of a folio to where the next one can begin. */
function blocksIn(order: number): number {
  return order > BLOCK_ORDER ? 1 << (order - BLOCK_ORDER) : 1;
}

function blockOf(pfn: Pfn): number {
  return pfn >>> BLOCK_ORDER;
}

/** First frame of the stretch that a frame lies in. */
function stretchOf(pfn: Pfn): Pfn {
  return pfn - (pfn & (STRETCH - 1));
}

const BRAND: Branded = { className: 'PageTable', copy: COPY };

export class PageTable {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to objects of other copies too. */
  static [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  /** Number of frames, holes among them. */
  readonly frames: number;
  /**
   * Of each block that is not mixed, what its folios are, at their heads. Of folios larger than a
   * block, the first block is the head, the others are tails of order 0.
   */
  readonly #blocks: PageBlocks;
  /**
   * Of each stretch, where it has entries: of each frame; means nothing where its block is not
   * mixed.
   */
  readonly #stretches: (Entries | undefined)[];

  /**
   * A table in which all memory is free.
   *
   * @param ramSize bytes
   * @param memory the ranges that are memory, where not all of RAM is
   * @throws KernelError EINVAL: no such size, or no ranges. EFAULT: a range outside RAM.
   */
  constructor(ramSize: number, memory: readonly RamPiece[] = [{ pa: 0, length: ramSize }]) {
    checkWhole(ramSize, 'a size of RAM', { max: MAX_RAM_SIZE });
    for (const piece of checkList(memory, 'a list of ranges')) {
      checkObject(piece, 'a range of memory');
      checkRange(ramSize, piece.pa, piece.length);
    }
    this.frames = physToPfn(ramSize);
    this.#stretches = new Array<undefined>(Math.ceil(this.frames / STRETCH)).fill(undefined);
    this.#blocks = new PageBlocks(Math.ceil(this.frames / BLOCK));
    for (const { pa, length } of memory) {
      const first = physToPfn(pa);
      this.setFolios(first, physToPfn(pa + length) - first, 0, FREE, 0);
    }
  }

  // ---- One frame --------------------------------------------------------------------------------

  /**
   * Whether there is a frame of this number, which may be any number. All other methods take frames
   * that there are.
   */
  has(pfn: Pfn): boolean {
    return pfn < this.frames && pfn >= 0 && Number.isInteger(pfn);
  }

  flagsOf(pfn: Pfn): number {
    const block = blockOf(pfn);
    const flags = this.#blocks.flagsAt(block);
    if (flags === MIXED) return this.#entriesAt(pfn).flags[pfn & (STRETCH - 1)];
    return (pfn & placeMask(this.#blocks.orderAt(block))) === 0 ? flags : tailOf(flags);
  }

  kindOf(pfn: Pfn): number {
    return this.flagsOf(pfn) & KIND;
  }

  kindName(pfn: Pfn): string {
    return this.has(pfn) ? KIND_NAMES[this.kindOf(pfn)] : 'outside RAM';
  }

  /** Order of the folio that begins at this frame; means nothing where none does. */
  orderOf(pfn: Pfn): number {
    const block = blockOf(pfn);
    if (this.#blocks.flagsAt(block) === MIXED) return this.#entriesAt(pfn).orders[pfn & (STRETCH - 1)];
    const order = this.#blocks.orderAt(block);
    return (pfn & placeMask(order)) === 0 ? order : 0;
  }

  /** References to the folio that begins at this frame. */
  refsOf(pfn: Pfn): number {
    return refsIn(this.#countOf(pfn));
  }

  /** Pins of the folio that begins at this frame. */
  pinsOf(pfn: Pfn): number {
    return pinsIn(this.#countOf(pfn));
  }

  #countOf(pfn: Pfn): number {
    const block = blockOf(pfn);
    if (this.#blocks.flagsAt(block) === MIXED) return this.#entriesAt(pfn).counts[pfn & (STRETCH - 1)];
    return (pfn & placeMask(this.#blocks.orderAt(block))) === 0 ? this.#blocks.countAt(block) : 0;
  }

  /**
   * What every frame is, as the methods above say it, in arrays of their own: for looking at all of
   * it.
   */
  snapshot(): Record<'flags' | 'orders' | 'refs' | 'pins', Uint32Array> {
    const each = (of: (pfn: Pfn) => number): Uint32Array =>
      Uint32Array.from({ length: this.frames }, (_, pfn) => of(pfn));
    return {
      flags: each((pfn) => this.flagsOf(pfn)),
      orders: each((pfn) => this.orderOf(pfn)),
      refs: each((pfn) => this.refsOf(pfn)),
      pins: each((pfn) => this.pinsOf(pfn)),
    };
  }

  /** Gives one frame a state, whatever is around it. */
  set(pfn: Pfn, flags: number, order = 0, refs = 0, pins = 0): void {
    this.#open(blockOf(pfn)).set(pfn & (STRETCH - 1), flags, order, countOf(refs, pins));
  }

  // ---- Looking along a range --------------------------------------------------------------------

  /** Whether [pfn, pfn + count) is memory and no frame of it is claimed yet. */
  isUnclaimed(pfn: Pfn, count: number): boolean {
    return pfn + count <= this.frames && this.flagsEnd(KIND, FREE, pfn, pfn + count) === pfn + count;
  }

  /** Whether every frame of [pfn, pfn + count) has the flag (`want`), or none has it (`!want`). */
  allHave(flag: number, want: boolean, pfn: Pfn, count: number): boolean {
    return this.flagsEnd(flag, want ? flag : 0, pfn, pfn + count) === pfn + count;
  }

  /**
   * The first frame of [pfn, end) whose flags are not `value` in the bits of `mask`; `end` where
   * there is none.
   */
  flagsEnd(mask: number, value: number, pfn: Pfn, end: Pfn): Pfn {
    let at = pfn;
    while (at < end) {
      const block = blockOf(at);
      const to = Math.min(end, (block + 1) * BLOCK);
      const flags = this.#blocks.flagsAt(block);
      if (flags === MIXED) {
        const each = this.#entriesAt(at);
        const base = stretchOf(at);
        at = base + firstOther(each.flags, each.flagWords, at - base, to - base, mask, value);
        if (at < to) return at;
        continue;
      }
      const place = placeMask(this.#blocks.orderAt(block));
      const isHead = (at & place) === 0;
      const head = (flags & mask) === value;
      const tail = place === 0 ? head : (tailOf(flags) & mask) === value;
      if (isHead ? !head : !tail) return at;
      if (head === tail) at = this.#blocks.alikeEnd(block, blockOf(end - 1) + 1) * BLOCK;
      else if (isHead) at += 1;
      else at = Math.min(to, (at | place) + 1);
    }
    return Math.min(at, end);
  }

  /**
   * How many of `count` folios side by side have these flags in the bits of `mask`, and this order,
   * at their head frames. None where there is no frame.
   */
  foliosAlike(mask: number, value: number, order: number, pfn: Pfn, count: number): number {
    if (!this.has(pfn)) return 0;
    const step = 1 << order;
    const end = Math.min(pfn + count * step, this.frames);
    let folios = 0;
    for (let at = pfn; folios < count && at < this.frames;) {
      const block = blockOf(at);
      const flags = this.#blocks.flagsAt(block);
      const isHead = (at & placeMask(order)) === 0;
      if (flags !== MIXED && this.#blocks.orderAt(block) === order && isHead) {
        if ((flags & mask) !== value) break;
        const to =
          order > BLOCK_ORDER ? at + step : this.#blocks.alikeEnd(block, blockOf(end - 1) + 1) * BLOCK;
        folios += (to - at) / step;
        at = to;
      } else if (flags === MIXED && order === 0) {
        const to = Math.min(at + count - folios, (block + 1) * BLOCK, this.frames);
        const stop = this.#singlesEnd(mask, value, at, to);
        folios += stop - at;
        if (stop < to) break;
        at = stop;
      } else {
        if ((this.flagsOf(at) & mask) !== value || this.orderOf(at) !== order) break;
        folios += 1;
        at += step;
      }
    }
    return Math.min(folios, count, Math.max(0, Math.floor((this.frames - pfn) / step)));
  }

  /**
   * The first frame of [pfn, end), in a mixed block, that is no folio of order 0 with these flags.
   */
  #singlesEnd(mask: number, value: number, pfn: Pfn, end: Pfn): Pfn {
    const { flags, flagWords, orders, orderWords } = this.#entriesAt(pfn);
    const base = stretchOf(pfn);
    const from = pfn - base;
    const to = mask === 0 ? end - base : firstOther(flags, flagWords, from, end - base, mask, value);
    // A larger folio has tails behind its head: among heads only the last can be one.
    if ((mask & KIND) === KIND && (value & KIND) === HEAD)
      return base + (to > from && orders[to - 1] !== 0 ? to - 1 : to);
    return base + firstOther(orders, orderWords, from, to, ALL, 0);
  }

  /** How many of `count` folios side by side, which are known to be such, are held so. */
  foliosHeld(held: Held, pfn: Pfn, count: number, order: number): number {
    const step = 1 << order;
    const end = pfn + count * step;
    for (let at = pfn; at < end;) {
      const block = blockOf(at);
      if (this.#blocks.flagsAt(block) === MIXED) {
        const to = Math.min(end, (block + 1) * BLOCK);
        const base = stretchOf(at);
        at = base + this.#entriesAt(at).heldEnd(held, at - base, to - base, step);
        if (at < to) return (at - pfn) / step;
      } else {
        const to = this.#blocks.mixedFrom(block, blockOf(end - 1) + 1);
        const stop = this.#blocks.heldEnd(held, block, to, blocksIn(order));
        if (stop < to) return (Math.max(at, stop * BLOCK) - pfn) / step;
        at = stop * BLOCK;
      }
    }
    return count;
  }

  /** Calls `visit` for each run of free frames whose flags are alike, in ascending order. */
  forEachFreeRun(visit: (pfn: Pfn, count: number) => void): void {
    for (let at = 0; at < this.frames;) {
      const flags = this.flagsOf(at);
      const kind = flags & KIND;
      if (kind === HEAD || kind === INCOMING_HEAD) {
        at = this.#foliosEnd(at); // their tails need not be looked at
        continue;
      }
      const end = this.flagsEnd(ALL, flags, at, this.frames);
      if (kind === FREE) visit(at, end - at);
      at = end;
    }
  }

  /**
   * A frame behind the folio that begins at `pfn`, and behind others like it where they fill
   * blocks.
   */
  #foliosEnd(pfn: Pfn): Pfn {
    const end = pfn + (1 << this.orderOf(pfn));
    const block = blockOf(pfn);
    if (this.#blocks.flagsAt(block) === MIXED) return end;
    return Math.max(end, this.#blocks.alikeEnd(block, this.#blocks.length) * BLOCK);
  }

  // ---- Changing a range -------------------------------------------------------------------------

  /**
   * Makes of [pfn, pfn + count << order) folios with no pin, whatever was there: of order 0 also
   * free or reserved frames.
   */
  setFolios(pfn: Pfn, count: number, order: number, flags: number, refs: number): void {
    const step = 1 << order;
    const end = pfn + count * step;
    const blocks = this.#blocks;
    if (order > BLOCK_ORDER) {
      blocks.fill(blockOf(pfn), blockOf(end - 1) + 1, tailOf(flags), 0, 0);
      for (let at = pfn; at < end; at += step) blocks.set(blockOf(at), flags, order, refs);
      return;
    }
    for (let at = pfn; at < end;) {
      const to = this.#wholeEnd(at, end);
      if (to > at) {
        blocks.fill(blockOf(at), blockOf(to - 1) + 1, flags, order, refs);
        at = to;
      } else {
        at = this.#setInBlock(at, Math.min(end, (blockOf(at) + 1) * BLOCK), order, flags, refs);
      }
    }
  }

  /** The same of a part of a block; its end. */
  #setInBlock(pfn: Pfn, end: Pfn, order: number, flags: number, refs: number): Pfn {
    const each = this.#open(blockOf(pfn));
    const from = pfn & (STRETCH - 1);
    const to = from + (end - pfn);
    if (order === 0) {
      each.fill(from, to, flags, 0, refs);
      if (end % BLOCK === 0) this.#close(blockOf(pfn), flags, refs);
      return end;
    }
    each.fill(from, to, tailOf(flags), 0, 0);
    for (let at = from; at < to; at += 1 << order) each.set(at, flags, order, refs);
    return end;
  }

  /**
   * Adds to the references and pins of `count` folios side by side, which are known to be such, up
   * to the first that is not held so.
   *
   * @returns how many
   */
  addCounts(held: Held, pfn: Pfn, count: number, order: number, refs: number, pins: number): number {
    const step = 1 << order;
    const end = pfn + count * step;
    for (let at = pfn; at < end;) {
      const block = blockOf(at);
      const last = this.#wholeUntil(at, end, order);
      if (last > block) {
        const stop = this.#blocks.add(held, block, last, blocksIn(order), refs, pins);
        if (stop < last) return (Math.max(at, stop * BLOCK) - pfn) / step;
        at = stop * BLOCK;
      } else {
        const to = Math.min(end, (block + 1) * BLOCK);
        const base = stretchOf(at);
        at = base + this.#open(block).add(held, at - base, to - base, step, refs, pins);
        if (at < to) return (at - pfn) / step;
      }
    }
    return count;
  }

  /**
   * Gives the heads of `count` folios side by side, which are known to be such, other flags of the
   * same zone and kind.
   */
  markFolios(flags: number, pfn: Pfn, count: number, order: number): void {
    const step = 1 << order;
    const end = pfn + count * step;
    for (let at = pfn; at < end;) {
      const block = blockOf(at);
      const last = this.#wholeUntil(at, end, order);
      if (last > block) {
        at = this.#blocks.mark(block, last, blocksIn(order), flags) * BLOCK;
      } else {
        const to = Math.min(end, (block + 1) * BLOCK);
        const base = stretchOf(at);
        at = base + this.#open(block).mark(at - base, to - base, step, flags);
      }
    }
  }

  /**
   * Gives other flags to the folios of order 0 that the list names from index `from` on, up to the
   * first that has not the flags `before`, or that begins a row and is better done with it.
   *
   * @returns how many
   */
  markSingles(before: number, after: number, pfns: Uint32Array, from: number, end: number): number {
    const blocks = this.#blocks;
    let pfn = pfns[from];
    for (let at = from; at < end; at++) {
      const next = at + 1 < end ? pfns[at + 1] : 0;
      if (next === pfn + 1) return at - from;
      if (blocks.flagsAt(blockOf(pfn)) !== MIXED) {
        if (pfn >= this.frames || this.flagsOf(pfn) !== before || this.orderOf(pfn) !== 0) return at - from;
        this.#open(blockOf(pfn));
      }
      const { flags, orders } = this.#entriesAt(pfn);
      const place = pfn & (STRETCH - 1);
      if (flags[place] !== before || orders[place] !== 0) return at - from;
      flags[place] = after;
      pfn = next;
    }
    return end - from;
  }

  /**
   * Takes frames out of use, until PageAllocator.releaseReserved. Those in a scratch area remain
   * part of it.
   */
  reserve(pfn: Pfn, count: number): void {
    this.#changeFlags(SCRATCH, RESERVED, pfn, count);
  }

  /** Notes `count` folios side by side that the previous kernel preserved. */
  claimIncoming(pfn: Pfn, order: number, count = 1): void {
    this.setFolios(pfn, count, order, INCOMING_HEAD, 0);
  }

  setFlag(flag: number, pfn: Pfn, count: number): void {
    this.#changeFlags(ALL, flag, pfn, count);
  }

  clearFlag(flag: number, pfn: Pfn, count: number): void {
    this.#changeFlags(~flag, 0, pfn, count);
  }

  /** Marks the content of all free memory as unknown. */
  markStale(): void {
    this.forEachFreeRun((pfn, count) => {
      this.setFlag(STALE, pfn, count);
    });
  }

  /** Keeps some bits of the flags of each frame and sets others. */
  #changeFlags(keep: number, set: number, pfn: Pfn, count: number): void {
    const blocks = this.#blocks;
    const end = pfn + count;
    for (let at = pfn; at < end;) {
      const block = blockOf(at);
      const last = this.#wholeUntil(at, end, 0);
      if (last > block && blocks.orderAt(block) === 0) {
        const alike = blocks.alikeEnd(block, last);
        at = blocks.mark(block, alike, 1, (blocks.flagsAt(block) & keep) | set) * BLOCK;
      } else {
        const { flags } = this.#open(block);
        for (const to = Math.min(end, (block + 1) * BLOCK); at < to; at++) {
          const place = at & (STRETCH - 1);
          flags[place] = (flags[place] & keep) | set;
        }
      }
    }
  }

  // ---- Blocks -----------------------------------------------------------------------------------

  /**
   * End of the whole blocks that [pfn, end) begins with; `pfn` where it does not begin with one.
   * The last block of RAM may be a short one.
   */
  #wholeEnd(pfn: Pfn, end: Pfn): Pfn {
    if (pfn % BLOCK !== 0) return pfn;
    return end === this.frames ? end : end - (end % BLOCK);
  }

  /**
   * Number of the block behind those from the one of `pfn` on whose entries stand for all folios of
   * this order in [pfn, end) that begin in them; that block itself where it is mixed or has others
   * too.
   */
  #wholeUntil(pfn: Pfn, end: Pfn, order: number): number {
    const block = blockOf(pfn);
    const to = order < BLOCK_ORDER ? this.#wholeEnd(pfn, end) : end;
    return to > pfn ? this.#blocks.mixedFrom(block, blockOf(to - 1) + 1) : block;
  }

  /** The entries of the stretch that a frame of a mixed block lies in. */
  #entriesAt(pfn: Pfn): Entries {
    return this.#stretches[pfn >>> STRETCH_SHIFT]!;
  }

  /** Makes a block a mixed one. The entries of the stretch that it lies in. */
  #open(block: number): Entries {
    const first = block * BLOCK;
    const is = this.#blocks.flagsAt(block);
    if (is === MIXED) return this.#entriesAt(first);
    const base = stretchOf(first);
    const each = (this.#stretches[first >>> STRETCH_SHIFT] ??= new Entries(
      Math.min(STRETCH, this.frames - base),
    ));
    const order = this.#blocks.orderAt(block);
    const count = this.#blocks.countAt(block);
    this.#blocks.set(block, MIXED, 0, 0);
    const from = first - base;
    const to = Math.min(first + BLOCK, this.frames) - base;
    if (order === 0) {
      each.fill(from, to, is, 0, count);
      return each;
    }
    each.fill(from, to, tailOf(is), 0, 0);
    const step = Math.min(1 << order, BLOCK);
    for (let at = from; at < to; at += step) each.set(at, is, order, count);
    return each;
  }

  /**
   * Makes a mixed block one whose folios are alike, where all of them are of order 0, have these
   * flags and references and no pin.
   */
  #close(block: number, flags: number, refs: number): void {
    const first = block * BLOCK;
    const { flags: all, counts } = this.#entriesAt(first);
    const from = first & (STRETCH - 1);
    if (all[from] !== flags || counts[from] !== refs) return;
    if (this.#singlesEnd(ALL, flags, first, first + BLOCK) < first + BLOCK) return;
    for (let at = from; at < from + BLOCK; at++) if (counts[at] !== refs) return; // with no pin
    this.#blocks.set(block, flags, 0, refs);
  }
}
