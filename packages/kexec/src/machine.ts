/**
 * A machine: RAM that outlives the process, and the kernel generation that owns it now.
 *
 * open: take the lock, read the boot page, boot. A generation that was handed something becomes the
 * owner when its event loop first turns: one that dies before, because the program is broken or a
 * signal came too early, leaves the handover whole. kexec: freeze, seal the boot page, and be
 * replaced by the next generation in the same process; handOver: the same, and whoever opens the
 * RAM next continues. An owner that dies without either leaves its RAM in the state 'running', and
 * in it a live record of all that it had preserved: whoever opens it next goes on with that.
 */
import { checkFlag, checkOptions, codeOf, KernelError, Undo, withSuppressed } from '@liveupdate/base';
import {
  checkRuntime,
  collectChildren,
  drainOutput,
  isMainThread,
  MappedRam,
  RamFile,
  replaceProcess,
  tryLock,
  unlock,
} from '@liveupdate/linux';
import type { BootPage } from './boot-page.ts';
import { bootGeneration, type Generation, type LastOwner } from './generation.ts';
import { addMachine, checkNotReplacing, Handover, removeMachine } from './handover.ts';
import { ExecFdStore } from './exec-fd-store.ts';
import { adoptPassedRams, fdsOf, leaveFds, passedVariable } from './inherited-rams.ts';
import type { Kernel } from './kernel.ts';
import { checkMachineOptions, type MachineOptions } from './machine-options.ts';
import { nextProgram, noteStart, type KexecOptions } from './next-program.ts';
import { busyMessage, claimRam, cutTo, makeRoom, type ClaimedRam } from './ram-claim.ts';
import { findExisting } from './ram-source.ts';
import { Standby, type SealedRam } from './standby.ts';
import { tellFormats } from './tell-formats.ts';
import type { Tenure } from './tenure.ts';

/** Milliseconds after a commit until the next handover is prepared. */
const PREPARE_MS = 200;

/** How often a RAM that others make and remove at the same time is tried. */
const MOST_TRIES = 1000;

const fs = process.getBuiltinModule('node:fs');

/** A RAM as it was left: which file, whatever it is called, and what its boot page said. */
interface LeftRam {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly firstPage: Uint8Array;
}

/** A RAM of another process, ready to be taken over. */
export interface ArmedMachine {
  /**
   * Takes over, at once: its owner has sealed, or died.
   *
   * @param sealed what `seal` of the owner gave; undefined where it died. Then this generation
   * becomes the owner by itself, else by `commit`
   * @throws KernelError EBUSY: somebody owns it. EBADF: it was taken or released before. Others as
   * Machine.open; the RAM is as it was, and may be tried again
   */
  take(sealed?: SealedRam): Machine;
  /** Gives it up. */
  release(): void;
}

export interface HandOverOptions {
  /**
   * Whether sessions of the generation before that are not finished and whose name is taken by one
   * of this are given up. Default false: EBUSY.
   */
  readonly dropUnfinished?: boolean;
}

export class Machine {
  readonly ram: MappedRam;
  /** Where the RAM can be opened by others; undefined for RAM without a name. */
  readonly path: string | undefined;
  readonly kernel: Kernel;
  /** 1 for the first owner of this RAM, one more for each that follows. */
  readonly generation: number;
  /** Where this generation came from. */
  readonly origin: 'cold' | 'handover' | 'recovered';
  /** Who owned this RAM before; undefined where nobody did, or what it left was given up. */
  readonly lastOwner: LastOwner | undefined;
  /**
   * When the handover that led here began: nanoseconds of CLOCK_MONOTONIC, as
   * process.hrtime.bigint() counts; 0n after a cold boot.
   */
  readonly kexecStart: bigint;
  /**
   * When everything was ready and the freeze began: from then on the generation before served
   * nobody. The same clock.
   */
  readonly kexecFrozen: bigint;
  readonly #file: RamFile;
  readonly #fds: ExecFdStore;
  /** Whether it took over from one that may go on. */
  #isTaken = false;
  /** When it is closed or sealed. */
  #left: LeftRam | undefined;
  readonly #tenure: Tenure;
  /** What the boot page says until this generation owns the RAM. */
  readonly #kept: BootPage | undefined;

