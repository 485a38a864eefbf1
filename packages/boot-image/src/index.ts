export { pcMemoryMap, writeBootImage, type BootImage, type BootImageOptions } from './boot-image.ts';
export { readKernelImage, type KernelImage } from './kernel-image.ts';
