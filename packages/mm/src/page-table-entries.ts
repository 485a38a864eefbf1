/** What the page table knows of a frame, or of the folios of a block, as parallel arrays. */
import { KernelError } from '@liveupdate/base';

/** References 4, pins 2, flags and order: of a frame, and of a block. */
const ENTRY_SIZE = 8;

/** Entries up to which a loop is quicker than a call of fill(). */
const FEW = 16;

/** How a folio may be held to be counted by `foliosHeld`; bounds included. */
export interface Held {
  readonly leastRefs: number;
  readonly mostRefs: number;
  readonly leastPins: number;
  readonly mostPins: number;
  /** References beside those that are pins. */
  readonly leastBeside: number;
}

/** One array of each field, over one buffer. */
export class Entries {
  readonly flags: Uint8Array;
  readonly flagWords: Int32Array;
  /** Order of the folio, at its head. */
  readonly orders: Uint8Array;
  readonly orderWords: Int32Array;
  /** Reference count, at the head. */
  readonly refs: Uint32Array;
  /** Pin count, at the head. */
  readonly pins: Uint16Array;

  constructor(count: number) {
    const whole = Math.ceil(count / 4) * 4; // words of flags and orders begin and end with the arrays
    const buffer = bufferOf(whole * ENTRY_SIZE);
    this.refs = new Uint32Array(buffer, 0, whole);
    this.pins = new Uint16Array(buffer, whole * 4, whole);
    this.flags = new Uint8Array(buffer, whole * 6, whole);
    this.orders = new Uint8Array(buffer, whole * 7, whole);
    this.flagWords = new Int32Array(buffer, whole * 6, whole / 4);
    this.orderWords = new Int32Array(buffer, whole * 7, whole / 4);
  }

  /** The same for all entries of [from, to). */
  fill(from: number, to: number, flags: number, order: number, refs: number, pins: number): void {
    this.flags.fill(flags, from, to);
    this.orders.fill(order, from, to);
    this.refs.fill(refs, from, to);
    this.pins.fill(pins, from, to);
  }

  set(at: number, flags: number, order: number, refs: number, pins: number): void {
    this.flags[at] = flags;
    this.orders[at] = order;
    this.refs[at] = refs;
    this.pins[at] = pins;
  }

  // Of each entry `at`, `at + by` and so on below `to`: what they return is the first that is not done.

  /** The first that is not held so, or lies at or behind `to`. */
  heldEnd(how: Held, at: number, to: number, by: number): number {
    let i = at;
    while (i < to && isHeld(how, this.refs[i], this.pins[i])) i = this.#nextOther(i, to, by);
    return i;
  }

  /** Adds to the references and pins of those that are held so, up to the first that is not. */
  add(how: Held, at: number, to: number, by: number, moreRefs: number, morePins: number): number {
    const { refs, pins } = this;
    let i = at;
    while (i < to) {
      const held = refs[i];
      const pinned = pins[i];
      if (!isHeld(how, held, pinned)) break;
      const end = this.#nextOther(i, to, by);
      if (by === 1 && end - i > FEW) {
        refs.fill(held + moreRefs, i, end);
        if (morePins !== 0) pins.fill(pinned + morePins, i, end);
      } else {
        for (let each = i; each < end; each += by) {
          refs[each] = held + moreRefs;
          pins[each] = pinned + morePins;
        }
      }
      i = end;
    }
    return i;
  }

  /** The first behind `at` that is not held as often as that, or lies at or behind `to`. */
  #nextOther(at: number, to: number, by: number): number {
    const { refs, pins } = this;
    const held = refs[at];
    const pinned = pins[at];
    let i = at + by;
    while (i < to && refs[i] === held && pins[i] === pinned) i += by;
    return i;
  }

  mark(at: number, to: number, by: number, mark: number): number {
    const { flags } = this;
    if (by === 1 && to - at > FEW) {
      flags.fill(mark, at, to);
      return to;
    }
    let i = at;
    for (; i < to; i += by) flags[i] = mark;
    return i;
  }
}

function isHeld(how: Held, refs: number, pins: number): boolean {
  if (refs < how.leastRefs || refs > how.mostRefs || refs - pins < how.leastBeside) return false;
  return pins >= how.leastPins && pins <= how.mostPins;
}

/** One for all arrays: the system gives large memory as zeros that cost nothing until they are touched, small memory it has to clear. */
function bufferOf(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (cause) {
    throw new KernelError('ENOMEM', `no memory for the state of ${bytes / ENTRY_SIZE} page frames`, {
      cause,
    });
  }
}
