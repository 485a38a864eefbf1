/**
 * The Live Update Orchestrator of one kernel generation (kernel: kernel/liveupdate/luo_core.c).
 *
 * Running: sessions come and go, files are preserved in them. reboot(): every file is frozen, the records are written, and from then on
 * nothing may change, until the next kernel takes over or the reboot is called off. What the previous kernel left is read when first
 * asked for, all of it or none.
 */
import { byteLength, KernelError } from '@liveupdate/base';
import { BlockSet, type Handover, type Kho, type PreservedBlock } from '@liveupdate/kho';
import type { Ram } from '@liveupdate/mm';
import { LUO_COMPATIBLE, LUO_SUBTREE, LuoSer, LuoSessionSer, MAX_SESSION_NAME } from './abi.ts';
import type { FileHandler } from './handler.ts';
import { IncomingSession } from './incoming-session.ts';
import { Mutex } from './mutex.ts';
import { OutgoingSession } from './outgoing-session.ts';
import { readLuo, type FileRecord, type LuoRecords } from './read-luo.ts';
import { HandlerRegistry } from './registry.ts';

export interface OrchestratorInit {
  readonly kho: Kho;
  readonly handlers?: readonly FileHandler[];
}

type Incoming =
  | { readonly state: 'unread' }
  | {
      readonly state: 'read';
      readonly records: LuoRecords | undefined;
      readonly sessions: Map<string, IncomingSession>;
    }
  | { readonly state: 'failed'; readonly error: KernelError };

function checkName(name: string): void {
  const bytes = byteLength(name);
  // Half a surrogate pair has no bytes of its own: two such names would be one name in the record.
  if (bytes < 1 || bytes > MAX_SESSION_NAME || name.includes('\0') || !name.isWellFormed()) {
    throw new KernelError(
      'EINVAL',
      `'${name}' is no session name: 1 to ${MAX_SESSION_NAME} bytes of Unicode text, no NUL`,
    );
  }
}

export class LiveUpdateOrchestrator {
  readonly #kho: Kho;
  readonly #registry = new HandlerRegistry();
  readonly #mutex = new Mutex();
  readonly #preservedIds = new Set<unknown>();
  readonly #outgoing = new Map<string, OutgoingSession>();
  readonly #retrieved = new Set<string>();
  readonly #blocks: BlockSet;
  readonly #record: PreservedBlock;
  #incoming: Incoming = { state: 'unread' };
  #state: 'running' | 'rebooting' | 'handed-over' = 'running';

