export { ElfCoreRam, isElf, rawImageRam, type ReadableBytes } from './elf-core-ram.ts';
export type { ImageKind, MemoryImage } from './image.ts';
export { openMemoryImage, type MemoryImageOptions } from './open-memory-image.ts';
export { WindowRam } from './window-ram.ts';
