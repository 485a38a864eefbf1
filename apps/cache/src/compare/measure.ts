/** What is measured of one server, once: it is filled, asked, replaced and killed. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fill, Load } from './load.ts';
import { processorSeconds, type Running, type Side } from './sides.ts';

/** How much is done. */
export interface Plan {
  /** Values that are there before, and bytes of each. */
  readonly values: number;
  readonly bytes: number;
  /** Requests of redis-benchmark, one at a time; of pipelined ones five times as many. */
  readonly requests: number;
  readonly clients: number;
  /** Milliseconds of load before something happens, and after it. */
  readonly load: number;
}

/** What clients met when the server was replaced, or killed. */
export interface Incident {
  readonly lost: number;
  readonly acknowledged: number;
  /** Milliseconds in which nobody was answered. */
  readonly gap: number;
  readonly errors: number;
}

/** Requests a second: as the clients saw it, and for a second of the server's processor. */
export interface Rate {
  readonly seen: number;
  readonly ofCore: number;
}

export interface Measured {
  readonly upgrade: Incident;
  readonly kill: Incident;
  /** Bytes of memory with all values in it. */
  readonly memory: number;
  /** By redis-benchmark; none where it does not speak the protocol. */
  readonly rates: Readonly<Record<string, Rate>>;
}

/** Requests that one connection sends together. */
const PIPELINE = 16;
const CONNECTIONS = 50;
/** The core of redis-benchmark: not that of the server. */
const CORE = '1';

export async function measure(side: Side, plan: Plan): Promise<Measured> {
  const folder = fs.mkdtempSync(join(tmpdir(), 'liveupdate-compare-'));
  const running = side.make(folder);
  try {
    await running.start();
    await fill(running.socket, side.protocol, plan.values, plan.bytes);
    const memory = await running.memory();
    const rates = side.protocol === 'redis' ? await ratesOf(running, plan) : {};
    const upgrade = await incident(side, running, plan, () => running.replace());
    const kill = await incident(side, running, plan, () => running.crash());
    return { upgrade, kill, memory, rates };
  } finally {
    await running.stop();
    fs.rmSync(folder, { recursive: true, force: true });
  }
}

async function incident(
  side: Side,
  running: Running,
  plan: Plan,
  happens: () => Promise<void>,
): Promise<Incident> {
  const load = new Load(running.socket, side.protocol, plan.clients);
  await delay(plan.load);
  load.met();
  await happens();
  await delay(plan.load);
  const { gap, errors } = load.met();
  const { lost, of } = await load.end();
  return { lost, acknowledged: of, gap, errors };
}

async function ratesOf(running: Running, { requests }: Plan): Promise<Record<string, Rate>> {
  const rates: Record<string, Rate> = {};
  for (const command of ['set', 'get']) {
    rates[command] = await rateOf(running, command, requests, 1);
    rates[`${command} x ${PIPELINE}`] = await rateOf(running, command, 5 * requests, PIPELINE);
  }
  return rates;
}

async function rateOf(running: Running, command: string, requests: number, pipeline: number): Promise<Rate> {
  const pids = await running.pids();
  const before = processorSeconds(pids);
  const counts = [
    '-n',
    String(requests),
    '-c',
    String(CONNECTIONS),
    '-P',
    String(pipeline),
    '-d',
    '100',
    '-r',
    '100000',
  ];
  const args = ['-c', CORE, 'redis-benchmark', '-s', running.socket, '-t', command, ...counts, '--csv'];
  const child = spawn('taskset', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.on('data', (some: Buffer) => (text += some.toString()));
  const [code] = (await once(child, 'close')) as [number | null];
  const seen = Number(/^"(?:SET|GET)","([\d.]+)"/m.exec(text)?.[1]);
  if (code !== 0 || !(seen > 0)) throw new Error(`redis-benchmark ended with code ${code}: ${text}`);
  return { seen, ofCore: requests / (processorSeconds(pids) - before) };
}
