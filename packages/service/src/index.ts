export type { Ended } from './child.ts';
export type { Adopt, Carrying } from './connections.ts';
export type { ListenAddress, ListenOptions } from './listening.ts';
export { openService } from './open-service.ts';
export { Service, type ServiceOptions } from './service.ts';
export { Stage } from './stage.ts';
export type { OldState, StateFile, StateOptions } from './state-file.ts';
export {
  Supervisor,
  type SupervisorEvent,
  type SupervisorOptions,
  type SupervisorStatus,
} from './supervisor.ts';
export { askSupervisor, supervisorNames, type Answer, type Question } from './control.ts';
export { activatedListeners, notifySystemd, storedMemory, storeMemory } from './notify.ts';
