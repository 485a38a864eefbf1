/** A server of our own that a trial ends and starts again. It ends with us at the latest. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import { KernelError } from '@liveupdate/base';
import { PATIENCE, within } from './patience.ts';

/** What a program says about its version; undefined where it is not installed. */
export function versionOf(program: string, pattern: RegExp): string | undefined {
  const { stdout, status } = spawnSync(program, ['--version'], {
    encoding: 'utf8',
    timeout: PATIENCE.question,
  });
  return status === 0 ? (pattern.exec(stdout)?.[1] ?? 'unknown') : undefined;
}

export class ServerProcess implements AsyncDisposable {
  readonly #program: string;
  readonly #args: readonly string[];
  #server: ChildProcess;
  readonly #kill = (): void => {
    this.#server.kill('SIGKILL');
  };

  constructor(program: string, args: readonly string[]) {
    this.#program = program;
    this.#args = args;
    this.#server = this.#spawn();
    process.once('exit', this.#kill);
  }

  /** Waits until the server is as it should be. @throws KernelError ETIMEDOUT: it never is */
  async until(isThere: () => Promise<boolean>): Promise<void> {
    const end = Date.now() + PATIENCE.server;
    while (!(await isThere())) {
      if (Date.now() > end || this.#hasEnded())
        throw new KernelError('ETIMEDOUT', `${this.#program} does not come up with its data`);
      await setTimeout(1);
    }
  }

  /** Lets the server end as it is asked to. */
  async stop(ask: () => void): Promise<void> {
    const ended = once(this.#server, 'exit');
    ask();
    await within(ended, PATIENCE.server, `${this.#program} does not end`);
  }

  /** Starts another, where the one before has ended. */
  start(): void {
    this.#server = this.#spawn();
  }

  signal(name: NodeJS.Signals): void {
    this.#server.kill(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('exit', this.#kill);
    if (this.#hasEnded()) return;
    const ended = once(this.#server, 'exit');
    this.#kill();
    await ended;
  }

  #hasEnded(): boolean {
    return this.#server.exitCode !== null || this.#server.signalCode !== null;
  }

  #spawn(): ChildProcess {
    const server = spawn(this.#program, this.#args, { stdio: 'ignore' });
    server.on('error', () => undefined); // it does not come up, which is told
    return server;
  }
}
