export { BOOT_PAGE_VERSION, hasBootPage, readBootPage, type BootPage } from './boot-page.ts';
export {
  bootKernel,
  type HandlerFactory,
  type Kernel,
  type KernelOptions,
  type KernelParts,
} from './kernel.ts';
export { Machine, type KexecOptions, type MachineOptions } from './machine.ts';
export { ramPath, RAM_FD_VARIABLE, type RamSource } from './ram-source.ts';
