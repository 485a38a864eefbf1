export { BOOT_PAGE_VERSION, bootPageCopies, hasBootPage, readBootPage, type BootPage } from './boot-page.ts';
export {
  bootKernel,
  type HandlerFactory,
  type Kernel,
  type KernelOptions,
  type KernelParts,
  type LeftKernel,
} from './kernel.ts';
export { drill } from './drill.ts';
export type { LastOwner } from './generation.ts';
export { Machine, type ArmedMachine, type HandOverOptions } from './machine.ts';
export type { MachineOptions } from './machine-options.ts';
export { RAM_FD_VARIABLE } from './inherited-rams.ts';
export { type KexecOptions } from './next-program.ts';
export { ramPath, type RamSource } from './ram-source.ts';
export type { SealedRam } from './standby.ts';
export { FORMATS_VARIABLE, type ProgramFormats } from './tell-formats.ts';
