/**
 * A service in one generation of its process: its memory, its listening sockets, its connections,
 * and how they come to the next generation.
 *
 * Under a supervisor (`liveupdate run`) the next generation is a process beside this one, and waits
 * in `openService` until this one has stopped and sealed. Alone, the process replaces itself.
 *
 * Always: until a next generation that stands by is ready this one can go on, and does where that
 * one fails. One that replaces the process has nobody to go back to, but all of the memory.
 */
import * as net from 'node:net';
import { checkFunction, checkInstance, checkOptions, checkText, codeOf, KernelError } from '@liveupdate/base';
import type { Machine, MachineOptions } from '@liveupdate/kexec';
import { Connections, type Adopt, type Carrying } from './connections.ts';
import type { Line, Predecessor, Successor } from './line.ts';
import {
  addressOfListener,
  checkListenOptions,
  keyOf,
  makeListener,
  type ListenAddress,
  type ListenOptions,
} from './listening.ts';
import { pack } from './parcel.ts';
import type { PassedConnection } from './protocol.ts';
import { StateFiles, type StateFile, type StateOptions } from './state-file.ts';
import { warmUp } from './warm-up.ts';

const fs = process.getBuiltinModule('node:fs');

export interface ServiceOptions extends Pick<MachineOptions, 'size' | 'handlers' | 'huge'> {
  /** Of its RAM (`/dev/shm/liveupdate.NAME`), and by which the command `liveupdate` knows it. */
  readonly name: string;
  /**
   * `'shm'` (default): memory in /dev/shm, which outlives every process. `'memfd'`: memory without
   * a name, which the supervisor holds (or systemd for it) and which ends with it; it needs no
   * /dev/shm, as containers have it, and cannot be enlarged. `'heap'`: memory of this process, for
   * a service's own tests.
   */
  readonly ram?: 'shm' | 'memfd' | 'heap';
  /**
   * Milliseconds that requests may take to end when an upgrade comes; default 5000. What takes
   * longer is cut off.
   */
  readonly drain?: number;
}

const DRAIN = 5000;
/** Milliseconds for which it is waited until a process that ends is gone. */
export const GONE_MS = 10_000;

/** What a generation begins with. */
export interface Begun {
  readonly machine: Machine;
  readonly line: Line | undefined;
  /** The generation that this one took over from, while that one waits. */
  readonly predecessor: Predecessor | undefined;
  readonly listeners: readonly { readonly key: string; readonly fd: number }[];
  readonly connections: readonly PassedConnection[];
  readonly fds: readonly number[];
  /** Connections that could not come. */
  readonly left: number;
}

export const NOTHING: Omit<Begun, 'machine'> = {
  line: undefined,
  predecessor: undefined,
  listeners: [],
  connections: [],
  fds: [],
  left: 0,
};

export class Service {
  readonly name: string;
  readonly machine: Machine;
  readonly #line: Line | undefined;
  readonly #predecessor: Predecessor | undefined;
  readonly #drain: number;
  readonly #files: StateFiles;
  readonly #connections = new Connections();
  /** Listening sockets of the generation before that nobody has asked for. */
  readonly #listeners: Map<string, number>;
  readonly #came: Pick<Begun, 'connections' | 'fds' | 'left'>;
  readonly #before: (() => void | Promise<void>)[] = [];
  readonly #after: (() => void | Promise<void>)[] = [];
  #closing: Promise<void> | undefined;
  /** Whether the memory is there for whoever starts next. */
  readonly #isHeld: boolean;
  /** Whether what an upgrade does was done once, by this generation or with the one before. */
  #isWarm: boolean;
  #state: 'starting' | 'opening' | 'ready' | 'upgrading' | 'over' = 'starting';
  /** Resolves when what is under way is over: becoming ready, or an upgrade. */
  #work: Promise<unknown> = Promise.resolve();

