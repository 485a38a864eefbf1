/**
 * A session of this kernel for the next one (kernel: kernel/liveupdate/luo_session.c, luo_file.c).
 *
 * Happy: preserve files, freeze them all at the handover, write their records. Unhappy: unpreserve
 * one or all; a failing preserve leaves nothing; a failing freeze unfreezes those before it.
 */
import {
  assert,
  isBranded,
  KernelError,
  withSuppressed,
  type Branded,
  type StructView,
} from '@liveupdate/base';
import { BlockSet, type Kho } from '@liveupdate/kho';
import { LuoFileSer, LuoSessionSer } from './abi.ts';
import { dataOf, isPromise, type CallbackWaiter } from './callbacks.ts';
import type { EventStream, FailedEvent, FileEvent } from './events.ts';
import type { FlbSet } from './flb-set.ts';
import type { PreservableFile } from './handler.ts';
import { hold, unhold } from './holding.ts';
import type { Dropped, LiveSessions } from './live-sessions.ts';
import type { Mutex } from './mutex.ts';
import { noted, notedUntil } from './noted.ts';
import { idOf, save, saveRow, type OutgoingFile } from './outgoing-file.ts';
import type { HandlerRegistry, RegisteredHandler } from './registry.ts';
import { COPY } from './package-copy.ts';
import { checkPairs, checkToken, keyOf, type FilePair } from './tokens.ts';

/** What all outgoing sessions share. */
export interface OutgoingShared {
  readonly kho: Kho;
  readonly registry: HandlerRegistry;
  readonly flbs: FlbSet;
  readonly mutex: Mutex;
  readonly waiter: CallbackWaiter;
  readonly events: EventStream;
  /** What is published for whoever comes after a kernel that died; undefined where nothing is. */
  readonly live: LiveSessions | undefined;
  /**
   * Files of the previous kernel that were retrieved and are not finished, by what they are known
   * by: preserved again, they are found once.
   */
  readonly arrivals: Map<unknown, Arrival>;
  /** Ids of all files that are preserved, in any session. */
  readonly preservedIds: Set<unknown>;
  /** Throws EBUSY while, and after, the handover is made; EBADF once the generation has ended. */
  checkRunning(): void;
  /** Throws EBADF once the generation has ended, as it may while a callback is waited for. */
  checkLive(): void;
  /**
   * While, and after, the handover is made: keeps `work` until it is called off. False where none
   * is on its way; then nothing is kept.
   */
  whenCalledOff(work: () => Promise<void>): boolean;
  /** A session is closed and no longer handed over. */
  forget(session: OutgoingSession): void;
}

/** A file that the previous kernel left, as far as it is in the live record. */
export interface Arrival {
  /** What is dropped from the record where it is preserved again. */
  leave(): Dropped;
}

/** What a tool may know of a preserved file. */
export interface OutgoingFileInfo {
  readonly token: bigint;
  readonly compatible: string;
  readonly data: bigint;
}

const BRAND: Branded = { className: 'OutgoingSession', copy: COPY };

