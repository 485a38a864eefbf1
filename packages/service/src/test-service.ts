/** A service under a supervisor, for tests: real processes with real clients. */
import * as fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { SupervisorEvent, SupervisorOptions } from './supervisor-options.ts';
import { Supervisor } from './supervisor.ts';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const FLAGS = ['--conditions=@liveupdate/source', '--no-warnings'];

/** The machine may be busy with something else. */
const PATIENT = { armLimit: 300_000, readyLimit: 150_000 };

let counter = 0;

export function testName(): string {
  counter += 1;
  return `test-service-${process.pid}-${counter}`;
}

/** Numbers under keys: what test-load.ts asks for. */
export const NUMBERS = `
import { createServer } from 'node:http';
import { openService } from '@liveupdate/service';
const { TEST_NAME: name, TEST_SIZE: size = '64MiB' } = process.env;
const service = await openService({ name, size });
const state = await service.file('numbers', { size: '1MiB' });
const numbers = new Uint32Array(state.bytes.buffer);
const server = createServer((request, response) => {
  const key = Number(request.url.slice(1));
  const answer = (text) => {
    response.setHeader('x-pid', process.pid);
    response.end(text);
  };
  if (request.method === 'GET') return answer(String(numbers[key]));
  let body = '';
  request.on('data', (some) => (body += some));
  request.on('end', () => {
    numbers[key] = Number(body);
    answer('');
  });
});
const { port } = await service.listen(server, { port: 0, host: '127.0.0.1' });
await service.ready();
process.on('SIGTERM', () => service.close().then(() => process.exit(0)));
process.stdout.write(port + '\\n');
`;

/** A program in a file, which may become another one. It is removed when it goes out of scope. */
export class ProgramFile implements Disposable {
  readonly path: string;

  constructor(code: string, extension = 'mjs') {
    counter += 1;
    fs.mkdirSync(`${PACKAGE}.vitest`, { recursive: true });
    this.path = `${PACKAGE}.vitest/service-${process.pid}-${counter}.${extension}`;
    this.write(code);
  }

  write(code: string): void {
    fs.writeFileSync(this.path, code);
  }

  get command(): string[] {
    return [process.execPath, ...FLAGS, this.path];
  }

  [Symbol.dispose](): void {
    fs.rmSync(this.path, { force: true });
  }
}

/** A supervisor in this process, and what it tells. */
export class Supervised {
  readonly name: string;
  readonly supervisor: Supervisor;
  readonly events: SupervisorEvent[] = [];
  readonly #ended: Promise<unknown>;
  #whenEvent: (() => void) | undefined;

  constructor(program: ProgramFile, options: Partial<SupervisorOptions> = {}, env: NodeJS.ProcessEnv = {}) {
    this.name = testName();
    this.supervisor = new Supervisor({
      command: program.command,
      ...PATIENT,
      env: { ...process.env, TEST_NAME: this.name, ...env },
      log: (event) => {
        this.events.push(event);
        this.#whenEvent?.();
      },
      ...options,
    });
    this.#ended = this.supervisor.run();
  }

  /** Resolves when this has happened so often. @throws Error nothing more will: what did */
  async event(name: SupervisorEvent['event'], times = 1): Promise<SupervisorEvent> {
    for (;;) {
      const found = this.events.filter(({ event }) => event === name);
      if (found.length >= times) return found[times - 1];
      if (this.events.at(-1)?.event === 'ended')
        throw new Error(`ended before it was ${name}:\n${this.events.map(({ text }) => text).join('\n')}`);
      await new Promise<void>((resolve) => {
        this.#whenEvent = resolve;
      });
    }
  }

  /** Where it listens. */
  get port(): number {
    const key = this.supervisor.status.listeners[0] ?? '';
    return this.supervisor.portOf(key);
  }

  get pid(): number {
    return this.supervisor.status.servicePid ?? 0;
  }

  async stop(): Promise<void> {
    this.supervisor.signal('SIGTERM');
    await this.#ended;
    fs.rmSync(`/dev/shm/liveupdate.${this.name}`, { force: true });
  }
}
