/**
 * What KHO leaves in memory for the next kernel, byte by byte: device tree `kho-v4`, radix tree of
 * preserved pages, vmalloc descriptors, block sets. Checked against a handover captured from Linux
 * 7.3.4. Kernel: include/linux/kho/abi/kexec_handover.h.
 */
import { layout, PAGE_SIZE } from '@liveupdate/base';

export const KHO_COMPATIBLE = 'kho-v4';
export const PROP_COMPATIBLE = 'compatible';
export const PROP_PRESERVED_MAP = 'preserved-memory-map';
export const PROP_SUBTREE_DATA = 'preserved-data';
export const PROP_SUBTREE_SIZE = 'blob-size';
/** Bytes of the device tree: one page, always. */
export const KHO_FDT_SIZE = PAGE_SIZE;

/** The four numbers that tell a kernel it was handed memory (x86: setup_data of type 10). */
export const EntrySer = layout('kho_data', 32, {
  fdtAddr: { at: 0, bytes: 8 },
  fdtSize: { at: 8, bytes: 8 },
  scratchAddr: { at: 16, bytes: 8 },
  scratchSize: { at: 24, bytes: 8 }, // bytes of the array, not of the areas
});

export const ScratchSer = layout('kho_scratch', 16, {
  addr: { at: 0, bytes: 8 },
  size: { at: 8, bytes: 8 }, // bytes; 0 where the area is not used
});

/** Levels of the radix tree: 5..1 are tables, 0 is a bitmap. */
export const RADIX_LEVELS = 6;
/** u64 entries of a table node. */
export const RADIX_FANOUT = PAGE_SIZE / 8;
/** Bits of a leaf: 32768. */
export const RADIX_LEAF_BITS = PAGE_SIZE * 8;
/** The bit that marks order 0 in a key: 64 - 12. Order n has bit 52 - n. */
export const RADIX_ORDER_0_BIT = 52;

export const KhoVmallocSer = layout('kho_vmalloc', 16, {
  first: { at: 0, bytes: 8 }, // pa of the first chunk
  totalPages: { at: 8, bytes: 4 }, // 4 KiB pages
  flags: { at: 12, bytes: 2 },
  order: { at: 14, bytes: 2 },
});
export const VMALLOC_ALLOC = 1;
export const VMALLOC_HUGE = 2;
/** Addresses in a vmalloc chunk: a page less its `next` pointer. */
export const VMALLOC_CHUNK_ENTRIES = PAGE_SIZE / 8 - 1;

/** Bytes of a BlobSer. */
export const BLOB_SIZE = 24;
/**
 * Bytes of any number in vmalloc memory. Not a structure of Linux: ours, for the records of
 * handlers.
 */
export const BlobSer = layout('kho_blob', BLOB_SIZE, {
  length: { at: 0, bytes: 8 }, // bytes
  memory: { at: 8, bytes: 16 }, // kho_vmalloc; all zero where there are no bytes
});

/** Bytes before the entries of a block. */
export const BLOCK_HEADER_SIZE = 16;
export const BlockHeaderSer = layout('kho_block_header', BLOCK_HEADER_SIZE, {
  next: { at: 0, bytes: 8 }, // pa of the next block, 0 at the end
  count: { at: 8, bytes: 8 }, // entries in this block
});
/** Blocks in one set, at most. */
export const MAX_BLOCKS = 10_000;

/** Entries that fit in one block. */
export function blockCapacity(entrySize: number): number {
  return Math.floor((PAGE_SIZE - BlockHeaderSer.SIZE) / entrySize);
}

export const KEXEC_METADATA = 'kexec-metadata';
export const KEXEC_METADATA_VERSION = 1;
export const KexecMetadataSer = layout('kho_kexec_metadata', 73, {
  version: { at: 0, bytes: 4 },
  previousRelease: { at: 4, bytes: 65 },
  kexecCount: { at: 69, bytes: 4 },
});
/** Bytes of a release, its NUL left out. */
export const MAX_RELEASE = KexecMetadataSer.previousRelease.bytes - 1;

/**
 * Which memory of a sparse RAM is there: ours, beside what Linux defines, and no part of any file.
 */
export const RESIDENCY = 'liveupdate-residency';
export const RESIDENCY_VERSION = 1;
export const ResidencySer = layout('liveupdate_residency', 32, {
  version: { at: 0, bytes: 4 },
  /** Chunks of 32,768 frames that have a page. */
  chunks: { at: 4, bytes: 4 },
  /**
   * The number of each chunk as u32, bit 31 set where all its frames are there; then 4,096 bytes of
   * bits of each of the others.
   */
  bits: { at: 8, bytes: 24 },
});