  /** @internal Call openService. */
  constructor({ name, drain = DRAIN }: ServiceOptions, begun: Begun) {
    this.name = name;
    this.machine = begun.machine;
    this.#line = begun.line;
    this.#predecessor = begun.predecessor;
    this.#drain = drain;
    this.#isHeld = begun.machine.path !== undefined || begun.line !== undefined;
    this.#isWarm = begun.predecessor !== undefined;
    this.#files = new StateFiles(begun.machine);
    this.#listeners = new Map(begun.listeners.map(({ key, fd }) => [key, fd]));
    this.#came = begun;
    this.#line?.serve({
      prepare: () => this.#prepare(),
      handOver: (successor) => {
        const giving = this.#giveTo(successor);
        this.#work = giving.catch(() => undefined);
        return giving;
      },
    });
  }

  /** 1 for the first; one more for each upgrade, restart or crash. */
  get generation(): number {
    return this.machine.generation;
  }

  /** Where this generation came from: `'cold'`, `'handover'`, or `'recovered'` from a crash. */
  get origin(): 'cold' | 'handover' | 'recovered' {
    return this.machine.origin;
  }

  /** Whether it runs under `liveupdate run`. */
  get isSupervised(): boolean {
    return this.#line !== undefined;
  }

  /**
   * A file in memory that every generation finds again, and that survives whatever ends the
   * process. Ask for all before `ready`.
   *
   * @throws KernelError EINVAL: no such name or options; asked for after ready; or it is there in
   * another version and `migrate` is missing. EEXIST: asked for twice. ENOSPC: /dev/shm is full.
   * ENOMEM: the RAM of the service is
   */
  file(name: string, options: StateOptions): Promise<StateFile> {
    return this.#files.file(name, options);
  }

  /**
   * Makes a server listen, on one socket for all generations. It accepts from `ready` on; until
   * then clients wait and none is refused, but for the very first generation.
   *
   * Idle connections of a plain `http.Server` go along with an upgrade, and its requests are let
   * end. For other connections see `carry`.
   *
   * @returns where clients find it
   * @throws KernelError EINVAL: no server, no such options, or after ready. EEXIST: it listens
   * already, or another server does there. EADDRINUSE: another program does. EACCES, EADDRNOTAVAIL,
   * ENOENT: there is no listening there
   */
  async listen(server: net.Server, options: ListenOptions): Promise<ListenAddress> {
    checkInstance(server, 'a server', net.Server);
    checkListenOptions(options);
    this.#checkStarting('listen');
    const key = keyOf(options);
    this.#checkListensNot(key);
    const found = this.#listeners.get(key);
    if (found !== undefined) {
      this.#connections.add(server, key, found);
      this.#listeners.delete(key);
      return addressOfListener(found);
    }
    const fd = await makeListener(options);
    try {
      this.#checkStarting('listen'); // others may have come meanwhile
      this.#checkListensNot(key);
      this.#connections.add(server, key, fd);
    } catch (error) {
      fs.closeSync(fd);
      throw error;
    }
    this.#line?.listens(key, fd);
    return addressOfListener(fd);
  }

  /**
   * A connection that is no plain HTTP between two requests goes along all the same: the next
   * generation adopts it. Nothing may be half said on it when its state is asked for.
   *
   * @throws KernelError EINVAL: no connection or options; or an encrypted one, whose keys stay here
   */
  carry(socket: net.Socket, carrying: Carrying): void {
    checkOptions(carrying, 'carry', ['kind', 'state', 'settle', 'resume']);
    const { kind, state, settle, resume } = carrying;
    checkText(kind, 'a kind of connections');
    checkFunction(state, 'what tells the state of a connection');
    if (settle !== undefined) checkFunction(settle, 'what settles a connection');
    if (resume !== undefined) checkFunction(resume, 'what goes on with a connection');
    checkInstance(socket, 'a connection', net.Socket);
    if ('encrypted' in socket)
      throw new KernelError(
        'EINVAL',
        'an encrypted connection cannot be carried: its keys stay in this process',
      );
    this.#connections.carry(socket, carrying);
  }

  /**
   * Takes over connections that the generation before carried under this name.
   *
   * @throws KernelError EEXIST: somebody does already. EINVAL: no function, or after ready
   */
  adopt(kind: string, adopt: Adopt): void {
    checkFunction(adopt, 'what adopts a connection');
    this.#checkStarting('adopt');
    this.#connections.adoptBy(kind, adopt);
  }

  /**
   * Calls `work` when an upgrade comes and before anything stops: to stop timers that store to
   * files, to tell workers and long-lived connections. It may take its time, while all is served.
   */
  beforeUpgrade(work: () => void | Promise<void>): void {
    checkFunction(work, 'what is done before an upgrade');
    this.#before.push(work);
  }

  /** Calls `work` when an upgrade did not come about, and this generation goes on. */
  afterFailedUpgrade(work: () => void | Promise<void>): void {
    checkFunction(work, 'what is done after an upgrade that failed');
    this.#after.push(work);
  }

  /**
   * From now on this generation serves: it owns the memory, accepts, and goes on with the
   * connections of the one before, which ends. All files survive from here on. What nobody asked
   * for is given up: listening sockets, and other versions of the files that were.
   *
   * @throws KernelError EINVAL: a second time. EADDRINUSE and others: a server cannot listen.
   * ENOMEM: no room for records
   */
  async ready(): Promise<void> {
    this.#checkStarting('ready');
    this.#state = 'opening';
    const opening = this.#open();
    this.#work = opening.catch(() => undefined);
    await opening;
  }

  async #open(): Promise<void> {
    const { connections, fds, left } = this.#came;
    this.machine.commit();
    await this.#files.keepNew(); // nobody is told that something is stored where it would not survive
    this.#state = 'ready';
    const unwanted = await this.#connections.open(connections, fds);
    await this.#files.keep();
    this.#predecessor?.committed(); // its end takes a processor for 60 ms per GiB: all is answered now
    for (const [key, fd] of this.#listeners) {
      this.#line?.dropped(key);
      fs.closeSync(fd);
    }
    this.#listeners.clear();
    this.#line?.ready({
      generation: this.generation,
      origin: this.origin,
      adopted: connections.length - unwanted,
      left: left + unwanted,
    });
  }

  /**
   * Upgrades: the next generation takes over. Under a supervisor that starts it (as `liveupdate
   * upgrade NAME` does); alone, this process replaces itself, with the same pid, and what is at the
   * path of the program then is started.
   *
   * @throws KernelError EBUSY: an upgrade is under way. EINVAL: before ready. What Machine.kexec
   * throws; and then everything goes on
   */
  async upgrade(): Promise<void> {
    if (this.#state === 'upgrading') throw new KernelError('EBUSY', 'an upgrade is under way');
    if (this.#state !== 'ready') throw new KernelError('EINVAL', 'a service is upgraded when it is ready');
    if (this.#line?.isOpen) {
      this.#line.upgrade();
      return;
    }
    const upgrading = this.#replace();
    this.#work = upgrading.catch(() => undefined);
    await upgrading;
  }

  async #replace(): Promise<void> {
    this.#state = 'upgrading';
    try {
      await this.#prepare().catch(() => undefined); // it shows again when it counts
      await this.#dropPageTables();
      await this.#stop();
      const packed = pack({ listeners: this.#connections.listeners, ...this.#connections.departing() });
      try {
        await this.machine.kexec(undefined, {
          env: { ...process.env, ...packed.env },
          keepFds: [...packed.keepFds],
        });
      } catch (error) {
        packed.discard();
        throw error;
      }
    } catch (error) {
      await this.#goOn();
      throw error;
    }
  }

  /**
   * Ends this generation politely: requests are let end, and the memory is handed over to whoever
   * starts next. The process should exit then.
   */
  close(): Promise<void> {
    return (this.#closing ??= this.#close());
  }

  async #close(): Promise<void> {
    await this.#work; // an upgrade may end this process, or not
    if (this.#state === 'over') return;
    if (this.#state === 'starting' && this.#predecessor) {
      this.giveUp(); // the generation before goes on
      return;
    }
    this.#state = 'over';
    await this.#connections.close(this.#drain);
    if (this.#isHeld) await this.machine.handOver();
    else this.machine.close(); // nobody could come for it
  }

  /** @internal Lets go of all connections and of the memory: they are another's, or nobody's. */
  letGo(): void {
    this.#state = 'over';
    this.#connections.letGo();
    this.machine.close();
  }

  /** @internal Lets go before it is ready: the generation before goes on. */
  giveUp(): void {
    this.#state = 'over';
    this.#connections.letGo();
    for (const fd of [...this.#came.fds, ...this.#listeners.values()]) fs.closeSync(fd);
    this.machine.abandon();
  }

  async #prepare(): Promise<void> {
    if (this.#isWarm) return;
    this.#isWarm = true;
    await warmUp();
  }

  /** What kexec does before it freezes, and takes long: here everything is still served. */
  async #dropPageTables(): Promise<void> {
    const steps = this.machine.ram.dropPageTables();
    while (steps.next().done !== true) await new Promise((resolve) => setImmediate(resolve));
  }

  /** @param isOver whether it is not wanted any more */
  async #stop(isOver: () => boolean = () => false): Promise<void> {
    for (const work of this.#before) {
      await work();
      if (isOver()) return;
    }
    await this.#connections.stop(this.#drain);
  }

  /** The same for a process that waits for it, and may end meanwhile. */
  async #stopFor({ gone }: Successor): Promise<void> {
    let isGone = false;
    const ended = gone.then((why) => {
      isGone = true;
      throw new KernelError('EIO', why);
    });
    await Promise.race([this.#stop(() => isGone), ended]);
  }

  async #goOn(): Promise<void> {
    this.#state = 'ready';
    await this.#connections.resume();
    for (const work of this.#after) await work();
  }

  /** Hands over to a process that waits for it. */
  async #giveTo(successor: Successor): Promise<void> {
    if (this.#state !== 'ready') {
      successor.refuse();
      this.#line?.resumed('the generation that runs is not ready itself');
      return;
    }
    this.#state = 'upgrading';
    let why: string;
    try {
      await this.#stopFor(successor);
      const sealed = await this.machine.seal();
      const { connections, fds } = this.#connections.departing();
      this.#line?.gave();
      why = await successor.give({ sealed, connections, left: this.#connections.staying }, fds);
    } catch (error) {
      why = error instanceof Error ? error.message : String(error);
      successor.refuse();
    }
    if (why === '' || (await this.#hasCommitted())) {
      this.#state = 'over';
      await this.#connections.end();
      this.#line?.over();
      return;
    }
    await this.#goOn();
    this.#line?.resumed(why);
  }

  /** Goes on with the memory; or says that the next generation has committed, before it died. */
  async #hasCommitted(): Promise<boolean> {
    const end = performance.now() + GONE_MS;
    for (;;) {
      try {
        await this.machine.unseal();
        return false;
      } catch (error) {
        if (codeOf(error) === 'EINVAL') return false; // it was not sealed
        if (codeOf(error) === 'ESTALE') return true;
        if (codeOf(error) !== 'EBUSY' || performance.now() > end) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  #checkListensNot(key: string): void {
    if (this.#connections.listeners.some((other) => other.key === key))
      throw new KernelError('EEXIST', `another server of this service listens at ${key} already`);
  }

  #checkStarting(what: string): void {
    if (this.#state !== 'starting')
      throw new KernelError('EINVAL', `${what}: call it before ready(), and ready() once`);
  }
}
