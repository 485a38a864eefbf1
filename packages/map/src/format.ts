/**
 * Making a map in a file that is all zeros, and opening one that is there. Both take the same time
 * for every size: a header, and what the death of the owner left half done.
 *
 * The first word of a map is written last. One that is made anew (`clear`) says so in its header
 * from the first store to the last.
 */
import { formatSize, KernelError, PAGE_SIZE } from '@liveupdate/base';
import { extend } from './heap.ts';
import {
  DIRECTORY_AT,
  FIRST_DIRECTORY_ROOM,
  MAP_VERSION,
  HAS_RECENCY,
  Header,
  HEAP_START,
  JOURNAL_COUNT,
  JOURNAL_ROWS,
  JOURNAL_SEQUENCE,
  LEAST_LEVEL,
  LISTS,
  MAGIC_HIGH,
  MAGIC_LOW,
  MOST_BYTES,
  MOST_HEAP_END,
  MOST_ROWS,
  REGION_UNITS,
  SEGMENT_BUCKETS,
  SEGMENT_SHIFT,
  SEGMENT_UNITS,
  UNIT_BYTES,
} from './abi.ts';
import type { Memory } from './memory.ts';
import { newDirectory, newSegment } from './table.ts';

/** A map has at least so many bytes: its three pages, a segment of buckets, and some entries. */
export const LEAST_BYTES = 16 * PAGE_SIZE;

export interface MapFormat {
  readonly schema: number;
  readonly hasRecency: boolean;
  /** 64 random bits. */
  readonly hashKey: Int32Array;
}

/** Bytes of a file that a map makes use of. @throws KernelError EINVAL: too few or too many */
export function checkBytes(bytes: number): void {
  if (bytes < LEAST_BYTES || bytes > MOST_BYTES)
    throw new KernelError(
      'EINVAL',
      `a map lies in a file of ${formatSize(LEAST_BYTES)} to ${formatSize(MOST_BYTES)}, and this one has ${bytes} bytes`,
    );
}

/** Whether there is nothing yet: zeros, as far as a map's own pages go. */
export function isNothing({ words }: Memory): boolean {
  if (words[Header.magic] !== 0) return false;
  // All but the first word may be there of a map whose making was cut short. It has no keys.
  if (words[Header.magicHigh] === MAGIC_HIGH && words[Header.keys] === 0) return true;
  return words.subarray(0, HEAP_START * 2).every((word) => word === 0);
}

export function make(memory: Memory, { schema, hasRecency, hashKey }: MapFormat): void {
  const { words } = memory;
  words[Header.magicHigh] = MAGIC_HIGH;
  words[Header.format] = MAP_VERSION;
  words[Header.flags] = hasRecency ? HAS_RECENCY : 0;
  words[Header.hashKey] = hashKey[0];
  words[Header.hashKeyHigh] = hashKey[1];
  words[Header.checksum] = checksum(words, MAGIC_LOW);
  words[Header.schema] = schema;
  makeEmpty(memory);
  Atomics.store(words, Header.magic, MAGIC_LOW);
}

/** What is in the map is gone, whole or not at all. */
export function clear(memory: Memory): void {
  const { words } = memory;
  Atomics.store(words, Header.shape, words[Header.shape] | 1);
  Atomics.store(words, Header.isClearing, 1);
  makeEmpty(memory);
  Atomics.store(words, Header.isClearing, 0);
  Atomics.store(words, Header.shape, (words[Header.shape] | 1) + 1);
}

/** The heap, and the first segment of buckets. What the user keeps in the header stays. */
function makeEmpty(memory: Memory): void {
  const { words } = memory;
  const end = heapEndIn(words);
  memory.walk = 0;
  for (const at of EMPTIED) words[at] = 0;
  words.fill(0, Header.freeSummary, Header.freeLists + LISTS);
  words[Header.heapEnd] = HEAP_START;
  words[JOURNAL_COUNT] = 0; // of a change that was cut short, about what is gone
  memory.begin(Header.nobody);
  extend(memory, end);
  memory.commit();
  memory.begin(Header.nobody);
  const directory = newDirectory(memory, FIRST_DIRECTORY_ROOM);
  words[directory * 2 + DIRECTORY_AT] = newSegment(memory, 0);
  words[Header.directory] = directory;
  words[Header.directoryRoom] = FIRST_DIRECTORY_ROOM;
  words[Header.level] = LEAST_LEVEL;
  memory.commit();
}

