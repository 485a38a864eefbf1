/** Looks at all of a map, in time for each key and each free block. Nothing is trusted. */
import { damaged } from './damage.ts';
import { expires, keyLengthOf, valueAt, valueLengthOf } from './entry.ts';
import { hashOf } from './hash.ts';
import { listOf } from './heap.ts';
import {
  AFTER_FREE,
  BUCKET_CHAIN,
  BUCKET_ENTRIES,
  BUCKET_TAGS,
  CHAIN_AT,
  DIRECTORY_AT,
  ENTRY_HASH,
  ENTRY_NEWER,
  ENTRY_OLDER,
  FLAG_BITS,
  FREE_NEXT,
  FREE_PREVIOUS,
  HAS_RECENCY,
  Header,
  HEAP_START,
  IS_ENTRY,
  IS_FREE,
  LEAST_UNITS,
  LISTS,
  PLACES,
  REGION_UNITS,
  SEGMENT_BUCKETS,
  SEGMENT_SHIFT,
} from './abi.ts';
import type { Memory } from './memory.ts';
import { bucketAt, bucketCount, bucketOf, segmentBlock } from './table.ts';

function check(condition: boolean, what: string, reference: number): void {
  if (!condition) throw damaged(`${what} (at byte ${reference * 8})`);
}

/** @throws KernelError EIO: damaged, and where */
export function checkWholeMap(memory: Memory, keyAt: number): void {
  const { words } = memory;
  const blocks = readBlocks(words);
  checkFreeLists(words, blocks.free);
  const used = new Set(blocks.internal);
  checkBuckets(words, keyAt, blocks.entries, used);
  for (const block of used) check(false, 'a block that is used leads to nothing', block);
  checkRecency(words, blocks.entries);
}

interface Blocks {
  readonly entries: Set<number>;
  readonly internal: Set<number>;
  readonly free: Set<number>;
}

/** All blocks, side by side from the start of the heap to its end. */
function readBlocks(words: Int32Array): Blocks {
  const blocks = { entries: new Set<number>(), internal: new Set<number>(), free: new Set<number>() };
  const end = words[Header.heapEnd];
  let isAfterFree = false;
  let used = 0;
  for (let at = HEAP_START; at < end;) {
    const first = words[at * 2];
    const units = first >>> FLAG_BITS;
    const isEnd = (at + 1) % REGION_UNITS === 0 || at + 1 === end;
    check(units >= (isEnd ? 1 : LEAST_UNITS) && at + units <= end, 'a block has a wrong size', at);
    check(((first & AFTER_FREE) !== 0) === isAfterFree, 'a block is wrong about the one before', at);
    const isFree = (first & IS_FREE) !== 0;
    if (isFree) {
      check(!isAfterFree, 'two free blocks touch', at);
      check(words[(at + units) * 2 - 1] === units, 'a free block ends with a wrong size', at);
      blocks.free.add(at);
    } else if (!isEnd) {
      ((first & IS_ENTRY) === 0 ? blocks.internal : blocks.entries).add(at);
      used += units;
    }
    isAfterFree = isFree;
    at += units;
  }
  check(used === words[Header.used], `${used} units are used, and ${words[Header.used]} counted`, 0);
  return blocks;
}

function checkFreeLists(words: Int32Array, free: ReadonlySet<number>): void {
  let found = 0;
  for (let list = 0; list < LISTS; list++) {
    let previous = 0;
    for (let block = words[Header.freeLists + list]; block !== 0; block = words[block * 2 + FREE_NEXT]) {
      check(free.has(block), 'a list of free blocks leads to one that is not', block);
      check(listOf(words[block * 2] >>> FLAG_BITS) === list, 'a free block is in a wrong list', block);
      check(words[block * 2 + FREE_PREVIOUS] === previous, 'a list of free blocks is broken', block);
      previous = block;
      found += 1;
      check(found <= free.size, 'a list of free blocks does not end', block);
    }
    const bit = (words[Header.freeBits + (list >>> 5)] >>> (list & 31)) & 1;
    check((bit === 1) === (words[Header.freeLists + list] !== 0), `the bit of free list ${list} is wrong`, 0);
  }
  check(found === free.size, 'a free block is in no list', 0);
  for (let word = 0; word * 32 < LISTS; word++) {
    const bit = (words[Header.freeSummary] >>> word) & 1;
    check((bit === 1) === (words[Header.freeBits + word] !== 0), 'the summary of free lists is wrong', 0);
  }
}

