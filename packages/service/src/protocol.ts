/**
 * What the processes of a service tell one another: the supervisor and each generation, and two
 * generations when one takes over from the other.
 */
import type { SealedRam } from '@liveupdate/kexec';

/** Environment variable by which a generation learns the descriptors of its supervisor's line. */
export const SUPERVISOR_VARIABLE = 'LIVEUPDATE_SUPERVISOR';
/** Those descriptors: messages, and what goes with them. */
export const SUPERVISOR_FDS = [3, 4] as const;

/** From the supervisor to a generation. */
export type ToGeneration =
  /**
   * The first message. With a descriptor for each listening socket, one for the memory that the
   * supervisor holds, and for a standby two more: its line to the generation that runs.
   */
  | {
      readonly type: 'hello';
      readonly role: 'first' | 'standby';
      /** What the listening sockets that come along stand for, in order. */
      readonly listeners: readonly string[];
      readonly hasMemory: boolean;
      /** What the generation before called itself in openService. */
      readonly name?: string;
    }
  /** A standby is about to start: what an upgrade needs can be made ready. */
  | { readonly type: 'prepare' }
  /** The standby is armed. With two descriptors, the line to it. */
  | { readonly type: 'hand-over' };

/** From a generation to the supervisor. */
export type ToSupervisor =
  /** What it is called, which it says first of all. */
  | { readonly type: 'name'; readonly name: string }
  | { readonly type: 'armed' }
  /** With a descriptor of a listening socket, which the supervisor keeps for all generations. */
  | { readonly type: 'listens'; readonly key: string }
  /** With a descriptor of the memory of the service, which the supervisor holds from now on. */
  | { readonly type: 'memory' }
  /** Nobody listens there any more. */
  | { readonly type: 'dropped'; readonly key: string }
  | {
      readonly type: 'ready';
      readonly generation: number;
      readonly origin: string;
      /** Connections that came from the generation before. */
      readonly adopted: number;
      /** And how many did not: encrypted ones, and those that nobody adopts. */
      readonly left: number;
    }
  /** The program ends by an exception: what that says. */
  | { readonly type: 'failed'; readonly why: string }
  /** Another process owns its memory: to start it again would not help. */
  | { readonly type: 'owned' }
  /** The program itself asks for an upgrade. */
  | { readonly type: 'upgrade' }
  /** It has stopped, and the standby has all: nobody is served until that one is ready. */
  | { readonly type: 'gave' }
  /** No standby takes over: this one goes on. */
  | { readonly type: 'resumed'; readonly why: string };

/** A connection on its way. */
export interface PassedConnection {
  /** Of which server, by the key of its listening socket; or what takes it over. */
  readonly to: string;
  /** Whether that is a kind that the program adopts itself. */
  readonly isKind?: boolean;
  /** Bytes, in base64: what was read of the next request, or the program's own state. */
  readonly data?: string;
}

/** From the generation that runs to the one that takes over. */
export interface Word {
  readonly type: 'word';
  readonly sealed: SealedRam;
  /** With a descriptor for each. */
  readonly connections: readonly PassedConnection[];
  /** How many connections could not go along. */
  readonly left: number;
}

/** The inverse. */
export interface Committed {
  readonly type: 'committed';
}
