/**
 * The servers that are compared: how each is started, replaced by its next version, killed, and
 * where it keeps what. Each runs on one core, listens on a Unix socket of ours, and ends with us.
 */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import * as net from 'node:net';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { askSupervisor, type SupervisorStatus } from '@liveupdate/service';

/** The core of the server; the clients have the others. */
const CORE = '0';
/** What all of them may keep. */
const MEBIBYTES = 1024;
/** As it is installed: bundled. */
const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));
const VALKEY = process.env['LIVEUPDATE_VALKEY'] ?? 'valkey-server';

export type Protocol = 'redis' | 'memcached';

/** One way to keep what a cache has. */
export interface Side {
  readonly name: string;
  readonly protocol: Protocol;
  /** Such as `7.0.15`; undefined: it is not installed. */
  readonly version: string | undefined;
  /** What to do where it is not. */
  readonly advice: string;
  readonly make: (folder: string) => Running;
}

export interface Running {
  readonly socket: string;
  start(): Promise<void>;
  /** The next version takes its place, as its makers say. */
  replace(): Promise<void>;
  /** `kill -9`, and whoever starts it again does so at once. */
  crash(): Promise<void>;
  /** All processes. */
  pids(): Promise<number[]>;
  /** Bytes of memory that it makes use of. */
  memory(): Promise<number>;
  stop(): Promise<void>;
}

/** How a server is ended politely. */
interface Ends {
  readonly signal: NodeJS.Signals;
  /** What is waited for before it is started again. */
  readonly wait: () => Promise<void>;
  /** A file that it leaves outside of its folder. */
  readonly leaves?: string;
}

/** A server that is one process, and is started again by us. */
class Process implements Running {
  readonly socket: string;
  readonly #command: readonly string[];
  readonly #greeting: string;
  readonly #isReady: (answer: string) => boolean;
  readonly #ends: Ends;
  #child: ChildProcess | undefined;

  constructor(
    socket: string,
    command: readonly string[],
    greeting: string,
    isReady: (answer: string) => boolean,
    ends: Ends = { signal: 'SIGTERM', wait: () => Promise.resolve() },
  ) {
    this.socket = socket;
    this.#command = command;
    this.#greeting = greeting;
    this.#isReady = isReady;
    this.#ends = ends;
  }

