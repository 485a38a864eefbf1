/**
 * What LUO does, told as it happens: for logs, for metrics, for a progress bar. While nobody
 * listens no event is made and no clock is read.
 */
import { checkFunction } from '@liveupdate/base';
import type { Retrieval } from './handler.ts';

/** How long it took, in milliseconds; 0 where it had begun before anybody listened. */
interface Timed {
  readonly duration: number;
}

interface OfFile extends Timed {
  readonly session: string;
  readonly token: bigint;
  /** The compatible string of the handler, as it writes it. */
  readonly handler: string;
}

export interface SessionEvent {
  readonly type: 'session-created' | 'session-closed' | 'session-retrieved' | 'session-finished';
  readonly session: string;
}

/**
 * A file, after its handler's callback. A file without freeze or unfreeze tells nothing of them.
 */
export interface FileEvent extends OfFile {
  readonly type: 'preserved' | 'unpreserved' | 'checkpointed' | 'frozen' | 'unfrozen' | 'retrieved';
}

export interface FileFinishedEvent extends OfFile {
  readonly type: 'finished';
  /** Whether the file had been retrieved, or was discarded. */
  readonly retrieval: Retrieval;
}

/** An FLB, after its callback. */
export interface FlbEvent extends Timed {
  readonly type: 'flb-preserved' | 'flb-unpreserved' | 'flb-retrieved' | 'flb-finished';
  readonly flb: string;
}

/** The records are written: the handover is ready. */
export interface SerialisedEvent extends Timed {
  readonly type: 'serialised';
  readonly sessions: number;
  readonly files: number;
  readonly flbs: number;
}

/** A handover that was ready is called off; every file is unfrozen. */
export interface CancelledEvent extends Timed {
  readonly type: 'cancelled';
}

/** Something failed. Whoever had asked for it got the error too. */
export interface FailedEvent extends Timed {
  readonly type: 'failed';
  /** What was to be done. */
  readonly operation:
    'preserve' | 'unpreserve' | 'checkpoint' | 'freeze' | 'unfreeze' | 'retrieve' | 'canFinish' | 'finish';
  readonly error: unknown;
  /** The file; absent where it is an FLB. */
  readonly session?: string;
  readonly token?: bigint;
  /** Absent also where no handler was found. */
  readonly handler?: string;
  readonly flb?: string;
}

export type LuoEvent =
  SessionEvent | FileEvent | FileFinishedEvent | FlbEvent | SerialisedEvent | CancelledEvent | FailedEvent;

/**
 * Called at once, in the midst of the work: it should be quick. It may call LUO, and must not wait
 * for it. What it throws does not reach LUO: it becomes an uncaught error.
 */
export type LuoListener = (event: LuoEvent) => void;

/** A clock that was not read. */
const UNREAD = Number.NaN;

export class EventStream {
  readonly #clock: () => number;
  /** Replaced, never changed: a listener may come or go while events are told. */
  #listeners: readonly LuoListener[] = [];

  /** @param clock milliseconds, from any start */
  constructor(clock: () => number = () => performance.now()) {
    this.#clock = clock;
  }

  /**
   * Calls a listener for every event from now on.
   *
   * @returns ends it
   * @throws KernelError EINVAL: no function
   */
  subscribe(listener: LuoListener): () => void {
    checkFunction(listener, 'a listener');
    const own: LuoListener = (event) => {
      listener(event);
    };
    this.#listeners = [...this.#listeners, own];
    return () => {
      this.#listeners = this.#listeners.filter((each) => each !== own);
    };
  }

  /** @internal Whether anybody listens: events are made only then. */
  get isHeard(): boolean {
    return this.#listeners.length > 0;
  }

  /** @internal The beginning of something that an event will tell of. */
  start(): number {
    return this.isHeard ? this.#clock() : UNREAD;
  }

  /** @internal */
  since(start: number): number {
    return Number.isNaN(start) ? 0 : this.#clock() - start;
  }

  /** @internal */
  emit(event: LuoEvent): void {
    for (const listener of this.#listeners) {
      try {
        listener(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
