/**
 * What clients notice of an upgrade: a service under load is replaced by its next version, ours and
 * those that one would have without. All answer the same; fifty clients in a process of their own
 * look at every answer. In each round every side is upgraded once, in the middle of its load.
 *
 * The sides differ in what becomes of memory, listening socket and connections, and in nothing
 * else: each is one file with compiled code kept, started by the same Node with the same flags, and
 * has read all its bytes before its load. Ours under a supervisor run from the first round to the
 * last; the others only in their turn, since all together would not fit into memory.
 *
 * A gap ends with the first answer of a next process, and begins with the last answer before, of
 * whatever process. The worst wait of a client has in it what else an upgrade does: on a machine of
 * two processors the clients and the start of the next version need them too.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { missingAlternative } from './alternatives.ts';
import { Child } from './child-process.ts';
import { withEnds } from './ends.ts';
import type { Figure } from './figure.ts';
import { HOST } from './numbers-server.ts';
import { inTurn, type Rounds, type Trial } from './runner.ts';
import type { LoadArgument, LoadLine, LoadReport } from './upgrade-load.ts';
import { alone, bare, restarted, retried, supervised, workers, type Upgradable } from './upgrade-sides.ts';

const GiB = 2 ** 30;
const MiB = 2 ** 20;

/** Bytes of state: of the three services of ours by standby, the middle one of all other sides. */
export function stateSizes(size: number): { small: number; middle: number; large: number } {
  return { small: Math.min(64 * MiB, size), middle: Math.min(GiB, size), large: size };
}

/** A file of ours with next to nothing in it. */
const NOTHING = 4 * 4096;

export const CONNECTIONS = 50;
/** Of the side with many. */
const MANY = 1000;
/** Milliseconds of load before and after an upgrade; and where a run only shows that it works. */
const LOADED_MS = 300;
const QUICK_MS = 250;

/** Milliseconds under load before an upgrade and after it. */
export const loadedMs = (warm: boolean): number => (warm ? LOADED_MS : QUICK_MS);
/** Numbers that one round stores, and more. */
const NUMBERS_PER_ROUND = 2 ** 20;

/** What is measured of each side; a series is the name of the side and one of these. */
export const NOTICED = ['failed', 'closed', 'gap', 'silence', 'wait', 'before', 'after'] as const;

/** Sides, for people; the size of their state stands behind it. */
export const UPGRADED = {
  small: 'live update by standby',
  standby: 'live update by standby',
  large: 'live update by standby',
  many: 'live update by standby, 1,000 clients',
  sockets: 'sockets only: live update by standby with four pages of state',
  exec: 'live update by exec',
  bare: 'bare server: exec with its listening socket, no state, no connections',
  workers: 'LMDB on tmpfs, two workers of node:cluster rolled one after the other',
  lmdb: 'LMDB on tmpfs, restarted',
  sqlite: 'SQLite on tmpfs (better-sqlite3), restarted',
  heap: 'array in the heap, written to tmpfs and read again, restarted',
} as const;

export type SideName = keyof typeof UPGRADED;

const OURS: readonly SideName[] = ['small', 'standby', 'large', 'many', 'sockets', 'exec'];
const STANDING = ['small', 'standby', 'large', 'many', 'sockets'] as const;

/** Why a side cannot be had here; undefined where it can. */
export function missing(name: SideName): string | undefined {
  if (name === 'sqlite') return missingAlternative('sqlite');
  return name === 'lmdb' || name === 'workers' ? missingAlternative('lmdb') : undefined;
}

/** How each side is started. */
export function starts(size: number): Record<SideName, () => Promise<Upgradable>> {
  const { small, middle, large } = stateSizes(size);
  return {
    small: () => supervised(small),
    standby: () => supervised(middle),
    large: () => supervised(large),
    many: () => supervised(small),
    sockets: () => supervised(NOTHING),
    exec: () => alone(middle),
    bare,
    workers: () => workers(middle),
    lmdb: () => restarted('lmdb', middle),
    sqlite: () => restarted('sqlite', middle),
    heap: () => restarted('heap', middle),
  };
}

/** A load in which a service is upgraded. */
export interface UpgradeLoad {
  readonly connections: number;
  /** Numbers are stored that are greater than those of all rounds before. */
  readonly round: number;
  /** Milliseconds of load before the upgrade, and after it. */
  readonly loadedMs: number;
}

/** Upgrades a service once under load, and tells what its clients met. */
export async function upgraded(
  service: Upgradable,
  { connections, round, loadedMs }: UpgradeLoad,
): Promise<LoadReport> {
  const { port } = service;
  // On connections of their own, so that each of two workers reads.
  for (let i = 0; i < 2; i++)
    await (await fetch(`http://${HOST}:${port}/all`, { headers: { connection: 'close' } })).text();
  const argument = {
    port,
    connections,
    least: round * NUMBERS_PER_ROUND,
  } satisfies LoadArgument;
  await using load = new Child<LoadLine>('upgrade-load', { argument });
  await load.line();
  await delay(loadedMs);
  load.go();
  await service.upgrade();
  load.go();
  await delay(loadedMs);
  load.go();
  const { report } = await load.line();
  return report!;
}

