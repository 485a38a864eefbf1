/** A generation as its supervisor sees it: a process, a line to it, and what became of it. */
import { spawn } from 'node:child_process';
import * as net from 'node:net';
import { collectChild, socketPair, type ChildEnd } from '@liveupdate/linux';
import { Channel, type LeftChannel } from './channel.ts';
import { SUPERVISOR_FDS, SUPERVISOR_VARIABLE, type ToGeneration, type ToSupervisor } from './protocol.ts';

const fs = process.getBuiltinModule('node:fs');

/** What a shell makes of a program that cannot be started. */
const NOT_FOUND = 127;
/** How often it is looked, in milliseconds, whether a process has ended: SIGCHLD may be missed. */
const LOOK_MS = 1000;

/** A process of which somebody tells how it ends. */
interface Running {
  readonly pid: number;
  readonly channel: Channel<ToSupervisor, ToGeneration>;
  readonly ended: Promise<ChildEnd>;
  /** Why there is none. */
  readonly failed: Promise<string>;
  kill(signal: NodeJS.Signals): void;
}

/** What a supervisor leaves of a generation that runs to the one that replaces it: plain data. */
export interface LeftChild {
  readonly pid: number;
  readonly command: readonly string[];
  readonly channel: LeftChannel;
  /** Milliseconds since it was ready. */
  readonly readySince: number;
  readonly generation: number | undefined;
}

export class Child {
  readonly pid: number;
  /** The program and its arguments, by paths that mean the same when links are switched. */
  readonly command: readonly string[];
  readonly ended: Promise<ChildEnd>;
  onMessage: ((message: ToSupervisor, fds: readonly number[]) => void) | undefined;
  /** When it was ready. */
  readyAt: number | undefined;
  generation: number | undefined;
  hasEnded = false;
  /** What it ended of, where it could say so. */
  why: string | undefined;
  /** What to do, where to start it again would end in the same way. */
  hopeless: string | undefined;
  /** The keys of listening sockets that it made, and that were not there before. */
  readonly listening = new Set<string>();
  /** And of those that it gave up. */
  readonly dropped = new Set<string>();
  readonly #running: Running;
  /** Messages that somebody waits for. */
  readonly #waiting = new Map<string, PromiseWithResolvers<ToSupervisor>>();

  private constructor(command: readonly string[], running: Running) {
    this.command = command;
    this.#running = running;
    this.pid = running.pid;
    this.ended = running.ended.finally(() => {
      this.hasEnded = true;
    });
    void running.failed.then((why) => {
      this.why = why;
      this.hopeless = 'nothing runs: give a program that is there and can be run, then its arguments';
    });
    running.channel.listen(
      (message, fds) => {
        if (this.onMessage) this.onMessage(message, fds);
        else for (const fd of fds) fs.closeSync(fd);
        this.#waiting.get(message.type)?.resolve(message);
        this.#waiting.delete(message.type);
      },
      () => undefined,
    );
  }

  /** Starts one. Where there is no such program it ends at once. */
  static start(command: readonly string[], env: NodeJS.ProcessEnv): Child {
    return new Child(command, spawned(command, env));
  }

  /** One that the supervisor had started which this one replaced. */
  static adopt({ pid, command, channel, readySince, generation }: LeftChild): Child {
    const child = new Child(command, found(pid, channel));
    child.readyAt = performance.now() - readySince;
    child.generation = generation;
    return child;
  }

  /**
   * Leaves it to the supervisor that replaces this one; `resume` takes it back. Undefined where it
   * has just ended.
   */
  async suspend(): Promise<LeftChild | undefined> {
    const { pid, command, generation, readyAt = performance.now() } = this;
    const channel = await this.#running.channel.suspend();
    return channel && { pid, command, generation, channel, readySince: performance.now() - readyAt };
  }

  resume(): void {
    this.#running.channel.resume();
  }

  /** Resolves when it says this the next time; never, where it ends before. */
  told(type: ToSupervisor['type']): Promise<ToSupervisor> {
    const waiting = this.#waiting.get(type) ?? Promise.withResolvers<ToSupervisor>();
    this.#waiting.set(type, waiting);
    return waiting.promise;
  }

  send(message: ToGeneration, fds: readonly number[] = []): Promise<void> {
    return this.#running.channel.send(message, fds);
  }

  kill(signal: NodeJS.Signals): void {
    if (!this.hasEnded) this.#running.kill(signal);
  }
}

/** @throws what spawn throws */
function spawned(command: readonly string[], env: NodeJS.ProcessEnv): Running {
  const [packets, theirs] = socketPair('packets');
  let child;
  try {
    child = spawn(command[0], command.slice(1), {
      stdio: ['inherit', 'inherit', 'inherit', 'pipe', theirs],
      env: { ...withoutManager(env), [SUPERVISOR_VARIABLE]: String(process.pid) },
    });
  } finally {
    fs.closeSync(theirs);
  }
  const failed = Promise.withResolvers<string>();
  const ended = Promise.withResolvers<ChildEnd>();
  child.once('error', ({ message }) => {
    failed.resolve(message);
    ended.resolve({ code: NOT_FOUND, signal: null });
  });
  child.once('exit', (code, signal) => {
    ended.resolve({ code, signal });
  });
  return {
    pid: child.pid ?? 0,
    channel: new Channel(child.stdio[SUPERVISOR_FDS[0]] as net.Socket, packets),
    ended: ended.promise,
    failed: failed.promise,
    kill: (signal) => child.kill(signal),
  };
}

function found(pid: number, { stream, packets, text }: LeftChannel): Running {
  const ended = new Promise<ChildEnd>((resolve) => {
    const look = (): void => {
      const end = collectChild(pid);
      if (!end) return;
      process.off('SIGCHLD', look);
      clearInterval(again);
      resolve(end);
    };
    const again = setInterval(look, LOOK_MS); // keeps this process, too
    process.on('SIGCHLD', look);
    setImmediate(look); // it may have ended meanwhile
  });
  return {
    pid,
    channel: new Channel(new net.Socket({ fd: stream }), packets, text),
    ended,
    failed: new Promise(() => undefined),
    kill: (signal) => process.kill(pid, signal),
  };
}

/** What a generation is called in messages. */
export function titleOf({ pid, command }: Child): string {
  return pid === 0 ? `'${command[0]}'` : `pid ${pid}`;
}

/** How a generation ended, in words. */
export function howItEnded({ pid, why, readyAt }: Child, { code, signal }: ChildEnd): string {
  if (pid === 0) return `could not be started (${why ?? 'no reason is known'})`;
  if (signal !== null) return `was ended by ${signal}${why === undefined ? '' : ` (${why})`}`;
  const early = code === 0 && readyAt === undefined ? ' before it called ready()' : '';
  const output = code === 0 ? '' : " (its output, beside that of 'liveupdate run', says why)";
  return `ended with code ${code ?? '?'}${early}${why === undefined ? output : ` (${why})`}`;
}

/** Without what this process alone was told, by systemd or the program that it replaced. */
export function withoutManager(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own =
    /^(?:LIVEUPDATE_REPLACED_AT|NOTIFY_SOCKET|LISTEN_(?:PID|FDS|FDNAMES)|WATCHDOG_(?:PID|USEC)|MAINPID)$/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !own.test(name)));
}