/** Where the heap ends that makes use of all of a file: if it can grow, not just below a region. */
export function heapEndIn({ length }: Int32Array): number {
  const end = Math.floor(length / 2);
  if (end >= MOST_HEAP_END) return MOST_HEAP_END;
  return (end + 1) % REGION_UNITS === 0 ? end - 1 : end;
}

const EMPTIED = [
  Header.keys,
  Header.expiring,
  Header.level,
  Header.split,
  Header.directory,
  Header.directoryRoom,
  Header.used,
  Header.newest,
  Header.oldest,
  Header.sweepAt,
] as const;

/**
 * Looks at a header, without writing.
 *
 * @throws KernelError EINVAL: no map, or one of a format that this version does not read. EIO: it
 * is damaged
 */
export function check({ words }: Memory): void {
  if (words[Header.magic] !== MAGIC_LOW || words[Header.magicHigh] !== MAGIC_HIGH)
    throw new KernelError('EINVAL', 'this file holds something else, and no map');
  if (words[Header.format] !== MAP_VERSION)
    throw new KernelError(
      'EINVAL',
      `this map is of format ${words[Header.format]}, and this version of @liveupdate/map reads format ${MAP_VERSION}: install a newer one`,
    );
  const heapEnd = words[Header.heapEnd];
  if (words[Header.checksum] !== checksum(words, MAGIC_LOW)) throw damagedHeader('its checksum is wrong');
  if (words[Header.isClearing] !== 0) return;
  if (heapEnd <= HEAP_START + SEGMENT_UNITS || heapEnd * 2 > words.length)
    throw damagedHeader(
      `it has ${formatSize(heapEnd * UNIT_BYTES)}, and the file ${formatSize(words.length * 4)}: it was cut off`,
    );
  const directory = words[Header.directory];
  if (directory < HEAP_START || directory + words[Header.directoryRoom] / 2 > heapEnd)
    throw damagedHeader('the directory of its buckets lies elsewhere');
  if (words[Header.level] < LEAST_LEVEL || words[Header.level] > MOST_LEVEL)
    throw damagedHeader('its number of buckets');
}

/** Looks at what a death left half done, before it is put back. */
function checkJournal({ words }: Memory): void {
  const count = words[JOURNAL_COUNT];
  const version = words[JOURNAL_SEQUENCE] >>> 0;
  const isVersion =
    version === 0 ||
    version === Header.shape ||
    version === Header.nobody ||
    (version >= HEAP_START * 2 && version < words.length);
  if (count < 0 || count > MOST_ROWS || !isVersion) throw damagedHeader('its journal');
  for (let row = 0; row < count; row++) {
    const at = words[JOURNAL_ROWS + 2 * row] >>> 0;
    const isChanged = (at >= Header.heapEnd && at < JOURNAL_COUNT) || at >= HEAP_START * 2;
    if (!isChanged || at >= words.length) throw damagedHeader('its journal leads elsewhere');
  }
}

/** What is so when no change is under way. */
function checkShape({ words }: Memory): void {
  const level = words[Header.level];
  const split = words[Header.split];
  const room = words[Header.directoryRoom];
  const buckets = 2 ** level + split;
  if (level > MOST_LEVEL || split < 0 || split >= 2 ** level || buckets > room * SEGMENT_BUCKETS)
    throw damagedHeader('its number of buckets');
  const counts = [Header.keys, Header.expiring, Header.used];
  if (room > MOST_ROOM || counts.some((at) => words[at] < 0)) throw damagedHeader('its counts');
}

/** Buckets have numbers of 28 bits. */
const MOST_LEVEL = 27;
const MOST_ROOM = 2 ** (MOST_LEVEL + 1 - SEGMENT_SHIFT);

function damagedHeader(what: string): KernelError {
  return new KernelError('EIO', `this map's header is damaged: ${what}. Start with a new file`);
}

/** Takes back, or ends, what a death cut short. @throws KernelError EIO: it is damaged */
export function recover(memory: Memory): void {
  const { words } = memory;
  if (words[Header.isClearing] !== 0) {
    clear(memory);
  } else if (memory.isUnfinished) {
    checkJournal(memory);
    memory.rollBack();
  }
  checkShape(memory);
  if ((words[Header.shape] & 1) !== 0) words[Header.shape] += 1;
}

/** FNV-1a over the words that never change. */
function checksum(words: Int32Array, magic: number): number {
  let sum = 0x811c_9dc5;
  for (let i = 0; i < Header.checksum; i++) {
    sum = Math.imul(sum ^ (i === 0 ? magic : words[i]), 0x0100_0193);
    sum ^= sum >>> 15;
  }
  return sum | 0;
}
