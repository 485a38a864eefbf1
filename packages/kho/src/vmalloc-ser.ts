/**
 * Vmalloc descriptors: 16 bytes that name memory in scattered pages, through chained pages of
 * addresses (kernel: struct kho_vmalloc).
 */
import {
  checkObject,
  checkWhole,
  KernelError,
  MAX_ORDER,
  PAGE_SHIFT,
  PAGE_SIZE,
  type Pfn,
  pfnToPhys,
  type PhysAddr,
  physToPfn,
  readU64,
  StructView,
} from '@liveupdate/base';
import type { Ram, RamWords } from '@liveupdate/mm';
import { KhoVmallocSer, VMALLOC_ALLOC, VMALLOC_CHUNK_ENTRIES, VMALLOC_HUGE } from './abi.ts';
import { shownAddress } from './shown-address.ts';

/**
 * A structure over the bytes of one record.
 *
 * @throws KernelError EINVAL: fewer bytes than it has
 */
export function recordOf(
  bytes: Uint8Array,
  { NAME, SIZE }: { readonly NAME: string; readonly SIZE: number },
): StructView {
  const ser = new StructView(bytes);
  if (ser.bytes.length < SIZE)
    throw new KernelError('EINVAL', `${NAME} has ${SIZE} bytes, here are ${ser.bytes.length}`);
  return ser;
}

/** All zero where there is no memory. */
export interface VmallocDescriptor {
  /** pa of the first chunk. */
  readonly first: PhysAddr;
  /** 4 KiB pages in all. */
  readonly totalPages: number;
  readonly flags: number;
  /** Order of each piece. */
  readonly order: number;
}

export const EMPTY_VMALLOC: VmallocDescriptor = { first: 0, totalPages: 0, flags: 0, order: 0 };

/** Throws EINVAL for what is no descriptor at all; a damaged one may pass. */
export function checkVmalloc(descriptor: VmallocDescriptor): void {
  checkObject(descriptor, 'a vmalloc descriptor');
  checkWhole(descriptor.first, 'an address of a chunk');
  checkWhole(descriptor.totalPages, 'a number of pages');
  checkWhole(descriptor.flags, 'flags of vmalloc memory');
  checkWhole(descriptor.order, 'an order of pieces');
}

/**
 * Reads a descriptor from its 16 bytes.
 *
 * @throws KernelError EINVAL: not so many bytes. EOVERFLOW: a 64-bit field is beyond 2^53
 */
export function readVmallocDescriptor(bytes: Uint8Array): VmallocDescriptor {
  const ser = recordOf(bytes, KhoVmallocSer);
  return {
    first: ser.getNumber(KhoVmallocSer.first),
    totalPages: ser.getU32(KhoVmallocSer.totalPages),
    flags: ser.getU16(KhoVmallocSer.flags),
    order: ser.getU16(KhoVmallocSer.order),
  };
}

/**
 * Writes a descriptor into its 16 bytes. @throws KernelError EINVAL: not so many bytes, or no
 * descriptor
 */
export function writeVmallocDescriptor(bytes: Uint8Array, descriptor: VmallocDescriptor): void {
  checkVmalloc(descriptor);
  const ser = recordOf(bytes, KhoVmallocSer);
  ser.setU64(KhoVmallocSer.first, descriptor.first);
  ser.setU32(KhoVmallocSer.totalPages, descriptor.totalPages);
  ser.setU16(KhoVmallocSer.flags, descriptor.flags);
  ser.setU16(KhoVmallocSer.order, descriptor.order);
}

/** @internal The same into four words. */
export function putVmallocDescriptor(
  words: Uint32Array,
  at: number,
  { first, totalPages, flags, order }: VmallocDescriptor,
): void {
  putAddress(words, at, physToPfn(first)); // a chunk begins a page
  words[at + 2] = totalPages;
  words[at + 3] = flags | (order << 16);
}

/** @internal Chunk pages that list so many pieces: one at the least. */
export function vmallocChunks(pieces: number): number {
  return Math.floor(pieces / VMALLOC_CHUNK_ENTRIES) + 1;
}

/** Pieces of one order: `count` frames of a list, from index `from` on. */
export interface VmallocPieces {
  readonly pfns: Uint32Array;
  readonly from: number;
  readonly count: number;
  readonly order: number;
}

/**
 * @internal Lists pieces in chunk pages, up to the zero that ends the last of them: nobody reads
 * what is behind that.
 *
 * @param chunks their frames from index `at` on, as many as vmallocChunks says
 */
