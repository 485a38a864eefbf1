/**
 * What is where in the file of a map, format 1. Words are 32 bits, little-endian; their index
 * counts from the start of the file. A _reference_ counts units of 8 bytes, so that it is a small
 * integer in a file of 16 GiB too; 0 refers to nothing.
 *
 * Any edit is another format: raise MAP_VERSION, and go on reading what is there.
 */
import { PAGE_SIZE } from '@liveupdate/base';

/** 'lumap' in the two first words. */
export const MAGIC_LOW = 0x616d_756c;
export const MAGIC_HIGH = 0x70;
export const MAP_VERSION = 1;

/** Words of a reference's unit. */
const UNIT_WORDS = 2;
export const UNIT_BYTES = 8;
/** Word indices are 32 bits in the journal. */
export const MOST_BYTES = 2 ** 34;
/** The end of the heap is a signed integer: of a file of 16 GiB the last unit is not used. */
export const MOST_HEAP_END = 2 ** 31 - 1;

// ---- The header: words 0 to 1023 ----------------------------------------------------------------

/** Where a word of the header lies. */
export const Header = {
  magic: 0,
  magicHigh: 1,
  format: 2,
  /** A mask of HAS_*. Fixed when the map is made. */
  flags: 3,
  hashKey: 4,
  hashKeyHigh: 5,
  /** Over the words before it. */
  checksum: 6,
  /** What the user calls the layout of the values. */
  schema: 7,
  /** Set while all of the map is made anew: who finds it so, makes it anew again. */
  isClearing: 8,
  /** Reference: where the heap ends. */
  heapEnd: 9,
  keys: 10,
  /** Keys among them that expire. */
  expiring: 11,
  /** Buckets: 2^level + split. */
  level: 12,
  split: 13,
  /** Reference to the block of the directory, and how many segments it has room for. */
  directory: 14,
  directoryRoom: 15,
  /** Units in used blocks. */
  used: 16,
  /** References to the entries that were used last and the longest ago, with HAS_RECENCY. */
  newest: 17,
  oldest: 18,
  /** The bucket where the search for expired keys goes on. */
  sweepAt: 19,
  /** Entries that were removed to make room, modulo 2^32. */
  evicted: 20,
  /** Version of the shape (buckets, segments, directory): odd while it changes. */
  shape: 21,
  /** A version that nobody looks at, for changes that no reader can see. */
  nobody: 22,
  userLength: 23,
  /** A bit for each word of freeLists' bits that is not 0. */
  freeSummary: 32,
  freeBits: 33,
  freeLists: 64,
  user: 640,
} as const;

export const HAS_RECENCY = 1;
/** Bytes that the user may keep in the header. */
export const USER_BYTES = 1024;

// ---- The journal: words 1024 to 3071 ------------------------------------------------------------

export const JOURNAL_COUNT = 1024;
/** The version word that is odd while the change is under way; 0: none. */
export const JOURNAL_SEQUENCE = 1025;
/** Pairs: the index of a word, and what was in it. */
export const JOURNAL_ROWS = 1026;
export const MOST_ROWS = 1023;

/** Reference to the first block: behind three pages. */
export const HEAP_START = (3 * PAGE_SIZE) / UNIT_BYTES;

// ---- Blocks of the heap -------------------------------------------------------------------------

/**
 * A block begins with a word: units << 3 | flags. A free one goes on with references to the next
 * and the previous of its list, and ends with a word of its units.
 */
export const IS_FREE = 1;
/** The block before it is free. Never set on a free one: free blocks that touch are one. */
export const AFTER_FREE = 2;
/** It holds a key; other used blocks say in the word behind what they are. */
export const IS_ENTRY = 4;
export const FLAG_BITS = 3;
export const FREE_NEXT = 1;
export const FREE_PREVIOUS = 2;
/** Smallest block: a free one needs its four words. */
export const LEAST_UNITS = 2;
/** No block crosses a multiple of this: 1 GiB. */
export const REGION_UNITS = 2 ** 30 / UNIT_BYTES;
/** Blocks below this size have a list for each size. */
export const EXACT_UNITS = 128;
/** Above, each doubling has 16. */
export const SUBLISTS = 16;
export const LISTS = EXACT_UNITS + 21 * SUBLISTS;

/** Word behind the first of a used block that is no entry: kind << 28 | which one. */
export const KIND_SHIFT = 28;
export const KIND_CHAIN = 1;
export const KIND_SEGMENT = 2;
export const KIND_DIRECTORY = 3;
export const INTERNAL_KIND = 1;

// ---- Buckets: 16 words, one line of a processor's cache -----------------------------------------

export const BUCKET_WORDS = 16;
/** Version: odd while something in the bucket changes. */
export const BUCKET_SEQUENCE = 0;
/** Reference to the block of the next bucket of the chain. */
export const BUCKET_CHAIN = 1;
/** 11 bytes in three words: the highest eight bits of each key's hash. */
export const BUCKET_TAGS = 2;
/** References to entries; 0: this place is free. */
export const BUCKET_ENTRIES = 5;
export const PLACES = 11;
/** Where a chained bucket begins in its block. */
export const CHAIN_AT = 2;
export const CHAIN_UNITS = (CHAIN_AT + BUCKET_WORDS) / UNIT_WORDS;

/** Buckets in a segment: 32 KiB. */
export const SEGMENT_SHIFT = 9;
export const SEGMENT_BUCKETS = 2 ** SEGMENT_SHIFT;
/** Its buckets begin at a multiple of their size; the word before them refers to the block. */
export const SEGMENT_UNITS = (SEGMENT_BUCKETS * BUCKET_WORDS + BUCKET_WORDS + 2) / UNIT_WORDS;
/** Where the directory's references to buckets begin in its block. */
export const DIRECTORY_AT = 2;
export const FIRST_DIRECTORY_ROOM = 2;
/** There is a segment always. */
export const LEAST_LEVEL = 9;

/** Keys for each bucket: more splits one, less than the other merges one. */
export const SPLIT_LOAD = 8;
export const MERGE_LOAD = 4;

// ---- Entries ------------------------------------------------------------------------------------

export const ENTRY_HASH = 1;
/** Bytes. */
export const ENTRY_VALUE_LENGTH = 2;
/** Bytes of the key, and a mask of ENTRY_* above them. */
export const ENTRY_KEY = 3;
export const KEY_LENGTH_MASK = 0xffff;
export const MOST_KEY_BYTES = 0xffff;
/** Two words before the value tell when it ends: milliseconds since the epoch, low and high. */
export const ENTRY_EXPIRES = 1 << 16;
/** The value is a signed number of 64 bits, low and high. */
export const ENTRY_IS_NUMBER = 2 << 16;
export const ENTRY_WORDS = 4;
/** With HAS_RECENCY: references to the entries used after and before this one. */
export const ENTRY_NEWER = 4;
export const ENTRY_OLDER = 5;
export const RECENCY_WORDS = 2;
export const EXPIRY_WORDS = 2;

export function entryUnits(words: number): number {
  return Math.max(LEAST_UNITS, Math.ceil(words / UNIT_WORDS));
}