/** @param used blocks that are no entries; those that the buckets take leave it */
function checkBuckets(
  words: Int32Array,
  keyAt: number,
  entries: ReadonlySet<number>,
  used: Set<number>,
): void {
  const take = (block: number, what: string): void => {
    check(used.delete(block), `${what} is in no block of its own`, block);
  };
  take(words[Header.directory], 'the directory');
  const count = bucketCount(words);
  for (let segment = 0; segment < words[Header.directoryRoom]; segment++) {
    const reference = words[words[Header.directory] * 2 + DIRECTORY_AT + segment];
    // One may be there before its first bucket is.
    if (reference !== 0) take(segmentBlock(words, reference), 'a segment of buckets');
    else check(segment * SEGMENT_BUCKETS >= count, 'a segment of buckets is missing', 0);
  }
  check(count <= words[Header.directoryRoom] << SEGMENT_SHIFT, 'there are more buckets than segments', 0);
  let keys = 0;
  let expiring = 0;
  for (let bucket = 0; bucket < count; bucket++) {
    for (let at = bucketAt(words, bucket); ;) {
      for (let place = 0; place < PLACES; place++) {
        const reference = words[at + BUCKET_ENTRIES + place];
        if (reference === 0) continue;
        check(entries.has(reference), 'a bucket leads to what is no entry', at / 2);
        const tag = (words[at + BUCKET_TAGS + (place >>> 2)] >>> ((place & 3) * 8)) & 0xff;
        check(tag === words[reference * 2 + ENTRY_HASH] >>> 24, 'a bucket has a wrong tag', at / 2);
        checkEntry(words, keyAt, reference, bucket);
        keys += 1;
        if (expires(words, reference * 2)) expiring += 1;
      }
      const block = words[at + BUCKET_CHAIN];
      if (block === 0) break;
      take(block, 'a chained bucket');
      at = block * 2 + CHAIN_AT;
    }
  }
  check(keys === entries.size, `${entries.size} entries are there, and ${keys} in buckets`, 0);
  check(keys === words[Header.keys], `${keys} keys are there, and ${words[Header.keys]} counted`, 0);
  check(expiring === words[Header.expiring], `${expiring} keys expire, not ${words[Header.expiring]}`, 0);
}

function checkEntry(words: Int32Array, keyAt: number, reference: number, bucket: number): void {
  const entry = reference * 2;
  const length = keyLengthOf(words, entry);
  const key = words.subarray(entry + keyAt, entry + keyAt + ((length + 3) >>> 2));
  const hash = hashOf(key, length, words[Header.hashKey], words[Header.hashKeyHigh]);
  check(hash === words[entry + ENTRY_HASH], 'a key has another hash than its entry', reference);
  check(bucketOf(words, hash) === bucket, 'an entry is in a wrong bucket', reference);
  const end = (reference + (words[entry] >>> FLAG_BITS)) * 8;
  const from = valueAt(words, entry, keyAt) * 4;
  check(
    valueLengthOf(words, entry) >= 0 && from + valueLengthOf(words, entry) <= end,
    'a value is too long',
    reference,
  );
}

function checkRecency(words: Int32Array, entries: ReadonlySet<number>): void {
  if ((words[Header.flags] & HAS_RECENCY) === 0) return;
  let found = 0;
  let newer = 0;
  for (let at = words[Header.newest]; at !== 0; at = words[at * 2 + ENTRY_OLDER]) {
    check(entries.has(at), 'the order of use leads to what is no entry', at);
    check(words[at * 2 + ENTRY_NEWER] === newer, 'the order of use is broken', at);
    newer = at;
    found += 1;
    check(found <= entries.size, 'the order of use does not end', at);
  }
  check(
    newer === words[Header.oldest] && found === entries.size,
    'the order of use does not have all entries',
    0,
  );
}