export function writeVmallocChunks(
  ram: RamWords,
  { pfns, from, count, order }: VmallocPieces,
  chunks: Uint32Array,
  at: number,
): VmallocDescriptor {
  const chunkCount = vmallocChunks(count);
  for (let c = 0; c < chunkCount; c++) {
    const first = from + c * VMALLOC_CHUNK_ENTRIES;
    const listed = Math.min(VMALLOC_CHUNK_ENTRIES, from + count - first);
    const page = ram.page(chunks[at + c]);
    const { words } = ram;
    putAddress(words, page, c + 1 < chunkCount ? chunks[at + c + 1] : 0);
    for (let i = 0; i < listed; i++) putAddress(words, page + 2 * (i + 1), pfns[first + i]);
    if (listed < VMALLOC_CHUNK_ENTRIES) putAddress(words, page + 2 * (listed + 1), 0);
  }
  const flags = VMALLOC_ALLOC | (order > 0 ? VMALLOC_HUGE : 0);
  return { first: pfnToPhys(chunks[at]), totalPages: count << order, flags, order };
}

/**
 * @internal The frames that a descriptor which this kernel wrote names, of pieces of order 0: those
 * of the pieces, and behind them those of the chunk pages. Nothing is checked; of one that another
 * kernel wrote see `readVmallocPages`.
 *
 * @param descriptor first word of the descriptor, in a page that is in view
 * @param out gets them from index `at` on
 */
export function listVmallocFrames(ram: RamWords, descriptor: number, out: Uint32Array, at: number): void {
  const end = at + ram.words[descriptor + 2];
  let piece = at;
  let place = end;
  for (let chunk = frameAt(ram.words, descriptor); chunk !== 0;) {
    out[place++] = chunk;
    const page = ram.page(chunk);
    const { words } = ram;
    for (let i = 1; i <= VMALLOC_CHUNK_ENTRIES && piece < end; i++)
      out[piece++] = frameAt(words, page + 2 * i);
    chunk = frameAt(words, page);
  }
}

/** The frame of an address that putAddress wrote. */
function frameAt(words: Uint32Array, at: number): Pfn {
  return ((words[at] >>> PAGE_SHIFT) | (words[at + 1] << (32 - PAGE_SHIFT))) >>> 0;
}

/**
 * Writes the address of a frame as a u64; that of frame 0, which is never handed out, ends a list.
 */
function putAddress(words: Uint32Array, at: number, pfn: Pfn): void {
  words[at] = pfn << PAGE_SHIFT;
  words[at + 1] = pfn >>> (32 - PAGE_SHIFT);
}

/** The pieces and chunk pages that a descriptor names, as frames. */
export interface VmallocPages {
  readonly pfns: Uint32Array;
  readonly chunks: Uint32Array;
}

/**
 * Follows a descriptor and changes nothing.
 *
 * @throws KernelError EINVAL: an address outside RAM, pieces larger than any folio, or another
 * number of pages than the descriptor says
 */
export function readVmallocPages(ram: Ram, descriptor: VmallocDescriptor): VmallocPages {
  checkVmalloc(descriptor);
  const pieces = descriptor.totalPages / 2 ** descriptor.order;
  const pieceBytes = PAGE_SIZE * 2 ** descriptor.order;
  if (
    descriptor.order > MAX_ORDER ||
    !Number.isInteger(pieces) ||
    descriptor.totalPages * PAGE_SIZE > ram.size
  ) {
    throw new KernelError(
      'EINVAL',
      `a vmalloc descriptor claims ${descriptor.totalPages} pages of order ${descriptor.order}: it is damaged`,
    );
  }
  const pfns = new Uint32Array(pieces);
  const chunks: number[] = [];
  let found = 0;
  for (let chunk = descriptor.first; chunk !== 0;) {
    if (
      !(chunk > 0 && chunk % PAGE_SIZE === 0 && chunk + PAGE_SIZE <= ram.size) ||
      chunks.length > pieces / VMALLOC_CHUNK_ENTRIES
    ) {
      throw new KernelError(
        'EINVAL',
        `a vmalloc descriptor has a damaged chain of chunks (${shownAddress(chunk)})`,
      );
    }
    chunks.push(physToPfn(chunk));
    const bytes = ram.bytes(chunk, PAGE_SIZE);
    const view = new DataView(bytes.buffer, bytes.byteOffset, PAGE_SIZE);
    for (let i = 1; i <= VMALLOC_CHUNK_ENTRIES; i++) {
      const pa = readU64(view, i * 8);
      if (pa === 0) break;
      if (found === pieces || pa % pieceBytes !== 0 || !(pa + pieceBytes <= ram.size)) {
        throw new KernelError(
          'EINVAL',
          `a vmalloc descriptor of ${pieces} pieces names a wrong one (${shownAddress(pa)})`,
        );
      }
      pfns[found++] = physToPfn(pa);
    }
    chunk = readU64(view, 0);
  }
  if (found !== pieces)
    throw new KernelError('EINVAL', `a vmalloc descriptor claims ${pieces} pieces and names ${found}`);
  return { pfns, chunks: Uint32Array.from(chunks) };
}
