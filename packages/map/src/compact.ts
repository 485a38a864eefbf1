/**
 * Moves blocks towards the start of the file, one change each, so that what is free becomes one
 * piece. A walk over all blocks: the one behind a hole goes into it, where it fits; else to where
 * there is room for it, and the hole grows.
 */
import { damaged } from './damage.ts';
import {
  BUCKET_CHAIN,
  BUCKET_WORDS,
  CHAIN_AT,
  DIRECTORY_AT,
  FLAG_BITS,
  HAS_RECENCY,
  Header,
  HEAP_START,
  INTERNAL_KIND,
  IS_ENTRY,
  IS_FREE,
  KIND_CHAIN,
  KIND_SEGMENT,
  KIND_SHIFT,
  SEGMENT_BUCKETS,
  UNIT_BYTES,
} from './abi.ts';
import { allocate, free, take } from './heap.ts';
import type { Memory } from './memory.ts';
import { takePlaceOf } from './recency.ts';
import { bucketAt, nextInChain, segmentStart, type Table } from './table.ts';

/** How far a compaction came. */
export interface Compaction {
  /** Whether all of the map was looked at. */
  readonly isDone: boolean;
  /** Bytes that were moved. */
  readonly moved: number;
}

/** @param isOver asked before each step: then the next call goes on from there */
export function compact(memory: Memory, table: Table, isOver: () => boolean): Compaction {
  const { words } = memory;
  let moved = 0;
  let at = memory.walk === 0 ? HEAP_START : memory.walk;
  while (at < words[Header.heapEnd]) {
    if (isOver()) {
      memory.walk = at;
      return { isDone: false, moved: moved * UNIT_BYTES };
    }
    const units = words[at * 2] >>> FLAG_BITS;
    if (units === 0) throw damaged('a block has no size');
    if ((words[at * 2] & IS_FREE) === 0) {
      at += units;
      continue;
    }
    const next = at + units;
    const size = words[next * 2] >>> FLAG_BITS;
    if (size > 1 && moveBlock(memory, table, next, at)) moved += size;
    else at = next + size;
  }
  memory.walk = 0;
  return { isDone: true, moved: moved * UNIT_BYTES };
}

/** @returns whether the block is elsewhere now */
function moveBlock(memory: Memory, table: Table, block: number, hole: number): boolean {
  const { words } = memory;
  if ((words[block * 2] & IS_ENTRY) !== 0) {
    table.locate(block * 2);
    const hasRecency = (words[Header.flags] & HAS_RECENCY) !== 0;
    return change(memory, table.head, block, hole, (to) => {
      copy(words, block * 2 + 1, to * 2 + 1, sizeOf(words, block) * 2 - 1);
      table.replace(to * 2);
      if (hasRecency) takePlaceOf(memory, block * 2, to * 2);
    });
  }
  const kind = words[block * 2 + INTERNAL_KIND] >>> KIND_SHIFT;
  const number = words[block * 2 + INTERNAL_KIND] & ((1 << KIND_SHIFT) - 1);
  if (kind === KIND_CHAIN) return moveChain(memory, block, hole, number);
  return change(memory, Header.shape, block, hole, (to) => {
    words[to * 2 + INTERNAL_KIND] = words[block * 2 + INTERNAL_KIND];
    if (kind === KIND_SEGMENT) moveSegment(memory, block, to, number);
    else {
      copy(words, block * 2 + DIRECTORY_AT, to * 2 + DIRECTORY_AT, words[Header.directoryRoom]);
      memory.store(Header.directory, to);
    }
  });
}

function moveChain(memory: Memory, block: number, hole: number, bucket: number): boolean {
  const { words } = memory;
  const head = bucketAt(words, bucket);
  let before = head;
  for (let steps = 0; words[before + BUCKET_CHAIN] !== block; steps++) {
    before = nextInChain(words, before, steps);
    if (before === 0) throw damaged('a chained bucket belongs to nobody');
  }
  return change(memory, head, block, hole, (to) => {
    copy(words, block * 2 + 1, to * 2 + 1, CHAIN_AT - 1 + BUCKET_WORDS);
    memory.store(before + BUCKET_CHAIN, to);
  });
}

function moveSegment(memory: Memory, block: number, to: number, segment: number): void {
  const { words } = memory;
  const start = segmentStart(to);
  words[start - 1] = to;
  copy(words, segmentStart(block), start, SEGMENT_BUCKETS * BUCKET_WORDS);
  memory.store(words[Header.directory] * 2 + DIRECTORY_AT + segment, start / 2);
}

/** Takes a new place for a block, lets `move` fill it and lead to it, and frees the old one. */
function change(
  memory: Memory,
  version: number,
  block: number,
  hole: number,
  move: (to: number) => void,
): boolean {
  const { words } = memory;
  const units = sizeOf(words, block);
  memory.begin(version);
  try {
    const flags = words[block * 2] & IS_ENTRY;
    let to = hole;
    if (units <= sizeOf(words, hole)) take(memory, hole, units, flags);
    else to = allocate(memory, units, flags);
    if (to === 0) {
      memory.rollBack();
      return false;
    }
    move(to);
    free(memory, block);
    memory.commit();
    return true;
  } catch (error) {
    memory.rollBack();
    throw error;
  }
}

function sizeOf(words: Int32Array, block: number): number {
  return words[block * 2] >>> FLAG_BITS;
}

/** Below so many words a loop is quicker. */
const FEW_WORDS = 64;

function copy(words: Int32Array, from: number, to: number, count: number): void {
  if (count <= FEW_WORDS) for (let i = 0; i < count; i++) words[to + i] = words[from + i];
  else words.set(words.subarray(from, from + count), to);
}
