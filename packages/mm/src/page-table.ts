/**
 * State of every page frame, in typed arrays outside RAM (the kernel's struct page array). It is rebuilt at every boot.
 *
 * Always: each frame has one kind. A folio is its head frame followed by (1 << order) - 1 tail frames. 8 bytes per frame, and untouched
 * parts of the arrays cost the system nothing: a frame that is not there (a hole in physical memory) is all zero.
 */
import { KernelError, physToPfn, type Pfn } from '@liveupdate/base';
import { firstOther } from './byte-scan.ts';
import type { RamPiece } from './ram.ts';

/** What a frame is; the low three bits of its flags. Never handed out: the boot page, holes in physical memory. */
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

/** References 4, pins 2, flags and order. */
const BYTES_PER_FRAME = 8;

/** One for all arrays: the system gives large memory as zeros that cost nothing until they are touched, small memory it has to clear. */
function bufferOf(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (cause) {
    throw new KernelError('ENOMEM', `no memory for the state of ${bytes / BYTES_PER_FRAME} page frames`, {
      cause,
    });
  }
}

export class PageTable {
  /** Number of frames, holes among them. */
  readonly frames: number;
  readonly flags: Uint8Array;
  /** Order of the folio, at its head frame. */
  readonly orders: Uint8Array;
  /** Reference count, at the head frame. */
  readonly refs: Uint32Array;
  /** Pin count, at the head frame. */
  readonly pins: Uint16Array;
  readonly #flagWords: Int32Array;
  readonly #orderWords: Int32Array;

  /**
   * A table in which all memory is free.
   *
   * @param ramSize bytes
   * @param memory the ranges that are memory, where not all of RAM is
   */
  constructor(ramSize: number, memory: readonly RamPiece[] = [{ pa: 0, length: ramSize }]) {
    this.frames = physToPfn(ramSize);
    const whole = Math.ceil(this.frames / 4) * 4; // words of flags and orders begin and end with the arrays
    const buffer = bufferOf(whole * BYTES_PER_FRAME);
    this.refs = new Uint32Array(buffer, 0, this.frames);
    this.pins = new Uint16Array(buffer, whole * 4, this.frames);
    this.flags = new Uint8Array(buffer, whole * 6, whole);
    this.orders = new Uint8Array(buffer, whole * 7, whole);
    this.#flagWords = new Int32Array(buffer, whole * 6, whole / 4);
    this.#orderWords = new Int32Array(buffer, whole * 7, whole / 4);
    for (const { pa, length } of memory) this.flags.fill(FREE, physToPfn(pa), physToPfn(pa + length));
  }

  kindName(pfn: Pfn): string {
    return pfn < this.frames ? KIND_NAMES[this.flags[pfn] & KIND] : 'outside RAM';
  }

  /** Whether [pfn, pfn + count) is memory and no frame of it is claimed yet. */
  isUnclaimed(pfn: Pfn, count: number): boolean {
    return pfn + count <= this.frames && this.flagsEnd(KIND, FREE, pfn, pfn + count) === pfn + count;
  }

  /** Takes frames out of use, until PageAllocator.releaseReserved. Those in a scratch area remain part of it. */
  reserve(pfn: Pfn, count: number): void {
    const { flags } = this;
    for (let i = pfn; i < pfn + count; i++) flags[i] = (flags[i] & SCRATCH) | RESERVED;
  }

  /**
   * Notes `count` folios side by side that the previous kernel preserved, in a table of which their frames were free since it was made: their
   * orders are 0.
   */
  claimIncoming(pfn: Pfn, order: number, count = 1): void {
    const { flags, orders } = this;
    if (order === 0) {
      flags.fill(INCOMING_HEAD, pfn, pfn + count);
      return;
    }
    const step = 1 << order;
    const end = pfn + count * step;
    flags.fill(INCOMING_TAIL, pfn, end);
    for (let at = pfn; at < end; at += step) {
      flags[at] = INCOMING_HEAD;
      orders[at] = order;
    }
  }

  /** Whether every frame of [pfn, pfn + count) has the flag (`want`), or none has it (`!want`). */
  allHave(flag: number, want: boolean, pfn: Pfn, count: number): boolean {
    return this.flagsEnd(flag, want ? flag : 0, pfn, pfn + count) === pfn + count;
  }

  /** The first frame of [pfn, end) whose flags are not `value` in the bits of `mask`; `end` where there is none. */
  flagsEnd(mask: number, value: number, pfn: Pfn, end: Pfn): Pfn {
    return firstOther(this.flags, this.#flagWords, pfn, end, mask, value);
  }

  /** How many of `count` folios side by side have these flags in the bits of `mask`, and this order, at their head frames. */
  foliosAlike(mask: number, value: number, order: number, pfn: Pfn, count: number): number {
    if (order === 0) {
      const end = this.flagsEnd(mask, value, pfn, Math.min(pfn + count, this.frames));
      return firstOther(this.orders, this.#orderWords, pfn, end, ALL, 0) - pfn;
    }
    const { flags, orders, frames } = this;
    const step = 1 << order;
    let folios = 0;
    let at = pfn;
    while (folios < count && at < frames && (flags[at] & mask) === value && orders[at] === order) {
      folios += 1;
      at += step;
    }
    return folios;
  }

  setFlag(flag: number, pfn: Pfn, count: number): void {
    this.#changeFlags(ALL, flag, pfn, count);
  }

  clearFlag(flag: number, pfn: Pfn, count: number): void {
    this.#changeFlags(~flag, 0, pfn, count);
  }

  /** Keeps some bits of the flags and sets others, of frames that are alike at once. */
  #changeFlags(keep: number, set: number, pfn: Pfn, count: number): void {
    const { flags } = this;
    const end = pfn + count;
    for (let at = pfn; at < end;) {
      const is = flags[at];
      const to = this.flagsEnd(ALL, is, at, end);
      flags.fill((is & keep) | set, at, to);
      at = to;
    }
  }

  /** Calls `visit` for each run of free frames whose flags are alike, in ascending order. */
  forEachFreeRun(visit: (pfn: Pfn, count: number) => void): void {
    const { flags, orders, frames } = this;
    for (let at = 0; at < frames;) {
      const flag = flags[at];
      const kind = flag & KIND;
      if ((kind === HEAD || kind === INCOMING_HEAD) && orders[at] > 0) {
        at += 1 << orders[at]; // its tails need not be looked at
        continue;
      }
      const end = this.flagsEnd(ALL, flag, at, frames);
      if (kind === FREE) visit(at, end - at);
      at = end;
    }
  }

  /** Marks the content of all free memory as unknown. */
  markStale(): void {
    this.forEachFreeRun((pfn, count) => this.flags.fill(this.flags[pfn] | STALE, pfn, pfn + count));
  }
}
