/**
 * A service that counts requests, and all the ways in which a process ends: started again it goes
 * on counting, and at most the request that was being answered is missing.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface, type Interface } from 'node:readline';
import { isQuick } from '@liveupdate/base/test-seed';
import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { memoryGroup } from './test-cgroup.ts';
import { Program, removeRam, testName } from './test-process.ts';

/**
 * Preserves first and finishes second. A request is a line: it is counted, and then the service
 * does what it says.
 */
const SERVICE = `
import * as fs from 'node:fs';
import { createInterface } from 'node:readline';
import { Memfd } from '@liveupdate/linux';

const machine = await Machine.open({ name: NAME, size: '16MiB' });
const { luo, shmem, pages } = machine.kernel;
let file;
if (machine.origin === 'cold') {
  file = shmem.memfdCreate('count');
  file.truncate(4096);
  await luo.createSession('service').preserve(file, 1);
} else {
  const before = luo.retrieveSession('service');
  file = await before.retrieve(1);
  await luo.createSession('service').preserve(file, 1);
  await before.finish();
}
pages.assertConsistent();
const counts = new Uint32Array(file.map().bytes.buffer);

const fill = () => {
  const kept = [];
  for (;;) kept.push({ text: 'x'.repeat(64) + kept.length });
};
const ENDS = {
  abort: () => process.abort(),
  exception: () => { throw new Error('nobody catches this'); },
  rejection: () => { void Promise.reject(new Error('nor this')); },
  heap: fill,
  memory: () => {
    const kept = [];
    for (;;) kept.push(new Uint8Array(2 ** 20).fill(kept.length));
  },
  // A mapping whose file was cut off under it.
  SIGBUS: () => {
    const memfd = Memfd.create('cut', 0);
    memfd.truncate(8192);
    const { bytes } = memfd.map();
    memfd.truncate(0);
    bytes[4096] = 1;
  },
  SIGSEGV: () => process.kill(process.pid, 'SIGSEGV'),
  SIGKILL: () => process.kill(process.pid, 'SIGKILL'),
  SIGTERM: () => process.kill(process.pid, 'SIGTERM'),
  exit: () => process.exit(7),
  idle: () => { requests.close(); process.stdin.destroy(); },
  handover: async () => { await machine.handOver(); process.exit(0); },
};

const requests = createInterface({ input: process.stdin });
requests.on('line', (line) => {
  counts[0] += 1;
  ENDS[line]?.();
  if (line === 'count') fs.writeSync(1, counts[0] + '\\n');
});
const { end, at } = machine.lastOwner ?? {};
fs.writeSync(1, JSON.stringify({ origin: machine.origin, end, isDated: at !== undefined }) + '\\n');
`;

let name: string;
beforeEach(() => {
  name = testName();
  onTestFinished(() => {
    removeRam(name);
  });
});

/** Told by the service when it is up. */
interface Up {
  readonly origin: string;
  readonly end: string | undefined;
  readonly isDated: boolean;
}

class Service {
  readonly #lines: AsyncIterator<string>;
  readonly #ask: (line: string) => void;
  readonly #ended: Promise<unknown[]>;
  readonly pid: number;

  constructor(program: Program, flags: readonly string[] = []) {
    const [file, args, options] = program.command(name);
    const command = ['-c', 'ulimit -c 0; exec "$@"', 'sh', file, ...flags, ...args];
    const child = spawn('sh', command, { ...options, stdio: ['pipe', 'pipe', 'ignore'] });
    onTestFinished(() => {
      child.kill('SIGKILL');
    });
    const lines: Interface = createInterface({ input: child.stdout });
    this.#lines = lines[Symbol.asyncIterator]();
    this.#ended = once(child, 'close');
    this.#ask = (line) => child.stdin.write(`${line}\n`);
    child.stdin.on('error', () => undefined); // it ended
    this.pid = child.pid ?? 0;
  }

  async line(): Promise<string> {
    return String((await this.#lines.next()).value);
  }

  async up(): Promise<Up> {
    return JSON.parse(await this.line()) as Up;
  }

  async count(): Promise<number> {
    this.#ask('count');
    return Number(await this.line());
  }

  /** A request in which it ends. */
  async die(how: string): Promise<unknown[]> {
    this.#ask(how);
    return this.#ended;
  }
}

/** How often it is started. */
const TIMES = isQuick ? 2 : 3;

const ABORTED = [null, 'SIGABRT'];

describe('a service that counts requests goes on counting', () => {
  it.each([
    ['abort', 'process.abort()', ABORTED, 'unknown'],
    ['exception', 'an exception in a request', [1, null], 'exception'],
    ['rejection', 'a rejection that nobody handles', [1, null], 'exception'],
    ['heap', "V8's heap being full", ABORTED, 'unknown'],
    ['SIGBUS', 'SIGBUS, at a page that its file has no more', [null, 'SIGBUS'], 'unknown'],
    ['SIGSEGV', 'SIGSEGV, sent', [null, 'SIGSEGV'], 'unknown'],
    ['SIGKILL', 'SIGKILL', [null, 'SIGKILL'], 'unknown'],
    ['SIGTERM', 'SIGTERM without a handler', [null, 'SIGTERM'], 'unknown'],
    ['exit', 'process.exit()', [7, null], 'exit'],
    ['idle', 'nothing left to do', [0, null], 'exit'],
    ['handover', 'a handover', [0, null], 'handover'],
  ])('%s: after %s', async (how, _, ended, end) => {
    using program = new Program(SERVICE);
    let counted = 0;
    for (let times = 0; times < TIMES; times++) {
      const service = new Service(program, how === 'heap' ? ['--max-old-space-size=20'] : []);
      const isFirst = times === 0;
      const origin = end === 'handover' ? 'handover' : 'recovered';
      expect(await service.up()).toEqual(
        isFirst ? { origin: 'cold', isDated: false } : { origin, end, isDated: end !== 'unknown' },
      );
      const next = await service.count();
      expect(next - counted).toBe(isFirst ? 1 : 2); // the one in which it ended was counted
      expect(await service.count()).toBe(next + 1);
      counted = next + 1;
      expect(await service.die(how)).toEqual(ended);
    }
  });

  it('after more memory than its group may have, which kills it', async (context) => {
    const group = memoryGroup(256 * 2 ** 20);
    if (typeof group === 'string') return context.skip(group);
    using program = new Program(SERVICE);
    let counted = 0;
    for (let times = 0; times < 2; times++) {
      const service = new Service(program);
      group.add(service.pid);
      const { origin, end } = await service.up();
      expect([origin, end]).toEqual(times === 0 ? ['cold', undefined] : ['recovered', 'unknown']);
      const next = await service.count();
      expect(next - counted).toBe(times === 0 ? 1 : 2);
      counted = next;
      expect(await service.die('memory')).toEqual([null, 'SIGKILL']);
    }
    const last = new Service(program);
    expect((await last.up()).end).toBe('unknown');
    expect(await last.count()).toBe(counted + 2);
  });
});
