/**
 * The demo of a service whose clients notice nothing: it is upgraded under load, a bad version is
 * refused, and it is killed. Every answer is looked at, and every number that was acknowledged is
 * asked for in the end.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { formatSize, KernelError } from '@liveupdate/base';
import { ramPath } from '@liveupdate/kexec';
import { Supervisor, type SupervisorEvent } from '@liveupdate/service';
import { BIN, CLIENTS_VARIABLE, type DemoClients, type Met } from './demo-upgrade-clients.ts';
import { checkRoom, removeLeftovers } from './demo-room.ts';
import { MOST_KEYS, SERVICE_VARIABLE, type DemoService } from './demo-upgrade-service.ts';
import { printLine } from './output.ts';

export interface DemoUpgradeOptions {
  /** Bytes of state. */
  readonly size: number;
  readonly clients: number;
  readonly upgrades: number;
  readonly json: boolean;
}

/** Milliseconds of load before and after each thing that happens. */
const LOAD_MS = 300;
/** Each has keys of its own, and a descriptor here and there. */
const MOST_CLIENTS = 10_000;
const LEVELS = '▁▂▃▄▅▆▇█';

/** One thing that happened to the service, and what its clients met. */
interface Step {
  readonly what: string;
  readonly said: string;
  readonly met: Met;
}

/** The clients' process. */
class DemoLoad {
  readonly #child: ChildProcessByStdio<Writable, Readable, null>;
  readonly #lines: AsyncIterator<string>;

  constructor(options: DemoClients) {
    this.#child = spawn(process.execPath, roleArguments('clients'), {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, [CLIENTS_VARIABLE]: JSON.stringify(options) },
    });
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  /** Resolves when all of them have been answered. */
  async begun(): Promise<void> {
    await this.#answer();
  }

  async met(): Promise<Met> {
    return (await this.#ask('met')) as Met;
  }

  async end(): Promise<{ right: number; wrong: number }> {
    return (await this.#ask('end')) as { right: number; wrong: number };
  }

  async #ask(line: string): Promise<unknown> {
    this.#child.stdin.write(`${line}\n`);
    return this.#answer();
  }

  async #answer(): Promise<unknown> {
    const next = await this.#lines.next();
    if (next.done === true) throw new KernelError('EIO', 'the clients of the demo have ended');
    return JSON.parse(next.value);
  }

  kill(): void {
    this.#child.kill('SIGKILL');
  }
}

function roleArguments(role: 'service' | 'clients'): string[] {
  return [...process.execArgv, process.argv[1], 'demo-upgrade', '--role', role];
}

/**
 * @throws KernelError EIO: clients noticed something. EINVAL: too many clients or too few bytes.
 * ENOSPC: /dev/shm has no room
 */
export async function runDemoUpgrade(options: DemoUpgradeOptions): Promise<number> {
  const { size, clients, upgrades, json } = options;
  if (clients > MOST_CLIENTS) throw new KernelError('EINVAL', `at most ${MOST_CLIENTS} clients`);
  if (size < 4 * MOST_KEYS)
    throw new KernelError('EINVAL', `give --size at least ${formatSize(4 * MOST_KEYS)}`);
  checkRoom(size, 1);
  removeLeftovers();
  const say = (line: string): void => {
    if (!json) printLine(line);
  };
  const name = `demo-upgrade-${process.pid}`;
  const folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-demo-'));
  const service = { name, size, bad: join(folder, 'bad') } satisfies DemoService;
  const events: SupervisorEvent[] = [];
  const supervisor = new Supervisor({
    command: [process.execPath, ...roleArguments('service')],
    name,
    env: { ...process.env, [SERVICE_VARIABLE]: JSON.stringify(service) },
    log: (event) => events.push(event),
  });
  const generation = async (number: number): Promise<void> => {
    while (supervisor.status.generation !== number) {
      if (over.signal.aborted)
        throw new KernelError('EIO', `the service ended: ${events.at(-1)?.text ?? ''}`);
      await delay(1);
    }
  };
  const over = new AbortController();
  const ended = supervisor.run().finally(() => {
    over.abort();
  });
  const stop = (): void => {
    supervisor.signal('SIGTERM');
  };
  process.once('SIGINT', stop).once('SIGTERM', stop);
  const loads: DemoLoad[] = [];
  try {
    say(
      `liveupdate demo: a service with ${formatSize(size)} in memory and ${clients} clients, under load all the time`,
    );
    say('');
    await generation(1);
    const load = new DemoLoad({
      port: supervisor.portOf(supervisor.status.listeners[0] ?? ''),
      count: clients,
    });
    loads.push(load);
    await load.begun();
    const steps: Step[] = [];
    const step = async (what: string, work: () => Promise<string>): Promise<void> => {
      await delay(LOAD_MS);
      await load.met();
      const said = await work();
      await delay(LOAD_MS);
      const met = await load.met();
      steps.push({ what, said, met });
      say(`${what.padEnd(13)} ${said}`);
      say(`              ${inWords(met)}`);
      if (met.gap > 0) say(`              ${picture(met)}`);
    };
    for (let i = 1; i <= upgrades; i++)
      await step(`upgrade ${i}`, async () => (await supervisor.upgrade()).replace(/, \d+ ms after.*/, ''));
    fs.writeFileSync(service.bad, '');
    await step('a bad version', async () =>
      supervisor.upgrade().catch((error: unknown) => (error as Error).message),
    );
    fs.rmSync(service.bad);
    await step('kill -9', async () => {
      const { servicePid = 0, generation: now = 0 } = supervisor.status;
      process.kill(servicePid, 'SIGKILL');
      await generation(now + 1);
      return `generation ${now + 1} serves, with the same memory and the same sockets`;
    });
    const { right, wrong } = await load.end();
    say('');
    say(
      `verified      ${right + wrong} numbers that were acknowledged: ${wrong === 0 ? 'all are there' : `${wrong} are lost`}`,
    );
    if (json)
      process.stdout.write(`${JSON.stringify({ size, clients, steps, right, wrong }, undefined, 2)}\n`);
    const noticed = steps.slice(0, -1).some(({ met }) => met.failed + met.closed + met.refused > 0);
    if (noticed || wrong > 0 || steps.at(-1)?.met.refused !== 0)
      throw new KernelError('EIO', 'clients have noticed something: see above');
    return 0;
  } finally {
    for (const load of loads) load.kill();
    if (!over.signal.aborted) stop();
    await ended;
    fs.rmSync(folder, { recursive: true });
    fs.rmSync(ramPath(name), { force: true });
  }
}

function inWords({ answered, failed, closed, refused, gap, wait }: Met): string {
  const none = gap > 0 ? `nobody was answered for ${gap.toFixed(1)} ms, ` : '';
  const more = refused > 0 ? `, ${refused} refused` : '';
  return `${none}longest wait ${wait.toFixed(0)} ms; of ${answered.toLocaleString('en')} requests ${failed} failed, ${closed} connections ended${more}`;
}

/** Answers over time: a character for each bin. */
function picture({ bins }: Met): string {
  const most = Math.max(...bins);
  const line = bins.map((count) =>
    count === 0 ? ' ' : LEVELS[Math.min(LEVELS.length - 1, Math.floor((count / most) * LEVELS.length))],
  );
  return `${line.join('')}  answers in each ${BIN} ms`;
}
