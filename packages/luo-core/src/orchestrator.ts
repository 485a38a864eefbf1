/**
 * The Live Update Orchestrator of one kernel generation (kernel: kernel/liveupdate/luo_core.c).
 *
 * Running: sessions come and go, files are preserved in them. reboot(): every file is frozen, the
 * records are written, and from then on nothing may change, until the next kernel takes over or the
 * reboot is called off. What the previous kernel left is read when first asked for, all of it or
 * none.
 */
import {
  byteLength,
  checkFlag,
  checkFunction,
  checkObject,
  checkList,
  checkOptions,
  checkText,
  KernelError,
} from '@liveupdate/base';
import { BlockSet, type Kho, type PreservedBlock } from '@liveupdate/kho';
import { LUO_COMPATIBLE, LUO_SUBTREE, LuoSer, LuoSessionSer, MAX_SESSION_NAME } from './abi.ts';
import { CallbackWaiter } from './callbacks.ts';
import { EventStream } from './events.ts';
import { FlbSet, type IncomingFlbInfo, type OutgoingFlbInfo } from './flb-set.ts';
import type { FileLifecycleBound } from './flb.ts';
import type { FileHandler } from './handler.ts';
import { IncomingSession, type IncomingShared } from './incoming-session.ts';
import { LiveSessions } from './live-sessions.ts';
import { Mutex } from './mutex.ts';
import { OutgoingSession, type OutgoingShared } from './outgoing-session.ts';
import { readLiveSessions } from './read-live-sessions.ts';
import { readLuo, type LuoRecords } from './read-luo.ts';
import { Reboot } from './reboot.ts';
import { HandlerRegistry, type RegisteredHandler } from './registry.ts';

export interface OrchestratorInit {
  readonly kho: Kho;
  /** Handlers to register, in order. Where live update is off they are left out. */
  readonly handlers?: readonly FileHandler[];
  /**
   * Whether live update is on, as it is by default. Off: what the previous kernel left is not
   * looked at, nothing can be registered or created (EOPNOTSUPP), and reboot() hands nothing over.
   */
  readonly enabled?: boolean;
  /**
   * Milliseconds that the promise of one callback may take, 1 to 2^31 - 1; default: any time. After
   * that the callback counts as if it had thrown ETIMEDOUT, and what its promise does later is not
   * looked at: memory that it took then stays taken.
   */
  readonly callbackTimeLimit?: number;
  /**
   * The clock of the events' durations, in milliseconds from any start. Default: performance.now().
   */
  readonly clock?: () => number;
}

export interface RetrieveSessionOptions {
  /** The older session of this name, which a kernel that died had not finished. Default false. */
  readonly unfinished?: boolean;
}

export interface RebootOptions {
  /**
   * Whether sessions of the previous kernel that are not finished and whose name is taken by one of
   * this are dropped: at once, also where the handover is called off later. Default false: EBUSY.
   */
  readonly dropUnfinished?: boolean;
}

type Incoming =
  | { readonly state: 'unread' }
  | {
      readonly state: 'read';
      readonly records: LuoRecords | undefined;
      /** Those that are not finished, in order. Where two have one name, the later is the newer. */
      readonly sessions: Set<IncomingSession>;
    }
  | { readonly state: 'failed'; readonly error: KernelError };

function checkName(name: string): void {
  const bytes = byteLength(checkText(name, 'a name of a session'));
  // Half a surrogate pair has no bytes of its own: two such names would be one name in the record.
  if (bytes < 1 || bytes > MAX_SESSION_NAME || name.includes('\0') || !name.isWellFormed()) {
    throw new KernelError(
      'EINVAL',
      `'${name}' is no session name: 1 to ${MAX_SESSION_NAME} bytes of Unicode text, no NUL`,
    );
  }
}

export class LiveUpdateOrchestrator {
  /** What happens here, as it happens. */
  readonly events: EventStream;
  readonly #kho: Kho;
  readonly #registry = new HandlerRegistry();
  readonly #mutex = new Mutex();
  readonly #outgoing = new Map<string, OutgoingSession>();
  readonly #retrieved = new WeakSet<IncomingSession>();
  /** The newest of each name, finished or not. */
  readonly #newest = new Map<string, IncomingSession>();
  readonly #flbs: FlbSet;
  /** What every session is given. */
  readonly #shared: OutgoingShared;
  readonly #blocks: BlockSet;
  /** Absent where live update is off. */
  readonly #record: PreservedBlock | undefined;
  /** What is published for whoever comes after a kernel that died. */
  readonly #live: LiveSessions | undefined;
  #incoming: Incoming = { state: 'unread' };
  readonly #reboot: Reboot;

