/**
 * State of every page frame, in typed arrays outside RAM (the kernel's struct page array). It is rebuilt at every boot.
 *
 * Always: each frame has one kind. A folio is its head frame followed by (1 << order) - 1 tail frames. 8 bytes per frame.
 */
import { KernelError, PAGE_SIZE, type Pfn } from '@liveupdate/base';

/** What a frame is; the low three bits of its flags. */
export const FREE = 0;
/** Never handed out: the boot page, holes in physical memory. */
export const RESERVED = 1;
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

const KIND_NAMES = [
  'free',
  'reserved',
  'in use',
  'a tail page',
  'incoming',
  'an incoming tail page',
  '?',
  '?',
];

export class PageTable {
  /** Number of frames. */
  readonly frames: number;
  readonly flags: Uint8Array;
  /** Order of the folio, at its head frame. */
  readonly orders: Uint8Array;
  /** Reference count, at the head frame. */
  readonly refs: Uint32Array;
  /** Pin count, at the head frame. */
  readonly pins: Uint16Array;

  /** @param ramSize bytes */
  constructor(ramSize: number) {
    this.frames = Math.floor(ramSize / PAGE_SIZE);
    try {
      this.flags = new Uint8Array(Math.ceil(this.frames / 4) * 4);
      this.orders = new Uint8Array(this.frames);
      this.refs = new Uint32Array(this.frames);
      this.pins = new Uint16Array(this.frames);
    } catch (cause) {
      throw new KernelError('ENOMEM', `no memory for the state of ${this.frames} page frames`, { cause });
    }
  }

  kindName(pfn: Pfn): string {
    return pfn < this.frames ? KIND_NAMES[this.flags[pfn] & KIND] : 'outside RAM';
  }

  /** Whether [pfn, pfn + count) lies in RAM and no frame of it is claimed yet. */
  isUnclaimed(pfn: Pfn, count: number): boolean {
    if (pfn + count > this.frames) return false;
    const { flags } = this;
    for (let i = pfn; i < pfn + count; i++) if ((flags[i] & KIND) !== FREE) return false;
    return true;
  }

  /** Takes frames out of use, until PageAllocator.releaseReserved. Those in a scratch area remain part of it. */
  reserve(pfn: Pfn, count: number): void {
    const { flags } = this;
    for (let i = pfn; i < pfn + count; i++) flags[i] = (flags[i] & SCRATCH) | RESERVED;
  }

  /** Notes a folio that the previous kernel preserved. */
  claimIncoming(pfn: Pfn, order: number): void {
    if (order > 0) this.flags.fill(INCOMING_TAIL, pfn + 1, pfn + (1 << order));
    this.flags[pfn] = INCOMING_HEAD;
    this.orders[pfn] = order;
  }

  /** Notes `count` preserved pages of order 0 in a row. */
  claimIncomingRun(pfn: Pfn, count: number): void {
    this.flags.fill(INCOMING_HEAD, pfn, pfn + count);
    this.orders.fill(0, pfn, pfn + count);
  }

  /** Whether every frame of [pfn, pfn + count) has the flag (`want`), or none has it (`!want`). */
  allHave(flag: number, want: boolean, pfn: Pfn, count: number): boolean {
    const { flags } = this;
    const mask = want ? flag : 0;
    for (let i = pfn; i < pfn + count; i++) if ((flags[i] & flag) !== mask) return false;
    return true;
  }

  setFlag(flag: number, pfn: Pfn, count: number): void {
    const { flags } = this;
    for (let i = pfn; i < pfn + count; i++) flags[i] |= flag;
  }

  clearFlag(flag: number, pfn: Pfn, count: number): void {
    const { flags } = this;
    for (let i = pfn; i < pfn + count; i++) flags[i] &= ~flag;
  }

  /** Marks the content of every unclaimed frame as unknown. */
  markStale(): void {
    const { flags } = this;
    for (let i = 0; i < flags.length; i++) if ((flags[i] & KIND) === FREE) flags[i] |= STALE;
  }
}