export class OutgoingSession {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to objects of other copies too. */
  static [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  readonly name: string;
  readonly #shared: OutgoingShared;
  /** By token, in the order of preservation. The last `#arriving` of them are not preserved yet. */
  readonly #files = new Map<bigint | number, OutgoingFile>();
  #arriving = 0;
  readonly #blocks: BlockSet;
  #state: 'open' | 'closed' = 'open';
  /** Files that freeze has reached, in order; empty but during a handover. */
  #frozen: OutgoingFile[] = [];

  /** Its slot in the live record. */
  readonly #slot: number;
  /** Files whose data is another than in the live record. */
  readonly #renewed: OutgoingFile[] = [];

  /** @internal Made by LiveUpdateOrchestrator.createSession. */
  constructor(name: string, shared: OutgoingShared, slot: number) {
    this.name = name;
    this.#shared = shared;
    this.#slot = slot;
    this.#blocks = new BlockSet(shared.kho, LuoFileSer.SIZE);
  }

  get state(): 'open' | 'closed' {
    return this.#state;
  }

  /** How many files are preserved in it. */
  get fileCount(): number {
    return this.#files.size - this.#arriving;
  }

  /** The preserved files, in order of preservation. */
  get files(): OutgoingFileInfo[] {
    const preserved = [...this.#files.values()].slice(0, this.fileCount);
    return preserved.map(({ token, handler, data }) => ({ token, compatible: handler.compatible, data }));
  }

  /**
   * Preserves a file: the next kernel finds it in this session under `token`. The owner goes on
   * using it.
   *
   * @throws KernelError EEXIST: the token is taken in this session. ENOMEM, ENOSPC: no room for one
   * more record. EBADF: not a file, or a closed one. ENOENT: no handler takes it. EBUSY: preserved
   * already, or the handover is on its way. EINVAL: no token, the session is closed, or a handler
   * or an FLB broke a rule. ETIMEDOUT: a callback took too long. Whatever an FLB or the handler
   * throws. After any of them everything is as before.
   */
  preserve(file: PreservableFile, token: bigint | number): Promise<void> {
    return this.preserveFrom(() => file, token);
  }

  /**
   * @internal The same for a file that is looked up when its turn in the order of checks has come:
   * a descriptor that names none is EBADF then.
   */
  preserveFrom(find: () => PreservableFile, token: bigint | number): Promise<void> {
    return this.#shared.mutex.run(() => {
      const key = checkToken(token);
      this.#checkOpen();
      return this.#preserve(find, key);
    });
  }

