/**
 * The kill storm: a service on a RAM, killed by SIGKILL at random moments, again and again, while a
 * model outside of it keeps what every next owner must find. `npm run storm` runs it at length.
 *
 * - test-storm-worker.ts is the service; test-storm-model.ts is what must be found.
 * - Kills come at any time from the start of a process on, a few milliseconds after it began to
 *   work, in the middle of a kexec or a handover, in the boot and in the recovery behind them.
 * - Operations are drawn from the seed. Moments are not: the same seed gives other kills each time.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { buildSync } from 'esbuild';
import { crc32 } from 'node:zlib';
import { PAGE_SIZE } from '@liveupdate/base';
import { ShmemFile } from '@liveupdate/shmem';
import { Machine } from './machine.ts';
import { ramPath } from './ram-source.ts';
import {
  drawing,
  Model,
  type Operation,
  type Draw,
  type Findings,
  type FoundSession,
  type Line,
  type Usage,
} from './test-storm-model.ts';
import type { Orders } from './test-storm-worker.ts';

export interface StormOptions {
  readonly kills: number;
  readonly seed: number;
  /** Services at once, each on a RAM of its own. Default 2. */
  readonly lanes?: number;
  readonly whenKilled?: (kills: number) => void;
  /** Ends it early. */
  readonly signal?: AbortSignal;
}

export interface StormResult extends Findings {
  readonly seed: number;
  /** What was wrong, and what was said before: the storm ended there. */
  readonly failure: string | undefined;
  readonly kills: number;
  /** In what the process was when it was killed. */
  readonly killsByPhase: Readonly<Counts>;
  /** Processes that ended as they were told to. */
  readonly ends: Readonly<Counts>;
  readonly recoveries: number;
  readonly handovers: number;
  readonly acknowledged: Readonly<Counts>;
  /** Operations that failed as they may: no memory, another file in the way. */
  readonly refused: Readonly<Counts>;
  /** At most, with nothing preserved: those of record and map, and how many more than at first. */
  readonly pagesInUse: { readonly rest: number; readonly record: number; readonly map: number };
  readonly seconds: number;
  readonly machine: Readonly<Record<string, string | number>>;
}

/** What a storm found to be wrong. */
class StormFailure extends Error {}

const SIZE = 16 * 2 ** 20;
/** A RAM is enlarged now and then, up to this. */
const MOST_SIZE = 24 * 2 ** 20;
/** A process that says nothing for so long hangs. */
const HANGS = 15_000;
/** How often memory is looked at, in lives. */
const AUDIT_EVERY = 50;
/** Pages that may be in use with nothing preserved: beyond those at first, of record, of map. */
const [MOST_REST, MOST_RECORD, MOST_MAP] = [4, 40, 128];
/** Lines that are shown of each life where something is wrong. */
const SHOWN = 60;

/** Whose process owns the RAM when they resolve. */
const PUBLISHES = new Set(['session', 'preserve', 'unpreserve', 'close', 'finish']);

type Worker = ChildProcessByStdio<null, Readable, Readable>;

/** When a process is killed. */
type Moment =
  | { readonly at: 'line'; readonly line: Line[0] | 'seal' | 'open again'; readonly ms: number }
  | { readonly at: 'start'; readonly ms: number }
  | { readonly at: 'count'; readonly lines: number }
  | { readonly at: 'never' };

/**
 * One program of all sources: it starts in a sixth of the time. It lies where the native part is
 * found, in a folder that Git and the linters do not see.
 */
function bundle(): string {
  const folder = fileURLToPath(new URL('../../linux/.vitest/', import.meta.url));
  const outfile = `${folder}storm-${process.pid}.mjs`;
  buildSync({
    entryPoints: [fileURLToPath(new URL('test-storm-worker.ts', import.meta.url))],
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node22',
    conditions: ['@liveupdate/source'],
    logLevel: 'error',
    outfile,
  });
  return outfile;
}

let storms = 0;

