/**
 * Vmalloc descriptors: 16 bytes that name memory in scattered pages, through chained pages of addresses (kernel: struct kho_vmalloc).
 */
import {
  assert,
  KernelError,
  MAX_ORDER,
  PAGE_SIZE,
  physToPfn,
  readU64,
  StructView,
  type PhysAddr,
} from '@liveupdate/base';
import type { Ram } from '@liveupdate/mm';
import { KhoVmallocSer, VMALLOC_CHUNK_ENTRIES } from './abi.ts';

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

/** Reads a descriptor from its 16 bytes. */
export function readVmallocDescriptor(bytes: Uint8Array): VmallocDescriptor {
  const ser = new StructView(bytes);
  return {
    first: ser.getNumber(KhoVmallocSer.first),
    totalPages: ser.getU32(KhoVmallocSer.totalPages),
    flags: ser.getU16(KhoVmallocSer.flags),
    order: ser.getU16(KhoVmallocSer.order),
  };
}

/** Writes a descriptor into its 16 bytes. */
export function writeVmallocDescriptor(bytes: Uint8Array, descriptor: VmallocDescriptor): void {
  assert(bytes.length === KhoVmallocSer.SIZE, 'a vmalloc descriptor has 16 bytes');
  const ser = new StructView(bytes);
  ser.setU64(KhoVmallocSer.first, descriptor.first);
  ser.setU32(KhoVmallocSer.totalPages, descriptor.totalPages);
  ser.setU16(KhoVmallocSer.flags, descriptor.flags);
  ser.setU16(KhoVmallocSer.order, descriptor.order);
}

/** The pieces and chunk pages that a descriptor names, as frames. */
export interface VmallocPages {
  readonly pfns: Uint32Array;
  readonly chunks: Uint32Array;
}

/**
 * Follows a descriptor and changes nothing.
 *
 * @throws KernelError EINVAL: an address outside RAM, pieces larger than any folio, or another number of pages than the descriptor says
 */
export function readVmallocPages(ram: Ram, descriptor: VmallocDescriptor): VmallocPages {
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
        `a vmalloc descriptor has a damaged chain of chunks (0x${chunk.toString(16)})`,
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
          `a vmalloc descriptor of ${pieces} pieces names a wrong one (0x${pa.toString(16)})`,
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
