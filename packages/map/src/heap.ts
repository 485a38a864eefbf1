/**
 * Memory for entries and buckets: blocks side by side, free ones in lists by size (two-level
 * segregated fit, after Masmano and others, 2004). Sizes below 1 KiB have a list each, so a block
 * that becomes free is used again without a rest by the next of its size; above, a list spans a
 * sixteenth of its power of two. All is found by a few bit operations, however full the heap is.
 *
 * Always: free blocks that touch are one; no block crosses a multiple of 1 GiB, where a used block
 * of one unit stands.
 */
import { lowestBit } from '@liveupdate/base';
import { damaged } from './damage.ts';
import {
  AFTER_FREE,
  EXACT_UNITS,
  FLAG_BITS,
  FREE_NEXT,
  FREE_PREVIOUS,
  Header,
  HEAP_START,
  IS_FREE,
  LEAST_UNITS,
  LISTS,
  REGION_UNITS,
  SUBLISTS,
} from './abi.ts';
import type { Memory } from './memory.ts';

/** The list of blocks of a size. */
export function listOf(units: number): number {
  if (units < EXACT_UNITS) return units;
  const power = 31 - Math.clz32(units);
  return EXACT_UNITS + (power - 7) * SUBLISTS + ((units >>> (power - 4)) & (SUBLISTS - 1));
}

/** The first list whose blocks are all of at least a size. */
function listFrom(units: number): number {
  if (units < EXACT_UNITS) return units;
  const step = 1 << (31 - Math.clz32(units) - 4);
  return listOf(units + step - 1);
}

/** The first list from `list` on that is not empty, or LISTS. */
function nextList(words: Int32Array, list: number): number {
  let word = list >>> 5;
  if (list >= LISTS) return LISTS;
  const bits = words[Header.freeBits + word] & (-1 << (list & 31));
  if (bits !== 0) return word * 32 + lowestBit(bits);
  const summary = words[Header.freeSummary] & (-2 << word);
  if (summary === 0 || word === 31) return LISTS;
  word = lowestBit(summary);
  return word * 32 + lowestBit(words[Header.freeBits + word]);
}

/**
 * Takes a block of at least `units`. Its first word is written; all others are the caller's to
 * write, without the journal.
 *
 * @param flags of the block's first word
 * @returns its reference, 0 where there is none
 */
export function allocate(memory: Memory, units: number, flags: number): number {
  memory.checkTaking();
  const { words } = memory;
  const list = nextList(words, listFrom(units));
  let block = list < LISTS ? words[Header.freeLists + list] : 0;
  if (block === 0 && units >= EXACT_UNITS) block = firstFit(words, listOf(units), units);
  if (block === 0) return 0;
  take(memory, block, units, flags);
  return block;
}

/** Blocks of a list that are looked at, as there may be any number of them. */
const MOST_LOOKS = 64;

/** Looks into one list, whose blocks may be too small. */
function firstFit(words: Int32Array, list: number, units: number): number {
  let block = words[Header.freeLists + list];
  for (let looks = 0; block !== 0 && looks < MOST_LOOKS; looks++) {
    if (words[block * 2] >>> FLAG_BITS >= units) return block;
    block = words[block * 2 + FREE_NEXT];
  }
  return 0;
}

/** Takes a free block, or the start of it. */
export function take(memory: Memory, block: number, units: number, flags: number): void {
  const { words } = memory;
  const at = block * 2;
  const size = words[at] >>> FLAG_BITS;
  const isFree = (words[at] & IS_FREE) !== 0 && size >= units;
  if (!isFree || block < HEAP_START || block + size >= words[Header.heapEnd])
    throw damaged('a list of free blocks leads to one that is not');
  const end = at + size * 2;
  const rest = size - units;
  memory.keep(at + FREE_NEXT);
  memory.keep(at + FREE_PREVIOUS);
  if (rest < LEAST_UNITS) {
    unlink(memory, block, size);
    memory.keep(end - 1);
    memory.store(end, words[end] & ~AFTER_FREE);
    memory.store(at, (size << FLAG_BITS) | flags);
    memory.store(Header.used, words[Header.used] + size);
    return;
  }
  const left = block + units;
  const list = listOf(size);
  if (list === listOf(rest)) {
    replace(memory, block, left, list);
  } else {
    unlink(memory, block, size);
    link(memory, left, rest, false);
  }
  words[left * 2] = (rest << FLAG_BITS) | IS_FREE;
  memory.store(end - 1, rest);
  memory.store(at, (units << FLAG_BITS) | flags);
  memory.store(Header.used, words[Header.used] + units);
}

