/**
 * What a device knows, beside the orchestrator, of the sessions that programs have retrieved. Linux
 * forgets such a session when its last descriptor is closed, not when it is finished; and a file
 * that came out of one is not preserved again before it is finished. (The orchestrator's own
 * methods allow that: then no moment is without it.)
 */
import type { PreservableFile } from './handler.ts';
import type { IncomingSession } from './incoming-session.ts';

export class HeldSessions {
  /** Names of those with a descriptor. */
  readonly names = new Set<string>();
  /** Files that came out of them, each with its session. */
  readonly files = new WeakMap<PreservableFile, IncomingSession>();
}
