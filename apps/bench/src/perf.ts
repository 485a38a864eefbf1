/**
 * perf(1) attached to this process and switched on for single pieces of work: what it counts and
 * samples is that work alone. Switching is by two FIFOs, and takes two system calls of ours each
 * time, which are taken off.
 */
import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Hot } from './cpu-profile.ts';
import { PATIENCE, within } from './patience.ts';

/**
 * System calls of `Perf.switch` that fall into the time that is counted: the end of one read, and
 * one write.
 */
const OWN_CALLS = 1;

const SYSCALLS = 'raw_syscalls:sys_enter';

/** Why perf cannot be used here; undefined where it can. */
export function missingPerf(): string | undefined {
  const tried = spawnSync('perf', ['stat', '-x,', '-e', SYSCALLS, 'true'], {
    encoding: 'utf8',
    timeout: PATIENCE.question,
  });
  if (tried.error) return 'perf is not installed; on Debian: apt-get install linux-perf';
  return tried.status === 0 && /^\d+,/m.test(tried.stderr)
    ? undefined
    : 'perf may not be used here (as root it may)';
}

/**
 * One run of perf on this process. Its answers are waited for without an end of our own: whoever
 * runs this program ends it where it says nothing for too long.
 */
export class Perf {
  readonly #directory = fs.mkdtempSync(join(tmpdir(), 'liveupdate-bench-perf-'));
  readonly #data = join(this.#directory, 'perf.data');
  readonly #perf: ChildProcess;
  readonly #output: string[] = [];
  readonly #control: number;
  readonly #answers: number;
  #pieces = 0;

  private constructor(args: readonly string[], data: boolean) {
    const [control, answers] = ['control', 'answers'].map((name) => join(this.#directory, name));
    execFileSync('mkfifo', [control, answers]);
    // Opened for reading and writing, a FIFO does not wait for its other end.
    this.#control = fs.openSync(control, 'r+');
    this.#answers = fs.openSync(answers, 'r+');
    const attach = ['--delay=-1', `--control=fifo:${control},${answers}`, '-p', String(process.pid)];
    this.#perf = spawn('perf', [...args, ...attach, ...(data ? ['-o', this.#data] : [])], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#perf.stderr!.setEncoding('utf8').on('data', (text: string) => this.#output.push(text));
  }

  static async #attach(args: readonly string[], data: boolean): Promise<Perf> {
    const perf = new Perf(args, data);
    await setTimeout(300); // it attaches; what it is told before that waits in the FIFO
    return perf;
  }

  /** Counts system calls. */
  static counting(): Promise<Perf> {
    return Perf.#attach(['stat', '-x,', '-e', SYSCALLS], false);
  }

  /** Takes samples of where the processor is, in the kernel too. */
  static sampling(): Promise<Perf> {
    return Perf.#attach(['record', '-q', '-e', 'cpu-clock', '-F', '20000'], true);
  }

  /** Runs a piece of work with perf switched on. */
  async on(work: () => Promise<void>): Promise<void> {
    this.#pieces += 1;
    this.#tell('enable');
    await work();
    this.#tell('disable');
  }

  #tell(what: 'enable' | 'disable'): void {
    fs.writeSync(this.#control, `${what}\n`);
    fs.readSync(this.#answers, new Uint8Array(16));
  }

  /** Ends counting; system calls per piece of work. */
  async calls(): Promise<number> {
    await this.#end();
    const counted = Number(/^(\d+),/m.exec(this.#output.join(''))?.[1] ?? 0);
    this.#remove();
    return Math.max(0, counted / Math.max(1, this.#pieces) - OWN_CALLS);
  }

  /** Ends sampling; what the processor was busy with. */
  async hottest(count: number): Promise<Hot[]> {
    await this.#end();
    const { stdout } = spawnSync(
      'perf',
      ['report', '-i', this.#data, '--stdio', '--sort', 'dso,sym', '-t', ';'],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
        timeout: PATIENCE.line,
      },
    );
    this.#remove();
    return parseReport(stdout, count);
  }

  async #end(): Promise<void> {
    const ended = once(this.#perf, 'close');
    this.#perf.kill('SIGINT');
    await within(ended, PATIENCE.line, 'perf does not end');
  }

  #remove(): void {
    fs.closeSync(this.#control);
    fs.closeSync(this.#answers);
    fs.rmSync(this.#directory, { recursive: true });
  }
}

/**
 * What the engine compiled has no symbols: it is one line here, and in the CPU profile by function.
 */
const COMPILED = 'compiled JavaScript';

/** Lines such as ` 9.44%;[kernel.kallsyms];[k] clear_page_erms`. */
export function parseReport(report: string, count: number): Hot[] {
  const shares = new Map<string, number>();
  for (const line of report.split('\n')) {
    const found = /^\s*([\d.]+)%\s*;\s*([^;]*?)\s*;\s*\[.\] (.*?)\s*$/.exec(line);
    if (!found) continue;
    const [, share, object, symbol] = found;
    const what = nameOf(object, symbol);
    shares.set(what, (shares.get(what) ?? 0) + Number(share));
  }
  return [...shares]
    .map(([what, share]) => ({ what, share }))
    .sort((a, b) => b.share - a.share)
    .slice(0, count)
    .filter(({ share }) => share >= 1);
}

function nameOf(object: string, symbol: string): string {
  if (object.startsWith('[kernel')) return `${symbol} (kernel)`;
  if (/^0x/.test(symbol)) return /JIT|perf-|unknown|anon|\/\//.test(object) ? COMPILED : `(${object})`;
  const name = symbol.length > 60 ? `${symbol.slice(0, 57)}...` : symbol;
  return `${name} (${object})`;
}