  private constructor(ram: MappedRam, { path, file, fds }: ClaimedRam, booted: Generation) {
    this.ram = ram;
    this.path = path;
    this.#file = file;
    this.#fds = fds;
    this.#kept = booted.kept;
    this.#tenure = booted.tenure;
    this.kernel = booted.kernel;
    this.generation = booted.page.generation;
    this.origin = booted.origin;
    this.lastOwner = booted.lastOwner;
    this.kexecStart = booted.page.kexecStart;
    this.kexecFrozen = booted.page.kexecFrozen;
  }

  /**
   * Opens a machine, or makes it. A RAM that was handed over continues where it was; of one whose
   * owner died, what was preserved is there (see onCrash); any other boots cold.
   *
   * @example const machine = await Machine.open({ name: 'my-service', size: '4GiB' });
   *
   * @throws KernelError EBUSY: another process owns it. EIO: its owner died without handing over,
   * and that is to be refused (see onCrash). EINVAL: bad options, not a RAM of liveupdate, of
   * another version, cut short, or with a damaged handover. ENOENT: no such RAM and no size given;
   * or files of a kind that no handler reads. EPERM, EACCES: another user's file, or one that
   * others can write. EPERM also: in a worker thread. ENOMEM, ENOSPC: no room. EOPNOTSUPP: no Linux
   * on x64 or arm64, or no Node.js that can do it. After each of them RAM is as before.
   */
  // Opening is a promise so that recovery may read and check at length without blocking.
  // eslint-disable-next-line @typescript-eslint/require-await
  static async open(options: MachineOptions): Promise<Machine> {
    prepareProcess(options);
    for (let tries = 0; tries < MOST_TRIES; tries++) {
      const machine = Machine.#tryOpen(options);
      if (machine) return machine;
    }
    throw new KernelError('EBUSY', 'others make and remove this RAM all the time: try again');
  }

