/**
 * The process that everyone knows, while generations of the service come and go: it starts them,
 * keeps their listening sockets, lets each take over from the one before, and starts one anew that
 * died. It holds no state of the service and touches none of its memory.
 *
 * Always: at most one generation serves. An upgrade that fails leaves the one before as it was.
 */
import * as net from 'node:net';
import { KernelError } from '@liveupdate/base';
import { drainOutput, replaceProcess, socketPair, type ChildEnd } from '@liveupdate/linux';
import { Child, howItEnded, titleOf, withoutManager, type LeftChild } from './child.ts';
import { Control, endWith, type Answer, type Question } from './control.ts';
import type { ToSupervisor } from './protocol.ts';
import { addressOfListener } from './listening.ts';
import { descriptorOf } from './node-internals.ts';
import { packSupervisor, RENEWAL_FORMAT, tryOut, type LeftSupervisor } from './renewal.ts';
import { resolvedCommand } from './resolved-command.ts';
import {
  checkSupervisorOptions,
  type SupervisorEvent,
  type SupervisorOptions,
  type SupervisorStatus,
} from './supervisor-options.ts';
import { delay, first, within } from './waiting.ts';

const fs = process.getBuiltinModule('node:fs');

const ARM_LIMIT = 60_000;
/** Nobody is answered meanwhile. */
const READY_LIMIT = 3000;
/** Milliseconds for a generation that handed over to end. */
const END_LIMIT = 5000;
/** Milliseconds until a generation that has ended is known to have. */
const END_TOLD = 200;
/** One that served so long, in milliseconds, did not crash at its start. */
const SERVED = 1000;
/** Messages that come with a descriptor. */
const BRINGS: ReadonlySet<string> = new Set(['listens', 'memory']);
/** Crashes at the start in a row until the version before is tried, and until it is given up. */
const MOST_CRASHES = 5;
const FIRST_BACK_OFF = 50;
const MOST_BACK_OFF = 10_000;

export class Supervisor {
  readonly #options: SupervisorOptions;
  readonly #listeners = new Map<string, number>();
  /** Of the service, where that has no name. */
  #memory: number | undefined;
  #name: string | undefined;
  /** What the program calls itself. */
  #calls: string | undefined;
  #control: Control | undefined;
  #current: Child | undefined;
  /** The new version, while it is to take over. */
  #next: Child | undefined;
  /** The last version that served for a while, and is another than the one that runs. */
  #good: readonly string[] | undefined;
  #isUpgrading = false;
  /** The service has been told to end, and is not started again. */
  isStopping = false;
  #isRestarting = false;
  #upgrades = 0;
  #crashes = 0;
  /** Crashes at the start in a row. */
  #inARow = 0;
  #renewals = 0;
  /** Ends the process that tries out the next version of the supervisor. */
  #trial: AbortController | undefined;
  /** Processes whose end is told here. */
  readonly #waitedFor = new Set<number>();
  #whenEnded: ((ended: ChildEnd) => void) | undefined;

  constructor(options: SupervisorOptions) {
    checkSupervisorOptions(options);
    this.#options = options;
    this.#name = options.name;
    this.#memory = options.memory;
    for (const [key, fd] of options.listeners ?? []) this.#listeners.set(key, fd);
    if (options.left) this.#takeOn(options.left);
  }

