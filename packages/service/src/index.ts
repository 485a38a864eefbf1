export type { Adopt, Carrying } from './connections.ts';
export type { ListenAddress, ListenOptions } from './listening.ts';
export { openService } from './open-service.ts';
export { Service, type ServiceOptions } from './service.ts';
export { Stage } from './stage.ts';
export type { OldState, StateFile, StateOptions } from './state-file.ts';
export { Supervisor } from './supervisor.ts';
export type { SupervisorEvent, SupervisorOptions, SupervisorStatus } from './supervisor-options.ts';
export { askSupervisor, supervisorNames, type Answer, type Question } from './control.ts';
export type { LeftChild } from './child.ts';
export type { LeftChannel } from './channel.ts';
export { leftSupervisor, RENEWAL_FORMAT, type LeftSupervisor } from './renewal.ts';
export { activatedListeners, notifySystemd, storedMemory, storeMemory } from './notify.ts';
export {
  serveWebSockets,
  type CarriedWebSocket,
  type ServedWebSocket,
  type ServeWebSocket,
  type WebSocketAcceptor,
  type WebSocketsOptions,
} from './websockets.ts';
