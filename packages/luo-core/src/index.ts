export type { HandlerData, MaybePromise } from './callback-types.ts';
export type { FdStore } from './fd-store.ts';
export { LUO_COMPATIBLE, LUO_SUBTREE, MAX_COMPATIBLE, MAX_SESSION_NAME } from './abi.ts';
export { ProcessDescriptors, type DescriptorTable, type ReleasableFile } from './descriptors.ts';
export { LiveUpdateDevice } from './device.ts';
export {
  EventStream,
  type CancelledEvent,
  type FailedEvent,
  type FileEvent,
  type FileFinishedEvent,
  type FlbEvent,
  type LuoEvent,
  type LuoListener,
  type SerialisedEvent,
  type SessionEvent,
} from './events.ts';
export type { IncomingFlbInfo, OutgoingFlbInfo } from './flb-set.ts';
export {
  NO_FLBS,
  type FileLifecycleBound,
  type FlbFinishContext,
  type FlbObjects,
  type FlbOutgoingContext,
  type FlbPreserveContext,
  type FlbRetrieveContext,
} from './flb.ts';
export type {
  Counted,
  FileHandler,
  FinishContext,
  OutgoingContext,
  PreservableFile,
  PreserveAllContext,
  PreserveContext,
  Retrieval,
  RetrieveContext,
} from './handler.ts';
export { IncomingSession, type IncomingFileInfo } from './incoming-session.ts';
export { missingHandlers } from './missing-handlers.ts';
export {
  LiveUpdateOrchestrator,
  type OrchestratorInit,
  type RebootOptions,
  type RetrieveSessionOptions,
} from './orchestrator.ts';
export { OutgoingSession, type OutgoingFileInfo } from './outgoing-session.ts';
export {
  readLiveSessions,
  type LiveFile,
  type LiveFlb,
  type LivePlace,
  type LiveRecords,
  type LiveSession,
} from './read-live-sessions.ts';
export {
  findFileBlock,
  findFlbs,
  findSessionBlock,
  readLuoHead,
  type FoundBlock,
  type LuoHead,
  type SessionPlace,
} from './scan-luo.ts';
export { readLuo, type FileRecord, type FlbRecord, type LuoRecords, type SessionRecord } from './read-luo.ts';
export { FileArgument, FinishArgument, GetNameArgument, LIVEUPDATE_IOCTL, SessionArgument } from './uapi.ts';
