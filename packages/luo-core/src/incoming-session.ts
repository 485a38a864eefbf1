/**
 * A session that the previous kernel left (kernel: kernel/liveupdate/luo_session.c, luo_file.c).
 *
 * Happy: retrieve each file, in any order, then finish. A file never retrieved is discarded by
 * finish. Success and failure of a retrieval are remembered; finish is all or nothing in its
 * asking.
 */
import { checkFunction, isBranded, isInstance, KernelError, type Branded } from '@liveupdate/base';
import { FolioRuns } from '@liveupdate/mm';
import type { MaybePromise } from './callback-types.ts';
import { answerOf, brokenRule, isPromise, kindOf, type CallbackWaiter } from './callbacks.ts';
import type { EventStream, FailedEvent } from './events.ts';
import type { FlbSet } from './flb-set.ts';
import type { FinishContext, PreservableFile, Retrieval } from './handler.ts';
import { holdRetrieved, unhold } from './holding.ts';
import type { Dropped, LiveSessions } from './live-sessions.ts';
import type { Mutex } from './mutex.ts';
import type { Arrival } from './outgoing-session.ts';
import type { LiveFile, LivePlace } from './read-live-sessions.ts';
import { checkToken, keyOf } from './tokens.ts';
import type { FileRecord, SessionRecord } from './read-luo.ts';
import type { RegisteredHandler } from './registry.ts';
import { COPY } from './package-copy.ts';

export interface IncomingShared {
  readonly mutex: Mutex;
  readonly flbs: FlbSet;
  readonly waiter: CallbackWaiter;
  readonly events: EventStream;
  readonly live: LiveSessions | undefined;
  readonly arrivals: Map<unknown, Arrival>;
  /** Is told which folios a callback takes over. */
  noteAdopted(rows: FolioRuns | undefined): FolioRuns | undefined;
  handlerFor(record: FileRecord): RegisteredHandler;
  /** Throws EBUSY while, and after, the handover is made; EBADF once the generation has ended. */
  checkRunning(): void;
  /** Throws EBADF once the generation has ended, as it may while a callback is waited for. */
  checkLive(): void;
  /**
   * While, and after, the handover is made: keeps `work` until it is called off. False where none
   * is on its way.
   */
  whenCalledOff(work: () => Promise<void>): boolean;
  /** A session is finished. Whether it was the last. */
  forget(session: IncomingSession): boolean;
}

interface IncomingFile {
  readonly record: FileRecord;
  readonly handler: RegisteredHandler;
  retrieval: Retrieval;
  file: PreservableFile | undefined;
  error: unknown;
  /** Folios that were taken over for it. */
  readonly rows: FolioRuns;
  /** What it is known by among those that are preserved; once it was retrieved. */
  id: unknown;
  /** Whether it is in the live record. */
  isThere: boolean;
}

/** What a tool may know of an incoming file. */
export interface IncomingFileInfo {
  readonly token: bigint;
  readonly compatible: string;
  readonly data: bigint;
  readonly retrieval: Retrieval;
}

const BRAND: Branded = { className: 'IncomingSession', copy: COPY };

export class IncomingSession {
  /** @internal Which class this is, to other copies of the package. */
  get liveupdateClass(): Branded {
    return BRAND;
  }

  /** @internal Says yes to objects of other copies too. */
  static [Symbol.hasInstance](this: unknown, value: unknown): boolean {
    return isBranded(value, this);
  }

  readonly name: string;
  readonly #shared: IncomingShared;
  /** By token. */
  readonly #files = new Map<bigint | number, IncomingFile>();
  #state: 'open' | 'finished' = 'open';
  /** How many of its files are in the live record. */
  #there = 0;
  /** Its slot in the live record, as long as it is there. */
  #slot: number | undefined;

