/** The command as people run it, for tests: its supervisor and its server are real processes. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { askSupervisor, type SupervisorStatus } from '@liveupdate/service';

const MAIN = fileURLToPath(new URL('main.ts', import.meta.url));
const FLAGS = ['--conditions=@liveupdate/source', '--no-warnings'];

let counter = 0;

/** It is ended, and its memory goes, when it goes out of scope. */
export class TestServer implements AsyncDisposable {
  readonly name: string;
  readonly lines: string[] = [];
  port = 0;
  readonly #child: ChildProcess;

  private constructor(name: string, child: ChildProcess) {
    this.name = name;
    this.#child = child;
  }

  static async start(...args: string[]): Promise<TestServer> {
    counter += 1;
    const at = args.indexOf('--name');
    const name = at < 0 ? `test-cache-${process.pid}-${counter}` : args[at + 1];
    const all = [...FLAGS, MAIN, '--name', name, '--port', '0', '--size', '64MiB', ...args];
    const child = spawn(process.execPath, all, { stdio: ['ignore', 'ignore', 'pipe'] });
    const server = new TestServer(name, child);
    await new Promise<void>((resolve, reject) => {
      child.once('exit', () => {
        reject(new Error(server.lines.join('\n')));
      });
      createInterface({ input: child.stderr }).on('line', (line) => {
        server.lines.push(line);
        const port = / listens at \S+:(\d+)/.exec(line)?.[1];
        if (port === undefined) return;
        server.port = Number(port);
        resolve();
      });
    });
    return server;
  }

  /** As `liveupdate upgrade NAME` does. */
  async upgrade(): Promise<void> {
    const { ok, text } = await askSupervisor(this.name, 'upgrade');
    if (!ok) throw new Error(text);
  }

  async status(): Promise<SupervisorStatus> {
    return (await askSupervisor(this.name, 'status')).status as SupervisorStatus;
  }

  /** `kill -9` of the server. Resolves when the next one serves. */
  async crash(): Promise<void> {
    const { servicePid = 0, generation: before = 0 } = await this.status();
    process.kill(servicePid, 'SIGKILL');
    for (;;) {
      const { state, generation = 0 } = await this.status();
      if (state === 'ready' && generation > before) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Its memory stays. */
  async stop(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.kill('SIGTERM');
    await once(this.#child, 'exit');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    fs.rmSync(`/dev/shm/liveupdate.${this.name}`, { force: true });
  }
}

/** What a program says; or why it cannot be run here. */
export async function run(
  file: string,
  args: readonly string[],
  input = '',
): Promise<{ code: number | null; text: string }> {
  const child = spawn(file, args, { stdio: ['pipe', 'pipe', 'pipe'] });
  let text = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (some: Buffer) => (text += some.toString()));
  child.stdin.end(input);
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, text };
}

/** Why a program of Redis is not there; undefined: it is. */
export function whyNo(
  program: 'redis-cli' | 'redis-benchmark' | 'redis-server' | 'tclsh',
): string | undefined {
  const isThere = program === 'tclsh' ? spawnSync(program, { input: '' }) : spawnSync(program, ['--version']);
  if (!isThere.error) return undefined;
  const debian = {
    'redis-cli': 'redis-tools',
    'redis-benchmark': 'redis-tools',
    'redis-server': 'redis-server',
    tclsh: 'tcl',
  }[program];
  return `${program} is not installed; on Debian: apt-get install ${debian}`;
}
