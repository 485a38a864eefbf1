/** What a supervisor is told, and what it tells. */
import {
  checkFunction,
  checkList,
  checkObject,
  checkOptions,
  checkText,
  checkWhole,
  KernelError,
} from '@liveupdate/base';
import { ramPath } from '@liveupdate/kexec';
import { RENEWAL_FORMAT, type LeftSupervisor } from './renewal.ts';

export interface SupervisorOptions {
  /** The program and its arguments. */
  readonly command: readonly string[];
  /** What the service is called; default: what its program says in openService. */
  readonly name?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Listening sockets that are there, by their keys: see activatedListeners. */
  readonly listeners?: ReadonlyMap<string, number>;
  /** A descriptor of the memory of the service, where somebody has kept it: see `holds`. */
  readonly memory?: number;
  /**
   * Told of the descriptor of memory that the supervisor holds for the service (`ram: 'memfd'`):
   * for who keeps it when the supervisor ends. It is the supervisor's.
   */
  readonly holds?: (fd: number) => void;
  /** What the supervisor left that this process was before: see leftSupervisor. */
  readonly left?: LeftSupervisor;
  /**
   * A command that starts the program of this supervisor and ends with exit code 0 where that could
   * go on here: before `renew`.
   */
  readonly trial?: readonly string[];
  /** Told what happens, a line each. */
  readonly log?: (event: SupervisorEvent) => void;
  /**
   * Milliseconds that a new version may take until it is armed, and one that is started until it is
   * ready; default 60,000.
   */
  readonly armLimit?: number;
  /**
   * Milliseconds until it is ready, from when the one before has stopped; default 3000. Clients
   * wait so long for a new version that hangs: keep it below their patience.
   */
  readonly readyLimit?: number;
}

/** What happened. */
export interface SupervisorEvent {
  readonly event: 'started' | 'ready' | 'upgraded' | 'refused' | 'crashed' | 'ended' | 'renewed' | 'note';
  readonly text: string;
  readonly pid?: number;
  readonly generation?: number;
}

export interface SupervisorStatus {
  readonly name: string | undefined;
  readonly pid: number;
  readonly generation: number | undefined;
  readonly servicePid: number | undefined;
  readonly state: 'starting' | 'ready' | 'upgrading' | 'restarting' | 'stopping';
  readonly upgrades: number;
  readonly crashes: number;
  /** How often the supervisor was replaced by another version of itself. */
  readonly renewals: number;
  readonly listeners: readonly string[];
}

const OPTIONS: readonly (keyof SupervisorOptions)[] = [
  'command',
  'name',
  'env',
  'listeners',
  'memory',
  'holds',
  'left',
  'trial',
  'log',
  'armLimit',
  'readyLimit',
];

/** @throws KernelError EINVAL: no such options */
export function checkSupervisorOptions(options: SupervisorOptions): void {
  checkOptions(options, 'a supervisor', OPTIONS);
  const { command, name, log, armLimit, readyLimit, trial, left } = options;
  checkCommand(command, 'give the program to run');
  if (trial !== undefined) checkCommand(trial, 'give the program to try out');
  if (left !== undefined && checkObject(left, 'what a supervisor left').format !== RENEWAL_FORMAT)
    throw new KernelError('EINVAL', `a supervisor left something of another format than ${RENEWAL_FORMAT}`);
  if (name !== undefined) ramPath(name); // says what is wrong with it
  if (log !== undefined) checkFunction(log, 'what is told what happens');
  for (const limit of [armLimit, readyLimit])
    if (limit !== undefined) checkWhole(limit, 'a limit, in milliseconds', { min: 1, max: 2 ** 31 - 1 });
}

function checkCommand(command: readonly string[], none: string): void {
  for (const word of checkList(command, 'a command')) checkText(word, 'a word of a command');
  if (command.length === 0) throw new KernelError('EINVAL', none);
}
