/** What the page table knows of a frame, or of the folios of a block, as parallel arrays. */
import { KernelError } from '@liveupdate/base';

/** References and pins 4, flags and order: of a frame, and of a block. */
const ENTRY_SIZE = 6;

/**
 * References are the low bits of a count, pins the others: a look, a change and a fill do for both.
 */
const REFS_BITS = 20;
/** References that one folio can have; those for its pins are among them. */
export const MAX_REFS = 2 ** REFS_BITS - 1;
/** Pins that one folio can have. */
export const MAX_PINS = 2 ** (32 - REFS_BITS) - 1;

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

/** References and pins as they stand in `counts`. */
export function countOf(refs: number, pins: number): number {
  return refs | (pins << REFS_BITS);
}

export function refsIn(count: number): number {
  return count & MAX_REFS;
}

export function pinsIn(count: number): number {
  return count >>> REFS_BITS;
}

/** One array of each field, over one buffer. */
export class Entries {
  readonly flags: Uint8Array;
  readonly flagWords: Int32Array;
  /** Order of the folio, at its head. */
  readonly orders: Uint8Array;
  readonly orderWords: Int32Array;
  /** References and pins, at the head: see countOf. */
  readonly counts: Int32Array;

  constructor(count: number) {
    const whole = Math.ceil(count / 4) * 4; // words of flags and orders begin and end with the arrays
    const buffer = bufferOf(whole * ENTRY_SIZE);
    this.counts = new Int32Array(buffer, 0, whole);
    this.flags = new Uint8Array(buffer, whole * 4, whole);
    this.orders = new Uint8Array(buffer, whole * 5, whole);
    this.flagWords = new Int32Array(buffer, whole * 4, whole / 4);
    this.orderWords = new Int32Array(buffer, whole * 5, whole / 4);
  }

  /** The same for all entries of [from, to). */
  fill(from: number, to: number, flags: number, order: number, count: number): void {
    if (to - from <= FEW) {
      for (let at = from; at < to; at++) this.set(at, flags, order, count);
      return;
    }
    this.flags.fill(flags, from, to);
    this.orders.fill(order, from, to);
    this.counts.fill(count, from, to);
  }

  set(at: number, flags: number, order: number, count: number): void {
    this.flags[at] = flags;
    this.orders[at] = order;
    this.counts[at] = count;
  }

  // Of each entry `at`, `at + by` and so on below `to`: what they return is the first that is not
  // done.

  /** The first that is not held so, or lies at or behind `to`. */
  heldEnd(how: Held, at: number, to: number, by: number): number {
    let i = at;
    while (i < to && isHeld(how, this.counts[i])) i = otherCount(this.counts, i, to, by);
    return i;
  }

  /** Adds to the references and pins of those that are held so, up to the first that is not. */
  add(how: Held, at: number, to: number, by: number, refs: number, pins: number): number {
    const { counts } = this;
    const more = refs + pins * 2 ** REFS_BITS;
    let i = at;
    while (i < to) {
      const count = counts[i];
      if (!isHeld(how, count)) break;
      const end = otherCount(counts, i, to, by);
      if (by === 1 && end - i > FEW) counts.fill(count + more, i, end);
      else for (let each = i; each < end; each += by) counts[each] = count + more;
      i = end;
    }
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

/** The first behind `at` whose count is another, or that lies at or behind `to`. */
function otherCount(counts: Int32Array, at: number, to: number, by: number): number {
  const count = counts[at];
  let i = at + by;
  while (i < to && counts[i] === count) i += by;
  return i;
}

function isHeld(how: Held, count: number): boolean {
  const refs = refsIn(count);
  const pins = pinsIn(count);
  if (refs < how.leastRefs || refs > how.mostRefs || refs - pins < how.leastBeside) return false;
  return pins >= how.leastPins && pins <= how.mostPins;
}

/**
 * One for all arrays: the system gives large memory as zeros that cost nothing until they are
 * touched, small memory it has to clear.
 */
function bufferOf(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (cause) {
    throw new KernelError('ENOMEM', `no memory for the state of ${bytes / ENTRY_SIZE} page frames`, {
      cause,
    });
  }
}