  /**
   * Preserves many files in one step: all or none. Thousands of small files cost three fifths of
   * what they cost one by one, where their handler has `preserveAll`, as that of memfds does.
   *
   * @param files pairs of a token and a file, such as a `Map<number, file>`; preserved in this
   * order
   * @throws KernelError as preserve, of the first file that cannot be preserved; then none is.
   * EEXIST also: a token is there twice. EINVAL also: not pairs. Where a handler does not take a
   * file back then, that one stays preserved, and what it threw is attached (`suppressedBy` of base
   * tells it).
   */
  async preserveAll(
    files: Iterable<readonly [token: bigint | number, file: PreservableFile]>,
  ): Promise<void> {
    const pairs = checkPairs(files); // as they are now: the caller may go on with what it gave
    return this.#shared.mutex.run(() => {
      this.#checkOpen();
      return this.#preserveAll(pairs);
    });
  }

  /**
   * Takes one file back.
   *
   * @throws KernelError ENOENT: no file under this token. EBUSY: the handover is on its way.
   * EINVAL: no token, or the session is closed. Whatever the handler throws: then the file stays
   * preserved. Whatever its FLB throws: the file is unpreserved all the same.
   */
  unpreserve(token: bigint | number): Promise<void> {
    return this.#shared.mutex.run(async () => {
      const key = checkToken(token);
      this.#checkOpen();
      const file = this.#files.get(keyOf(key));
      if (!file) throw new KernelError('ENOENT', `session '${this.name}' has no file under token ${key}`);
      await this.#unpreserve(file, true);
    });
  }

  /**
   * Takes all files back, last preserved first, and ends the session. A second call does nothing.
   *
   * @throws KernelError EBUSY: the handover is on its way. Whatever a handler throws: that file and
   * those before it stay preserved, and the session stays; closing again goes on from there. The
   * same where an FLB throws, but that the file is unpreserved.
   */
  close(): Promise<void> {
    return this.#shared.mutex.run(() => this.#close());
  }

  /**
   * @internal close, for one who cannot call again, because its last descriptor is gone. What a
   * handover that is on its way does not allow now is done where that is called off.
   */
  release(): Promise<void> {
    const shared = this.#shared;
    return shared.mutex.run(() => (shared.whenCalledOff(() => this.#close()) ? undefined : this.#close()));
  }

  async #close(): Promise<void> {
    if (this.#state === 'closed') return;
    const { events } = this.#shared;
    this.#shared.checkRunning();
    const { live } = this.#shared;
    try {
      for (const file of [...this.#files.values()].reverse()) await this.#unpreserve(file, false);
      live?.dropSession(this.#slot);
    } finally {
      live?.publish(); // of what was done, where not all was
    }
    this.#state = 'closed';
    this.#shared.forget(this);
    if (events.isHeard) events.emit({ type: 'session-closed', session: this.name });
  }

  /**
   * @internal The last moment: every file's freeze, in order. After a throw, unfreeze takes back
   * those that were frozen.
   */
  async freeze(): Promise<void> {
    const { flbs, waiter, events, live } = this.#shared;
    for (const entry of this.#files.values()) {
      const { file, handler, token, data } = entry;
      const start = events.start();
      try {
        const given = noted(live, () => handler.handler.freeze?.({ file, data, flbs }));
        const result = isPromise(given)
          ? await notedUntil(live, waiter.settle(handler, 'freeze', given))
          : given;
        this.#frozen.push(entry); // also where the result is wrong: its freeze has run
        if (result !== undefined) this.#renew(entry, dataOf(handler, 'freeze', result));
      } catch (error) {
        this.#tellFailure('freeze', token, handler, start, error);
        throw error;
      }
      if (handler.handler.freeze) this.#tell('frozen', entry, start);
    }
  }

  /**
   * @internal Brings the records of files up to date whose handler can. What a handler throws keeps
   * no other file waiting: it is added to `errors`.
   */
  async checkpoint(errors: unknown[]): Promise<void> {
    const { flbs, waiter, events, live } = this.#shared;
    for (const entry of [...this.#files.values()].slice(0, this.fileCount)) {
      const { file, handler, token, data } = entry;
      if (!handler.handler.checkpoint) continue;
      const start = events.start();
      try {
        const given = noted(live, () => handler.handler.checkpoint?.({ file, data, flbs }));
        const result = isPromise(given)
          ? await notedUntil(live, waiter.settle(handler, 'checkpoint', given))
          : given;
        if (result !== undefined) this.#renew(entry, dataOf(handler, 'checkpoint', result));
        this.#tell('checkpointed', entry, start);
      } catch (error) {
        this.#tellFailure('checkpoint', token, handler, start, error);
        errors.push(error);
      }
    }
  }

  /**
   * @internal The inverse of freeze, last first. What a handler throws keeps no other file from
   * being unfrozen: it is added to `errors`.
   */
  async unfreeze(errors: unknown[]): Promise<void> {
    const { flbs, waiter, events, live } = this.#shared;
    for (let entry = this.#frozen.pop(); entry; entry = this.#frozen.pop()) {
      const { file, handler, token, data } = entry;
      const start = events.start();
      try {
        const given = noted(live, () => handler.handler.unfreeze?.({ file, data, flbs }));
        if (isPromise(given)) await notedUntil(live, waiter.settle(handler, 'unfreeze', given));
        if (handler.handler.unfreeze) this.#tell('unfrozen', entry, start);
      } catch (error) {
        this.#tellFailure('unfreeze', token, handler, start, error);
        errors.push(error);
      }
    }
  }

  #renew(entry: OutgoingFile, data: bigint): void {
    if (data === entry.data) return;
    entry.data = data;
    this.#renewed.push(entry);
  }

  /** @internal Writes the new data of files into the live record, for the next change. */
  writeRenewed(live: LiveSessions): void {
    for (const { slot, data } of this.#renewed) live.renewFile(slot, data);
    this.#renewed.length = 0;
  }

  /**
   * @internal Writes the session's record and its files'. Cannot fail: the room was made before.
   */
  serialise(entry: StructView): void {
    const files = [...this.#files.values()];
    this.#blocks.serialise((record, i) => {
      record.setString(LuoFileSer.compatible, files[i].handler.compatible);
      record.setU64(LuoFileSer.data, files[i].data);
      record.setU64(LuoFileSer.token, files[i].token);
    });
    entry.setString(LuoSessionSer.name, this.name);
    entry.setU64(LuoSessionSer.files, this.#blocks.pa);
    entry.setU64(LuoSessionSer.count, files.length);
  }

  #checkOpen(): void {
    if (this.#state === 'closed') throw new KernelError('EINVAL', `session '${this.name}' is closed`);
    this.#shared.checkRunning();
  }

  async #preserve(find: () => PreservableFile, token: bigint): Promise<void> {
    const { events } = this.#shared;
    const start = events.start();
    let entry: OutgoingFile | undefined;
    try {
      entry = this.#admit(find, token, start);
      const saved = save(this.#shared, entry);
      if (typeof saved === 'bigint') {
        entry.data = saved; // nobody waits for what is there
      } else {
        entry.data = await saved;
        this.#shared.checkLive();
      }
      const { live } = this.#shared;
      if (live) {
        this.#write(live, entry);
        live.publish();
      }
      this.#arriving -= 1;
      entry.handler.files += 1;
    } catch (error) {
      if (entry) this.#dismiss(entry);
      this.#shared.live?.publication.abandon();
      this.#shared.kho.pages.residency.relieve(); // after the rest: what was undone is free then
      if (entry) this.#tellFailure('preserve', token, entry.handler, start, error);
      throw error;
    }
    if (events.isHeard) this.#tell('preserved', entry, start);
  }

  /** Writes a file into the live record, for the next change: there it is found once. */
  #write(live: LiveSessions, entry: OutgoingFile): void {
    live.writeFile(entry.slot, this.#slot, entry);
    const { arrivals } = this.#shared;
    const arrival = arrivals.size > 0 ? arrivals.get(entry.id) : undefined;
    if (!arrival) return;
    this.#shared.arrivals.delete(entry.id);
    live.drop(arrival.leave());
  }

  async #preserveAll(files: readonly FilePair[]): Promise<void> {
    const { events, live } = this.#shared;
    const start = events.start();
    const entries: OutgoingFile[] = [];
    let saved = 0;
    try {
      for (const [token, file] of files) entries.push(this.#admit(() => file, token, start));
      while (saved < entries.length) {
        saved = await saveRow(this.#shared, entries, saved);
        this.#shared.checkLive();
      }
    } catch (error) {
      const errors = await this.#takeBack(entries, saved);
      this.#shared.kho.pages.residency.relieve();
      // What was not admitted is told already; where all were saved, the generation has ended.
      const failed = entries.length === files.length ? entries.at(saved) : undefined;
      if (failed) this.#tellFailure('preserve', failed.token, failed.handler, start, error);
      throw withSuppressed(error, errors);
    }
    if (live) {
      for (const entry of entries) this.#write(live, entry);
      live.publish();
    }
    this.#arriving = 0;
    for (const entry of entries) entry.handler.files += 1;
    if (events.isHeard) for (const entry of entries) this.#tell('preserved', entry, start);
  }

  /**
   * Undoes a preserveAll of which the first `saved` files are preserved. Those that their handler
   * does not take back stay preserved; gives what it threw.
   */
  async #takeBack(entries: readonly OutgoingFile[], saved: number): Promise<unknown[]> {
    const errors: unknown[] = [];
    const stay: OutgoingFile[] = [];
    for (let at = entries.length - 1; at >= 0; at--) {
      const entry = entries[at];
      if (at < saved) {
        try {
          await this.#unsave(entry);
        } catch (error) {
          errors.push(error);
          stay.push(entry);
          continue;
        }
        if (entry.flbs.length > 0) errors.push(...(await this.#shared.flbs.putBack(entry.flbs)));
      }
      this.#dismiss(entry);
    }
    this.#arriving = 0;
    for (const entry of stay) entry.handler.files += 1;
    const { live } = this.#shared;
    if (!live) return errors;
    for (const entry of stay) this.#write(live, entry); // they stay preserved after all
    if (stay.length > 0) live.publish();
    else live.publication.abandon();
    return errors;
  }

  /**
   * The checks before a preserve, in the order that callers may rely on: after them nothing that
   * LUO does can fail. The file has its place among those of the session then. A throw changes
   * nothing, and is told to those who listen.
   */
  #admit(find: () => PreservableFile, token: bigint, start: number): OutgoingFile {
    const { preservedIds } = this.#shared;
    let isAnnounced = false;
    let held: PreservableFile | undefined;
    let handler: RegisteredHandler | undefined;
    try {
      const key = keyOf(token);
      if (this.#files.has(key))
        throw new KernelError('EEXIST', `token ${token} is taken in session '${this.name}': choose another`);
      this.#blocks.announce();
      isAnnounced = true;
      const file = find();
      hold(file);
      held = file;
      handler = this.#handlerFor(file);
      const id = idOf(handler, file);
      const before = preservedIds.size;
      if (preservedIds.add(id).size === before)
        throw new KernelError(
          'EBUSY',
          'this file is preserved already: a file can be in one session only, once',
        );
      let slot = -1;
      try {
        slot = this.#shared.live?.takeFile() ?? -1;
      } catch (error) {
        preservedIds.delete(id);
        throw error;
      }
      const entry = { file, handler, flbs: handler.flbs, id, token, data: 0n, slot };
      this.#files.set(key, entry);
      this.#arriving += 1;
      return entry;
    } catch (error) {
      // By hand: steps to undo, as closures, are a tenth of what preserving a small file costs.
      if (held) unhold(held);
      if (isAnnounced) this.#blocks.retract();
      this.#tellFailure('preserve', token, handler, start, error);
      throw error;
    }
  }

  /** The inverse of admit. */
  #dismiss({ file, id, token, slot }: OutgoingFile): void {
    this.#shared.live?.giveFile(slot);
    this.#arriving -= 1;
    this.#files.delete(keyOf(token));
    this.#shared.preservedIds.delete(id);
    unhold(file);
    this.#blocks.retract();
  }

  #handlerFor(file: PreservableFile): RegisteredHandler {
    const { registry } = this.#shared;
    const handler = registry.forFile(file);
    if (handler) return handler;
    const known = registry.compatibles.join(', ') || 'none';
    throw new KernelError(
      'ENOENT',
      `no handler takes this file (registered: ${known}): pass its handler to the machine`,
    );
  }

  /** The handler's unpreserve. */
  async #unsave({ file, handler, token, data }: OutgoingFile): Promise<void> {
    const { flbs, waiter, events, live } = this.#shared;
    const start = events.start();
    try {
      const given = noted(live, () => handler.handler.unpreserve({ file, data, flbs }));
      if (isPromise(given)) {
        await notedUntil(live, waiter.settle(handler, 'unpreserve', given));
        this.#shared.checkLive();
      }
    } catch (error) {
      this.#tellFailure('unpreserve', token, handler, start, error);
      throw error;
    }
  }

  /** @param isWhole whether it is a change of its own */
  async #unpreserve(entry: OutgoingFile, isWhole: boolean): Promise<void> {
    const { flbs, events, preservedIds, live } = this.#shared;
    const { file, handler, token } = entry;
    const start = events.start();
    try {
      await this.#unsave(entry);
    } catch (error) {
      if (isWhole) live?.publication.abandon();
      throw error;
    }
    live?.dropFile(entry.slot);
    preservedIds.delete(entry.id);
    const had = this.#files.delete(keyOf(token));
    assert(had, 'a file is unpreserved twice');
    handler.files -= 1;
    this.#blocks.retract();
    unhold(file);
    this.#tell('unpreserved', entry, start);
    try {
      if (entry.flbs.length > 0) await flbs.uncount(entry.flbs);
    } finally {
      if (isWhole) live?.publish();
    }
  }

  #tell(
    type: FileEvent['type'],
    { token, handler }: Pick<OutgoingFile, 'token' | 'handler'>,
    start: number,
  ): void {
    const { events } = this.#shared;
    if (!events.isHeard) return;
    const duration = events.since(start);
    events.emit({ type, session: this.name, token, handler: handler.compatible, duration });
  }

  #tellFailure(
    operation: FailedEvent['operation'],
    token: bigint,
    handler: RegisteredHandler | undefined,
    start: number,
    error: unknown,
  ): void {
    const { events } = this.#shared;
    if (!events.isHeard) return;
    const of = handler && { handler: handler.compatible };
    const duration = events.since(start);
    events.emit({ type: 'failed', operation, session: this.name, token, ...of, duration, error });
  }
}
