/**
 * Trials with processes of their own: replaced ones, and ones that do something for the first time.
 */
import { setImmediate } from 'node:timers/promises';
import type { MappedRam } from '@liveupdate/linux';
import { timed } from './baselines.ts';
import type { BareArgument, BareStart } from './bare.ts';
import { Child, runToEnd } from './child-process.ts';
import { statusBytes } from './child-side.ts';
import { setUp, withEnds } from './ends.ts';
import type { FirstUse, FirstUseArgument } from './first-use.ts';
import { inTurn, type Trial } from './runner.ts';
import type { Replacement, ServiceArgument } from './service.ts';
import { makeRam, type Workload } from './workload.ts';

/**
 * Phases of a blackout, in their order: from the freeze, where serving ends, to the first byte
 * read.
 */
export const BLACKOUT_PHASES = {
  seal: 'files frozen, records written, boot page sealed',
  exec: 'old program taken down, Node loaded by the kernel',
  node: 'Node starts',
  modules: "the service's modules are loaded",
  open: 'Machine.open: lock, boot from the handover',
  retrieve: 'retrieve',
  read: 'first byte read',
} as const;

/**
 * Milliseconds that taking a GiB out of the page tables may need, and that nothing else may have a
 * turn in it.
 */
const MOST = { callToFreeze: 60, stall: 2 } as const;

/** A service on RAM that is ours too. */
export class Service implements AsyncDisposable {
  readonly ram: MappedRam;
  readonly #child: Child<Replacement>;

  private constructor(argument: ServiceArgument) {
    this.ram = makeRam(argument.workload, argument.size);
    this.#child = new Child('service', { argument, fd: this.ram.fd });
  }

