export { HandlerFault, type CallbackName, type OwnedCallback, type Owner } from './fault.ts';
export { testFileHandler } from './suite.ts';
export type {
  FileHandlerSuite,
  FlbState,
  KernelParts,
  OlderFormat,
  ProcessRunner,
  TestRunner,
} from './suite-options.ts';
