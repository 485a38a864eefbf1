/**
 * The handover of one generation: freeze, records, and the way back.
 *
 * Always: while it is not `running`, nothing that the records tell of changes. What fails is
 * undone, last first, and the first cause is thrown.
 */
import { KernelError, Undo, withSuppressed, type StructView } from '@liveupdate/base';
import { BlockSet, type Kho, type PreservedBlock } from '@liveupdate/kho';
import { LuoFileSer, LuoSer, LuoSessionSer } from './abi.ts';
import type { EventStream } from './events.ts';
import type { FlbSet } from './flb-set.ts';
import type { IncomingSession } from './incoming-session.ts';
import type { LiveSessions } from './live-sessions.ts';
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
  readonly kho: Kho;
  readonly live: LiveSessions | undefined;
  /**
   * Sessions of the previous kernel that are not finished. Throws EIO where they cannot be read.
   */
  readonly unfinished: () => readonly IncomingSession[];
}

/** A session of the previous kernel that goes on to the next, and the room for its files. */
interface Carried {
  readonly session: IncomingSession;
  readonly blocks: BlockSet;
}

export class Reboot {
  readonly #init: RebootInit;
  #state: 'running' | 'rebooting' | 'handed-over' | 'ended' = 'running';
  /**
   * Closes of sessions that a handover on its way did not allow, and that nobody can ask for again.
   */
  #whenCalledOff: (() => Promise<void>)[] = [];
  #carried: readonly Carried[] = [];
  /** Takes back what was made ready for those. */
  #uncarry: (() => void) | undefined;

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
  async begin(dropUnfinished: boolean): Promise<void> {
    this.checkRunning();
    this.#carry(dropUnfinished);
    this.#state = 'rebooting';
    try {
      for (const session of this.#init.sessions.values()) await session.freeze();
      this.checkLive(); // it may have ended while callbacks were waited for
      this.#publishRenewed();
    } catch (error) {
      const errors = await this.#unfreeze();
      this.#takeBack(errors);
      throw withSuppressed(error, errors);
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
    this.#takeBack(errors);
    if (events.isHeard) events.emit({ type: 'cancelled', duration: events.since(start) });
    if (errors.length > 0) throw withSuppressed(errors[0], errors.slice(1));
  }

  /**
   * Makes room for the sessions of the previous kernel that nobody has finished: they go on, too.
   *
   * @throws KernelError EBUSY: the name of one is taken, and it is not to be dropped. ENOMEM,
   * ENOSPC: no room. Nothing is changed.
   */
  #carry(dropUnfinished: boolean): void {
    const { live, kho, flbs } = this.#init;
    if (!live) return;
    live.flush();
    const unfinished = this.#unfinished();
    const names = new Set(this.#init.sessions.keys());
    const inTheWay: IncomingSession[] = [];
    // The newer first, and those without files last: they give way.
    const newestFirst = unfinished.toReversed();
    const hasFiles = ({ unfinishedFiles }: IncomingSession): boolean => unfinishedFiles.length > 0;
    for (const session of [
      ...newestFirst.filter(hasFiles),
      ...newestFirst.filter((each) => !hasFiles(each)),
    ]) {
      if (names.has(session.name)) inTheWay.push(session);
      names.add(session.name);
    }
    const lost = inTheWay.filter(hasFiles);
    if (lost.length > 0 && !dropUnfinished) {
      const list = lost.map(({ name }) => `'${name}'`).join(', ');
      throw new KernelError(
        'EBUSY',
        `the previous kernel's session ${list} is not finished, and there is a newer one of that name: finish it, or pass dropUnfinished`,
      );
    }
    const undo = new Undo();
    let takeBack: () => void;
    try {
      this.#carried = unfinished
        .filter((session) => !inTheWay.includes(session))
        .map((session): Carried => {
          const blocks = new BlockSet(kho, LuoFileSer.SIZE);
          announce(this.#init.blocks, 1, undo);
          announce(blocks, session.unfinishedFiles.length, undo);
          return { session, blocks };
        });
      undo.add(flbs.carry(this.#carried.length > 0));
      takeBack = kho.carryArrived();
    } catch (error) {
      this.#carried = [];
      undo.all();
      throw error;
    }
    if (inTheWay.length > 0) {
      for (const session of inTheWay) live.drop(session.dismiss());
      live.publish();
      // What they had is nobody's now. Room for what is left was made: this does not fail.
      takeBack();
      takeBack = kho.carryArrived();
    }
    this.#uncarry = () => {
      takeBack();
      undo.all();
    };
  }

  /** Those that are there still: of others, all files were preserved again. */
  #unfinished(): IncomingSession[] {
    try {
      return this.#init.unfinished().filter((session) => session.isThere);
    } catch (error) {
      if (error instanceof KernelError && error.code === 'EIO') return []; // nobody can read them
      throw error;
    }
  }

  /** Room for what is carried on is not needed. */
  #takeBack(errors: unknown[]): void {
    this.#carried = [];
    const uncarry = this.#uncarry;
    this.#uncarry = undefined;
    try {
      uncarry?.();
    } catch (error) {
      errors.push(error);
    }
  }

  /** Brings all records up to date. For its errors see checkpoint() of the orchestrator. */
  async checkpoint(): Promise<void> {
    this.checkRunning();
    const errors: unknown[] = [];
    for (const session of this.#init.sessions.values()) await session.checkpoint(errors);
    this.checkLive(); // it may have ended while callbacks were waited for
    this.#publishRenewed();
    if (errors.length > 0) throw withSuppressed(errors[0], errors.slice(1));
  }

  /** What freeze gave in place of what preserve gave, for all files in one step. */
  #publishRenewed(): void {
    const { live, sessions } = this.#init;
    if (!live) return;
    for (const session of sessions.values()) session.writeRenewed(live);
    live.publish();
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
    const carried = this.#carried;
    blocks.serialise((entry, i) => {
      if (i < sessions.length) sessions[i].serialise(entry);
      else writeCarried(entry, carried[i - sessions.length]);
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
    if (this.#state !== 'ended') {
      this.#state = 'running';
      this.#publishRenewed(); // what freeze gave is what the files have now
    }
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

/** Announces entries of a block set. */
function announce(blocks: BlockSet, count: number, undo: Undo): void {
  for (let i = 0; i < count; i++) {
    blocks.announce();
    undo.add(() => {
      blocks.retract();
    });
  }
}

/** Writes the record of a session that goes on as it came. */
function writeCarried(entry: StructView, { session, blocks }: Carried): void {
  const files = session.unfinishedFiles;
  blocks.serialise((record, i) => {
    record.setString(LuoFileSer.compatible, files[i].compatible);
    record.setU64(LuoFileSer.data, files[i].data);
    record.setU64(LuoFileSer.token, files[i].token);
  });
  entry.setString(LuoSessionSer.name, session.name);
  entry.setU64(LuoSessionSer.files, blocks.pa);
  entry.setU64(LuoSessionSer.count, files.length);
}
