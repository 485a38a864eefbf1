/**
 * The service that the README shows, as it stands there: run, asked, upgraded by its signal, killed
 * at any moment, asked again.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { removeRam, testName } from './test-process.ts';

const PACKAGE = fileURLToPath(new URL('..', import.meta.url));
const README = fileURLToPath(new URL('../README.md', import.meta.url));

function serviceCode(): string {
  const code = /<!-- example: file service\.ts -->\s*```ts\n([^`]*(?:`(?!``)[^`]*)*)```/.exec(
    fs.readFileSync(README, 'utf8'),
  )?.[1];
  if (code === undefined) throw new Error('the README has no service.ts');
  return code;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Asks until the service answers: it needs a moment to start, and to be replaced. */
async function ask(child: ChildProcess, port: number, generation?: number): Promise<string> {
  while (child.exitCode === null && child.signalCode === null) {
    try {
      const response = await fetch(`http://127.0.0.1:${port}/`, { headers: { connection: 'close' } });
      const text = await response.text();
      if (generation === undefined || text.includes(`generation ${generation},`)) return text;
    } catch {
      // not up yet
    }
    await delay(20);
  }
  throw new Error(`the service ended: ${String(child.exitCode ?? child.signalCode)}`);
}

/** The service, in a RAM of its own. */
class Service {
  readonly port: number;
  readonly #path: string;
  readonly #code: string;

  private constructor(port: number, path: string, code: string) {
    this.port = port;
    this.#path = path;
    this.#code = code;
  }

  static async write(): Promise<Service> {
    const name = testName();
    const path = `${PACKAGE}${name}.tmp.ts`;
    onTestFinished(() => {
      fs.rmSync(path, { force: true });
      removeRam(name);
    });
    return new Service(await freePort(), path, serviceCode().replace("'counter'", `'${name}'`));
  }

  /** @param edit another version of the program */
  start(edit = (code: string): string => code): ChildProcess {
    fs.writeFileSync(this.#path, edit(this.#code));
    const child = spawn(process.execPath, ['--conditions=@liveupdate/source', '--no-warnings', this.#path], {
      cwd: PACKAGE,
      env: { ...process.env, PORT: String(this.port) },
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    return child;
  }

  async ask(child: ChildProcess, generation?: number): Promise<string> {
    return ask(child, this.port, generation);
  }

  /** Number of the request that it answers. */
  async count(child: ChildProcess): Promise<number> {
    return Number(/^request (\d+), /.exec(await this.ask(child))?.[1]);
  }
}

describe('the service in the README', () => {
  it('keeps counting through upgrades, with the same pid, and when it is stopped and started, also in vain', async () => {
    const service = await Service.write();
    const { port } = service;
    const began = performance.now();
    const child = service.start();
    await service.ask(child, 1);
    const took = performance.now() - began;
    let last = 0;
    for (let generation = 1; generation <= 4; generation++) {
      const answer = await service.ask(child, generation);
      const count = Number(/^request (\d+), /.exec(answer)?.[1]);
      expect(count).toBeGreaterThan(last);
      expect(answer).toContain(`pid ${child.pid ?? 0}`);
      last = count;
      child.kill('SIGUSR2');
    }
    const again = await service.ask(child, 5);
    last = Number(/^request (\d+), /.exec(again)?.[1]);
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
    const other = createServer().listen(port, () => undefined);
    await once(other, 'listening');
    expect(await once(service.start(), 'exit')).toEqual([1, null]); // generation 6: it cannot serve, and hands over
    other.close();
    // A second signal that comes before the new generation has its handlers ends the process, and
    // not the memory.
    for (const share of [0.3, 0.6, 0.75, 0.9, 1]) {
      const stopped = service.start();
      const ended = once(stopped, 'exit');
      await delay(share * took); // at any moment of the start, however long it takes here
      stopped.kill(share === 0.75 ? 'SIGINT' : 'SIGTERM');
      await ended;
    }
    expect(await service.count(service.start())).toBe(last + 1);
  });

  it('loses nothing when it is killed: while it serves, at any moment of a start, in the midst of an upgrade', async () => {
    const service = await Service.write();
    const kill = async (child: ChildProcess): Promise<void> => {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      expect(await ended).toEqual([null, 'SIGKILL']);
    };
    // Of the first start too: what it had not preserved is not there, and nothing is in the way.
    const began = performance.now();
    const first = service.start();
    await service.ask(first);
    const took = performance.now() - began;
    let last = 1;
    await kill(first);
    for (let round = 0; round < 3; round++) {
      const child = service.start();
      expect(await service.count(child)).toBe(last + 1);
      expect(await service.count(child)).toBe(last + 2);
      last += 2;
      await kill(child);
    }
    for (let share = 0.5; share <= 1; share += 0.07) {
      const child = service.start();
      await delay(share * took);
      await kill(child);
    }
    for (const share of [0, 0.1, 0.3, 0.7]) {
      const child = service.start();
      last += 1;
      expect(await service.count(child)).toBe(last);
      child.kill('SIGUSR2'); // it replaces itself ...
      await delay(share * took);
      await kill(child); // ... or was about to
    }
    expect(await service.count(service.start())).toBe(last + 1);
  });

  it('starts where one died before it had preserved anything, again and again', async () => {
    const service = await Service.write();
    const die = "process.kill(process.pid, 'SIGKILL');";
    const preserve = "await luo.createSession('service').preserve(state, 1);";
    const deaths = [
      ['const left =', `${die} const left =`],
      [preserve, `luo.createSession('service'); ${die}`],
      [preserve, `${preserve} ${die}`],
    ] as const;
    const dieEverywhere = async (): Promise<void> => {
      for (const [where, how] of [...deaths.slice(0, 2), ...deaths.slice(0, 2), ...deaths]) {
        const child = service.start((code) => code.replace(where, how));
        expect(await once(child, 'exit')).toEqual([null, 'SIGKILL']);
      }
    };
    await dieEverywhere(); // in a RAM that is new
    const child = service.start();
    expect([await service.count(child), await service.count(child)]).toEqual([1, 2]);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await dieEverywhere();
    expect(await service.count(service.start())).toBe(3);
  });
});