  async start(): Promise<void> {
    this.#child = spawn('taskset', ['-c', CORE, ...this.#command], { stdio: 'ignore' });
    while (!this.#isReady(await answerOf(this.socket, this.#greeting))) await delay(1);
  }

  async replace(): Promise<void> {
    await this.#end(this.#ends.signal);
    await this.#ends.wait();
    await this.start();
  }

  async crash(): Promise<void> {
    await this.#end('SIGKILL');
    await this.start();
  }

  pids(): Promise<number[]> {
    return Promise.resolve([this.#child?.pid ?? 0]);
  }

  async memory(): Promise<number> {
    return memoryOf(await this.pids(), 'Rss'); // a child that saves shares pages: they count as whole
  }

  async stop(): Promise<void> {
    await this.#end('SIGKILL');
    if (this.#ends.leaves !== undefined) fs.rmSync(this.#ends.leaves, { force: true });
  }

  async #end(signal: NodeJS.Signals): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill(signal);
    await ended;
  }
}

/** Ours: the command that people run. */
class Ours implements Running {
  readonly socket: string;
  readonly #name = `compare-cache-${process.pid}`;
  #child: ChildProcess | undefined;

  constructor(folder: string) {
    this.socket = join(folder, 'ours.sock');
  }

  async start(): Promise<void> {
    const options = [
      '--name',
      this.#name,
      '--size',
      `${MEBIBYTES}MiB`,
      '--port',
      '0',
      '--socket',
      this.socket,
    ];
    this.#child = spawn('taskset', ['-c', CORE, process.execPath, MAIN, ...options], {
      stdio: 'ignore',
    });
    while (!(await answerOf(this.socket, 'PING\r\n')).startsWith('+PONG')) await delay(1);
  }

  async replace(): Promise<void> {
    const { ok, text } = await askSupervisor(this.#name, 'upgrade');
    if (!ok) throw new Error(text);
  }

  async crash(): Promise<void> {
    const { servicePid = 0, generation: before = 0 } = await this.#status();
    process.kill(servicePid, 'SIGKILL');
    for (;;) {
      const { state, generation = 0 } = await this.#status();
      if (state === 'ready' && generation > before) return;
      await delay(1);
    }
  }

  async pids(): Promise<number[]> {
    const { pid, servicePid = 0 } = await this.#status();
    return [pid, servicePid];
  }

  /** Its map has all its memory from the start: what is counted of that is what is in use. */
  async memory(): Promise<number> {
    const info = await answerOf(this.socket, 'INFO memory\r\n');
    const used = Number(/^used_memory:(\d+)/m.exec(info)?.[1]);
    const pids = await this.pids();
    return used + memoryOf(pids, 'Pss_Anon') + memoryOf(pids, 'Pss_File');
  }

  async stop(): Promise<void> {
    if (!this.#child) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await ended;
    fs.rmSync(`/dev/shm/liveupdate.${this.#name}`, { force: true });
  }

  async #status(): Promise<SupervisorStatus> {
    return (await askSupervisor(this.#name, 'status')).status as SupervisorStatus;
  }
}

/** What a server says first to a line; empty where nobody listens. */
async function answerOf(path: string, line: string): Promise<string> {
  const socket = net.connect({ path });
  try {
    await once(socket, 'connect');
    socket.write(line);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    return answer.toString('latin1');
  } catch {
    return '';
  } finally {
    socket.destroy();
  }
}

/** Redis, or Valkey, which takes the same options. */
function redisLike(program: string, folder: string, keeps: readonly string[]): Running {
  const socket = join(folder, 'server.sock');
  const options = [
    '--port',
    '0',
    '--unixsocket',
    socket,
    '--dir',
    folder,
    '--maxmemory',
    `${MEBIBYTES}mb`,
    '--maxmemory-policy',
    'allkeys-lru',
  ];
  return new Process(socket, [program, ...options, ...keeps], 'PING\r\n', (answer) =>
    answer.startsWith('+PONG'),
  );
}

function memcached(folder: string): Running {
  const socket = join(folder, 'server.sock');
  const leaves = `/dev/shm/compare-memcached-${process.pid}`;
  const user = process.getuid?.() === 0 ? ['-u', 'root'] : [];
  const options = ['-s', socket, '-m', String(MEBIBYTES), '-t', '1', '-e', leaves];
  // It throws its values away where it starts in the second in which it ended.
  const wait = (): Promise<void> => delay(1000 - (Date.now() % 1000) + 1);
  return new Process(
    socket,
    ['memcached', ...user, ...options],
    'version\r\n',
    (answer) => answer.startsWith('VERSION'),
    { signal: 'SIGUSR1', wait, leaves },
  );
}

function versionOf(program: string, pattern: RegExp): string | undefined {
  const { stdout } = spawnSync(program, ['--version'], { encoding: 'utf8' });
  return pattern.exec(stdout)?.[1];
}

const AOF = ['--appendonly', 'yes', '--save', ''];
const RDB = ['--save', '60 10000'];
const REDIS = {
  protocol: 'redis',
  version: versionOf('redis-server', /v=(\S+)/),
  advice: 'on Debian: apt-get install redis-server',
} as const;
const OTHER = {
  protocol: 'redis',
  version: versionOf(VALKEY, /v=(\S+)/),
  advice: 'on Debian 13: apt-get install valkey-server; or its path in LIVEUPDATE_VALKEY',
} as const;

export const SIDES: readonly Side[] = [
  { name: 'this cache', protocol: 'redis', version: process.version, advice: '', make: (folder) => new Ours(folder) },
  { name: 'Redis, AOF', ...REDIS, make: (folder) => redisLike('redis-server', folder, AOF) },
  { name: 'Redis, RDB', ...REDIS, make: (folder) => redisLike('redis-server', folder, RDB) },
  { name: 'Valkey, AOF', ...OTHER, make: (folder) => redisLike(VALKEY, folder, AOF) },
  { name: 'Valkey, RDB', ...OTHER, make: (folder) => redisLike(VALKEY, folder, RDB) },
  { name: 'memcached -e', protocol: 'memcached', version: versionOf('memcached', /memcached (\S+)/), advice: 'on Debian: apt-get install memcached', make: memcached },
]; // prettier-ignore

const TICKS = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

/** Seconds of a processor that processes have taken, all threads. */
export function processorSeconds(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const fields = fs
      .readFileSync(`/proc/${pid}/stat`, 'latin1')
      .replace(/^.*\) /s, '')
      .split(' ');
    return sum + (Number(fields[11]) + Number(fields[12])) / TICKS;
  }, 0);
}

/** Bytes of memory of processes, as the system counts them. */
function memoryOf(pids: readonly number[], kind: 'Rss' | 'Pss_Anon' | 'Pss_File'): number {
  return pids.reduce((sum, pid) => {
    const text = fs.readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1');
    return sum + Number(new RegExp(`^${kind}:\\s+(\\d+)`, 'm').exec(text)?.[1]) * 1024;
  }, 0);
}