  /**
   * Begins the outgoing side: an empty record in the subtree `LUO`.
   *
   * @throws KernelError ENOMEM: no page for the record. EINVAL, EEXIST: a handler that cannot be registered.
   */
  constructor({ kho, handlers = [] }: OrchestratorInit) {
    this.#kho = kho;
    for (const handler of handlers) this.#registry.register(handler);
    this.#blocks = new BlockSet(kho, LuoSessionSer.SIZE);
    this.#record = kho.allocPreserve(LuoSer.SIZE);
    this.#record.setString(LuoSer.compatible, LUO_COMPATIBLE);
    const previous = kho.incoming && readNumber(kho.ram, kho.incoming);
    this.#record.setU64(LuoSer.liveupdateNumber, (previous ?? 0n) + 1n);
    kho.addSubtree(LUO_SUBTREE, this.#record.pa, LuoSer.SIZE);
  }

  /** Adds a handler. For the errors see HandlerRegistry.register. */
  registerHandler(handler: FileHandler): void {
    this.#registry.register(handler);
  }

  /**
   * Takes a handler out.
   *
   * @throws KernelError ENOENT: not registered. EBUSY: it has files that are preserved, or of the previous kernel and not finished; or the
   * handover is on its way. EIO: the incoming state cannot be read.
   */
  unregisterHandler(handler: FileHandler): Promise<void> {
    return this.#mutex.run(() => {
      this.#checkRunning();
      if ([...this.incomingSessions, ...this.#outgoing.values()].some((session) => session.uses(handler)))
        throw new KernelError('EBUSY', `handler '${handler.compatible}' still has files in a session`);
      this.#registry.unregister(handler);
    });
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
    return [...this.#readIncoming().sessions.values()];
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
   * A session for the next kernel.
   *
   * @param name 1 to 63 bytes, unique among the outgoing sessions
   * @throws KernelError EINVAL: no such name. EEXIST: taken. ENOMEM, ENOSPC: no room for its record. EBUSY: the handover is on its way.
   */
  createSession(name: string): OutgoingSession {
    checkName(name);
    this.#checkRunning();
    if (this.#outgoing.has(name))
      throw new KernelError('EEXIST', `there is an outgoing session '${name}' already`);
    this.#blocks.announce();
    const session = new OutgoingSession(name, {
      kho: this.#kho,
      registry: this.#registry,
      mutex: this.#mutex,
      preservedIds: this.#preservedIds,
      checkRunning: () => {
        this.#checkRunning();
      },
      forget: (closed) => {
        this.#outgoing.delete(closed.name);
        this.#blocks.retract();
      },
    });
    this.#outgoing.set(name, session);
    return session;
  }

  /**
   * A session that the previous kernel left. Each can be retrieved once.
   *
   * @throws KernelError ENOENT: no incoming session of this name, or finished. EINVAL: no such name, or retrieved already. EIO: the incoming state
   * cannot be read. EBUSY: the handover is on its way.
   */
  retrieveSession(name: string): IncomingSession {
    checkName(name);
    this.#checkRunning();
    const session = this.#readIncoming().sessions.get(name);
    if (!session) throw new KernelError('ENOENT', `the previous kernel left no session '${name}'`);
    if (this.#retrieved.has(name))
      throw new KernelError(
        'EINVAL',
        `session '${name}' was retrieved already: keep what retrieveSession gave`,
      );
    this.#retrieved.add(name);
    return session;
  }

  /**
   * Makes everything ready for the next kernel: freezes all files and writes the records. From then on nothing can change.
   *
   * @throws KernelError EBUSY: a handover is on its way already. What a handler's freeze threw: then all is unfrozen and goes on as before,
   * whatever its unfreeze may throw on top.
   */
  reboot(): Promise<void> {
    return this.#mutex.run(async () => {
      this.#checkRunning();
      this.#state = 'rebooting';
      try {
        for (const session of this.#outgoing.values()) await session.freeze();
      } catch (error) {
        await this.#unfreeze();
        throw error;
      }
      const sessions = this.outgoingSessions;
      this.#blocks.serialise((entry, i) => {
        sessions[i].serialise(entry);
      });
      this.#record.setU64(LuoSer.sessions, this.#blocks.pa);
      this.#state = 'handed-over';
    });
  }

  /**
   * Calls off a handover that reboot() made ready: unfreezes all files, and work goes on.
   *
   * @throws KernelError EINVAL: no handover is on its way. What a handler's unfreeze threw: all others are unfrozen, and work goes on.
   */
  cancelReboot(): Promise<void> {
    return this.#mutex.run(async () => {
      if (this.#state !== 'handed-over') throw new KernelError('EINVAL', 'no handover is on its way');
      this.#record.setU64(LuoSer.sessions, 0);
      const errors = await this.#unfreeze();
      if (errors.length > 0) throw errors[0];
    });
  }

  /** Unfreezes what is frozen, last first, whatever handlers throw; then work goes on. */
  async #unfreeze(): Promise<unknown[]> {
    const errors: unknown[] = [];
    for (const session of this.outgoingSessions.reverse()) await session.unfreeze(errors);
    this.#state = 'running';
    return errors;
  }

  #checkRunning(): void {
    if (this.#state !== 'running')
      throw new KernelError('EBUSY', 'the handover is on its way: nothing can be changed any more');
  }

  #readIncoming(): Extract<Incoming, { state: 'read' }> {
    if (this.#incoming.state === 'unread') {
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
    const { incoming } = this.#kho;
    const records = incoming && readLuo(this.#kho.ram, incoming);
    const sessions = new Map<string, IncomingSession>();
    for (const record of records?.sessions ?? []) {
      const session = new IncomingSession(record, {
        mutex: this.#mutex,
        handlerFor: (file) => this.#handlerFor(file),
        checkRunning: () => {
          this.#checkRunning();
        },
        forget: (finished) => sessions.delete(finished.name),
      });
      sessions.set(record.name, session);
    }
    for (const pa of records?.pages ?? []) this.#kho.restoreFree(pa);
    return { state: 'read', records, sessions };
  }

  #handlerFor(record: FileRecord): FileHandler {
    const handler = this.#registry.forRecord(record.compatible);
    if (!handler) throw new KernelError('ENOENT', `no handler for '${record.compatible}' is registered`);
    return handler;
  }
}

/** The number of the live update that led here; undefined where the previous kernel left no readable record. */
function readNumber(ram: Ram, handover: Handover): bigint | undefined {
  try {
    return readLuo(ram, handover)?.liveupdateNumber;
  } catch (error) {
    if (error instanceof KernelError) return undefined; // said in full when the sessions are asked for
    throw error;
  }
}

/**
 * Compatible strings in a handover that none of these handlers reads: what a program must know before it boots on it.
 *
 * @throws KernelError EINVAL: the LUO records are damaged or of another version
 */
export function missingHandlers(ram: Ram, handover: Handover, handlers: readonly FileHandler[]): string[] {
  const known = new Set(handlers.flatMap((handler) => [handler.compatible, ...(handler.alsoReads ?? [])]));
  const wanted = new Set(
    readLuo(ram, handover)?.sessions.flatMap((session) => session.files.map((file) => file.compatible)),
  );
  return [...wanted].filter((compatible) => !known.has(compatible));
}
