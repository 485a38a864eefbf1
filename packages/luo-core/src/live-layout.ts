/**
 * How sessions and files lie in the live record: in slots, so that taking one out is one word. Ours
 * alone: what the next kernel is handed is in abi.ts.
 *
 * A slot counts or not by its first word, together with the number of the last change that was
 * published.
 */
import { PAGE_SIZE } from '@liveupdate/base';

/**
 * Kinds of pages of the live record. One whose layout changes gets another number: a program that
 * does not know a kind reads nothing, rather than something else.
 */
export const FILES_PAGE = 16;
export const SESSIONS_PAGE = 17;
export const FLBS_PAGE = 18;

/** Words of a slot, of a file or a session. */
export const SLOT_WORDS = 32;
export const SLOTS_IN_PAGE = PAGE_SIZE / 4 / SLOT_WORDS;

/** Words of both kinds of slots. */
export const STATE = 0;
/** Orders them: two words, a number of at most 53 bits. */
export const ORDER = 1;

/** Words of a file's slot. */
export const FILE = {
  /** Slot of its session. */
  session: 3,
  token: 4,
  data: 6,
  /** The page of FLBs of the kernel that preserved it, counted from 1; 0: it holds none. */
  flbs: 8,
  /** A bit for each of them: two words. */
  mask: 9,
  compatible: 12,
  /** Its data from the change on that the first word names: see renewing. */
  newData: 24,
} as const;

/** Words of a session's slot. */
export const SESSION = { name: 16 } as const;

/**
 * What the first word of a slot says in its lowest two bits. Above them is the number of a change,
 * or 0.
 */
export const FREE = 0;
export const VALID = 1;
const COMING = 2;
const GOING = 3;

/** The word of a slot that counts from this change on. */
export function coming(change: number): number {
  return ((change << 2) | COMING) >>> 0;
}

/** The word of a slot that counts no more from this change on. */
export function going(change: number): number {
  return ((change << 2) | GOING) >>> 0;
}

/** The word of a file's slot that counts, with other data from this change on. */
export function renewing(change: number): number {
  return ((change << 2) | VALID) >>> 0;
}

/** Whether a slot that counts has its new data where this is the last change that was published. */
export function isRenewed(word: number, published: number): boolean {
  return word === renewing(published);
}

/** What the word of a slot means where this is the last change that was published. */
export function stateOf(word: number, published: number): typeof FREE | typeof VALID {
  if (word === FREE) return FREE;
  if ((word & 3) === VALID) return VALID;
  const isDone = word >>> 2 === published;
  return ((word & 3) === COMING) === isDone ? VALID : FREE;
}
