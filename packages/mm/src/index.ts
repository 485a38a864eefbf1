export { FolioRuns, inARow, rowOf, type FolioRows } from './folio-runs.ts';
export { HeapRam } from './heap-ram.ts';
export { memoryOf, usableMemory, withMemoryMap, type MemoryMapEntry } from './memory-map.ts';
export { PageAllocator, type AllocOptions } from './page-allocator.ts';
export type { Held } from './page-table-entries.ts';
export {
  FREE,
  HEAD,
  INCOMING_HEAD,
  INCOMING_TAIL,
  KIND,
  PageTable,
  PRESERVED,
  RESERVED,
  SCRATCH,
  STALE,
  TAIL,
} from './page-table.ts';
export {
  checkPages,
  checkRam,
  checkRamSize,
  checkRange,
  forEachBlock,
  HUGE_PAGE,
  MAX_RAM_SIZE,
  type Ram,
  type RamPiece,
  type RamView,
  type SharedView,
  type SystemMemory,
  type ViewOptions,
} from './ram.ts';
export { RamWords } from './ram-words.ts';
export { Residency, type Taking } from './residency.ts';
export { CHUNK_FRAMES } from './frame-chunk.ts';
export { overlayRam, SparseRam, type BlockLoader } from './sparse-ram.ts';
export { vmalloc, VmallocArea } from './vmalloc.ts';
