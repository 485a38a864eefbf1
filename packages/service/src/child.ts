/** A generation as its supervisor sees it: a process, a line to it, and what became of it. */
import { spawn, type ChildProcess } from 'node:child_process';
import type * as net from 'node:net';
import { socketPair } from '@liveupdate/linux';
import { Channel } from './channel.ts';
import { SUPERVISOR_FDS, SUPERVISOR_VARIABLE, type ToGeneration, type ToSupervisor } from './protocol.ts';

const fs = process.getBuiltinModule('node:fs');

/** What a shell makes of a program that cannot be started. */
const NOT_FOUND = 127;

/** How a process ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Child {
  readonly pid: number;
  /** The program and its arguments, by paths that mean the same when links are switched. */
  readonly command: readonly string[];
  readonly ended: Promise<Ended>;
  onMessage: ((message: ToSupervisor, fds: readonly number[]) => void) | undefined;
  /** When it was ready. */
  readyAt: number | undefined;
  generation: number | undefined;
  hasEnded = false;
  /** What it ended of, where it could say so. */
  why: string | undefined;
  /** Whether to start it again would end in the same way. */
  isHopeless = false;
  /** The keys of listening sockets that it made, and that were not there before. */
  readonly listening = new Set<string>();
  readonly #process: ChildProcess;
  readonly #channel: Channel<ToSupervisor, ToGeneration>;

  /** @throws what spawn throws */
  constructor(command: readonly string[], env: NodeJS.ProcessEnv) {
    this.command = command;
    const [packets, theirs] = socketPair('packets');
    try {
      this.#process = spawn(command[0], command.slice(1), {
        stdio: ['inherit', 'inherit', 'inherit', 'pipe', theirs],
        env: { ...withoutManager(env), [SUPERVISOR_VARIABLE]: String(process.pid) },
      });
    } finally {
      fs.closeSync(theirs);
    }
    this.#channel = new Channel(this.#process.stdio[SUPERVISOR_FDS[0]] as net.Socket, packets);
    this.pid = this.#process.pid ?? 0;
    this.ended = new Promise((resolve) => {
      this.#process.once('error', ({ message }) => {
        this.hasEnded = true;
        this.why = message;
        this.isHopeless = true;
        resolve({ code: NOT_FOUND, signal: null });
      });
      this.#process.once('exit', (code, signal) => {
        this.hasEnded = true;
        resolve({ code, signal });
      });
    });
    this.#channel.listen(
      (message, fds) => {
        if (this.onMessage) this.onMessage(message, fds);
        else for (const fd of fds) fs.closeSync(fd);
      },
      () => undefined,
    );
  }

  send(message: ToGeneration, fds: readonly number[] = []): Promise<void> {
    return this.#channel.send(message, fds);
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }
}

/** How a generation ended, in words. */
export function howItEnded({ why, readyAt }: Child, { code, signal }: Ended): string {
  if (signal !== null) return `was ended by ${signal}`;
  const early = code === 0 && readyAt === undefined ? ' before it was ready' : '';
  return `ended with code ${code ?? '?'}${early} (${why ?? 'its own output says why'})`;
}

/** Without what systemd tells its own child: the service is not that, but ours. */
function withoutManager(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const own = /^(?:NOTIFY_SOCKET|LISTEN_(?:PID|FDS|FDNAMES)|WATCHDOG_(?:PID|USEC)|MAINPID)$/;
  return Object.fromEntries(Object.entries(env).filter(([name]) => !own.test(name)));
}
