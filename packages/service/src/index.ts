export type { Adopt, Carrying } from './connections.ts';
export type { ListenAddress, ListenOptions } from './listening.ts';
export { openService, Service, type ServiceOptions } from './service.ts';
export type { OldState, StateFile, StateOptions } from './state-file.ts';
export { Supervisor, type SupervisorOptions, type SupervisorStatus } from './supervisor.ts';
export { askSupervisor, type Answer } from './control.ts';