  /** Undefined where the RAM came or went in between. */
  static #tryOpen(options: MachineOptions): Machine | undefined {
    using undo = new Undo();
    const claimed = claimRam(options, undo);
    if (!claimed) return undefined;
    checkCrash(claimed, options);
    const putBack = makeRoom(claimed);
    undo.add(putBack);
    const ram = MappedRam.of(claimed.file, claimed);
    undo.add(() => {
      putBack(); // while the file is open
      ram.close();
    });
    const machine = new Machine(ram, claimed, bootGeneration({ ...claimed, ram }, options));
    try {
      if (claimed.isNew) claimed.file.link();
    } catch (error) {
      if (codeOf(error) === 'EEXIST') return undefined; // somebody was quicker
      throw error;
    }
    machine.#begin(claimed);
    undo.keep();
    machine.#tenure.ownSoon();
    return machine;
  }

  #begin(claimed: ClaimedRam): void {
    cutTo(claimed.file, this.ram.size);
    claimed.keep();
    if (this.origin === 'cold') this.#fds.closeIncoming(); // nobody will ask for it
    addMachine(this.#tenure);
  }

  /**
   * Makes ready to take over a RAM that another process owns, and disturbs it in nothing: maps it,
   * tries out on a private copy whether what is there can be taken over, and makes the views that
   * its files will want. Takes some 10 ms.
   *
   * @param rehearses false: it tries nothing out and makes nothing ahead. Default true
   * @throws KernelError ENOENT: there is no such RAM, or no handler for a file in it. EAGAIN: its
   * owner changes it all the time. EINVAL, EPERM, EACCES, ENOMEM, EOPNOTSUPP: as open
   */
  static async arm(options: MachineOptions, rehearses = true): Promise<ArmedMachine> {
    checkFlag(rehearses, 'whether it rehearses');
    prepareProcess(options);
    const found = findExisting(options);
    let standby: Standby;
    try {
      standby = new Standby(found, options);
    } catch (error) {
      found.file.close();
      throw error;
    }
    try {
      if (rehearses) await standby.prepare();
    } catch (error) {
      standby.release();
      throw error;
    }
    return {
      take: (sealed) => Machine.#take(standby, options, sealed),
      release: () => {
        standby.release();
      },
    };
  }

  /** Takes over a RAM that is mapped already. */
  static #take(standby: Standby, options: MachineOptions, sealed: SealedRam | undefined): Machine {
    const { ram: mapped } = standby;
    if (!mapped) throw new KernelError('EBADF', 'this RAM was taken over, or given up');
    const claimed = standby.claim();
    using undo = new Undo();
    undo.add(() => {
      unlock(claimed.file.fd);
    });
    checkCrash(claimed, options);
    undo.add(makeRoom(claimed));
    let ram = mapped;
    if (mapped.size !== claimed.size) {
      ram = MappedRam.of(claimed.file, claimed); // the old mapping ends with the process
      mapped.dropPrepared();
    }
    const booted = bootGeneration({ ...claimed, ram }, options, sealed?.lent);
    const machine = new Machine(ram, claimed, booted);
    machine.#begin(claimed);
    undo.keep();
    standby.taken();
    if (sealed) machine.#isTaken = true;
    else machine.#tenure.ownSoon();
    return machine;
  }

  /**
   * From now on this generation owns the RAM, and the one before can no longer go on. It is so by
   * itself as soon as the event loop turns, or something is preserved; where it took over from one
   * that has sealed, when something is preserved, memory gets short, or this is called. A second
   * call does nothing.
   */
  commit(): void {
    if (this.#isClosed) throw new KernelError('EBADF', 'this machine is closed');
    this.#tenure.own();
    setTimeout(() => {
      this.#tenure.ownSoon(); // makes the next handover quick: when clients have their first answers
    }, PREPARE_MS).unref();
    this.ram.dropPrepared();
  }

  /**
   * Hands over to a process that is there already and waits for it (`arm`), and stays: where that
   * one does not commit, `unseal` goes on here as if nothing had happened. Nothing may be stored to
   * files until then; what would take memory from the system is EBUSY.
   *
   * @returns what that process is to be told, for its `take`
   * @throws KernelError EBUSY, EBADF, ENOMEM, ENOENT, EOPNOTSUPP: as handOver. EINVAL: the RAM has
   * no name. What a handler's freeze threw. Then nothing has changed.
   */
  async seal(options: HandOverOptions = {}): Promise<SealedRam> {
    checkHandOver(options, 'seal');
    this.#checkReachable();
    const handover = await Handover.seal(this.#tenure, { isTogether: false, stays: true, ...options });
    let lent: number[];
    try {
      lent = this.#tenure.lend();
      this.#left = leftRam(this.#file);
    } catch (error) {
      throw withSuppressed(error, await handover.callOff());
    }
    unlock(this.#file.fd);
    return { lent };
  }

  /**
   * Goes on after `seal`, where nobody took the RAM over for good.
   *
   * @throws KernelError EBUSY: another process has it now: wait until it has committed or ended.
   * ESTALE: another has committed: this machine is over, close it. EINVAL: it is not sealed. EBADF:
   * closed
   */
  async unseal(): Promise<void> {
    if (this.#isClosed) throw new KernelError('EBADF', 'this machine is closed');
    const left = this.#left;
    if (this.#tenure.state.name !== 'sealed' || !left)
      throw new KernelError('EINVAL', 'this machine is not sealed');
    if (!tryLock(this.#file.fd)) throw new KernelError('EBUSY', busyMessage(this.#file));
    if (!this.#file.firstPage().every((byte, i) => byte === left.firstPage[i])) {
      unlock(this.#file.fd);
      throw new KernelError('ESTALE', 'another generation has committed: what is in this RAM is its now');
    }
    this.#left = undefined;
    const errors = await this.#tenure.callOff();
    if (errors.length > 0) throw withSuppressed(errors[0], errors.slice(1));
  }

  /**
   * Replaces this process by the next generation, with the same pid. Everything preserved in a
   * session survives; all else is given back. Does not return; where it throws, everything goes on
   * as before.
   *
   * The other machines of this process go along, each as it was preserved: the next generation
   * opens them as it opens this one. Children stay its children and are collected when they end.
   *
   * First RAM is taken out of the page tables, step by step, at most 60 ms per GiB in use: events
   * are still served and sessions may still change. Then, with the files frozen, begins the time in
   * which nothing is served; `kexecFrozen` tells the next generation when.
   *
   * @param argv arguments after the program: script and its arguments. Default: those of this
   * process.
   * @throws KernelError EBUSY: a handover is on its way already, of this machine or of one that
   * would go along. EBADF: closed; or a descriptor of keepFds is not open. ENOMEM: what is
   * preserved leaves the next generation no memory to boot. What a handler's freeze threw. ENOENT:
   * the file of a RAM was removed. EPERM: called from a worker thread. EOPNOTSUPP: a worker of
   * node:cluster. EINVAL: no such options; or Node was started with a path that was relative to
   * another working directory. ENOENT, EACCES, ENOEXEC, ETXTBSY, E2BIG, ELOOP and others: the
   * kernel refuses the program, see `replaceProcess` of @liveupdate/linux. It is always the first
   * cause that is thrown; what handlers threw on the way back is attached (`suppressedBy` of
   * @liveupdate/base).
   */
  async kexec(argv?: readonly string[], options: KexecOptions = {}): Promise<never> {
    const program = nextProgram(argv, options);
    const { dropUnfinished } = options;
    const handover = await Handover.seal(this.#tenure, { isTogether: true, dropUnfinished });
    try {
      await drainOutput();
      const { rams } = handover;
      return replaceProcess({
        ...program,
        env: { ...program.env, ...passedVariable(rams) },
        keepFds: [...program.keepFds, ...rams.flatMap(fdsOf)],
      });
    } catch (error) {
      throw withSuppressed(error, await handover.callOff());
    }
  }

  /**
   * Hands over and lets go of the RAM: whoever opens it next continues. The process should exit
   * soon. RAM without a name ends with its last descriptor: use kexec() there. RAM that was opened
   * by a descriptor goes on where somebody else keeps one, as a service manager does.
   *
   * @throws KernelError EBUSY, EBADF, ENOMEM, ENOENT: as kexec. EINVAL: the RAM has no name.
   * EOPNOTSUPP: descriptors are preserved, which go by kexec() alone. What a handler's freeze
   * threw. Then nothing has changed.
   */
  async handOver(options: HandOverOptions = {}): Promise<void> {
    checkHandOver(options, 'handOver');
    this.#checkReachable();
    await Handover.seal(this.#tenure, { isTogether: false, ...options });
    try {
      this.kernel.kho.giveBackFree(); // nobody may come for long: what is free costs nothing until then
    } catch {
      // It is handed over all the same, and costs what it costs.
    }
    this.#end();
  }

  /** @throws KernelError EINVAL: nobody else could open this RAM */
  #checkReachable(): void {
    const { path, as } = this.#tenure.passed;
    if (path !== undefined || as !== undefined) return;
    throw new KernelError(
      'EINVAL',
      'this RAM has no name by which another process could open it: use kexec()',
    );
  }

  /**
   * Brings what is recorded of all preserved files up to date, for whoever comes after a process
   * that dies: positions and seals of memfds, and what other handlers keep. Contents need none:
   * they are in place. Where the service does it, once a second say, is its own choice.
   *
   * @throws KernelError EBADF: closed. EBUSY: a handover is on its way. What a handler's checkpoint
   * threw, such as ENOMEM: that file is recorded as before, all others are up to date.
   */
  async checkpoint(): Promise<void> {
    if (this.#isClosed) throw new KernelError('EBADF', 'this machine is closed');
    await this.kernel.luo.checkpoint();
  }

  /**
   * Gives up all that the machine holds, without a handover: whoever opens the RAM next finds it
   * empty. One that is sealed leaves what it has handed over. A second call does nothing.
   */
  close(): void {
    if (this.#isClosed) return;
    const isSealed = this.#isSealed;
    if (!isSealed) this.#tenure.leaveEmpty();
    this.#end();
  }

  /**
   * Ends a machine that was opened with keepHandover, or took over from one that is sealed and has
   * not committed: the next owner finds what this one found. A second call does nothing.
   *
   * @throws KernelError EINVAL: it is neither: what it was handed is gone already
   */
  abandon(): void {
    const { tenure } = this.#tenure.state;
    if (tenure !== 'guest' && !(tenure === 'trial' && this.#isTaken))
      throw new KernelError('EINVAL', 'what this machine was handed is gone: open it with keepHandover');
    if (this.#isClosed) return;
    if (this.#kept) cutTo(this.#file, this.#kept.ramSize); // it was to be enlarged
    if (this.path !== undefined) {
      leaveFds(this.path, new ExecFdStore(this.#fds.incoming));
      this.#fds.leaveIncoming();
    }
    this.#end();
  }

  /**
   * Ends the machine and removes its RAM file; one that somebody else put in its place is left
   * alone.
   *
   * @throws KernelError EBUSY: it was handed over or closed before, and somebody else owns it now,
   * or did since
   */
  remove(): void {
    const { path } = this;
    if (this.#isSealed) {
      throw new KernelError('EBUSY', 'this machine is sealed for the next generation: unseal or close it');
    }
    if (this.#isClosed) {
      if (path !== undefined && this.#left) removeLeft(path, this.#left);
      return;
    }
    // While the lock is ours: nobody shall become the owner of a file that is then removed.
    if (path !== undefined && this.#file.isAt(path)) MappedRam.remove(path);
    this.close();
  }

  #end(): void {
    this.#tenure.state.take('close');
    this.kernel.end();
    this.#fds.end();
    this.#left ??= leftRam(this.#file);
    removeMachine(this.#tenure);
    this.ram.close();
  }

  get #isSealed(): boolean {
    return this.#tenure.state.name === 'sealed';
  }

  get #isClosed(): boolean {
    return this.#tenure.state.isClosed;
  }
}

function checkHandOver(options: HandOverOptions, what: string): void {
  checkOptions(options, what, ['dropUnfinished']);
  if (options.dropUnfinished !== undefined) checkFlag(options.dropUnfinished, 'dropUnfinished');
}

/** What has to be so, and is done once, before a RAM is looked at. */
function prepareProcess(options: MachineOptions): void {
  checkMachineOptions(options);
  tellFormats(options.handlers);
  checkRuntime();
  if (!isMainThread())
    throw new KernelError(
      'EPERM',
      'a machine is opened in the main thread: share its files with worker threads (mapping.share())',
    );
  checkNotReplacing();
  noteStart();
  adoptPassedRams();
  collectChildren();
}

/**
 * @throws KernelError EIO: the owner died without handing over, and nobody said what to do about it
 */
function checkCrash({ before }: ClaimedRam, { onCrash }: MachineOptions): void {
  if (before?.state !== 'running' || onCrash !== 'refuse') return;
  const pid = before.ownerPid;
  throw new KernelError(
    'EIO',
    `the process that owned this RAM (pid ${pid}) died without handing over: open it without onCrash to find what it had preserved, or pass onCrash: 'cold' to start anew`,
  );
}

function leftRam(file: RamFile): LeftRam {
  const { dev, ino } = fs.fstatSync(file.fd, { bigint: true });
  return { dev, ino, firstPage: file.firstPage() };
}

/**
 * Removes a RAM that is as it was left.
 *
 * @throws KernelError EBUSY: somebody else owns it, or did since
 */
function removeLeft(path: string, left: LeftRam): void {
  let file: RamFile;
  try {
    file = RamFile.open(path);
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return;
    throw error;
  }
  try {
    const { dev, ino, firstPage } = leftRam(file);
    if (dev !== left.dev || ino !== left.ino) return; // somebody put another in its place
    if (!tryLock(file.fd) || !firstPage.every((byte, i) => byte === left.firstPage[i])) {
      throw new KernelError(
        'EBUSY',
        `${path} is another's by now, as this machine let go of it: 'liveupdate remove' ends it`,
      );
    }
    if (file.isAt(path)) MappedRam.remove(path);
  } finally {
    file.close();
  }
}
