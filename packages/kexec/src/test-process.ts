/** For tests: generations as real Node processes that import the sources. */
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { ramPath } from './ram-source.ts';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const FLAGS = ['--conditions=@liveupdate/source', '--no-warnings'];

let counter = 0;

/** A name for a RAM that no other test has; the RAM is removed by `removeRam`. */
export function testName(): string {
  counter += 1;
  return `test-${process.pid}-${counter}`;
}

export function removeRam(name: string): void {
  fs.rmSync(ramPath(name), { force: true });
}

const PRELUDE = `
import { Machine, RAM_FD_VARIABLE, ramPath } from '@liveupdate/kexec';
import { KernelError, codeOf } from '@liveupdate/base';
const say = (...words) => process.stdout.write(words.join(' ') + '\\n');
const NAME = process.env.TEST_NAME;
`;

/**
 * Writes a program, a file since every kexec runs it again; it is removed when it goes out of
 * scope.
 */
export class Program implements Disposable {
  readonly path: string;
  readonly #folder: string;

  /**
   * @param folder of a package: programs lie in it, so that their imports resolve, in a folder that
   * Git and the linters do not see
   */
  constructor(code: string, folder = PACKAGE) {
    counter += 1;
    this.#folder = folder;
    const programs = `${folder}.vitest/`;
    this.path = `${programs}test-program-${process.pid}-${counter}.mjs`;
    fs.mkdirSync(programs, { recursive: true });
    fs.writeFileSync(this.path, PRELUDE + code);
  }

  /** What starts it, for spawn. */
  command(
    name: string,
  ): [
    file: string,
    args: string[],
    options: { cwd: string; env: NodeJS.ProcessEnv; stdio: ['ignore', 'pipe', 'inherit'] },
  ] {
    const env = { ...process.env, TEST_NAME: name };
    return [
      process.execPath,
      [...FLAGS, this.path],
      { cwd: this.#folder, env, stdio: ['ignore', 'pipe', 'inherit'] },
    ];
  }

  /** Runs it to its end, all its generations. */
  run(name: string): {
    lines: string[];
    status: number | null;
    signal: NodeJS.Signals | null;
    stderr: string;
    pid: number;
  } {
    const ended = spawnSync(process.execPath, [...FLAGS, this.path], {
      cwd: this.#folder,
      env: { ...process.env, TEST_NAME: name },
      encoding: 'utf8',
    });
    const { status, signal, stderr, pid } = ended;
    return { lines: ended.stdout.split('\n').filter((line) => line !== ''), status, signal, stderr, pid };
  }

  /**
   * Runs it to its end beside others: with a descriptor as its number 3, or another environment.
   */
  async runBeside(
    name: string,
    { fd, env = {}, shell }: { fd?: number; env?: NodeJS.ProcessEnv; shell?: string } = {},
  ): Promise<{ lines: string[]; status: number | null; signal: NodeJS.Signals | null; pid: number }> {
    const [file, args, options] = this.command(name);
    const command: [string, string[]] =
      shell === undefined ? [file, args] : ['sh', ['-c', shell, 'sh', file, ...args]];
    const child = spawn(...command, {
      cwd: options.cwd,
      env: { ...options.env, ...env },
      stdio: ['ignore', 'pipe', 'inherit', fd ?? 'ignore'],
    });
    let output = '';
    child.stdout?.on('data', (data: Buffer) => {
      output += data.toString();
    });
    const [status, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null];
    return { lines: output.split('\n').filter((line) => line !== ''), status, signal, pid: child.pid ?? 0 };
  }

  /** Starts it and resolves with its first line. */
  async start(
    name: string,
  ): Promise<{ line: string; pid: number; end: (signal: NodeJS.Signals) => Promise<void> }> {
    const child = spawn(...this.command(name));
    const ended = new Promise<void>((resolve) => {
      child.once('exit', () => {
        resolve();
      });
    });
    const line = await new Promise<string>((resolve) => {
      child.stdout.once('data', (data: Buffer) => {
        resolve(data.toString().trim());
      });
    });
    return {
      line,
      pid: child.pid ?? 0,
      end: (signal) => {
        child.kill(signal);
        return ended;
      },
    };
  }

  /** The same with one to talk to: each line that it is sent is answered by one. */
  async startTalking(name: string): Promise<{
    line: string;
    ask: (line: string) => Promise<string>;
    end: (signal: NodeJS.Signals) => Promise<void>;
  }> {
    const [file, args, options] = this.command(name);
    const child = spawn(file, args, { ...options, stdio: ['pipe', 'pipe', 'inherit'] });
    const answer = async (): Promise<string> => {
      const [data] = (await once(child.stdout, 'data')) as [Buffer];
      return data.toString().trim();
    };
    return {
      line: await answer(),
      ask: (line) => {
        child.stdin.write(`${line}\n`);
        return answer();
      },
      end: async (signal) => {
        child.kill(signal);
        await once(child, 'exit');
      },
    };
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.path, { force: true });
  }
}
