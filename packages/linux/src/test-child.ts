/** For tests: real Node processes that import the sources, say lines, and die. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';

export const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
/** Beside `./src/*.ts`, which a child imports by relative path. */
const FLAGS = ['--conditions=@liveupdate/source', '--no-warnings', '--input-type=module-typescript'];

/** Arguments of Node for running `code`, a module in TypeScript. */
export function nodeArgs(code: string): string[] {
  return [...FLAGS, '-e', code];
}

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs `code` to its end. */
export function runChild(code: string, env: Record<string, string> = {}): Ended {
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, nodeArgs(code), {
    cwd: PACKAGE,
    env: { ...process.env, ...env },
    encoding: 'utf8',
  });
  return { status, signal, stdout, stderr };
}

/** Runs `code` to its end, where no more than `limit` descriptors may be open. */
export function runLimited(limit: number, code: string): Ended {
  const shell = ['-c', `ulimit -n ${limit} && exec "$0" "$@"`, process.execPath, ...nodeArgs(code)];
  const { status, signal, stdout, stderr } = spawnSync('sh', shell, { cwd: PACKAGE, encoding: 'utf8' });
  return { status, signal, stdout, stderr };
}

/** A running process that is talked to by lines and signals. */
export class Child implements AsyncDisposable {
  readonly process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<NodeJS.Signals | number | null>;

  /** @param fds stand from 3 on in the process */
  constructor(code: string, env: Record<string, string> = {}, fds: readonly number[] = []) {
    const child = spawn(process.execPath, nodeArgs(code), {
      cwd: PACKAGE,
      env: { ...process.env, CHILD_CODE: code, ...env },
      stdio: ['pipe', 'pipe', 'inherit', ...fds],
    });
    this.process = child;
    this.#lines = createInterface({ input: child.stdout as Readable })[Symbol.asyncIterator]();
    this.#ended = new Promise((resolve) => {
      child.once('exit', (status, signal) => {
        resolve(signal ?? status);
      });
    });
  }

  /** The next line that the process says; undefined when it has ended. */
  async line(): Promise<string | undefined> {
    const next = await this.#lines.next();
    return next.done === true ? undefined : next.value;
  }

  /** Sends a signal. */
  signal(signal: NodeJS.Signals): void {
    this.process.kill(signal);
  }

  /** Waits for the end: the signal or the exit status. */
  ended(): Promise<NodeJS.Signals | number | null> {
    return this.#ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill('SIGKILL');
    await this.#ended;
  }
}