export async function storm({
  kills,
  seed,
  lanes = 2,
  whenKilled,
  signal,
}: StormOptions): Promise<StormResult> {
  storms += 1;
  const start = performance.now();
  const program = bundle();
  const tally = new Tally(kills, whenKilled, signal);
  const all = Array.from(
    { length: lanes },
    (_, i) => new Lane(`storm-${process.pid}-${storms}-${i}`, seed, i, program, tally),
  );
  let failure: string | undefined;
  try {
    await Promise.all(all.map((lane) => lane.run()));
  } catch (error) {
    if (!(error instanceof StormFailure)) throw error;
    failure = error.message;
  } finally {
    for (const lane of all) lane.end();
    fs.rmSync(program, { force: true });
    fs.rmSync(`${program}.cache`, { recursive: true, force: true });
  }
  const findings = all.map((lane) => lane.model.findings);
  const sum = (of: (each: Findings) => number): number => findings.reduce((all, each) => all + of(each), 0);
  return {
    seed,
    failure,
    kills: tally.kills,
    killsByPhase: sorted(tally.phases),
    ends: sorted(tally.ends),
    recoveries: tally.origins.recovered ?? 0,
    handovers: tally.origins.handover ?? 0,
    acknowledged: sorted(tally.acknowledged),
    refused: sorted(tally.refused),
    filesFound: sum((each) => each.filesFound),
    pagesCompared: sum((each) => each.pagesCompared),
    filesLost: sum((each) => each.filesLost),
    filesTooMany: sum((each) => each.filesTooMany),
    foundTwice: sum((each) => each.foundTwice),
    wrongBytes: sum((each) => each.wrongBytes),
    pagesInUse: tally.pages,
    seconds: Math.round((performance.now() - start) / 100) / 10,
    machine: {
      processor: os.cpus()[0]?.model ?? '',
      processors: os.cpus().length,
      linux: os.release(),
      node: process.version,
    },
  };
}

type Counts = Partial<Record<string, number>>;

function count(counts: Counts, name: string): void {
  counts[name] = (counts[name] ?? 0) + 1;
}