/** Gives a block back; what is in it stays until the change is done. */
export function free(memory: Memory, block: number): void {
  const { words } = memory;
  memory.noteFreed();
  const first = words[block * 2];
  let units = first >>> FLAG_BITS;
  memory.store(Header.used, words[Header.used] - units);
  let from = block;
  if ((first & AFTER_FREE) !== 0) {
    const before = words[block * 2 - 1];
    from -= before;
    if (before <= 0 || words[from * 2] >>> FLAG_BITS !== before) throw damaged('a free block has two sizes');
    unlink(memory, from, before);
    units += before;
  }
  const next = from + units;
  if ((words[next * 2] & IS_FREE) !== 0) {
    const after = words[next * 2] >>> FLAG_BITS;
    unlink(memory, next, after);
    units += after;
  }
  if (memory.walk > from && memory.walk < from + units) memory.walk = from;
  const end = (from + units) * 2;
  memory.store(from * 2, (units << FLAG_BITS) | IS_FREE);
  memory.store(end - 1, units);
  memory.store(end, words[end] | AFTER_FREE);
  link(memory, from, units, true);
}

/** @param isKept what is in its second and third word must come back if the change fails */
function link(memory: Memory, block: number, units: number, isKept: boolean): void {
  const { words } = memory;
  const list = listOf(units);
  const head = Header.freeLists + list;
  const next = words[head];
  const at = block * 2;
  if (isKept) {
    memory.store(at + FREE_NEXT, next);
    memory.store(at + FREE_PREVIOUS, 0);
  } else {
    words[at + FREE_NEXT] = next;
    words[at + FREE_PREVIOUS] = 0;
  }
  if (next === 0) {
    const word = Header.freeBits + (list >>> 5);
    memory.store(word, words[word] | (1 << (list & 31)));
    memory.store(Header.freeSummary, words[Header.freeSummary] | (1 << (list >>> 5)));
  } else {
    memory.store(next * 2 + FREE_PREVIOUS, block);
  }
  memory.store(head, block);
}

function unlink(memory: Memory, block: number, units: number): void {
  const { words } = memory;
  const next = words[block * 2 + FREE_NEXT];
  const previous = words[block * 2 + FREE_PREVIOUS];
  if (next !== 0) {
    if (words[next * 2 + FREE_PREVIOUS] !== block) throw damaged('a list of free blocks is broken');
    memory.store(next * 2 + FREE_PREVIOUS, previous);
  }
  if (previous !== 0) {
    memory.store(previous * 2 + FREE_NEXT, next);
    return;
  }
  const list = listOf(units);
  memory.store(Header.freeLists + list, next);
  if (next !== 0) return;
  const word = Header.freeBits + (list >>> 5);
  memory.store(word, words[word] & ~(1 << (list & 31)));
  if (words[word] === 0) memory.store(Header.freeSummary, words[Header.freeSummary] & ~(1 << (list >>> 5)));
}

/** The rest of a block takes its place in the list, as it is of the same one. */
function replace(memory: Memory, block: number, left: number, list: number): void {
  const { words } = memory;
  const next = words[block * 2 + FREE_NEXT];
  const previous = words[block * 2 + FREE_PREVIOUS];
  words[left * 2 + FREE_NEXT] = next;
  words[left * 2 + FREE_PREVIOUS] = previous;
  if (next !== 0) memory.store(next * 2 + FREE_PREVIOUS, left);
  memory.store(previous === 0 ? Header.freeLists + list : previous * 2 + FREE_NEXT, left);
}

/** Makes the memory up to `end` part of the heap. The caller has begun a change. */
export function extend(memory: Memory, end: number): void {
  const { words } = memory;
  let at = words[Header.heapEnd];
  while (at < end) {
    const stop = Math.min(end, (Math.floor(at / REGION_UNITS) + 1) * REGION_UNITS);
    // The last unit of the heap so far was its end. It and what follows become a block, and that
    // free. Where a region is full already, its end stays.
    const from = at === HEAP_START || at % REGION_UNITS === 0 ? at : at - 1;
    const units = stop - 1 - from;
    if (units < LEAST_UNITS) return;
    words[(stop - 1) * 2] = 1 << FLAG_BITS;
    memory.store(from * 2, (units << FLAG_BITS) | (from === at ? 0 : words[from * 2] & AFTER_FREE));
    memory.store(Header.used, words[Header.used] + units);
    free(memory, from);
    memory.store(Header.heapEnd, stop);
    at = stop;
  }
}

/** The largest block that is certain to be had, in units. Constant time. */
export function largestFree(words: Int32Array): number {
  const summary = words[Header.freeSummary];
  if (summary === 0) return 0;
  const word = 31 - Math.clz32(summary);
  const list = word * 32 + (31 - Math.clz32(words[Header.freeBits + word]));
  return words[words[Header.freeLists + list] * 2] >>> FLAG_BITS;
}
