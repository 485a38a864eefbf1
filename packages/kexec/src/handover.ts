/**
 * A handover of one machine, or of all machines of this process at once: exec replaces them all, so
 * a kexec of one takes the others along, each as it was preserved. Either all of them are sealed,
 * or none: what fails is called off in reverse.
 */
import { KernelError, withSuppressed } from '@liveupdate/base';
import { drainOutput, monotonicNow } from '@liveupdate/linux';
import { claimPassed, waitingRams, type PassedRam } from './inherited-rams.ts';
import { checkStrangers } from './strangers.ts';
import type { Tenure } from './tenure.ts';

/** The machines of this process: it is what exec ends. */
const machines = new Set<Tenure>();

/** Whether they are being frozen for an exec. */
let isReplacing = false;

/** Notes in their RAMs that this process ends, and how: for who recovers them. */
function noteEnd(end: 'exit' | 'exception'): void {
  for (const tenure of machines) tenure.noteEnd(end);
}

let isListening = false;

function listen(): void {
  if (isListening) return;
  isListening = true;
  let hasThrown = false;
  process.on('uncaughtExceptionMonitor', () => {
    hasThrown = true;
  });
  process.on('exit', () => {
    noteEnd(hasThrown ? 'exception' : 'exit');
  });
}

/** A machine runs in this process from now on. */
export function addMachine(tenure: Tenure): void {
  listen();
  machines.add(tenure);
  const here = tenure.passed.fd;
  for (const ram of waitingRams()) if (ram.fd === here) claimPassed(ram);
}

/** It does no longer. */
export function removeMachine(tenure: Tenure): void {
  machines.delete(tenure);
}

/**
 * @throws KernelError EBUSY: this process is being replaced, and what is opened now would be lost
 */
export function checkNotReplacing(): void {
  if (isReplacing)
    throw new KernelError('EBUSY', 'this process is being replaced: open it in the next generation');
}

export interface SealOptions {
  /** Whether all machines of this process go along. */
  readonly isTogether: boolean;
  readonly dropUnfinished?: boolean | undefined;
  /** Whether the process stays for a while, and may go on: its page tables are left alone. */
  readonly stays?: boolean;
}

/** A sealed handover, or one that fails on the way. */
export class Handover {
  readonly #asked: Tenure;
  readonly #parties: Tenure[] = [];
  readonly #isTogether: boolean;
  readonly #dropUnfinished: boolean;
  readonly #stays: boolean;
  /** Whether it is this one that keeps others from being opened. */
  #isReplacing = false;

  private constructor(asked: Tenure, { isTogether, dropUnfinished = false, stays = false }: SealOptions) {
    this.#asked = asked;
    this.#isTogether = isTogether;
    this.#dropUnfinished = dropUnfinished;
    this.#stays = stays;
  }

  /**
   * Seals a machine, and those that go along.
   *
   * @throws KernelError EBADF: closed. EBUSY: a handover of it, or of one that goes along, is on
   * its way; or this process owns a RAM that we do not know. ENOENT, ENOMEM: as Tenure has them.
   * What a handler's freeze threw. Then everything goes on, and what was thrown on the way back is
   * attached.
   */
  static async seal(asked: Tenure, options: SealOptions): Promise<Handover> {
    const handover = new Handover(asked, options);
    const start = monotonicNow();
    try {
      await handover.#prepare();
      const frozen = monotonicNow();
      for (const tenure of handover.#parties) await handover.#seal(tenure, start, frozen);
      return handover;
    } catch (error) {
      throw withSuppressed(error, await handover.callOff());
    }
  }

  /** The RAMs that the next generation of this process gets. */
  get rams(): PassedRam[] {
    return [...this.#open().map(({ passed }) => passed), ...waitingRams()];
  }

  /**
   * Takes everything back, last first. Everything goes on.
   *
   * @returns everything that was thrown on the way
   */
  async callOff(): Promise<unknown[]> {
    const errors: unknown[] = [];
    for (const tenure of this.#parties.toReversed()) errors.push(...(await tenure.callOff()));
    if (this.#isReplacing) isReplacing = false;
    return errors;
  }

  /**
   * Begins with each, those too that are opened meanwhile. Until its end everything is still
   * served.
   */
  async #prepare(): Promise<void> {
    this.#begin(this.#asked);
    if (this.#isTogether) {
      this.#joinAll();
      await checkStrangers(this.#parties.map(({ passed }) => passed.fd));
      await drainOutput(); // a reader that is slow is waited for while all is served
    }
    if (this.#stays) return;
    for (let done = 0; ;) {
      if (this.#isTogether) this.#joinAll();
      if (done === this.#parties.length) break;
      for (; done < this.#parties.length; done++) await this.#parties[done].dropPageTables();
    }
    this.#isReplacing = this.#isTogether;
    if (this.#isReplacing) isReplacing = true;
  }

  async #seal(tenure: Tenure, start: bigint, frozen: bigint): Promise<void> {
    try {
      await tenure.seal(start, frozen, { isExec: this.#isTogether, dropUnfinished: this.#dropUnfinished });
    } catch (error) {
      if (tenure === this.#asked || !tenure.state.isClosed) throw error; // one that was closed just stays here
    }
  }

  #joinAll(): void {
    for (const tenure of machines) if (!this.#parties.includes(tenure)) this.#begin(tenure);
  }

  #begin(tenure: Tenure): void {
    try {
      tenure.begin();
    } catch (cause) {
      if (tenure === this.#asked || !(cause instanceof KernelError)) throw cause;
      throw new KernelError(cause.code, `${tenure.title} cannot go along: ${cause.message}`, { cause });
    }
    this.#parties.push(tenure);
  }

  /** Those that were not closed meanwhile; the one that was asked for must not be. */
  #open(): Tenure[] {
    if (this.#asked.state.isClosed) throw new KernelError('EBADF', 'this machine is closed');
    return this.#parties.filter(({ state }) => !state.isClosed);
  }
}
