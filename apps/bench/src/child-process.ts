/**
 * The programs that a trial runs in processes of their own: how they are started, and how they are
 * talked to. They say one line of JSON at a time; a line to them means 'go on', the end of the
 * input means 'end'. A program that fails says so as its last line; one that says nothing for too
 * long is ended.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { RAM_FD_VARIABLE } from '@liveupdate/kexec';
import { CODE_CACHE_VARIABLE, type Failed } from './child-side.ts';
import { PATIENCE, within } from './patience.ts';

/** A program beside this file: built where this one is, a source where this is one. */
export type ChildName =
  | 'bare'
  | 'empty'
  | 'empty-memory'
  | 'first-use'
  | 'killed-service'
  | 'killed-store'
  | 'phases'
  | 'service'
  | 'store'
  | 'stored-map-side'
  | 'trial'
  | 'upgrade-load'
  | 'upgrade-supervisor'
  | 'upgraded-bare'
  | 'upgraded-map'
  | 'upgraded-service'
  | 'upgraded-store'
  | 'upgraded-workers';

/**
 * Whether what runs is built JavaScript, as a user runs it. Sources are stripped of their types at
 * each start, which takes time.
 */
export const IS_BUILT = import.meta.url.endsWith('.js');

export interface ChildOptions {
  /** What the program is told, as JSON in its first argument. */
  readonly argument?: object;
  /** A descriptor that it gets as its number 3. */
  readonly fd?: number;
  /** Arguments of Node. */
  readonly execArgv?: readonly string[];
  /** Whether it tells of failures by its last line alone: a library of its prints them too. */
  readonly isQuiet?: boolean;
  /** Milliseconds until its next line, before it counts as hanging; default PATIENCE.line. */
  readonly patience?: number;
}

/**
 * What Node is told for a quick start: 4 MiB to fill before the first garbage collection, which
 * else falls into the blackout, for 1 to 4 ms.
 */
const QUICK_START = ['--min-semi-space-size=4'];

/** Arguments of Node that run a child. */
function childArguments(name: ChildName, { argument = {}, execArgv = [] }: ChildOptions): string[] {
  const path = (file: string): string => fileURLToPath(new URL(file, import.meta.url));
  const words = JSON.stringify(argument);
  if (!IS_BUILT)
    return ['--conditions=@liveupdate/source', '--no-warnings', ...execArgv, path(`${name}.ts`), words];
  if (BACK_SOON.has(name)) return [...QUICK_START, ...execArgv, path('start.cjs'), name, words];
  return [...execArgv, path(`${name}.js`), words];
}

/** What starts a child, for a program that starts it itself. */
export function childCommand(name: ChildName, argument: object): string[] {
  return [process.execPath, ...childArguments(name, { argument })];
}

/**
 * Programs that are replaced, or killed and started again, and shall be back soon: each is one
 * file, and keeps its compiled code.
 */
const BACK_SOON = new Set<ChildName>([
  'bare',
  'killed-service',
  'killed-store',
  'service',
  'store',
  'upgraded-bare',
  'upgraded-map',
  'upgraded-service',
  'upgraded-store',
  'upgraded-workers',
]);
/** Those, and what starts one of them. */
const KEEPS_CODE = new Set<ChildName>([...BACK_SOON, 'upgrade-supervisor']);

let codeCache: string | undefined;

/** Where these programs keep compiled code. Ends with us. */
function codeCacheDirectory(): string {
  if (codeCache !== undefined) return codeCache;
  const directory = fs.mkdtempSync(join(tmpdir(), 'liveupdate-bench-'));
  process.once('exit', () => {
    fs.rmSync(directory, { recursive: true, force: true });
  });
  return (codeCache = directory);
}

/**
 * Our environment, without what would make a child another program than the one that is measured.
 */
function childEnvironment(name: ChildName): NodeJS.ProcessEnv {
  const env = { ...process.env };
  for (const variable of ['NODE_OPTIONS', 'NODE_COMPILE_CACHE', 'NODE_V8_COVERAGE', RAM_FD_VARIABLE])
    Reflect.deleteProperty(env, variable);
  if (KEEPS_CODE.has(name)) env[CODE_CACHE_VARIABLE] = codeCacheDirectory();
  return env;
}

/** Runs a child that says nothing to its end. */
export async function runToEnd(name: ChildName): Promise<void> {
  const child = spawn(process.execPath, childArguments(name, {}), {
    stdio: 'ignore',
    env: childEnvironment(name),
    timeout: PATIENCE.line,
    killSignal: 'SIGKILL',
  });
  const [status, signal] = (await once(child, 'exit')) as [number | null, string | null];
  if (status !== 0) throw new Error(`the program '${name}' ended with ${status ?? signal}`);
}

/** A program said that it failed, or ended without a word. */
export class ProgramFailed extends Error {
  override readonly name = 'ProgramFailed';
}

/** A running child. Leaving its scope ends it. */
export class Child<Line> implements AsyncDisposable {
  readonly #name: ChildName;
  readonly #patience: number;
  readonly #process: ChildProcess;
  readonly #lines: AsyncIterator<string>;
  readonly #ended: Promise<unknown>;

  constructor(name: ChildName, options: ChildOptions = {}) {
    this.#name = name;
    this.#patience = options.patience ?? PATIENCE.line;
    this.#process = spawn(process.execPath, childArguments(name, options), {
      stdio: [
        'pipe',
        'pipe',
        options.isQuiet === true ? 'ignore' : 'inherit',
        ...(options.fd === undefined ? [] : [options.fd]),
      ],
      env: childEnvironment(name),
    });
    this.#ended = once(this.#process, 'close');
    this.#process.stdin!.on('error', () => undefined); // a child that is gone tells by the end of its output
    this.#lines = createInterface({ input: this.#process.stdout! })[Symbol.asyncIterator]();
  }

  /** The process; the same through all its generations. */
  get pid(): number {
    return this.#process.pid!;
  }

  /**
   * What the child says next.
   *
   * @throws ProgramFailed the child failed, with its message; or it ended without a word
   * @throws KernelError ETIMEDOUT: it says nothing for too long
   */
  async line(): Promise<Line> {
    const what = `the program '${this.#name}'`;
    const next = await within(this.#lines.next(), this.#patience, `${what} says nothing`);
    if (next.done === true) {
      await within(this.#ended, PATIENCE.end, `${what} closes its output and does not end`);
      const { exitCode, signalCode } = this.#process;
      const end = signalCode === null ? `exit code ${exitCode}` : `signal ${signalCode}`;
      throw new ProgramFailed(`${what} ended too early (${end}); what it said stands above`);
    }
    const line = JSON.parse(next.value) as Line & Partial<Failed>;
    if (line.failed !== undefined) throw new ProgramFailed(`${what} failed: ${line.failed}`);
    return line;
  }

  /** Lets the child go on. */
  go(): void {
    this.#process.stdin!.write('\n');
  }

  /** Sends it a signal. */
  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /**
   * Kills it, or ends it by another signal; resolves when the system has taken it down, as a
   * supervisor hears of it.
   */
  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const exit = once(this.#process, 'exit');
    this.#process.kill(signal);
    await within(exit, PATIENCE.end, `the program '${this.#name}' does not end`);
  }

  /** Ends it: by the end of its input, and where that does not help, for certain. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.stdin!.end();
    try {
      await within(this.#ended, PATIENCE.end, `the program '${this.#name}' does not end`);
    } catch {
      this.#process.kill('SIGKILL');
      this.#process.stdout!.destroy(); // another process may hold its other end
      await this.#ended;
    }
  }
}
