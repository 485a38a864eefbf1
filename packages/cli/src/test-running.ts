/** For tests: a real service under the real command, `liveupdate run`. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { liveupdateBytes, liveupdateCommand, type Ran } from './test-cli.ts';

export const FOLDER = fileURLToPath(new URL('../.vitest/', import.meta.url));
/** Of Node, for a program that runs from sources. */
export const FLAGS = ['--conditions=@liveupdate/source', '--no-warnings'];

/** The machine may be busy with something else. */
export const PATIENT = ['--arm-limit', '300000', '--ready-limit', '150000'];

let counter = 0;

/** Counts requests, and says at which it is, and in which generation. */
export const COUNTER = `
import { createServer } from 'node:http';
import { openService } from '@liveupdate/service';
const service = await openService({ name: process.argv[2], size: '16MiB' });
const count = new Uint32Array((await service.file('count', { size: 4096 })).bytes.buffer);
const server = createServer((request, response) => {
  if (request.url === '/die') process.kill(process.pid, 'SIGKILL');
  response.end(\`\${(count[0] += 1)} \${service.generation}\`);
});
const { port } = await service.listen(server, { port: 0, host: '127.0.0.1' });
await service.ready();
process.on('SIGTERM', () => service.close().then(() => process.exit(7)));
process.stdout.write(\`\${port}\\n\`);
`;

/** A service of its own name, its program, and the supervisor that runs it. */
export class TestService implements AsyncDisposable {
  readonly name: string;
  readonly program: string;
  running: Running | undefined;

  constructor() {
    counter += 1;
    this.name = `test-run-${process.pid}-${counter}`;
    fs.mkdirSync(FOLDER, { recursive: true });
    this.program = `${FOLDER}${this.name}.mjs`;
  }

  write(code: string): void {
    fs.writeFileSync(this.program, code);
  }

  /** What starts its program. */
  get words(): string[] {
    return [process.execPath, ...FLAGS, this.program, this.name];
  }

  /** Starts it. Resolves with where it is asked. */
  async start(code = COUNTER, options: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<string> {
    this.write(code);
    this.running = new Running(liveupdateCommand('run', ...PATIENT, ...options, '--', ...this.words), env);
    return this.running.url();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.running?.end('SIGTERM');
    fs.rmSync(this.program, { force: true });
    fs.rmSync(`/dev/shm/liveupdate.${this.name}`, { force: true });
  }
}

/** A process that is a supervisor, or starts one. */
export class Running {
  readonly child: ChildProcess;
  readonly closed: Promise<unknown[]>;
  stdout = '';
  stderr = '';

  constructor([file, ...args]: readonly string[], env: NodeJS.ProcessEnv = {}, hasInput = false) {
    const child = spawn(file, args, {
      stdio: [hasInput ? 'pipe' : 'ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.child = child;
    this.closed = once(child, 'close');
    child.stdout?.on('data', (data: Buffer) => (this.stdout += data.toString()));
    child.stderr?.on('data', (data: Buffer) => (this.stderr += data.toString()));
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  async until(stream: 'stdout' | 'stderr', pattern: RegExp): Promise<string> {
    for (;;) {
      const found = pattern.exec(this[stream]);
      if (found) return found.at(1) ?? found[0];
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  /** Where it is asked, when its program has said so. */
  async url(): Promise<string> {
    return `http://127.0.0.1:${await this.until('stdout', /^(\d+)\r?\n/m)}`;
  }

  async end(signal: NodeJS.Signals): Promise<unknown[]> {
    this.child.kill(signal);
    return this.closed;
  }
}

export async function command(...args: string[]): Promise<Ran> {
  const { status, stdout, stderr } = await liveupdateBytes(...args);
  return { status, stdout: stdout.toString(), stderr };
}

export async function ask(url: string): Promise<string> {
  // No connection is kept: one of a process that was killed would be met by the next question.
  return (await fetch(url, { headers: { connection: 'close' } })).text();
}
