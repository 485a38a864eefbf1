/**
 * The kdump-compressed format, byte by byte, as makedumpfile and QEMU write it on 64-bit
 * little-endian machines. Blocks are `blockSize` bytes: the header, the sub header, two bitmaps of
 * pages (the second: those that are in the file), a descriptor for each of those pages, and their
 * contents. Source: IMPLEMENTATION of makedumpfile.
 */
import { layout } from '@liveupdate/base';

/** Six fields of 65 bytes: system, node, release, version, machine, domain. */
const UTS_FIELD = 65;

export const KdumpHeader = layout('disk_dump_header', 464, {
  signature: { at: 0, bytes: 8 }, // 'KDUMP   '
  version: { at: 8, bytes: 4 },
  system: { at: 12, bytes: 2 * UTS_FIELD },
  release: { at: 142, bytes: UTS_FIELD },
  rest: { at: 207, bytes: 3 * UTS_FIELD },
  pad: { at: 402, bytes: 6 },
  timestamp: { at: 408, bytes: 16 },
  status: { at: 424, bytes: 4 }, // STATUS_*
  blockSize: { at: 428, bytes: 4 },
  subHeaderBlocks: { at: 432, bytes: 4 },
  bitmapBlocks: { at: 436, bytes: 4 }, // of both bitmaps
  maxPages: { at: 440, bytes: 4 }, // from version 6 on: see the sub header
  ramBlocks: { at: 444, bytes: 4 },
  deviceBlocks: { at: 448, bytes: 4 },
  writtenBlocks: { at: 452, bytes: 4 },
  currentCpu: { at: 456, bytes: 4 },
  cpus: { at: 460, bytes: 4 },
});

export const KdumpSubHeader = layout('kdump_sub_header', 104, {
  physBase: { at: 0, bytes: 8 },
  level: { at: 8, bytes: 4 },
  split: { at: 12, bytes: 4 }, // 1: the file has the pages from firstPage to endPage alone
  oldFirstPage: { at: 16, bytes: 8 },
  oldEndPage: { at: 24, bytes: 8 },
  notes: { at: 32, bytes: 48 },
  firstPage: { at: 80, bytes: 8 }, // from version 6 on
  endPage: { at: 88, bytes: 8 },
  maxPages: { at: 96, bytes: 8 },
});

/** Version in which numbers of pages have 64 bits. */
export const WIDE_VERSION = 6;

export const PageDescriptor = layout('page_desc', 24, {
  offset: { at: 0, bytes: 8 }, // in the file
  size: { at: 8, bytes: 4 }, // bytes there
  flags: { at: 12, bytes: 4 }, // PACKED_*; 0: as it is
  pageFlags: { at: 16, bytes: 8 },
});

export const PACKED_ZLIB = 1;
export const PACKED_LZO = 2;
export const PACKED_SNAPPY = 4;
export const PACKED_ZSTD = 0x20;
/** In the status of the header: the disk was full before all was written. */
export const STATUS_INCOMPLETE = 8;

/**
 * The flattened form, for pipes: behind a header, pieces with the place where each belongs in the
 * file. Numbers are big-endian. This is where the first piece begins.
 */
export const FLAT_HEADER_BYTES = 4096;
export const FlatPiece = layout('makedumpfile_data_header', 16, {
  offset: { at: 0, bytes: 8 }, // -1: the end
  size: { at: 8, bytes: 8 },
});
