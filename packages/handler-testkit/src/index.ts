export { HandlerFault, type CallbackName } from './fault.ts';
export { testFileHandler } from './suite.ts';
export type {
  FileHandlerSuite,
  KernelParts,
  OlderFormat,
  ProcessRunner,
  TestRunner,
} from './suite-options.ts';
