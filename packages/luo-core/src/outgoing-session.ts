/**
 * A session of this kernel for the next one (kernel: kernel/liveupdate/luo_session.c, luo_file.c).
 *
 * Happy: preserve files, freeze them all at the handover, write their records. Unhappy: unpreserve
 * one or all; a failing preserve leaves nothing; a failing freeze unfreezes those before it.
 */
import { assert, KernelError, shown, type StructView, isBranded, type Branded } from '@liveupdate/base';
import { BlockSet, type Kho } from '@liveupdate/kho';
import { LuoFileSer, LuoSessionSer } from './abi.ts';
import { asU64, brokenRule, dataOf, isPromise, kindOf, type CallbackWaiter } from './callbacks.ts';
import type { EventStream, FailedEvent, FileEvent } from './events.ts';
import type { FlbSet } from './flb-set.ts';
import type { MaybePromise } from './callback-types.ts';
import type { PreservableFile } from './handler.ts';
import { hold, unhold } from './holding.ts';
import type { Mutex } from './mutex.ts';
import type { Flb } from './registered-flb.ts';
import type { HandlerRegistry, RegisteredHandler } from './registry.ts';
import { COPY } from './package-copy.ts';

/** What all outgoing sessions share. */
export interface OutgoingShared {
  readonly kho: Kho;
  readonly registry: HandlerRegistry;
  readonly flbs: FlbSet;
  readonly mutex: Mutex;
  readonly waiter: CallbackWaiter;
  readonly events: EventStream;
  /** Ids of all files that are preserved, in any session. */
  readonly preservedIds: Set<unknown>;
  /** Throws EBUSY while, and after, the handover is made. */
  checkRunning(): void;
  /**
   * While, and after, the handover is made: keeps `work` until it is called off. False where none
   * is on its way; then nothing is kept.
   */
  whenCalledOff(work: () => Promise<void>): boolean;
  /** A session is closed and no longer handed over. */
  forget(session: OutgoingSession): void;
}

interface OutgoingFile {
  readonly file: PreservableFile;
  readonly handler: RegisteredHandler;
  /** The FLBs that it is counted for. */
  readonly flbs: readonly Flb[];
  readonly id: unknown;
  readonly token: bigint;
  data: bigint;
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
  /** In the order of preservation. */
  readonly #files = new Map<bigint, OutgoingFile>();
  readonly #blocks: BlockSet;
  #state: 'open' | 'closed' = 'open';
  /** Files that freeze has reached, in order; empty but during a handover. */
  #frozen: OutgoingFile[] = [];

  /** @internal Made by LiveUpdateOrchestrator.createSession. */
  constructor(name: string, shared: OutgoingShared) {
    this.name = name;
    this.#shared = shared;
    this.#blocks = new BlockSet(shared.kho, LuoFileSer.SIZE);
  }

  get state(): 'open' | 'closed' {
    return this.#state;
  }

  /** How many files are preserved in it. */
  get fileCount(): number {
    return this.#files.size;
  }

