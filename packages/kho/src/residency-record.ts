/**
 * Which memory of a sparse RAM is there, handed over: so the next kernel reads what was written and
 * nothing else. It is a subtree of its own that other kernels ignore, and one that is missing or
 * cannot be read costs no more than asking the system for all of RAM.
 */
import { findBit, KernelError, PAGE_SIZE, physToPfn } from '@liveupdate/base';
import { CHUNK_FRAMES, INCOMING_HEAD, RESERVED, type PageAllocator, type PageTable } from '@liveupdate/mm';
import { RESIDENCY, RESIDENCY_VERSION, ResidencySer } from './abi.ts';
import { preserveBlob, unpreserveBlob } from './blob.ts';
import { readBlobDescriptor, writeBlobDescriptor, type BlobDescriptor } from './blob-ser.ts';
import type { OutgoingMemory } from './outgoing-memory.ts';
import { PreservedBlock } from './preserved-block.ts';
import type { Handover } from './read-handover.ts';
import { readVmallocPages } from './vmalloc-ser.ts';

/** Where subtrees are named. */
export interface SubtreeList {
  addSubtree(name: string, pa: number, size: number): void;
  removeSubtree(name: string): void;
}

/** Bytes of the bits of a chunk. */
const CHUNK_BYTES = CHUNK_FRAMES / 8;
/** Bytes of a chunk's number. */
const NUMBER_BYTES = 4;
/**
 * In the number of a chunk: all its frames are there, and it has no bits. So a full RAM has a short
 * record.
 */
const WHOLE = 2 ** 31;
/** Pages that are left to the next kernel, at the least: without them it is asked for less. */
const LEAST_FREE = 256;

/**
 * Writes the record, when everything else of a handover is written. Where there is no memory for
 * it, nothing happens.
 *
 * @returns takes it back: the handover is called off
 */
export function recordResidency(memory: OutgoingMemory, tree: SubtreeList): () => void {
  const { pages, ram } = memory;
  const numbers: number[] = [];
  const parts: Uint32Array[] = [];
  pages.residency.forEachChunk((number, bits) => {
    const isWhole = findBit(bits, 0, CHUNK_FRAMES, false) === CHUNK_FRAMES;
    numbers.push(isWhole ? number + WHOLE : number);
    if (!isWhole) parts.push(bits);
  });
  if (!ram.system || pages.freePages < parts.length + LEAST_FREE) return () => undefined;
  const words = new Uint32Array(recordLength(numbers.length, parts.length) / Uint32Array.BYTES_PER_ELEMENT);
  words.set(numbers);
  parts.forEach((bits, i) => {
    words.set(bits, numbers.length + i * bits.length);
  });
  let record: PreservedBlock | undefined;
  let blob: BlobDescriptor | undefined;
  const takeBack = (): void => {
    if (blob) unpreserveBlob(memory, blob);
    if (record) memory.unpreserveFree(record.pa);
  };
  try {
    record = memory.allocRecord(ResidencySer.SIZE);
    blob = preserveBlob(memory, new Uint8Array(words.buffer));
    record.setU32(ResidencySer.version, RESIDENCY_VERSION);
    record.setU32(ResidencySer.chunks, numbers.length);
    writeBlobDescriptor(record.slice(ResidencySer.bits), blob);
    tree.addSubtree(RESIDENCY, record.pa, ResidencySer.SIZE);
  } catch (error) {
    takeBack();
    if (error instanceof KernelError) return () => undefined;
    throw error;
  }
  return () => {
    tree.removeSubtree(RESIDENCY);
    takeBack();
  };
}

/**
 * Takes over what the previous kernel recorded. The record's own frames are reserved from then on,
 * as the handover's structure is: they are free when this kernel has taken over.
 *
 * @returns those frames; undefined where nothing was left that can be read: nothing is known then
 */