  /**
   * Begins the outgoing side: an empty record in the subtree `LUO`.
   *
   * @throws KernelError ENOMEM: no page for the record. EINVAL, EEXIST, ENOSPC: a handler or an FLB
   * of it that cannot be registered, or no time limit. EEXIST also: this KHO has an orchestrator
   * already.
   */
  constructor(init: OrchestratorInit) {
    checkOptions(init, 'LUO', ['kho', 'handlers', 'enabled', 'callbackTimeLimit', 'clock']);
    const { kho, handlers = [], enabled = true, callbackTimeLimit, clock } = init;
    checkObject(kho, 'a KHO');
    checkFlag(enabled, 'enabled');
    if (clock !== undefined) checkFunction(clock, 'a clock');
    checkList(handlers, 'a list of handlers');
    this.#kho = kho;
    this.events = new EventStream(clock);
    const waiter = new CallbackWaiter(callbackTimeLimit);
    const live = enabled && kho.publication ? new LiveSessions(kho.publication) : undefined;
    this.#live = live;
    if (live) {
      live.whenIdle = (work) => void this.#mutex.run(work);
      kho.pages.whenShort = () => {
        live.tryFlush();
      };
    }
    this.#flbs = new FlbSet({
      kho,
      waiter,
      events: this.events,
      live,
      noteAdopted: (rows) => kho.pages.noteAdopted(rows),
      readIncoming: () => this.#readIncoming().records?.flbs,
    });
    this.#shared = {
      kho,
      registry: this.#registry,
      flbs: this.#flbs,
      mutex: this.#mutex,
      waiter,
      events: this.events,
      live,
      arrivals: new Map(),
      preservedIds: new Set(),
      checkRunning: () => {
        this.#reboot.checkRunning();
      },
      checkLive: () => {
        this.#reboot.checkLive();
      },
      whenCalledOff: (work) => this.#reboot.whenCalledOff(work),
      forget: (closed) => {
        this.#outgoing.delete(closed.name);
        this.#blocks.retract();
      },
    };
    this.#blocks = new BlockSet(kho, LuoSessionSer.SIZE);
    this.#reboot = new Reboot({
      blocks: this.#blocks,
      flbs: this.#flbs,
      events: this.events,
      sessions: this.#outgoing,
      record: () => this.#record,
      kho,
      live,
      unfinished: () => [...this.#readIncoming().sessions],
    });
    if (!enabled) return;
    for (const handler of handlers) this.#register(handler);
    const record = kho.allocRecord(LuoSer.SIZE);
    try {
      record.setString(LuoSer.compatible, LUO_COMPATIBLE);
      const previous = kho.incoming && readNumber(kho);
      record.setU64(LuoSer.liveupdateNumber, BigInt.asUintN(64, (previous ?? 0n) + 1n)); // as Linux counts
      kho.addSubtree(LUO_SUBTREE, record.pa, LuoSer.SIZE);
      kho.publication?.noteUpdate(record.getU64(LuoSer.liveupdateNumber));
    } catch (error) {
      kho.unpreserveFree(record.pa);
      throw error;
    }
    this.#record = record;
  }

  /** Whether live update is on. */
  get isEnabled(): boolean {
    return this.#record !== undefined;
  }

  /** Running; a handover being made; everything ready for the next kernel. */
  get state(): 'running' | 'rebooting' | 'handed-over' | 'ended' {
    return this.#reboot.state;
  }

  /**
   * Adds a handler, behind those that are there, with its `flbs`.
   *
   * @throws KernelError EOPNOTSUPP: live update is off. EINVAL: a required callback is missing
   * (canPreserve, preserve, unpreserve, retrieve, finish), or the compatible string is empty or
   * over 47 bytes. EEXIST: the string is taken. For those of its FLBs see registerFlb. After any of
   * them it is not registered, nor is an FLB of it.
   */
  registerHandler(handler: FileHandler): void {
    this.#checkEnabled();
    this.#register(handler);
  }

  /**
   * Takes a handler out, and its FLBs with it.
   *
   * @throws KernelError ENOENT: not registered. EBUSY: it has files that are preserved, or of the
   * previous kernel and not finished; or the handover is on its way. EIO: the incoming state cannot
   * be read.
   */
  unregisterHandler(handler: FileHandler): Promise<void> {
    return this.#mutex.run(() => {
      const registered = this.#findUnused(handler);
      for (const { flb } of registered.flbs) this.#flbs.unregister(registered, flb);
      this.#registry.unregister(handler);
    });
  }

  /**
   * Registers an FLB with a handler: each file that this handler preserves from now on counts for
   * it. One FLB may be registered with several handlers.
   *
   * @throws KernelError EOPNOTSUPP: live update is off. ENOENT: the handler is not registered.
   * EINVAL: one of the four callbacks is missing, or the compatible string is empty or over 47
   * bytes. EEXIST: registered with this handler already, or another FLB has that string. ENOSPC:
   * there are 63 FLBs. EBUSY: the handover is on its way.
   */
  registerFlb<T>(handler: FileHandler, flb: FileLifecycleBound<T>): void {
    this.#checkEnabled();
    this.#reboot.checkRunning();
    this.#flbs.register(this.#registry.find(handler), flb);
  }

  /**
   * Takes an FLB from a handler; with its last handler it is gone.
   *
   * @throws KernelError ENOENT: not registered with this handler. EBUSY: the handler has files; the
   * FLB's unpreserve failed, and its state is preserved still; or the handover is on its way. EIO:
   * the incoming state cannot be read.
   */
  unregisterFlb<T>(handler: FileHandler, flb: FileLifecycleBound<T>): Promise<void> {
    return this.#mutex.run(() => {
      checkObject(flb, 'an FLB');
      this.#flbs.unregister(this.#findUnused(handler), flb);
    });
  }

  /**
   * The live object of an FLB for the next kernel: what its preserve gave. A callback of a handler
   * finds the same as `flbs.outgoing` in its context.
   *
   * @throws KernelError EINVAL: not registered. ENODATA: no file of its handlers is preserved.
   */
  outgoingFlb<T>(flb: FileLifecycleBound<T>): T {
    return this.#flbs.outgoing(flb);
  }

  /**
   * The live object of an FLB of the previous kernel, made by its retrieve when it is asked for
   * first. A callback of a handler must use `flbs.incoming` of its context instead: this waits for
   * the callback.
   *
   * @throws KernelError EINVAL: not registered. ENOENT: the previous kernel left none of this
   * string. ENODATA: it is finished, or there was no previous kernel with LUO. EIO: what it left
   * cannot be read. EBUSY: the handover is on its way. What its retrieve threw, now or when it was
   * asked first.
   */
  retrieveFlb<T>(flb: FileLifecycleBound<T>): Promise<T> {
    return this.#mutex.run(() => {
      this.#reboot.checkRunning();
      return this.#flbs.incoming(flb);
    });
  }

  /** The registered FLBs, in order. */
  get outgoingFlbs(): OutgoingFlbInfo[] {
    return this.#flbs.outgoingInfo;
  }

  /**
   * FLBs of the previous kernel, also those that nobody registered here.
   *
   * @throws KernelError EIO: the incoming state cannot be read
   */
  get incomingFlbs(): IncomingFlbInfo[] {
    return this.#flbs.incomingInfo;
  }

  /** Compatible strings of the registered handlers, in order. */
  get handlers(): string[] {
    return this.#registry.compatibles;
  }

  /** Sessions for the next kernel, in order of creation. */
  get outgoingSessions(): OutgoingSession[] {
    return [...this.#outgoing.values()];
  }

  /**
   * Sessions of the previous kernel that are not finished.
   *
   * @throws KernelError EIO: the incoming state cannot be read
   */
  get incomingSessions(): IncomingSession[] {
    return [...this.#readIncoming().sessions];
  }

  /**
   * Reads what the previous kernel left, if nobody has asked for it yet: all of it or none. Until
   * then handlers may still be registered for it.
   *
   * @throws KernelError EIO: it is damaged, or no handler reads one of its files. So it will be
   * whenever something of it is asked for.
   */
  readIncoming(): void {
    this.#readIncoming();
  }

  /**
   * How many live updates led to this kernel; 0 after a cold boot.
   *
   * @throws KernelError EIO: the incoming state cannot be read
   */
  get liveupdateNumber(): bigint {
    return this.#readIncoming().records?.liveupdateNumber ?? 0n;
  }

  /**
   * Sessions that were finished are gone for whoever recovers this RAM: else they are when the
   * event loop has turned. Called by Machine.
   */
  flush(): void {
    this.#live?.tryFlush();
  }

  /**
   * The memory of this generation is another's now, or nobody's: every call that would change
   * something is EBADF from here on.
   */
  end(): void {
    this.#reboot.end();
  }

  /**
   * A session for the next kernel.
   *
   * @param name 1 to 63 bytes, unique among the outgoing sessions
   * @throws KernelError EINVAL: no such name. EEXIST: taken. ENOMEM, ENOSPC: no room for its
   * record. EBUSY: the handover is on its way. EOPNOTSUPP: live update is off.
   */
  createSession(name: string): OutgoingSession {
    checkName(name);
    this.#checkEnabled();
    this.#reboot.checkRunning();
    if (this.#outgoing.has(name))
      throw new KernelError('EEXIST', `there is an outgoing session '${name}' already`);
    this.#blocks.announce();
    let slot: number;
    try {
      slot = this.#live?.addSession(name) ?? -1;
    } catch (error) {
      this.#blocks.retract();
      throw error;
    }
    const session = new OutgoingSession(name, this.#shared, slot);
    this.#outgoing.set(name, session);
    if (this.events.isHeard) this.events.emit({ type: 'session-created', session: name });
    return session;
  }

  /**
   * A session that the previous kernel left. Each can be retrieved once.
   *
   * A kernel that died may have left two of one name: its own, and an older one that it had not
   * finished. Without options it is the newer that is given. A file that came in the older and was
   * preserved again is in the newer alone.
   *
   * @param options `unfinished`: the older one. Where kernels died one after the other there may be
   * more: each call gives the next older one
   * @throws KernelError ENOENT: no incoming session of this name, or finished. EINVAL: no such
   * name, or retrieved already. EIO: the incoming state cannot be read. EBUSY: the handover is on
   * its way. EOPNOTSUPP: live update is off.
   */
  retrieveSession(name: string, options: RetrieveSessionOptions = {}): IncomingSession {
    checkName(name);
    checkOptions(options, 'a session', ['unfinished']);
    const { unfinished = false } = options;
    checkFlag(unfinished, 'unfinished');
    this.#checkEnabled();
    this.#reboot.checkRunning();
    const all = [...this.#readIncoming().sessions].filter((session) => session.name === name).reverse();
    const older = all.filter((session) => session !== this.#newest.get(name));
    const session = unfinished
      ? (older.find((each) => !this.#retrieved.has(each)) ?? older.at(0))
      : all.find((each) => each === this.#newest.get(name));
    if (!session)
      throw new KernelError(
        'ENOENT',
        unfinished
          ? `no kernel before the previous one left a session '${name}' unfinished`
          : `the previous kernel left no session '${name}'`,
      );
    if (this.#retrieved.has(session))
      throw new KernelError(
        'EINVAL',
        `session '${name}' was retrieved already: keep what retrieveSession gave`,
      );
    this.#retrieved.add(session);
    if (this.events.isHeard) this.events.emit({ type: 'session-retrieved', session: name });
    return session;
  }

  /**
   * Makes everything ready for the next kernel: freezes all files and writes the records. From then
   * on nothing can change.
   *
   * @throws KernelError EBUSY: a handover is on its way already. What a handler's freeze threw:
   * then all is unfrozen and goes on as before, whatever unfreeze may throw on top: that is
   * attached (`suppressedBy` of base tells it).
   */
  reboot(options: RebootOptions = {}): Promise<void> {
    return this.#mutex.run(() => {
      checkOptions(options, 'a reboot', ['dropUnfinished']);
      const { dropUnfinished = false } = options;
      checkFlag(dropUnfinished, 'dropUnfinished');
      return this.#reboot.begin(dropUnfinished);
    });
  }

  /**
   * Brings what is recorded of all preserved files up to date, in one step, for whoever comes after
   * a kernel that dies: what their handlers keep beside memory, such as positions and seals of
   * memfds. Contents need none: they are in place.
   *
   * @throws KernelError EBUSY: a handover is on its way. What a handler's checkpoint threw first,
   * such as ENOMEM for what it wanted to preserve: that file is recorded as before, all others are
   * up to date; what others threw is attached (`suppressedBy` of base tells it).
   */
  checkpoint(): Promise<void> {
    return this.#mutex.run(() => this.#reboot.checkpoint());
  }

  /**
   * Calls off a handover that reboot() made ready: unfreezes all files, and work goes on.
   *
   * Sessions whose last descriptor was closed meanwhile are closed.
   *
   * @throws KernelError EINVAL: no handover is on its way. What a handler's unfreeze, or such a
   * close, threw first: everything else is done all the same, and work goes on. What came later is
   * attached (`suppressedBy` of base tells it).
   */
  cancelReboot(): Promise<void> {
    return this.#mutex.run(() => this.#reboot.cancel());
  }

  #register(handler: FileHandler): void {
    const registered = this.#registry.register(handler);
    const done: FileLifecycleBound[] = [];
    try {
      for (const flb of handler.flbs ?? []) {
        this.#flbs.register(registered, flb);
        done.push(flb);
      }
    } catch (error) {
      for (const flb of done.reverse()) this.#flbs.unregister(registered, flb);
      this.#registry.unregister(handler);
      throw error;
    }
  }

  /** A registered handler that has no files, here or from the previous kernel. */
  #findUnused(handler: FileHandler): RegisteredHandler {
    this.#reboot.checkRunning();
    const registered = this.#registry.find(handler);
    this.#readIncoming();
    if (registered.files > 0)
      throw new KernelError('EBUSY', `${registered.title} still has ${registered.files} files in a session`);
    return registered;
  }

  #checkEnabled(): void {
    if (!this.isEnabled) throw new KernelError('EOPNOTSUPP', 'live update is off');
  }

  #readIncoming(): Extract<Incoming, { state: 'read' }> {
    if (this.#incoming.state === 'unread') {
      this.#reboot.checkLive();
      try {
        this.#incoming = this.#read();
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : String(cause);
        const error = new KernelError('EIO', `what the previous kernel left cannot be read: ${reason}`, {
          cause,
        });
        this.#incoming = { state: 'failed', error };
      }
    }
    if (this.#incoming.state === 'failed') throw this.#incoming.error;
    return this.#incoming as Extract<Incoming, { state: 'read' }>;
  }

  #read(): Incoming {
    const { incoming, ram } = this.#kho;
    const found = this.#live?.publication.found;
    const handed = this.isEnabled && incoming ? readLuo(ram, incoming) : undefined;
    const live = found && readLiveSessions(ram, found);
    const records = live ?? handed;
    const sessions = new Set<IncomingSession>();
    const handlers = this.#handlersFor(records);
    const shared: IncomingShared = {
      ...this.#shared,
      noteAdopted: (rows) => this.#kho.pages.noteAdopted(rows),
      handlerFor: ({ compatible }) => handlers.get(compatible)!,
      forget: (finished) => {
        sessions.delete(finished);
        return sessions.size === 0;
      },
    };
    for (const record of records?.sessions ?? []) {
      const session = new IncomingSession(record, shared);
      sessions.add(session);
      this.#newest.set(record.name, session);
    }
    for (const pa of handed?.pages ?? []) this.#kho.restoreFree(pa);
    if (live) this.#live.flbs.keepOnly(new Set(live.flbs.map(({ flbs }) => flbs)));
    return { state: 'read', records, sessions };
  }

  /**
   * Who reads the records, by their string. ENOENT where nobody reads one: then nothing has
   * changed.
   */
  #handlersFor(records: LuoRecords | undefined): Map<string, RegisteredHandler> {
    const handlers = new Map<string, RegisteredHandler>();
    for (const { files } of records?.sessions ?? []) {
      for (const { compatible } of files) {
        if (handlers.has(compatible)) continue;
        const handler = this.#registry.forRecord(compatible);
        if (!handler) throw new KernelError('ENOENT', `no handler for '${compatible}' is registered`);
        handlers.set(compatible, handler);
      }
    }
    return handlers;
  }
}

/**
 * The number of the live update that led here; undefined where the previous kernel left no readable
 * record.
 */
function readNumber({ ram, incoming, publication }: Kho): bigint | undefined {
  if (publication?.found) return publication.found.liveupdateNumber;
  try {
    return incoming && readLuo(ram, incoming)?.liveupdateNumber;
  } catch (error) {
    if (error instanceof KernelError) return undefined; // said in full when the sessions are asked for
    throw error;
  }
}