  #takeOn({ name, calls, counts, good, memory, listeners }: LeftSupervisor): void {
    this.#name = name;
    this.#calls = calls;
    this.#good = good;
    this.#memory = memory;
    ({ upgrades: this.#upgrades, crashes: this.#crashes, inARow: this.#inARow } = counts);
    this.#renewals = counts.renewals + 1;
    for (const { key, fd } of listeners) this.#listeners.set(key, fd);
  }

  /**
   * Runs the service until it ends by itself, is stopped, or cannot be kept alive. Resolves with
   * how the last generation ended.
   *
   * @throws KernelError EBUSY: a supervisor of this name runs already
   */
  async run(): Promise<ChildEnd> {
    const { command, left } = this.#options;
    const ended = new Promise<ChildEnd>((resolve) => {
      this.#whenEnded = resolve;
    });
    if (this.#name !== undefined) this.#openControl(this.#name, left?.control);
    if (left) this.#goOnWith(left);
    else await this.#start(command, 'started');
    const how = await ended;
    this.#control?.close();
    for (const fd of this.#listeners.values()) fs.closeSync(fd);
    this.#listeners.clear();
    if (this.#memory !== undefined) fs.closeSync(this.#memory);
    this.#memory = undefined;
    return how;
  }

  get status(): SupervisorStatus {
    const current = this.#current;
    return {
      name: this.#name,
      pid: process.pid,
      generation: current?.generation,
      servicePid: current?.pid,
      state: this.isStopping
        ? 'stopping'
        : this.#isUpgrading
          ? 'upgrading'
          : this.#isRestarting
            ? 'restarting'
            : current?.readyAt === undefined
              ? 'starting'
              : 'ready',
      upgrades: this.#upgrades,
      crashes: this.#crashes,
      renewals: this.#renewals,
      listeners: [...this.#listeners.keys()],
    };
  }

  /** The port at which clients find a listening socket; 0 for others. */
  portOf(key: string): number {
    const fd = this.#listeners.get(key);
    const address = fd === undefined ? undefined : addressOfListener(fd);
    return address && 'port' in address ? address.port : 0;
  }

  /** Passes a signal to the generation that runs. The service ends with it where it does. */
  signal(signal: NodeJS.Signals): void {
    if (signal === 'SIGTERM' || signal === 'SIGINT') this.isStopping = true;
    if (this.isStopping) this.#trial?.abort();
    if (this.isStopping && this.#next !== this.#current) this.#next?.kill('SIGKILL');
    if (this.#current) this.#current.kill(signal);
    else this.#whenEnded?.({ code: 0, signal: null });
  }

  /**
   * Starts the next version beside the one that runs and lets it take over.
   *
   * @returns how it went: a sentence
   * @throws KernelError EBUSY: an upgrade is under way, or the service is just starting. EIO: the
   * new version did not take over, and the one before goes on, or was started again: why
   */
  async upgrade(): Promise<string> {
    return this.#exclusively(async (old) => {
      try {
        return await this.#upgrade(old);
      } finally {
        this.#next = undefined;
      }
    });
  }

  /**
   * Does something to the generation that runs while nobody else does.
   *
   * @throws KernelError EBUSY: somebody does, or none is ready
   */
  async #exclusively<T>(work: (current: Child) => Promise<T>): Promise<T> {
    const old = this.#atRest();
    this.#isUpgrading = true;
    try {
      return await work(old);
    } finally {
      this.#isUpgrading = false;
      // One that died meanwhile waited for this: the new version may have taken over from it.
      const current = this.#current;
      if (current?.hasEnded) void this.#ended(current, await current.ended, current === old);
    }
  }

  /**
   * The generation that runs.
   *
   * @throws KernelError EBUSY: somebody does something to it, or none is ready
   */
  #atRest(): Child {
    const current = this.#current;
    if (this.#isUpgrading)
      throw new KernelError('EBUSY', 'an upgrade is under way: try again when it is over');
    if (!current || current.readyAt === undefined || this.isStopping)
      throw new KernelError('EBUSY', 'the service is starting, or stopping: try again when it is ready');
    return current;
  }

  /**
   * Replaces this process by the program that is at its path now, with the same pid, which goes on
   * with the service: that notices nothing. Does not return.
   *
   * @param asks a connection on which the next supervisor answers
   * @throws KernelError EBUSY: an upgrade is under way, or the service is just starting. EIO: the
   * program that is there now could not go on here: why. EMFILE, ENOMEM, and what replaceProcess
   * throws. Then this one goes on
   */
  async renew(asks?: net.Socket): Promise<never> {
    if (this.#trial) throw new KernelError('EBUSY', 'the supervisor is being replaced: wait for that');
    this.#atRest(); // else it would be tried out for nothing
    // While it is tried out, all goes on: the service may end, be started again, or upgraded.
    await this.#tryOut();
    return this.#exclusively(async (current) => {
      try {
        const child = await current.suspend();
        const left = child && this.#left(child, asks);
        if (!left) throw new KernelError('EBUSY', 'the service has just ended: try again when it is ready');
        const packed = packSupervisor(left);
        try {
          await drainOutput();
          this.#checkStays();
          const args = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
          replaceProcess({ args, env: { ...environment(), ...packed.env }, keepFds: packed.keepFds });
        } catch (error) {
          packed.discard();
          throw error;
        }
      } catch (error) {
        current.resume();
        throw error;
      }
    });
  }

  /** @throws KernelError EBUSY: the service was told to end meanwhile */
  #checkStays(): void {
    if (this.isStopping) throw new KernelError('EBUSY', 'the service is stopping');
  }

  /** @throws KernelError EIO: the next version could not go on. EBUSY: the service is stopping */
  async #tryOut(): Promise<void> {
    const { trial } = this.#options;
    if (!trial) return;
    const abort = new AbortController();
    this.#trial = abort;
    let number: number | undefined;
    try {
      await tryOut(trial, abort.signal, (pid) => {
        number = pid;
        if (pid !== undefined) this.#waitedFor.add(pid);
      });
    } catch (error) {
      this.#checkStays();
      throw error;
    } finally {
      this.#trial = undefined;
      if (number !== undefined) this.#waitedFor.delete(number);
    }
  }

  /** All that is known here; undefined where nobody could ask for it. */
  #left(child: LeftChild, asks: net.Socket | undefined): LeftSupervisor | undefined {
    const name = this.#name;
    if (name === undefined || !this.#control) return undefined;
    return {
      format: RENEWAL_FORMAT,
      name,
      calls: this.#calls,
      child,
      good: this.#good,
      counts: {
        upgrades: this.#upgrades,
        crashes: this.#crashes,
        inARow: this.#inARow,
        renewals: this.#renewals,
      },
      listeners: [...this.#listeners].map(([key, fd]) => ({ key, fd })),
      memory: this.#memory,
      control: this.#control.fd,
      asks: asks && descriptorOf(asks),
    };
  }

  /** Goes on with the service of the supervisor that this process was. */
  #goOnWith({ child: left, asks }: LeftSupervisor): void {
    const child = Child.adopt(left);
    this.#watch(child);
    this.#current = child;
    const text = `the supervisor (pid ${process.pid}) was replaced, and keeps its number; generation ${left.generation ?? '?'} (pid ${left.pid}) serves`;
    this.#log({ event: 'renewed', text, pid: left.pid, ...generationOf(child) });
    if (asks === undefined) return;
    const socket = new net.Socket({ fd: asks });
    socket.on('error', () => undefined); // who asked is gone
    endWith(socket, { ok: true, text });
  }

  async #upgrade(old: Child): Promise<string> {
    const start = performance.now();
    const next = this.#spawn(this.#options.command);
    this.#next = next;
    const failed = await this.#letTakeOver(old, next);
    if (failed !== undefined) {
      for (const key of next.listening) if (this.#current !== next) this.#drop(key);
      this.#log({ event: 'refused', text: failed, ...pidOf(next) });
      throw new KernelError('EIO', failed);
    }
    this.#good = old.command;
    this.#upgrades += 1;
    await within(old.ended, END_LIMIT, () => {
      old.kill('SIGKILL');
    });
    const ms = Math.round(performance.now() - start);
    const gone =
      next.dropped.size === 0 ? '' : `; nobody listens any more at ${[...next.dropped].join(', ')}`;
    const text = `generation ${next.generation ?? '?'} (pid ${next.pid}) took over from ${old.generation ?? '?'} (pid ${old.pid}), ${ms} ms after it was started${gone}`;
    this.#log({ event: 'upgraded', text, pid: next.pid, ...generationOf(next) });
    return text;
  }

  /** Undefined where the new version serves; else why it does not, and what does. */
  async #letTakeOver(old: Child, next: Child): Promise<string | undefined> {
    const { armLimit = ARM_LIMIT, readyLimit = READY_LIMIT } = this.#options;
    const ended = next.ended.then((how) => `the new version ${howItEnded(next, how)}`);
    const [theirs, ours] = socketPair('stream');
    const [theirPackets, ourPackets] = socketPair('packets');
    let gave: Promise<ToSupervisor> | undefined;
    let resumed: Promise<string> | undefined;
    let why: string | undefined;
    try {
      void old.send({ type: 'prepare' });
      const armed = next.told('armed');
      await this.#hello(next, 'standby', [theirs, theirPackets]);
      why = await first(armed, ended, armLimit, 'the new version was not armed');
      if (why === undefined) {
        gave = old.told('gave');
        resumed = old.told('resumed').then((message) => ('why' in message ? message.why : ''));
        await old.send({ type: 'hand-over' }, [ours, ourPackets]);
      }
    } finally {
      for (const fd of [theirs, ours, theirPackets, ourPackets]) fs.closeSync(fd);
    }
    if (gave && resumed) {
      const ready = next.told('ready');
      // The one before may know of an end sooner, but not what end it was.
      const known = resumed.then((text) => Promise.race([ended, delay(END_TOLD).then(() => text)]));
      const bad = Promise.race([ended, known]);
      // Until then the version before waits for long requests, in a time of its own.
      why = await first(Promise.race([gave, ready]), bad, armLimit, 'the version before did not stop');
      why ??= await first(ready, bad, readyLimit, 'the new version was not ready');
    }
    if (why === undefined) return undefined;
    next.kill('SIGKILL');
    await next.ended;
    if (resumed) await Promise.race([resumed, old.ended, delay(END_LIMIT)]);
    return `${why}: ${old.hasEnded ? 'the version before is started again' : 'the version before goes on'}`;
  }