export function loadResidency(pages: PageAllocator, handover: Handover): Uint32Array | undefined {
  const { ram, residency, table } = pages;
  if (!ram.system) return new Uint32Array(0);
  const found = find(pages, handover);
  if (!found) return undefined;
  const { pa, blob, chunks } = found;
  const read = readBlob(pages, blob);
  if (!read || read.bytes.length < recordLength(chunks, 0)) return undefined;
  const { buffer } = read.bytes;
  const numbers = new Uint32Array(buffer, 0, chunks);
  const parts = numbers.filter((number) => number < WHOLE).length;
  if (read.bytes.length !== recordLength(chunks, parts)) return undefined;
  if (numbers.some((number) => !isInside(number, table.frames))) return undefined;
  let at = recordLength(chunks, 0);
  for (const number of numbers) {
    if (number >= WHOLE) {
      residency.note((number - WHOLE) * CHUNK_FRAMES, CHUNK_FRAMES);
    } else {
      residency.load(number, new Uint32Array(buffer, at, CHUNK_BYTES / Uint32Array.BYTES_PER_ELEMENT));
      at += CHUNK_BYTES;
    }
  }
  const own = Uint32Array.of(physToPfn(pa), ...read.frames);
  for (const pfn of own) {
    residency.note(pfn, 1); // it was taken after the record was drawn up
    table.setFolios(pfn, 1, 0, RESERVED, 0);
  }
  return own;
}

/** Bytes of a record of so many chunks, of which `parts` have bits. */
function recordLength(chunks: number, parts: number): number {
  return chunks * NUMBER_BYTES + parts * CHUNK_BYTES;
}

/** Whether a chunk lies in RAM: all of it, where all its frames are there. */
function isInside(number: number, frames: number): boolean {
  return number < WHOLE ? number * CHUNK_FRAMES < frames : (number - WHOLE + 1) * CHUNK_FRAMES <= frames;
}

/** The record, where there is one of a version that is known. */
function find(
  { ram, table }: PageAllocator,
  { subtrees }: Handover,
): { pa: number; blob: BlobDescriptor; chunks: number } | undefined {
  const subtree = subtrees.get(RESIDENCY);
  if (!subtree || subtree.size !== ResidencySer.SIZE || subtree.pa % PAGE_SIZE !== 0) return undefined;
  if (!isSinglePage(table, physToPfn(subtree.pa))) return undefined;
  const record = new PreservedBlock(subtree.pa, ram.bytes(subtree.pa, PAGE_SIZE));
  if (record.getU32(ResidencySer.version) !== RESIDENCY_VERSION) return undefined;
  try {
    const blob = readBlobDescriptor(record.slice(ResidencySer.bits));
    return { pa: subtree.pa, blob, chunks: record.getU32(ResidencySer.chunks) };
  } catch (error) {
    if (error instanceof KernelError) return undefined;
    throw error;
  }
}

/**
 * A copy of the bytes of a blob that stays where it is, and the frames that it takes; undefined
 * where it is damaged.
 */
function readBlob(
  { ram, table }: PageAllocator,
  { length, memory }: BlobDescriptor,
): { readonly bytes: Uint8Array<ArrayBuffer>; readonly frames: readonly number[] } | undefined {
  try {
    const { pfns, chunks } = readVmallocPages(ram, memory);
    const frames = [...pfns, ...chunks];
    if (length > pfns.length * PAGE_SIZE || new Set(frames).size < frames.length) return undefined;
    if (frames.some((pfn) => !isSinglePage(table, pfn))) return undefined;
    const bytes = new Uint8Array(length);
    pfns.forEach((pfn, i) => {
      const at = i * PAGE_SIZE;
      bytes.set(ram.bytes(pfn * PAGE_SIZE, Math.min(PAGE_SIZE, length - at)), at);
    });
    return { bytes, frames };
  } catch (error) {
    if (error instanceof KernelError) return undefined;
    throw error;
  }
}

function isSinglePage(table: PageTable, pfn: number): boolean {
  return table.has(pfn) && table.kindOf(pfn) === INCOMING_HEAD && table.orderOf(pfn) === 0;
}