function sorted(counts: Counts): Counts {
  return Object.fromEntries(Object.entries(counts).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** What all lanes count together. */
class Tally {
  kills = 0;
  readonly phases: Counts = {};
  readonly ends: Counts = {};
  readonly origins: Counts = {};
  readonly acknowledged: Counts = {};
  readonly refused: Counts = {};
  readonly pages = { rest: 0, record: 0, map: 0 };
  /** How long a process takes until it works, roughly, in milliseconds. */
  boot = 120;
  readonly #wanted: number;
  readonly #signal: AbortSignal | undefined;
  readonly #whenKilled: ((kills: number) => void) | undefined;

  constructor(
    wanted: number,
    whenKilled: ((kills: number) => void) | undefined,
    signal: AbortSignal | undefined,
  ) {
    this.#wanted = wanted;
    this.#signal = signal;
    this.#whenKilled = whenKilled;
  }

  get isOver(): boolean {
    return this.kills >= this.#wanted || this.#signal?.aborted === true;
  }

  killed(phase: string): void {
    this.kills += 1;
    count(this.phases, phase);
    this.#whenKilled?.(this.kills);
  }
}

/** One RAM, and the processes that own it one after the other. */
class Lane {
  readonly model = new Model();
  readonly #name: string;
  readonly #seed: number;
  readonly #lane: number;
  readonly #program: string;
  readonly #tally: Tally;
  readonly #draw: Draw;
  #life = 0;
  #size = SIZE;
  #child: Worker | undefined;
  /** Last lines of the last lives. */
  readonly #log: string[] = [];
  /** How the last owner may have left it. */
  #origins: readonly string[] = ['cold'];
  /** Pages that were in use at first, but for record and map. */
  #first: number | undefined;

  constructor(name: string, seed: number, lane: number, program: string, tally: Tally) {
    this.#name = name;
    this.#seed = seed;
    this.#lane = lane;
    this.#program = program;
    this.#tally = tally;
    this.#draw = drawing(seed * 31 + lane);
  }

  async run(): Promise<void> {
    await this.#live('audit', { at: 'never' });
    while (!this.#tally.isOver) {
      this.#life += 1;
      if (this.#life % AUDIT_EVERY === 0) await this.#live('audit', { at: 'never' });
      else if (this.#draw(25) === 0) await this.#lookMyself();
      else await this.#live(...this.#plan());
    }
    this.#life += 1;
    await this.#live('never', { at: 'line', line: 'work', ms: 5 });
    this.#life += 1;
    await this.#live('audit', { at: 'never' });
  }

  end(): void {
    this.#child?.kill('SIGKILL');
    fs.rmSync(ramPath(this.#name), { force: true });
  }

  /** What the next process does, and when it is killed. */
  #plan(): [Orders['end'], Moment] {
    const draw = this.#draw;
    const boot = Math.ceil(this.#tally.boot);
    switch (draw(10)) {
      case 0:
      case 1:
        return ['never', { at: 'start', ms: draw(boot + 30) }];
      case 2:
        return ['never', { at: 'line', line: 'open', ms: draw(boot) }];
      case 3:
      case 4:
        return ['never', { at: 'line', line: 'work', ms: draw(21) }];
      case 5:
      case 6:
        return ['never', { at: 'count', lines: 4 + draw(400) }];
      case 7:
        return draw(2) === 0
          ? ['kexec', { at: 'line', line: 'seal', ms: draw(2) === 0 ? draw(20) : draw(boot * 2) }]
          : ['kexec', { at: 'line', line: 'open again', ms: draw(boot) }];
      case 8:
        return ['handOver', draw(2) === 0 ? { at: 'never' } : { at: 'line', line: 'seal', ms: draw(8) }];
      default:
        return [draw(2) === 0 ? 'exit' : 'throw', { at: 'never' }];
    }
  }

  async #live(end: Orders['end'], moment: Moment): Promise<void> {
    const draw = this.#draw;
    if (draw(200) === 0 && this.#size < MOST_SIZE) this.#size += 2 ** 20;
    const doubts = this.model.doubts;
    const orders: Orders = {
      name: this.#name,
      size: this.#size,
      life: this.#life * 8 + this.#lane,
      seed: this.#seed + this.#life * 1009 + this.#lane * 7,
      look: end === 'audit' ? 4 : [4, 4, 2, 0][draw(4)],
      doubts,
      end,
      operations: end === 'never' ? 5000 : 1 + draw(40),
    };
    this.#note(
      `--- life ${this.#life}: ${JSON.stringify({ ...orders, doubts: doubts.length })} killed ${JSON.stringify(moment)}`,
    );
    await new Life(this, orders, moment, this.#tally, this.#program).lived();
  }

  started(child: Worker): void {
    this.#child = child;
  }

  // ---- What a process says ----------------------------------------------------------------------

  heard(line: Line): void {
    const { model } = this;
    const tally = this.#tally;
    switch (line[0]) {
      case 'opened':
        this.#checkOrigin(line[2]);
        return;
      case 'found': {
        const wrong = model.found(line[1]);
        if (wrong.length > 0) this.fail(wrong.join('\n'));
        return;
      }
      case 'intent':
        this.#intents.set(line[1], line[2]);
        model.intent(line[1], line[2]);
        if (line[2][0] === 'seal') this.#origins = [...this.#origins, 'handover'];
        return;
      case 'turn':
        model.turn(line[1]);
        return;
      case 'ack': {
        const operation = this.#intents.get(line[1]);
        if (!operation) this.fail('an answer to nothing');
        count(tally.acknowledged, nameOf(operation));
        model.ack(line[1]);
        if (operation[0] === 'seal')
          this.#origins = operation[1] === 'handOver' ? ['handover'] : ['recovered'];
        else if (PUBLISHES.has(operation[0])) this.#origins = ['recovered'];
        return;
      }
      case 'refused':
        count(tally.refused, `${nameOf(this.#intents.get(line[1]))} ${line[2]}`);
        model.refused(line[1]);
        return;
      case 'audit':
        this.#audit(line[1]);
        return;
      case 'wrong':
        this.fail(line[1]);
    }
  }

  readonly #intents = new Map<number, Operation>();

  #checkOrigin(origin: string): void {
    count(this.#tally.origins, origin);
    if (!this.#origins.includes(origin))
      this.fail(`origin is '${origin}' and must be one of ${this.#origins.join(', ')}`);
    // It owns the RAM when its event loop has turned, or when it publishes.
    this.#origins = origin === 'cold' ? ['recovered'] : [origin, 'recovered'];
  }

  /**
   * Memory that is in use where nothing is preserved: a crash loop pins nothing. The live record
   * and the map have pages of their own, as many as were needed at once.
   */
  #audit({ taken, record, map }: Usage): void {
    const rest = taken - record - map;
    this.#first ??= rest;
    const { pages } = this.#tally;
    pages.rest = Math.max(pages.rest, rest - this.#first);
    pages.record = Math.max(pages.record, record);
    pages.map = Math.max(pages.map, map);
    if (rest > this.#first + MOST_REST || record > MOST_RECORD || map > MOST_MAP)
      this.fail(`memory is lost: ${taken} pages are taken, ${record} by the record, ${map} by the map`);
  }

  /** A look by this process, which leaves the RAM as it was. */
  async #lookMyself(): Promise<void> {
    const doubts = this.model.doubts;
    let machine: Machine;
    try {
      machine = await Machine.open({ name: this.#name, keepHandover: true });
    } catch (error) {
      this.fail(`this process cannot open it: ${String(error)}`);
    }
    const found: FoundSession[] = [];
    for (const session of machine.kernel.luo.incomingSessions) {
      const files: FoundSession['files'][number][] = [];
      for (const { token: key } of session.files) {
        const token = Number(key);
        const file = await session.retrieve(token, ShmemFile);
        const all = new Uint8Array(file.size);
        file.pread(all, 0);
        const list = Array.from({ length: Math.ceil(all.length / PAGE_SIZE) }, (_, i) =>
          all.subarray(i * PAGE_SIZE, (i + 1) * PAGE_SIZE),
        );
        const asked = list.flatMap((page, i) =>
          doubts.includes(`${token}:${i}`) ? [[i, Buffer.from(page).toString('base64')] as const] : [],
        );
        files.push({
          token,
          content: {
            size: file.size,
            sums: list.map((page) => crc32(page)),
            pages: Object.fromEntries(asked),
          },
        });
      }
      found.push({ name: session.name, files });
    }
    machine.kernel.pages.assertConsistent();
    machine.abandon();
    count(this.#tally.origins, 'looked at');
    const wrong = this.model.found(found);
    if (wrong.length > 0) this.fail(wrong.join('\n'));
  }

  // ---- Telling ----------------------------------------------------------------------------------

  #note(text: string): void {
    this.#log.push(text);
    if (this.#log.length > 4 * SHOWN) this.#log.splice(0, SHOWN);
  }

  note(text: string): void {
    this.#note(text.length > 400 ? `${text.slice(0, 400)}...` : text);
  }

  fail(what: string): never {
    const copy = `${os.tmpdir()}/${this.#name}.ram`;
    fs.copyFileSync(ramPath(this.#name), copy);
    const log = this.#log.slice(-3 * SHOWN).join('\n');
    throw new StormFailure(
      `the storm of seed ${this.#seed}, lane ${this.#lane}, life ${this.#life}: ${what}\n\nThe RAM is kept as ${copy}. What was said before:\n${log}`,
    );
  }
}

function nameOf(operation: Operation | undefined): string {
  return operation?.[0] === 'seal' ? `seal ${operation[1]}` : (operation?.[0] ?? '');
}

/** One process. */
class Life {
  readonly #lane: Lane;
  readonly #moment: Moment;
  readonly #tally: Tally;
  readonly #child: Worker;
  readonly #orders: Orders;
  #rest = '';
  #stderr = '';
  #lines = 0;
  /** What it is doing, as far as it said. */
  #phase = 'start';
  #isKilled = false;
  #end: string | undefined;
  #failure: unknown;
  #timer: NodeJS.Timeout | undefined;
  readonly #watchdog: NodeJS.Timeout;
  readonly #start = performance.now();

  constructor(lane: Lane, orders: Orders, moment: Moment, tally: Tally, program: string) {
    this.#lane = lane;
    this.#moment = moment;
    this.#tally = tally;
    this.#orders = orders;
    this.#child = spawn(process.execPath, ['--no-warnings', program], {
      env: {
        ...process.env,
        STORM_ORDERS: JSON.stringify(orders),
        NODE_COMPILE_CACHE: `${program}.cache`,
        NODE_OPTIONS: '',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    lane.started(this.#child);
    if (moment.at === 'start') this.#killIn(moment.ms);
    this.#watchdog = setTimeout(() => {
      try {
        this.#lane.fail(`it says nothing any more\n${this.#stderr}`);
      } catch (error) {
        this.#failure ??= error;
      }
      this.#child.kill('SIGKILL');
    }, HANGS);
  }

  async lived(): Promise<void> {
    this.#child.stderr.on('data', (text: Buffer) => (this.#stderr += text.toString()));
    this.#child.stdout.setEncoding('utf8');
    this.#child.stdout.on('data', (text: string) => {
      const lines = (this.#rest + text).split('\n');
      this.#rest = lines.pop() ?? '';
      for (const line of lines) this.#hear(line);
    });
    const [status, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
      this.#child.on('error', reject);
      this.#child.on('close', (...how) => {
        resolve(how);
      });
    });
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    if (this.#failure !== undefined) throw this.#failure as Error;
    if (this.#isKilled && signal === 'SIGKILL') {
      this.#tally.killed(this.#phase);
      return;
    }
    const wanted = { handOver: 0, exit: 3, throw: 1 }[this.#orders.end as string];
    if (signal !== null || status !== wanted || (this.#end ?? this.#orders.end) !== this.#orders.end)
      this.#lane.fail(`a process ended by itself: ${status ?? signal}\n${this.#stderr}`);
    count(this.#tally.ends, this.#orders.end);
  }

  #hear(text: string): void {
    if (this.#failure !== undefined) return;
    this.#lines += 1;
    this.#lane.note(text);
    try {
      const line = JSON.parse(text) as Line;
      this.#follow(line);
      this.#lane.heard(line);
    } catch (error) {
      this.#failure = error;
      this.#child.kill('SIGKILL');
    }
  }

  /** What it is doing from this line on; and whether that is the moment to kill it. */
  #follow(line: Line): void {
    const moment = this.#moment;
    if (line[0] === 'open') this.#phase = this.#phase === 'seal kexec' ? 'open after kexec' : 'open';
    if (line[0] === 'opened') this.#phase = `look (${line[2]})`;
    if (line[0] === 'found') this.#phase = 'check';
    if (line[0] === 'work') {
      if (this.#phase === 'check' && this.#lines < 6)
        this.#tally.boot += (performance.now() - this.#start - this.#tally.boot) / 20;
      this.#phase = 'between operations';
    }
    if (line[0] === 'intent') this.#phase = line[2][0] === 'seal' ? `seal ${line[2][1]}` : line[2][0];
    if (line[0] === 'ack' || line[0] === 'refused') this.#phase = 'between operations';
    if (line[0] === 'end') this.#end = line[1];
    if (line[0] === 'audit' || (line[0] === 'end' && line[1] === 'kexec')) this.#kill();
    const seals = line[0] === 'intent' && line[2][0] === 'seal' && line[2][1] !== 'refused';
    const reached = seals ? 'seal' : this.#phase === 'open after kexec' ? 'open again' : line[0];
    if (moment.at === 'count' && this.#lines === moment.lines) this.#kill();
    if (moment.at === 'line' && reached === moment.line) this.#killIn(moment.ms);
  }

  #killIn(ms: number): void {
    if (ms === 0) this.#kill();
    else this.#timer ??= setTimeout(() => this.#kill(), ms);
  }

  #kill(): void {
    if (!this.#child.kill('SIGKILL')) return;
    this.#isKilled = true;
  }
}