  /** Starts one; its file is filled then. */
  static start(
    workload: Workload,
    size: number,
    options: Partial<Pick<ServiceArgument, 'reads' | 'touchesAgain'>> = {},
  ): Promise<Service> {
    const service = new Service({ size, workload, reads: false, ...options });
    return setUp(service, () => service.#child.line());
  }

  get pid(): number {
    return this.#child.pid;
  }

  /**
   * Replaces it once. Beside the phases: `blackout`, their sum; `handover`, that and preserve;
   * `elapsed`, from the call of preserve on, with the time from the call of kexec to the freeze;
   * and the most that this may take, and a stall in it.
   */
  async replace(): Promise<Record<string, number>> {
    this.#child.go();
    const phases = { ...(await this.#child.line()) };
    await this.#child.line(); // it stands again
    let blackout = 0;
    for (const phase of Object.keys(BLACKOUT_PHASES) as (keyof typeof BLACKOUT_PHASES)[])
      blackout += phases[phase];
    const { preserve, callToFreeze, inTables } = phases;
    return {
      blackout,
      handover: preserve + blackout,
      elapsed: preserve + callToFreeze + blackout,
      'most callToFreeze': (MOST.callToFreeze * inTables) / 2 ** 30,
      'most stall': MOST.stall,
      ...phases,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child[Symbol.asyncDispose]();
    this.ram.close();
  }
}

/** A program that maps a service's RAM and passes it on, and does nothing else. */
export class Bare implements AsyncDisposable {
  readonly #child: Child<BareStart>;

  constructor(ram: MappedRam, argument: BareArgument) {
    this.#child = new Child('bare', { argument, fd: ram.fd });
  }

  async replace(): Promise<Record<string, number>> {
    await this.#child.line(); // it stands
    this.#child.go();
    const { start, readAll } = await this.#child.line();
    return { bare: start, ...(readAll === undefined ? {} : { bareReadAll: readAll }) };
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#child[Symbol.asyncDispose]();
  }
}

/** An empty Node.js program, started and ended. */
export async function emptyProgram(): Promise<{ empty: number }> {
  return { empty: await timed(() => runToEnd('empty')) };
}

/** Less than this above the start of an empty program cannot be told from none. */
const LEAST_TIME = 0.5;

/**
 * Adds to each round what of its blackout and handover is ours: how much longer it took than an
 * empty program. How quickly Node starts here is in both. The quickest empty program so far counts:
 * one that was disturbed would make ours look less than it is.
 */
export function addingOurs(): (round: Record<string, number>) => Record<string, number> {
  let quickest = Infinity;
  return (round) => {
    quickest = Math.min(quickest, round['empty']);
    const above = (time: number): number => Math.max(LEAST_TIME, time - quickest);
    return {
      ...round,
      'our blackout': above(round['blackout']),
      'our handover': above(round['handover']),
    };
  };
}

/**
 * A service that is replaced in each round; in between a program that does nothing but map the same
 * memory, and an empty one.
 */
export function replacement(workload: Workload, reads: boolean): Trial['prepare'] {
  return ({ size }) =>
    withEnds(async (ends) => {
      const service = ends.use(await Service.start(workload, size, { reads }));
      const bare = ends.use(new Bare(service.ram, { size, reads }));
      const sides = [() => service.replace(), () => bare.replace(), emptyProgram];
      const withOurs = addingOurs();
      return {
        run: async (round) => withOurs(await inTurn(sides, round)),
        end: () => ends[Symbol.asyncDispose](),
      };
    });
}

/** How many times smaller the small one of two services is. */
const GROWTH = 256;
const LEAST_SIZE = 4 * 2 ** 20;

/** Two services that differ in size, replaced in turns: what the blackout owes to the bytes. */
export function growth(workload: Workload): Trial['prepare'] {
  return ({ size }) =>
    withEnds(async (ends) => {
      const least = Math.max(LEAST_SIZE, size / GROWTH);
      const small = ends.use(await Service.start(workload, least));
      const large = ends.use(await Service.start(workload, size));
      const sides = [
        async () => ({ least: (await small.replace()).blackout }),
        async () => ({ most: (await large.replace()).blackout }),
      ];
      return {
        run: async (round) => {
          const { least: before, most } = await inTurn(sides, round);
          return { least: before, most, perGiB: (most - before) / ((size - least) / 2 ** 30) };
        },
        end: () => ends[Symbol.asyncDispose](),
      };
    });
}

/**
 * Services that touch nothing, half or all of their memory again after it left the page tables:
 * what exec then has to take down.
 */
export function touchedAgain(workload: Workload): Trial['prepare'] {
  return ({ size }) =>
    withEnds(async (ends) => {
      const none = ends.use(await Service.start(workload, size));
      const half = ends.use(await Service.start(workload, size, { touchesAgain: 0.5 }));
      const all = ends.use(await Service.start(workload, size, { touchesAgain: 1 }));
      const sides = [
        async () => ({ none: (await none.replace()).exec }),
        async () => ({ half: (await half.replace()).exec }),
        async () => ({ all: (await all.replace()).exec }),
      ];
      return { run: (round) => inTurn(sides, round), end: () => ends[Symbol.asyncDispose]() };
    });
}

/** In each round a program that preserves a file for the first time. */
export function firstUse(workload: Workload): Trial['prepare'] {
  return ({ size }) => ({
    run: async () => {
      const argument = { size, workload } satisfies FirstUseArgument;
      await using program = new Child<FirstUse>('first-use', { argument });
      return { ...(await program.line()) };
    },
    end: () => undefined,
  });
}

/**
 * The system counts a process's pages in batches for each processor: less of a difference than this
 * cannot be told from none, and counts as this.
 */
const LEAST_MEMORY = 256 * 2 ** 10;

/**
 * A service that is replaced while somebody watches how much private memory it has, beside an empty
 * program.
 */
export function memory(workload: Workload): Trial['prepare'] {
  return async ({ size }) => {
    const service = await Service.start(workload, size);
    return {
      run: async () => {
        const watch = new AbortController();
        const replaced = service.replace().finally(() => {
          watch.abort();
        });
        const [peak] = await Promise.all([peakOf(service.pid, watch.signal), replaced]);
        await using empty = new Child<{ anonymous: number }>('empty-memory');
        const more = peak - (await empty.line()).anonymous;
        return { outside: Math.max(LEAST_MEMORY, more), bytes: size };
      },
      end: () => service[Symbol.asyncDispose](),
    };
  };
}

/**
 * The most private memory that a process has until the signal, looked at some thousand times a
 * second.
 */
async function peakOf(pid: number, until: AbortSignal): Promise<number> {
  let peak = 0;
  while (!until.aborted) {
    peak = Math.max(peak, statusBytes('RssAnon', pid));
    await setImmediate();
  }
  return peak;
}