  /** The preserved files, in order of preservation. */
  get files(): OutgoingFileInfo[] {
    return Array.from(this.#files.values(), ({ token, handler, data }) => ({
      token,
      compatible: handler.compatible,
      data,
    }));
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
      const file = this.#files.get(key);
      if (!file) throw new KernelError('ENOENT', `session '${this.name}' has no file under token ${key}`);
      await this.#unpreserve(file);
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
    for (const file of [...this.#files.values()].reverse()) await this.#unpreserve(file);
    this.#state = 'closed';
    this.#shared.forget(this);
    if (events.isHeard) events.emit({ type: 'session-closed', session: this.name });
  }

  /**
   * @internal The last moment: every file's freeze, in order. After a throw, unfreeze takes back
   * those that were frozen.
   */
  async freeze(): Promise<void> {
    const { flbs, waiter, events } = this.#shared;
    for (const entry of this.#files.values()) {
      const { file, handler, token, data } = entry;
      const start = events.start();
      try {
        const given = handler.handler.freeze?.({ file, data, flbs });
        const result = isPromise(given) ? await waiter.settle(handler, 'freeze', given) : given;
        this.#frozen.push(entry); // also where the result is wrong: its freeze has run
        if (result !== undefined) entry.data = dataOf(handler, 'freeze', result);
      } catch (error) {
        this.#tellFailure('freeze', token, handler, start, error);
        throw error;
      }
      if (handler.handler.freeze) this.#tell('frozen', entry, start);
    }
  }

  /**
   * @internal The inverse of freeze, last first. What a handler throws keeps no other file from
   * being unfrozen: it is added to `errors`.
   */
  async unfreeze(errors: unknown[]): Promise<void> {
    const { flbs, waiter, events } = this.#shared;
    for (let entry = this.#frozen.pop(); entry; entry = this.#frozen.pop()) {
      const { file, handler, token, data } = entry;
      const start = events.start();
      try {
        const given = handler.handler.unfreeze?.({ file, data, flbs });
        if (isPromise(given)) await waiter.settle(handler, 'unfreeze', given);
        if (handler.handler.unfreeze) this.#tell('unfrozen', entry, start);
      } catch (error) {
        this.#tellFailure('unfreeze', token, handler, start, error);
        errors.push(error);
      }
    }
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

  /** The checks and steps of a preserve, in the order that callers may rely on. */
  async #preserve(find: () => PreservableFile, token: bigint): Promise<void> {
    const { preservedIds, events } = this.#shared;
    const start = events.start();
    let handler: RegisteredHandler | undefined;
    // What is to be undone, by hand: steps as closures are a tenth of what preserving a small file
    // costs.
    let isAnnounced = false;
    let held: PreservableFile | undefined;
    let id: unknown;
    try {
      if (this.#files.has(token))
        throw new KernelError('EEXIST', `token ${token} is taken in session '${this.name}': choose another`);
      this.#blocks.announce();
      isAnnounced = true;
      const file = find();
      hold(file);
      held = file;
      handler = this.#handlerFor(file);
      const known = idOf(handler, file);
      const before = preservedIds.size;
      if (preservedIds.add(known).size === before)
        throw new KernelError(
          'EBUSY',
          'this file is preserved already: a file can be in one session only, once',
        );
      id = known;
      const { flbs } = handler;
      const saved = flbs.length > 0 ? this.#saveWith(flbs, handler, file) : this.#save(handler, file);
      const data = typeof saved === 'bigint' ? saved : await saved; // nobody waits for what is there
      this.#files.set(token, { file, handler, flbs, id, token, data });
      handler.files += 1;
    } catch (error) {
      if (id !== undefined) preservedIds.delete(id);
      if (held) unhold(held);
      if (isAnnounced) this.#blocks.retract();
      this.#shared.kho.pages.residency.relieve(); // last: what was undone is free then
      this.#tellFailure('preserve', token, handler, start, error);
      throw error;
    }
    if (events.isHeard) this.#tell('preserved', { token, handler }, start);
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

  /** The handler's preserve. */
  #save(handler: RegisteredHandler, file: PreservableFile): MaybePromise<bigint> {
    const { flbs, waiter } = this.#shared;
    const given: unknown = handler.handler.preserve({ file, flbs });
    if (!isPromise(given)) return dataOf(handler, 'preserve', given);
    return waiter.settle(handler, 'preserve', given).then((result) => dataOf(handler, 'preserve', result));
  }

  /** The same for a file that FLBs count: where it fails, they are put back. */
  async #saveWith(held: readonly Flb[], handler: RegisteredHandler, file: PreservableFile): Promise<bigint> {
    const { flbs } = this.#shared;
    await flbs.count(held);
    try {
      return await this.#save(handler, file);
    } catch (error) {
      await flbs.putBack(held);
      throw error;
    }
  }

  async #unpreserve(entry: OutgoingFile): Promise<void> {
    const { flbs, waiter, events, preservedIds } = this.#shared;
    const { file, handler, token, data } = entry;
    const start = events.start();
    try {
      const given = handler.handler.unpreserve({ file, data, flbs });
      if (isPromise(given)) await waiter.settle(handler, 'unpreserve', given);
    } catch (error) {
      this.#tellFailure('unpreserve', token, handler, start, error);
      throw error;
    }
    preservedIds.delete(entry.id);
    const had = this.#files.delete(token);
    assert(had, 'a file is unpreserved twice');
    handler.files -= 1;
    this.#blocks.retract();
    unhold(file);
    this.#tell('unpreserved', entry, start);
    if (entry.flbs.length > 0) await flbs.uncount(entry.flbs);
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

/** A token as the ABI has it: 64 bits. */
export function checkToken(token: bigint | number): bigint {
  const value = asU64(token);
  if (value === undefined)
    throw new KernelError(
      'EINVAL',
      `${shown(token)} is no token: use a whole number or a bigint of at most 64 bits`,
    );
  return value;
}

function idOf(handler: RegisteredHandler, file: PreservableFile): unknown {
  if (!handler.handler.getId) return file;
  const id = handler.handler.getId(file);
  if (id === undefined || id === null || isPromise(id))
    throw brokenRule(handler, 'getId', `must return what the file is known by, and returned ${kindOf(id)}`);
  return id;
}
