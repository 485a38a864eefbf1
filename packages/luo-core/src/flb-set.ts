/**
 * The FLBs of one kernel (kernel: kernel/liveupdate/luo_flb.c): counted as files are preserved and
 * unpreserved, recorded at the handover; those of the previous kernel made again when asked for,
 * and finished with their last file.
 *
 * An outgoing FLB has a state to hand over from the first file's preserve to the last file's
 * unpreserve. Its page of records is there as long as any FLB has, so that nothing can fail for
 * lack of memory at the handover.
 */
import { assert, KernelError, PAGE_SIZE, type PhysAddr, StructView } from '@liveupdate/base';
import type { Kho, PreservedBlock } from '@liveupdate/kho';
import { FolioRuns } from '@liveupdate/mm';
import { LuoFlbHeaderSer, LuoFlbSer, MAX_FLBS } from './abi.ts';
import { dataOf, isPromise, type CallbackWaiter } from './callbacks.ts';
import type { EventStream, FailedEvent, FlbEvent } from './events.ts';
import type { FileLifecycleBound, FlbObjects } from './flb.ts';
import type { MaybePromise } from './callback-types.ts';
import type { LiveSessions } from './live-sessions.ts';
import { noted, notedUntil } from './noted.ts';
import type { LiveFlb } from './read-live-sessions.ts';
import type { FlbRecord } from './read-luo.ts';
import { Flb } from './registered-flb.ts';
import { checkCallbacks, checkStrings, type RegisteredHandler } from './registry.ts';

const CALLBACKS = ['preserve', 'unpreserve', 'retrieve', 'finish'] as const;

type FlbRetrieval =
  | { readonly state: 'untried' }
  | { readonly state: 'running'; readonly object: Promise<unknown> }
  | { readonly state: 'done'; readonly object: unknown }
  | { readonly state: 'failed'; readonly error: unknown }
  | { readonly state: 'finished' };

interface IncomingFlb {
  readonly record: FlbRecord;
  /** The kernel that left it: the page in the live record, 0 without one. */
  readonly of: number;
  /** Folios that were taken over for it. */
  readonly rows: FolioRuns;
  /** Files of the previous kernel that hold it and are not finished. */
  files: bigint;
  retrieval: FlbRetrieval;
}

/** What a tool may know of a registered FLB. */
export interface OutgoingFlbInfo {
  readonly compatible: string;
  /** Preserved files that hold it. */
  readonly files: number;
  /** What its preserve gave; undefined where nothing is preserved. */
  readonly data: bigint | undefined;
}

/** What a tool may know of an FLB of the previous kernel, registered here or not. */
export interface IncomingFlbInfo {
  readonly compatible: string;
  /** Files that hold it and are not finished, as far as they are counted here. */
  readonly files: bigint;
  readonly data: bigint;
  readonly retrieval: FlbRetrieval['state'];
}

export interface FlbSetInit {
  readonly kho: Kho;
  readonly waiter: CallbackWaiter;
  readonly events: EventStream;
  readonly live: LiveSessions | undefined;
  /** Is told which folios a callback takes over. */
  noteAdopted(rows: FolioRuns | undefined): FolioRuns | undefined;
  /**
   * The FLBs of the previous kernel; undefined where it had no LUO. Throws EIO where they cannot be
   * read.
   */
  readIncoming(): readonly (FlbRecord & Partial<LiveFlb>)[] | undefined;
}

export class FlbSet implements FlbObjects {
  readonly #init: FlbSetInit;
  readonly #flbs = new Map<FileLifecycleBound, Flb>();
  #block: PreservedBlock | undefined;
  #incoming: readonly IncomingFlb[] | undefined;
  /** Those that go on to the next kernel as they came. */
  #carried: readonly IncomingFlb[] = [];
  /** Folios of FLBs that were finished since somebody looked. */
  readonly finished: FolioRuns[] = [];
  /** The kernel whose file a callback is run for; undefined: no file's. */
  of: number | undefined;

  constructor(init: FlbSetInit) {
    this.#init = init;
  }