  /** @internal Made when the incoming state is read. */
  constructor(record: SessionRecord & Partial<LivePlace>, shared: IncomingShared) {
    this.name = record.name;
    this.#slot = record.slot;
    this.#shared = shared;
    if (shared.live) this.#there = record.files.length;
    for (const file of record.files) {
      const handler = shared.handlerFor(file);
      handler.files += 1;
      this.#files.set(keyOf(file.token), {
        record: file,
        handler,
        retrieval: 'untried',
        file: undefined,
        error: undefined,
        rows: new FolioRuns(),
        id: undefined,
        isThere: shared.live !== undefined,
      });
    }
  }

  get state(): 'open' | 'finished' {
    return this.#state;
  }

  /** How many files are in it that are not finished. */
  get fileCount(): number {
    return this.#files.size;
  }

  /**
   * @internal Whether it is in the live record still: not all of its files were preserved again.
   */
  get isThere(): boolean {
    return this.#slot !== undefined;
  }

  /** @internal The files that are in the live record still. */
  get unfinishedFiles(): FileRecord[] {
    return [...this.#files.values()].filter(({ isThere }) => isThere).map(({ record }) => record);
  }

  /** @internal Ends it without a look at its files: what goes from the live record with it. */
  dismiss(): Dropped {
    this.#state = 'finished';
    for (const { handler } of this.#files.values()) handler.files -= 1;
    const isLast = this.#shared.forget(this);
    return { ...this.#leave([...this.#files.values()], true), isLast };
  }

  /** The files, in the order in which they were preserved. */
  get files(): IncomingFileInfo[] {
    return Array.from(this.#files.values(), ({ record, retrieval }) => {
      const { token, compatible, data } = record;
      return { token, compatible, data, retrieval };
    });
  }

  /**
   * The file under a token, made again by its handler. Asking again gives the same file with
   * another reference.
   *
   * @throws KernelError ENOENT: no such token. EINVAL: the session is finished. EBUSY: the handover
   * is on its way. EIO: the handler gave no file. ETIMEDOUT: its callback took too long. Whatever
   * the handler threw, now or when it was asked first.
   */
  retrieve(token: bigint | number): Promise<PreservableFile>;
  /**
   * The same, where it must be a file of one class.
   *
   * @param type the class
   * @throws KernelError EINVAL: the file is not of this class. All others as without a class.
   */
  retrieve<F extends PreservableFile>(
    token: bigint | number,
    type: abstract new (...args: never[]) => F,
  ): Promise<F>;
  retrieve(
    token: bigint | number,
    type?: abstract new (...args: never[]) => PreservableFile,
  ): Promise<PreservableFile> {
    return this.#shared.mutex.run(async () => {
      const key = checkToken(token);
      if (type !== undefined) checkFunction(type, 'a class of files');
      this.#checkOpen();
      const entry = this.#files.get(keyOf(key));
      if (!entry) throw new KernelError('ENOENT', `session '${this.name}' has no file under token ${key}`);
      const file = await this.#retrieve(entry);
      if (type && !isInstance(file, type)) {
        throw new KernelError('EINVAL', `file ${key} of session '${this.name}' is no ${type.name}`);
      }
      file.get?.();
      return file;
    });
  }

  /**
   * Ends the session: retrieved files now belong to their users alone, the others are discarded.
   *
   * @throws KernelError EBUSY: a handler says that it cannot finish yet, or the handover is on its
   * way; nothing has changed. EINVAL: finished already, or a handler answers neither true nor
   * false. What a handler's canFinish threw: nothing has changed. What a handler's or an FLB's
   * finish threw: all others are finished, and so is the session.
   */
  finish(): Promise<void> {
    return this.#shared.mutex.run(() => this.#finish());
  }

  /**
   * Finishes the session if it is not finished. For the errors see finish; after one the session
   * stays.
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
    if (this.#state !== 'finished') await this.#finish();
  }

  async #retrieve(entry: IncomingFile): Promise<PreservableFile> {
    if (entry.retrieval === 'failed') throw entry.error;
    if (entry.file) return entry.file;
    const { flbs, events } = this.#shared;
    const { handler, record } = entry;
    const start = events.start();
    try {
      const { data, compatible } = record;
      const context = { data, compatible, flbs };
      const file: unknown = await this.#taking(entry, 'retrieve', () => handler.handler.retrieve(context));
      this.#shared.checkLive();
      if (typeof file !== 'object' || file === null)
        throw brokenRule(handler, 'retrieve', `must return the file, and returned ${kindOf(file)}`, 'EIO');
      holdRetrieved(file);
      entry.file = file;
      entry.retrieval = 'done';
      this.#noteArrival(entry, file);
    } catch (error) {
      entry.retrieval = 'failed';
      entry.error = error;
      this.#tellFailure('retrieve', entry, start, error);
      throw error;
    }
    if (events.isHeard) {
      const duration = events.since(start);
      events.emit({ type: 'retrieved', ...this.#nameOf(entry), duration });
    }
    return entry.file;
  }

  /**
   * Runs a callback that may take folios of the previous kernel over; they belong to this file from
   * then on. FLBs that it asks for are those of that kernel.
   */
  async #taking<T>(entry: IncomingFile, callback: string, call: () => MaybePromise<T>): Promise<T> {
    const { waiter, flbs } = this.#shared;
    this.#shared.noteAdopted(entry.rows);
    flbs.of = (entry.record as Partial<LiveFile>).flbs;
    try {
      const given = call();
      return isPromise(given) ? await waiter.settle(entry.handler, callback, given) : given;
    } finally {
      flbs.of = undefined;
      this.#shared.noteAdopted(undefined);
    }
  }

  /** From now on the file is known, should it be preserved again before it is finished. */
  #noteArrival(entry: IncomingFile, file: PreservableFile): void {
    const { live, arrivals } = this.#shared;
    if (!live) return;
    entry.id = entry.handler.handler.getId?.(file) ?? file;
    arrivals.set(entry.id, {
      leave: () => {
        return this.#leave([entry], this.#there === 1);
      },
    });
  }

  /** What goes from the live record with these files, and with the session where `isAll`. */
  #leave(entries: readonly IncomingFile[], isAll: boolean): Dropped {
    const there = entries.filter(({ isThere }) => isThere);
    const session = isAll ? this.#slot : undefined;
    if (isAll) this.#slot = undefined;
    this.#there -= there.length;
    for (const entry of there) {
      entry.isThere = false;
      if (entry.id !== undefined) this.#shared.arrivals.delete(entry.id);
    }
    return {
      files: there.map(({ record }) => (record as LiveFile).slot),
      session,
      isLast: false,
      rows: there.map(({ rows }) => rows),
    };
  }

  async #finish(): Promise<void> {
    this.#checkOpen();
    const { events, flbs } = this.#shared;
    const entries = [...this.#files.values()].reverse();
    for (const entry of entries) if (entry.handler.handler.canFinish) await this.#checkFinish(entry);
    const errors: unknown[] = [];
    for (const entry of entries) {
      const { handler, record } = entry;
      await this.#callFinish(entry, errors);
      if (entry.file) unhold(entry.file);
      this.#files.delete(keyOf(record.token));
      handler.files -= 1;
      if (handler.flbs.length > 0)
        await flbs.finishFile(handler.flbs, (record as Partial<LiveFile>).flbs, errors);
    }
    this.#shared.checkLive();
    this.#state = 'finished';
    const isLast = this.#shared.forget(this);
    this.#shared.live?.finish(() => {
      const { rows, ...dropped } = this.#leave(entries, true);
      return { ...dropped, rows: [...rows, ...flbs.finished.splice(0)], isLast };
    });
    if (events.isHeard) events.emit({ type: 'session-finished', session: this.name });
    if (errors.length > 0) throw errors[0];
  }

  /** Throws where a file cannot be finished yet. */
  async #checkFinish(entry: IncomingFile): Promise<void> {
    const { waiter, events } = this.#shared;
    const { handler, record } = entry;
    const start = events.start();
    try {
      const given = handler.handler.canFinish?.(this.#contextOf(entry));
      const answer = isPromise(given) ? await waiter.settle(handler, 'canFinish', given) : given;
      if (!answerOf(handler, 'canFinish', answer))
        throw new KernelError(
          'EBUSY',
          `file ${record.token} of session '${this.name}' cannot be finished yet: try again later`,
        );
    } catch (error) {
      this.#tellFailure('canFinish', entry, start, error);
      throw error;
    }
  }

  /** Finish runs once: what it throws is added to `errors`, and keeps no other file waiting. */
  async #callFinish(entry: IncomingFile, errors: unknown[]): Promise<void> {
    const { events } = this.#shared;
    const { handler, retrieval } = entry;
    const start = events.start();
    try {
      await this.#taking(entry, 'finish', () => handler.handler.finish(this.#contextOf(entry)));
    } catch (error) {
      errors.push(error);
      this.#tellFailure('finish', entry, start, error);
      return;
    }
    if (!events.isHeard) return;
    const duration = events.since(start);
    events.emit({ type: 'finished', ...this.#nameOf(entry), retrieval, duration });
  }

  #checkOpen(): void {
    if (this.#state === 'finished') throw new KernelError('EINVAL', `session '${this.name}' is finished`);
    this.#shared.checkRunning();
  }

  #contextOf({ record, retrieval, file }: IncomingFile): FinishContext<PreservableFile> {
    const { data, compatible } = record;
    const { flbs } = this.#shared;
    return file ? { data, compatible, retrieval, flbs, file } : { data, compatible, retrieval, flbs };
  }

  #nameOf({ record, handler }: IncomingFile): { session: string; token: bigint; handler: string } {
    return { session: this.name, token: record.token, handler: handler.compatible };
  }

  #tellFailure(
    operation: FailedEvent['operation'],
    entry: IncomingFile,
    start: number,
    error: unknown,
  ): void {
    const { events } = this.#shared;
    if (!events.isHeard) return;
    events.emit({
      type: 'failed',
      operation,
      ...this.#nameOf(entry),
      duration: events.since(start),
      error,
    });
  }
}
