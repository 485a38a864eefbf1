/**
 * The handover of one generation: freeze, records, and the way back.
 *
 * Always: while it is not `running`, nothing that the records tell of changes. What fails is
 * undone, last first, and the first cause is thrown.
 */
import { KernelError, withSuppressed } from '@liveupdate/base';
import type { BlockSet, PreservedBlock } from '@liveupdate/kho';
import { LuoSer } from './abi.ts';
import type { EventStream } from './events.ts';
import type { FlbSet } from './flb-set.ts';
import type { OutgoingSession } from './outgoing-session.ts';

interface RebootInit {
  /** Where the records of sessions are written. */
  readonly blocks: BlockSet;
  readonly flbs: FlbSet;
  readonly events: EventStream;
  /** The outgoing sessions, as they are. */
  readonly sessions: ReadonlyMap<string, OutgoingSession>;
  /** What leads to the records; undefined where live update is off. */
  readonly record: () => PreservedBlock | undefined;
}

export class Reboot {
  readonly #init: RebootInit;
  #state: 'running' | 'rebooting' | 'handed-over' | 'ended' = 'running';
  /**
   * Closes of sessions that a handover on its way did not allow, and that nobody can ask for again.
   */
  #whenCalledOff: (() => Promise<void>)[] = [];

  constructor(init: RebootInit) {
    this.#init = init;
  }

  get state(): 'running' | 'rebooting' | 'handed-over' | 'ended' {
    return this.#state;
  }

  /** From now on nothing can be asked any more. */
  end(): void {
    this.#state = 'ended';
  }

  /** @throws KernelError EBUSY: a handover is on its way. EBADF: this generation has ended */
  checkRunning(): void {
    this.checkLive();
    if (this.#state !== 'running')
      throw new KernelError('EBUSY', 'the handover is on its way: nothing can be changed any more');
  }

  /** Notes work for when the handover is called off. False where none is on its way. */
  whenCalledOff(work: () => Promise<void>): boolean {
    if (this.#state === 'running') return false;
    this.#whenCalledOff.push(work);
    return true;
  }

  /** Freezes all files and writes the records. For its errors see reboot() of the orchestrator. */
  async begin(): Promise<void> {
    this.checkRunning();
    this.#state = 'rebooting';
    try {
      for (const session of this.#init.sessions.values()) await session.freeze();
      this.checkLive(); // it may have ended while callbacks were waited for
    } catch (error) {
      throw withSuppressed(error, await this.#unfreeze());
    }
    this.#serialise();
    this.#state = 'handed-over';
  }

  /** Takes that back. For its errors see cancelReboot() of the orchestrator. */
  async cancel(): Promise<void> {
    this.checkLive();
    if (this.#state !== 'handed-over') throw new KernelError('EINVAL', 'no handover is on its way');
    const { events } = this.#init;
    const start = events.start();
    const record = this.#init.record();
    record?.setU64(LuoSer.sessions, 0);
    record?.setU64(LuoSer.flbs, 0);
    const errors = await this.#unfreeze();
    if (events.isHeard) events.emit({ type: 'cancelled', duration: events.since(start) });
    if (errors.length > 0) throw withSuppressed(errors[0], errors.slice(1));
  }

  /** @throws KernelError EBADF: this generation has ended */
  checkLive(): void {
    if (this.#state === 'ended')
      throw new KernelError('EBADF', 'this kernel generation has ended: open its RAM again for the next one');
  }

  /**
   * Writes the records of all sessions, then of the FLBs, and last the two words that make them
   * reachable. Cannot fail.
   */
  #serialise(): void {
    const { blocks, events, flbs } = this.#init;
    const record = this.#init.record();
    if (!record) return;
    const start = events.start();
    const sessions = [...this.#init.sessions.values()];
    blocks.serialise((entry, i) => {
      sessions[i].serialise(entry);
    });
    const flbRecords = flbs.serialise();
    record.setU64(LuoSer.sessions, blocks.pa);
    record.setU64(LuoSer.flbs, flbRecords);
    if (!events.isHeard) return;
    events.emit({
      type: 'serialised',
      sessions: sessions.length,
      files: sessions.reduce((sum, { fileCount }) => sum + fileCount, 0),
      flbs: flbs.outgoingInfo.filter(({ files }) => files > 0).length,
      duration: events.since(start),
    });
  }

  /**
   * Unfreezes what is frozen, last first, whatever handlers throw; then work goes on, and what
   * could not be closed meanwhile is.
   *
   * @returns everything that was thrown
   */
  async #unfreeze(): Promise<unknown[]> {
    const errors: unknown[] = [];
    for (const session of [...this.#init.sessions.values()].reverse()) await session.unfreeze(errors);
    if (this.#state !== 'ended') this.#state = 'running';
    for (const work of this.#whenCalledOff.splice(0)) {
      try {
        await work();
      } catch (error) {
        errors.push(error);
      }
    }
    return errors;
  }
}
