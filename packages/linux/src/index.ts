export { viewSpace, type ViewSpace } from './address-ranges.ts';
export { collectChild, collectChildren, collectOrphans, type ChildEnd } from './children.ts';
export { fileBehind } from './file-behind.ts';
export { hostFacts, shmSpace, type HostFacts, type Mount, type Space } from './host.ts';
export { checkEnvironment, checkFd, checkPath } from './inputs.ts';
export {
  duplicateFrom,
  duplicateOfProcess,
  eventfd,
  ioctlBytes,
  isMainThread,
  isOpen,
  loadKexecKernel,
  pollNow,
  rebootByKexec,
  setClosesOnExec,
  unloadKexecKernel,
  type KexecKernel,
} from './libc.ts';
export { isLockedByOther, tryLock, unlock } from './locks.ts';
export { MappedMemory } from './mapped-memory.ts';
export { MappedRam } from './mapped-ram.ts';
export { Memfd, type MemfdMapping } from './memfd.ts';
export { passedFds } from './passed-fds.ts';
export { PrivateRam } from './private-ram.ts';
export {
  BEFORE_REPLACE_EVENT,
  checkReplacement,
  drainOutput,
  inheritedFd,
  isClusterWorker,
  monotonicNow,
  prepareReplacement,
  replaceProcess,
  type ReplaceOptions,
} from './process.ts';
export { RamFile } from './ram-file.ts';
export { checkRuntime } from './runtime.ts';
export { openSharedView, type OpenedView } from './shared-view.ts';
export { listenTcp, listenUnix, type ListenTcpOptions, type ListenUnixOptions } from './sockets-listen.ts';
export {
  MOST_FDS_PER_MESSAGE,
  receiveFds,
  sendDatagram,
  sendFds,
  type ReceivedFds,
} from './sockets-messages.ts';
export { isListening, localAddress, socketPair, type SocketAddress } from './sockets.ts';
export { trackWrites, type TrackOptions, type WriteTracker } from './write-tracker.ts';
