export { BLOCK_HEADER_SIZE, KHO_COMPATIBLE } from './abi.ts';
export {
  BLOB_DESCRIPTOR_SIZE,
  readBlobDescriptor,
  writeBlobDescriptor,
  type BlobDescriptor,
} from './blob-ser.ts';
export { BlockSet, readBlockSet, type IncomingBlockSet } from './block-set.ts';
export {
  boot,
  bootCold,
  bootDead,
  bootHandover,
  LEAST_RAM_PAGES,
  POISON,
  type BootOptions,
  type FreeMemory,
} from './boot.ts';
export { fdtString, type FdtNode } from './fdt.ts';
export { readFdt } from './fdt-reader.ts';
export { writeFdt } from './fdt-writer.ts';
export { Kho, type KhoInit } from './kho.ts';
export type { OnDamage } from './on-damage.ts';
export { Publication, type PublicationInit } from './publication.ts';
export type { RecordPage } from './live-pages.ts';
export { PreservedBlock } from './preserved-block.ts';
export { RadixTree, type KeyWatcher } from './radix-tree.ts';
export { walkRadixTree, type RunVisitor } from './radix-walk.ts';
export {
  framesOfLive,
  orderInLeaves,
  readLiveLeaves,
  readLiveRecord,
  pagesOfKind,
  readDeadKernel,
  type LiveLeaf,
  type LivePage,
  type LiveRecord,
  type LoggedRow,
} from './read-live-record.ts';
export {
  readEntry,
  readHandover,
  readKhoTree,
  writeEntry,
  type EntryRecord,
  type Handover,
  type KexecMetadata,
  type PreservedFolio,
  type Subtree,
} from './read-handover.ts';
export { chooseScratch, type ScratchArea } from './scratch.ts';
export {
  EMPTY_VMALLOC,
  listVmallocFrames,
  putVmallocDescriptor,
  readVmallocDescriptor,
  readVmallocPages,
  vmallocChunks,
  writeVmallocChunks,
  writeVmallocDescriptor,
  type VmallocDescriptor,
  type VmallocPages,
  type VmallocPieces,
} from './vmalloc-ser.ts';
