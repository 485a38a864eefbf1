/**
 * What the memfd handler leaves in memory for the next kernel: `memfd-v2` (Linux 7.x) and
 * `memfd-v1` (Linux 6.19). Checked against a handover captured from Linux 7.3.4. Kernel:
 * include/linux/kho/abi/memfd.h.
 */
import { layout } from '@liveupdate/base';

export const MEMFD_V2 = 'memfd-v2';
export const MEMFD_V1 = 'memfd-v1';

export const MemfdV2Ser = layout('memfd_luo_ser', 48, {
  position: { at: 0, bytes: 8 },
  size: { at: 8, bytes: 8 },
  seals: { at: 16, bytes: 4 },
  flags: { at: 20, bytes: 4 }, // 0
  folioCount: { at: 24, bytes: 8 },
  folios: { at: 32, bytes: 16 }, // vmalloc descriptor of the MemfdFolioSer array
});

export const MemfdV1Ser = layout('memfd_luo_ser_v1', 40, {
  position: { at: 0, bytes: 8 },
  size: { at: 8, bytes: 8 },
  folioCount: { at: 16, bytes: 8 },
  folios: { at: 24, bytes: 16 },
});

/** One folio: a word of pfn (bits 0-51) and flags (bits 52-63), and its page index in the file. */
export const MemfdFolioSer = layout('memfd_luo_folio_ser', 16, {
  pfnLow: { at: 0, bytes: 4 },
  pfnHighAndFlags: { at: 4, bytes: 4 }, // bits 0-19: pfn bits 32-51; bits 20-31: flags
  index: { at: 8, bytes: 8 },
});

export const FOLIO_DIRTY = 1;
export const FOLIO_UPTODATE = 2;
/** Where the flags begin in the upper half of the word. */
export const FLAGS_SHIFT = 20;
/** Upper bits of the pfn in the upper half of the word. */
export const PFN_HIGH_MASK = 0xf_ffff;
/** u32 words in a folio record. */
export const FOLIO_WORDS = MemfdFolioSer.SIZE / 4;
