export { FD_V1 } from './abi.ts';
export { FdFile } from './fd-file.ts';
export { fdHandler, type FdHandlerInit } from './fd-handler.ts';
export { SharedFdStore } from './shared-fd-store.ts';