  async #start(command: readonly string[], event: 'started' | 'crashed'): Promise<void> {
    const child = this.#spawn(command);
    this.#current = child;
    this.#isRestarting = event === 'crashed';
    if (child.pid === 0) return; // how it ended is told
    this.#log({ event: 'started', text: `pid ${child.pid} starts: ${command.join(' ')}`, pid: child.pid });
    const { armLimit = ARM_LIMIT } = this.#options;
    const timer = setTimeout(() => {
      if (child.readyAt !== undefined || this.isStopping) return;
      child.why = `it has not called ready() after ${armLimit} ms`;
      child.kill('SIGKILL');
    }, armLimit);
    void child.ended.then(() => {
      clearTimeout(timer);
    });
    await this.#hello(child, 'first', []);
  }

  #spawn(command: readonly string[]): Child {
    const child = Child.start(resolvedCommand(command), this.#options.env ?? process.env);
    this.#watch(child);
    return child;
  }

  #watch(child: Child): void {
    this.#waitedFor.add(child.pid);
    child.onMessage = (message, fds) => {
      this.#get(child, message, fds);
    };
    void child.ended.then((how) => {
      this.#waitedFor.delete(child.pid);
      return this.#ended(child, how);
    });
  }

  /** Whether this is a process that it has started, or found, and whose end it waits for. */
  waitsFor(pid: number): boolean {
    return this.#waitedFor.has(pid);
  }

  async #hello(child: Child, role: 'first' | 'standby', links: readonly number[]): Promise<void> {
    const listeners = [...this.#listeners];
    const memory = this.#memory === undefined ? [] : [this.#memory];
    await child.send(
      {
        type: 'hello',
        role,
        listeners: listeners.map(([key]) => key),
        hasMemory: memory.length > 0,
        ...(this.#calls === undefined ? {} : { name: this.#calls }),
      },
      [...listeners.map(([, fd]) => fd), ...memory, ...links],
    );
  }

  #get(child: Child, message: ToSupervisor, fds: readonly number[]): void {
    if (fds.length === 0 && BRINGS.has(message.type)) {
      this.#log({
        event: 'note',
        text: `too many files are open here to keep what a service has (${message.type})`,
      });
      return;
    }
    switch (message.type) {
      case 'failed':
        child.why = message.why;
        break;
      case 'owned':
        child.hopeless =
          "another process owns its memory, so it was given up: end that one first (by 'kill'; 'liveupdate list' tells its pid), and start this again";
        break;
      case 'name':
        this.#calls ??= message.name;
        if (this.#name === undefined) {
          this.#name = message.name;
          try {
            this.#openControl(message.name);
          } catch (error) {
            this.#log({ event: 'note', text: messageOf(error) });
          }
        }
        break;
      case 'listens':
        if (child !== this.#current && !this.#listeners.has(message.key)) child.listening.add(message.key);
        this.#keep(message.key, fds[0]);
        break;
      case 'memory':
        this.#hold(fds[0]);
        break;
      case 'dropped':
        child.dropped.add(message.key);
        this.#drop(message.key);
        break;
      case 'ready':
        child.readyAt = performance.now();
        child.generation = message.generation;
        this.#current = child;
        this.#isRestarting = false;
        this.#log({
          event: 'ready',
          text: `generation ${message.generation} (pid ${child.pid}) serves: ${message.origin}, ${cameAlong(message)}`,
          pid: child.pid,
          generation: message.generation,
        });
        break;
      case 'upgrade':
        this.upgrade().catch(() => undefined); // it was logged
        break;
      case 'armed':
      case 'gave':
      case 'resumed':
        break; // who waits for it is told
    }
  }

  // ---- What it holds ----------------------------------------------------------------------------

  #keep(key: string, fd: number): void {
    this.#drop(key);
    this.#listeners.set(key, fd);
  }

  #hold(fd: number): void {
    if (this.#memory !== undefined) fs.closeSync(this.#memory);
    this.#memory = fd;
    this.#options.holds?.(fd);
  }

  #drop(key: string): void {
    const fd = this.#listeners.get(key);
    if (fd !== undefined) fs.closeSync(fd);
    this.#listeners.delete(key);
  }

  // ---- Ends -------------------------------------------------------------------------------------

  /** @param wasReplaced it handed over, to one that is dead: what it ended with says nothing */
  async #ended(child: Child, how: ChildEnd, wasReplaced = false): Promise<void> {
    if (this.#current !== child || this.#isUpgrading) return;
    const isItsWill = this.isStopping || (how.code === 0 && how.signal === null && !wasReplaced);
    if (isItsWill) {
      this.#log({ event: 'ended', text: `${titleOf(child)} ${howItEnded(child, how)}`, ...pidOf(child) });
      this.#whenEnded?.(how);
      return;
    }
    this.#crashes += 1;
    const hasServed = child.readyAt !== undefined && performance.now() - child.readyAt > SERVED;
    this.#inARow = hasServed ? 1 : this.#inARow + 1;
    this.#log({ event: 'crashed', text: `${titleOf(child)} ${howItEnded(child, how)}`, ...pidOf(child) });
    let command = wasReplaced ? child.command : this.#options.command;
    if (child.hopeless !== undefined && child.readyAt === undefined) {
      this.#log({ event: 'ended', text: child.hopeless });
      this.#whenEnded?.(how);
      return;
    }
    if (this.#inARow > MOST_CRASHES) {
      const good = this.#good?.join('\0') === child.command.join('\0') ? undefined : this.#good;
      this.#good = undefined;
      if (!good) {
        this.#log({ event: 'ended', text: `it crashed ${this.#inARow} times in a row: given up` });
        this.#whenEnded?.(how);
        return;
      }
      this.#inARow = 1;
      command = good;
      this.#log({ event: 'note', text: 'the version before is tried' });
    }
    this.#isRestarting = true;
    this.#current = undefined;
    const wait = this.#inARow === 1 ? 0 : Math.min(MOST_BACK_OFF, FIRST_BACK_OFF * 2 ** (this.#inARow - 2));
    if (wait > 0) await delay(wait);
    if (this.isStopping) this.#whenEnded?.(how);
    else await this.#start(command, 'crashed');
  }

  #openControl(name: string, fd?: number): void {
    this.#control = new Control(name, (question, asks) => this.#answer(question, asks), fd);
  }

  async #answer({ ask }: Question, asks: net.Socket): Promise<Answer> {
    switch (ask) {
      case 'status':
        return { ok: true, text: '', status: this.status };
      case 'stop':
        this.signal('SIGTERM');
        return { ok: true, text: 'stopping' };
      case 'upgrade':
      case 'renew':
        try {
          return ask === 'renew' ? await this.renew(asks) : { ok: true, text: await this.upgrade() };
        } catch (error) {
          return { ok: false, text: messageOf(error) };
        }
    }
  }

  #log(event: SupervisorEvent): void {
    this.#options.log?.(event);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Of this process, without what was for its start alone; what systemd is told by goes along. */
function environment(): NodeJS.ProcessEnv {
  const { NOTIFY_SOCKET } = process.env;
  return { ...withoutManager(process.env), ...(NOTIFY_SOCKET === undefined ? {} : { NOTIFY_SOCKET }) };
}

function generationOf({ generation }: Child): { generation: number } | object {
  return generation === undefined ? {} : { generation };
}

/** Nothing where there is no process: 0 would be the group of whoever sends a signal there. */
function pidOf({ pid }: Child): { pid: number } | object {
  return pid === 0 ? {} : { pid };
}

function cameAlong({ adopted, left }: { readonly adopted: number; readonly left: number }): string {
  return `${adopted} connections came along${left === 0 ? '' : `, ${left} could not`}`;
}