  /**
   * Registers an FLB with a handler: the handler's files count for it from now on.
   *
   * @throws KernelError EINVAL: a callback is missing, or a string is empty or over 47 bytes.
   * EEXIST: registered with this handler already, or another FLB has that string. ENOSPC: there are
   * 63 others.
   */
  register(handler: RegisteredHandler, flb: FileLifecycleBound): void {
    checkStrings('FLB', flb);
    const known = this.#flbs.get(flb);
    const registered = known ?? new Flb(flb);
    checkCallbacks(registered.title, flb, CALLBACKS, []);
    if (handler.flbs.includes(registered))
      throw new KernelError('EEXIST', `${registered.title} is registered with ${handler.title} already`);
    if (!known) {
      const others = new Set(Array.from(this.#flbs.values(), ({ strings }) => strings).flat());
      const taken = registered.strings.find((string) => others.has(string));
      if (taken !== undefined) throw new KernelError('EEXIST', `there is another FLB for '${taken}'`);
      if (this.#flbs.size === MAX_FLBS)
        throw new KernelError('ENOSPC', `there are ${MAX_FLBS} FLBs, more fit in no handover`);
      this.#flbs.set(flb, registered);
    }
    registered.handlers += 1;
    handler.flbs = [...handler.flbs, registered];
  }

  /**
   * Takes an FLB from a handler that has no files.
   *
   * @throws KernelError ENOENT: not registered with it. EBUSY: its unpreserve failed, and its state
   * is preserved still.
   */
  unregister(handler: RegisteredHandler, flb: FileLifecycleBound): void {
    const registered = this.#flbs.get(flb);
    if (!registered || !handler.flbs.includes(registered))
      throw new KernelError('ENOENT', `FLB '${flb.compatible}' is not registered with ${handler.title}`);
    if (registered.handlers === 1 && registered.preserved)
      throw new KernelError('EBUSY', `${registered.title} is preserved still: its unpreserve() failed`);
    handler.flbs = handler.flbs.filter((each) => each !== registered);
    registered.handlers -= 1;
    if (registered.handlers === 0) this.#flbs.delete(flb);
  }

  // ---- Outgoing ---------------------------------------------------------------------------------

  /**
   * Counts a file that is being preserved, in order of registration.
   *
   * @throws KernelError ENOMEM: no page for the record. EINVAL: an FLB's preserve gave no data.
   * What an FLB's preserve throws. After any of them those that were counted already are put back.
   */
  async count(flbs: readonly Flb[]): Promise<void> {
    for (const [i, flb] of flbs.entries()) {
      try {
        if (!flb.preserved) await this.#preserve(flb);
      } catch (error) {
        await this.putBack(flbs.slice(0, i));
        throw error;
      }
      flb.files += 1;
    }
  }

  /**
   * A file is preserved no longer: the inverse of count.
   *
   * @throws What an FLB's unpreserve throws first; all are counted down, and that FLB's state stays
   * preserved
   */
  async uncount(flbs: readonly Flb[]): Promise<void> {
    const errors = await this.putBack(flbs);
    if (errors.length > 0) throw errors[0];
  }

  /** The same where another failure is on its way to the caller already. Gives what FLBs throw. */
  async putBack(flbs: readonly Flb[]): Promise<unknown[]> {
    const errors: unknown[] = [];
    for (const flb of flbs.toReversed()) {
      flb.files -= 1;
      if (flb.files > 0) continue;
      try {
        await this.#unpreserve(flb);
      } catch (error) {
        errors.push(error);
      }
    }
    return errors;
  }

  async #preserve(flb: Flb): Promise<void> {
    const { kho, waiter } = this.#init;
    const { live } = this.#init;
    this.#block ??= kho.allocRecord(PAGE_SIZE);
    const start = this.#init.events.start();
    try {
      flb.place = live?.flbs.reserve(flb.compatible) ?? 0;
      const given = noted(live, () => flb.flb.preserve({ incoming: () => this.#arrived(flb) }));
      const result = isPromise(given) ? await notedUntil(live, waiter.settle(flb, 'preserve', given)) : given;
      flb.preserved = { data: dataOf(flb, 'preserve', result), object: result.object };
      live?.flbs.write(flb.place, flb.compatible, flb.preserved.data);
    } catch (error) {
      this.#freeBlock();
      this.#tellFailure('preserve', flb, start, error);
      throw error;
    }
    this.#tell('flb-preserved', flb, start);
  }

  async #unpreserve(flb: Flb): Promise<void> {
    assert(flb.preserved !== undefined, 'an FLB with files is preserved');
    const start = this.#init.events.start();
    try {
      const { object, data } = flb.preserved;
      const { live, waiter } = this.#init;
      const given = noted(live, () => flb.flb.unpreserve({ object, data }));
      if (isPromise(given)) await notedUntil(live, waiter.settle(flb, 'unpreserve', given));
    } catch (error) {
      this.#tellFailure('unpreserve', flb, start, error);
      throw error;
    }
    flb.preserved = undefined;
    this.#freeBlock();
    this.#tell('flb-unpreserved', flb, start);
  }

  /** The page of records is needed no longer, unless another FLB has a state to hand over. */
  #freeBlock(): void {
    if (!this.#block || [...this.#flbs.values()].some(({ preserved }) => preserved)) return;
    this.#init.kho.unpreserveFree(this.#block.pa);
    this.#block = undefined;
  }

  /**
   * Makes room for FLBs of the previous kernel that files which go on hold.
   *
   * @returns takes it back
   * @throws KernelError EBUSY: there is a newer one of that name. ENOMEM: no page. Nothing is
   * changed.
   */
  carry(isWanted: boolean): () => void {
    const carried = isWanted ? this.#readIncoming().filter(({ files }) => files > 0n) : [];
    const own = new Set(
      [...this.#flbs.values()].filter(({ files }) => files > 0).map((flb) => flb.compatible),
    );
    const taken = carried.find(({ record }) => own.has(record.name));
    if (taken)
      throw new KernelError(
        'EBUSY',
        `FLB '${taken.record.name}' of the previous kernel is not finished, and there is a newer one: finish its sessions first`,
      );
    if (carried.length > 0) this.#block ??= this.#init.kho.allocRecord(PAGE_SIZE);
    this.#carried = carried;
    return () => {
      this.#carried = [];
      this.#freeBlock();
    };
  }

  /**
   * Writes the records of all FLBs that files hold. Cannot fail: the room was made before. Gives
   * their address, 0 where there is none.
   */
  serialise(): PhysAddr {
    const held = [
      ...[...this.#flbs.values()]
        .filter(({ files }) => files > 0)
        .map(({ compatible, preserved, files }) => ({
          compatible,
          data: preserved?.data ?? 0n,
          files: BigInt(files),
        })),
      ...this.#carried.map(({ record, files }) => ({ compatible: record.name, data: record.data, files })),
    ].slice(0, MAX_FLBS);
    if (held.length === 0) return 0;
    assert(this.#block !== undefined, 'there is a page while an FLB is preserved');
    const { pa, bytes } = this.#block;
    bytes.fill(0);
    const header = new StructView(bytes.subarray(0, LuoFlbHeaderSer.SIZE));
    header.setU64(LuoFlbHeaderSer.pageCount, 1);
    header.setU64(LuoFlbHeaderSer.count, held.length);
    for (const [i, { compatible, data, files }] of held.entries()) {
      const at = LuoFlbHeaderSer.SIZE + i * LuoFlbSer.SIZE;
      const entry = new StructView(bytes.subarray(at, at + LuoFlbSer.SIZE));
      entry.setString(LuoFlbSer.name, compatible);
      entry.setU64(LuoFlbSer.data, data);
      entry.setU64(LuoFlbSer.count, files);
    }
    return pa;
  }

  outgoing<T>(flb: FileLifecycleBound<T>): T {
    const { preserved, title } = this.#find(flb);
    if (!preserved) throw new KernelError('ENODATA', `${title} is held by no preserved file`);
    return preserved.object as T;
  }

  /** All that are registered, in order. */
  get outgoingInfo(): OutgoingFlbInfo[] {
    return Array.from(this.#flbs.values(), ({ compatible, files, preserved }) => ({
      compatible,
      files,
      data: preserved?.data,
    }));
  }

  // ---- Incoming ---------------------------------------------------------------------------------

  incoming<T>(flb: FileLifecycleBound<T>): MaybePromise<T> {
    const registered = this.#find(flb);
    if (!this.#init.readIncoming())
      throw new KernelError('ENODATA', `${registered.title}: there is no previous kernel with LUO`);
    const entry = this.#incomingOf(registered);
    if (!entry) throw new KernelError('ENOENT', `${registered.title}: the previous kernel left none`);
    return this.#retrieve(registered, entry) as MaybePromise<T>;
  }

  /** For the FLB's own preserve: what it is to go on with. */
  #arrived(flb: Flb): MaybePromise<unknown> {
    if (!this.#init.readIncoming()) return undefined;
    const entry = this.#incomingOf(flb);
    return entry && entry.retrieval.state !== 'finished' ? this.#retrieve(flb, entry) : undefined;
  }

  /** A file of the previous kernel is finished. What FLBs throw is added to `errors`. */
  async finishFile(flbs: readonly Flb[], of: number | undefined, errors: unknown[]): Promise<void> {
    for (const flb of flbs.toReversed()) {
      const entry = this.#incomingOf(flb, of);
      if (!entry || entry.files === 0n) continue;
      entry.files -= 1n;
      if (entry.files === 0n) await this.#finish(flb, entry, errors);
    }
  }

  /** All that the previous kernel left, whether registered here or not. */
  get incomingInfo(): IncomingFlbInfo[] {
    return this.#readIncoming().map(({ record, files, retrieval }) => ({
      compatible: record.name,
      files,
      data: record.data,
      retrieval: retrieval.state,
    }));
  }

  #find<T>(flb: FileLifecycleBound<T>): Flb {
    const registered = this.#flbs.get(flb);
    if (!registered) throw new KernelError('EINVAL', 'an FLB is asked for that is not registered');
    return registered;
  }

  #readIncoming(): readonly IncomingFlb[] {
    this.#incoming ??= (this.#init.readIncoming() ?? []).map((record) => ({
      record,
      of: record.flbs ?? 0,
      rows: new FolioRuns(),
      files: record.count,
      retrieval: { state: 'untried' },
    }));
    return this.#incoming;
  }

  /**
   * What the previous kernel left of an FLB.
   *
   * @param of the kernel that left it, where two that died did: default that whose file is at hand,
   * else the last
   */
  #incomingOf({ flb }: Flb, of = this.of): IncomingFlb | undefined {
    const all = this.#readIncoming();
    for (const string of [flb.compatible, ...(flb.alsoReads ?? [])]) {
      const found =
        all.findLast((entry) => entry.record.name === string && entry.of === of) ??
        all.findLast(({ record, retrieval }) => record.name === string && retrieval.state !== 'finished') ??
        all.findLast(({ record }) => record.name === string);
      if (found) return found;
    }
    return undefined;
  }

  #retrieve(flb: Flb, entry: IncomingFlb): MaybePromise<unknown> {
    const { retrieval, record } = entry;
    if (retrieval.state === 'done' || retrieval.state === 'running') return retrieval.object;
    if (retrieval.state === 'failed') throw retrieval.error;
    if (retrieval.state === 'finished') throw new KernelError('ENODATA', `${flb.title} is finished`);
    const start = this.#init.events.start();
    const done = (object: unknown): unknown => {
      entry.retrieval = { state: 'done', object };
      this.#tell('flb-retrieved', flb, start);
      return object;
    };
    const failed = (error: unknown): never => {
      entry.retrieval = { state: 'failed', error };
      this.#tellFailure('retrieve', flb, start, error);
      throw error;
    };
    let given: MaybePromise<unknown>;
    const outer = this.#init.noteAdopted(entry.rows);
    const back = (): void => {
      this.#init.noteAdopted(outer);
    };
    try {
      given = flb.flb.retrieve({ data: record.data, compatible: record.name });
    } catch (error) {
      back();
      return failed(error);
    }
    if (!isPromise(given)) {
      back();
      return done(given);
    }
    const object = this.#init.waiter.settle(flb, 'retrieve', given).finally(back).then(done, failed);
    object.catch(() => undefined); // it is remembered, also where a handler did not wait for it
    entry.retrieval = { state: 'running', object };
    return object;
  }

  async #finish(flb: Flb, entry: IncomingFlb, errors: unknown[]): Promise<void> {
    if (entry.retrieval.state === 'failed') return; // there is nothing to finish, and who asked knows
    try {
      const given = this.#retrieve(flb, entry);
      const object = isPromise(given) ? await given : given;
      entry.retrieval = { state: 'finished' };
      const outer = this.#init.noteAdopted(entry.rows);
      try {
        await this.#callFinish(flb, entry.record, object);
      } finally {
        this.#init.noteAdopted(outer);
        this.finished.push(entry.rows);
      }
    } catch (error) {
      errors.push(error);
    }
  }

  async #callFinish(flb: Flb, record: FlbRecord, object: unknown): Promise<void> {
    const start = this.#init.events.start();
    try {
      const given = flb.flb.finish({ object, data: record.data, compatible: record.name });
      if (isPromise(given)) await this.#init.waiter.settle(flb, 'finish', given);
    } catch (error) {
      this.#tellFailure('finish', flb, start, error);
      throw error;
    }
    this.#tell('flb-finished', flb, start);
  }

  #tell(type: FlbEvent['type'], { compatible }: Flb, start: number): void {
    const { events } = this.#init;
    if (events.isHeard) events.emit({ type, flb: compatible, duration: events.since(start) });
  }

  #tellFailure(
    operation: FailedEvent['operation'],
    { compatible }: Flb,
    start: number,
    error: unknown,
  ): void {
    const { events } = this.#init;
    if (events.isHeard)
      events.emit({ type: 'failed', operation, flb: compatible, duration: events.since(start), error });
  }
}