function prepare({ size, warm }: { size: number; warm: boolean }): Promise<Rounds> {
  return withEnds(async (ends) => {
    const start = starts(size);
    const standing: Partial<Record<SideName, Upgradable>> = {};
    for (const name of STANDING) standing[name] = ends.use(await start[name]());
    const absent: Record<string, string> = {};
    const names = (Object.keys(UPGRADED) as SideName[]).filter((name) => {
      const reason = missing(name);
      for (const what of NOTICED) if (reason !== undefined) absent[`${name} ${what}`] = reason;
      return reason === undefined;
    });
    let current = 0;
    const sides = names.map((name) => async (): Promise<Record<string, number>> => {
      const stands = standing[name];
      const measure = async (): Promise<LoadReport> => {
        await using service = stands ? undefined : await start[name]();
        return await upgraded((stands ?? service)!, {
          connections: name === 'many' ? MANY : CONNECTIONS,
          round: current,
          loadedMs: loadedMs(warm),
        });
      };
      const report = await (OURS.includes(name) ? measure() : retried(UPGRADED[name], measure));
      if (OURS.includes(name) && report.failed > 0)
        process.stderr.write(`bench: ${UPGRADED[name]}: ${report.failures.join('; ')}\n`);
      return Object.fromEntries(NOTICED.map((what) => [`${name} ${what}`, report[what]]));
    });
    return {
      absent,
      run: async (round) => {
        current = round;
        const series = await inTurn(sides, round);
        const noticed = OURS.flatMap((name) => [series[`${name} failed`], series[`${name} closed`]]);
        return {
          ...series,
          'ours lost': noticed.reduce((a, b) => a + b),
          'most gap': MOST_GAP,
          'most wait': MOST_WAIT,
        };
      },
      end: () => ends[Symbol.asyncDispose](),
    };
  });
}

/** Milliseconds that ours by standby may leave clients without an answer. */
const MOST_GAP = 5;
/** And one of 1,000 clients. */
const MOST_WAIT = 100;
/** Milliseconds by which the size may change that. */
const MOST_GROWTH = 1.5;

/** What a RAM needs beside its files, and programs. */
const BESIDE = 2 ** 28;

function memory(size: number): number {
  const { small, middle, large } = stateSizes(size);
  return 1.02 * (2 * small + middle + large) + 2.1 * middle + 4 * BESIDE;
}

export const UPGRADE_TRIALS: readonly Trial[] = [
  {
    name: 'upgrade',
    title: 'what 50 clients notice of an upgrade, beside what one would do without',
    sizes: 16 * GiB,
    memory,
    leastRounds: 9,
    prepare,
  },
];

/** What they are measured against, in words. */
export const UPGRADED_AGAINST: Readonly<Record<string, string>> = {
  'workers gap': 'workers rolled',
  'sockets gap': 'sockets only',
  'bare gap': 'bare server',
  'lmdb gap': 'LMDB restarted',
  'lmdb failed': 'LMDB restarted',
  'sqlite gap': 'SQLite restarted',
  'heap gap': 'heap restarted',
  'small gap': '64 MiB',
  'most gap': 'at most',
  'most wait': 'at most',
};

const GAP = 'gap of ours by standby';
const STANDBY = { trial: 'upgrade', measured: 'standby gap', kind: 'longer' } as const;
const GROWN = { trial: 'upgrade', against: 'small gap', kind: 'more', goal: MOST_GROWTH } as const;

/** What flatters least stands first. */
export const UPGRADE_FIGURES: readonly Figure[] = [
  {
    ...STANDBY,
    title: `${GAP}, 1 GiB, against LMDB with two workers rolled`,
    against: 'workers gap',
  },
  { ...STANDBY, title: `${GAP}, 1 GiB, against sockets only`, against: 'sockets gap' },
  { ...STANDBY, title: `${GAP}, 1 GiB`, against: 'most gap', goal: 1 },
  { ...STANDBY, title: `${GAP}, 1 GiB, against LMDB restarted`, against: 'lmdb gap' },
  { ...STANDBY, title: `${GAP}, 1 GiB, against SQLite restarted`, against: 'sqlite gap' },
  { ...STANDBY, title: `${GAP}, 1 GiB, against a heap written and read`, against: 'heap gap' },
  { ...GROWN, title: `${GAP}, 1 GiB beside 64 MiB`, measured: 'standby gap' },
  { ...GROWN, title: `${GAP}, 16 GiB beside 64 MiB`, measured: 'large gap', goalSize: 16 * GiB },
  {
    trial: 'upgrade',
    title: 'longest wait of one of 1,000 clients, 64 MiB',
    measured: 'many wait',
    against: 'most wait',
    kind: 'longer',
    goal: 1,
  },
  {
    trial: 'upgrade',
    title: 'gap of ours by exec, 1 GiB, against a bare server',
    measured: 'exec gap',
    against: 'bare gap',
    kind: 'longer',
    goal: 1.3,
  },
  {
    trial: 'upgrade',
    title: 'failed requests and closed connections of ours, all sides',
    measured: 'ours lost',
    against: 'lmdb failed',
    kind: 'count',
    goal: 0,
  },
];
