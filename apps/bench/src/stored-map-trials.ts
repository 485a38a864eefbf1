/**
 * The map of `@liveupdate/map`: what a call costs, beside a Map of the heap, LMDB, SQLite and
 * Redis; how long it takes to open one, and a call while it grows; and what it adds to an upgrade.
 */
import { bootKernel } from '@liveupdate/kexec';
import { openMap, type StoredMap } from '@liveupdate/map';
import { missingAlternative } from './alternatives.ts';
import { Child } from './child-process.ts';
import { Ends, withEnds } from './ends.ts';
import { STEPS, type KeyStoreName } from './key-store.ts';
import { KEY_BYTES, keyOf, mapFileSize, VALUE_BYTES, valueOf, writeKey } from './keys.ts';
import { inTurn, type Rounds, type Trial, type TrialOptions } from './runner.ts';
import type { SideArgument, SideLine } from './stored-map-side.ts';

import { CONNECTIONS, loadedMs, upgraded } from './upgrade-trial.ts';
import { supervisedProgram, type Upgradable } from './upgrade-sides.ts';
import type { UpgradedMapArgument } from './upgraded-map.ts';
import { makeRam, SMALL } from './workload.ts';

const MiB = 2 ** 20;
const GiB = 2 ** 30;
export const RAW = KEY_BYTES + VALUE_BYTES;

/** Keys of what costs a call, and of what many keys cost. */
export const KEYS = 1e6;
export const MANY_KEYS = 1e7;
/** Where a run only shows that everything works. */
const FEW_KEYS = 20_000;

/** Keys of a trial whose size is that of its keys and values. */
function keysFor({ size, warm }: TrialOptions): number {
  return Math.min(Math.floor(size / RAW), warm ? Infinity : FEW_KEYS);
}

// ---- A call -------------------------------------------------------------------------------------

/** The sides, for people. */
export const KEY_STORES: Readonly<Record<KeyStoreName, string>> = {
  heap: 'Map of the heap, gone with the process: the limit',
  ours: 'map in a file, 4 KiB folios',
  huge: 'map in a file, 2 MiB folios',
  lmdb: 'LMDB on tmpfs',
  sqlite: 'SQLite on tmpfs (better-sqlite3)',
  redis: 'Redis over a Unix socket',
};

export const NAMES = Object.keys(KEY_STORES) as KeyStoreName[];

/** Why a side cannot be had here; undefined where it can. */
function missing(name: KeyStoreName): string | undefined {
  return name === 'lmdb' || name === 'sqlite' || name === 'redis' ? missingAlternative(name) : undefined;
}

function prepareCalls(options: TrialOptions): Promise<Rounds> {
  const count = keysFor(options);
  return withEnds(async (ends) => {
    const absent: Record<string, string> = {};
    const sides: (() => Promise<Record<string, number>>)[] = [];
    for (const name of NAMES) {
      const reason = missing(name);
      if (reason !== undefined) {
        for (const what of [...STEPS, 'memory']) absent[`${name} ${what}`] = reason;
        continue;
      }
      const child = ends.use(
        new Child<SideLine>('stored-map-side', { argument: { name, count } satisfies SideArgument }),
      );
      await child.line();
      sides.push(async () => {
        child.go();
        return Object.fromEntries(
          Object.entries(await child.line()).map(([what, value]) => [`${name} ${what}`, value]),
        );
      });
    }
    return {
      absent,
      run: async (round) => ({ ...(await inTurn(sides, round)), raw: count * RAW }),
      end: () => ends[Symbol.asyncDispose](),
    };
  });
}

// ---- Opening ------------------------------------------------------------------------------------

/** What the largest file has less than 16 GiB: a map counts its units in 31 bits. */
const LESS = 2 * MiB;

/** Bytes in the files of which a map is opened. */
function openSizes(size: number): { small: number; middle: number; large: number } {
  return { small: MiB, middle: Math.min(GiB, size), large: size - LESS };
}

/** Times that each is opened in a round. */
const OPENED = 200;
/** Part of a file of 1 MiB that keys take. */
const FILLED = 0.5;

/** A file of a size, most of it holes, with a map in it. */
class MapFile implements Disposable {
  readonly #ends = new Ends();
  readonly #map: () => StoredMap;

  constructor(size: number, most: number) {
    const ram = makeRam(SMALL, size);
    const { shmem } = bootKernel(ram, undefined, { freeMemory: 'zero' });
    const file = shmem.memfdCreate('bench');
    file.truncate(size);
    const mapping = file.map({ sparse: true });
    this.#ends.use({
      [Symbol.dispose]: () => {
        mapping.unmap();
        ram.close();
      },
    });
    this.#map = () => openMap(mapping);
    using map = this.#map();
    const count = Math.min(most, Math.floor((size * FILLED) / RAW));
    for (let i = 0; i < count; i++) map.set(keyOf(i), valueOf(i));
  }

  /** Milliseconds to open it, on average of many times. */
  open(): number {
    let sum = 0;
    for (let i = 0; i < OPENED; i++) {
      const start = performance.now();
      const map = this.#map();
      sum += performance.now() - start;
      map.close();
    }
    return sum / OPENED;
  }

  [Symbol.dispose](): void {
    void this.#ends[Symbol.asyncDispose]();
  }
}

function prepareOpening({ size, warm }: TrialOptions): Promise<Rounds> {
  return withEnds((ends) => {
    const files = Object.entries(openSizes(size)).map(
      ([name, bytes]) => [name, ends.use(new MapFile(bytes, warm ? KEYS : FEW_KEYS))] as const,
    );
    const sides = files.map(
      ([name, file]) =>
        () =>
          Promise.resolve({ [name]: file.open() }),
    );
    return Promise.resolve({ run: (round) => inTurn(sides, round), end: () => ends[Symbol.asyncDispose]() });
  });
}

// ---- Growing ------------------------------------------------------------------------------------

/** Calls between two looks at the other side. */
const CALLS_AT_ONCE = 1000;
/** The longest that a call may take, in milliseconds. */
const MOST_PAUSE = 1;

/** How long many calls took: by hundredths of a microsecond, up to a millisecond. */
class Durations {
  static readonly #steps = 100_000;
  readonly #counts = new Uint32Array(Durations.#steps + 1);
  #count = 0;
  longest = 0;

  add(milliseconds: number): void {
    this.#counts[Math.min(Durations.#steps, Math.floor(milliseconds * Durations.#steps))] += 1;
    this.#count += 1;
    if (milliseconds > this.longest) this.longest = milliseconds;
  }

  /** The duration that a part of all calls does not exceed. */
  within(part: number): number {
    let left = this.#count * part;
    let at = 0;
    while (left > this.#counts[at] && at < Durations.#steps) left -= this.#counts[at++];
    return Math.min(this.longest, (at + 1) / Durations.#steps);
  }
}

/**
 * Keys come in, and the time of each call is taken. In between, for as long, the same loop without
 * the map: what is written is laid down in a row. Its longest call is the machine's and the
 * engine's.
 *
 * The n-th key splits the same bucket in every round, and adds the same piece to the directory: of
 * what a call takes because of the map, the least of all rounds is left, and what others did to it
 * in one of them is not.
 */
function prepareGrowth(options: TrialOptions): Rounds {
  const count = keysFor(options);
  const ends = new Ends();
  const size = mapFileSize(count);
  const ram = ends.use(makeRam({ ...SMALL, files: 2 }, 2 * size));
  const { shmem } = bootKernel(ram, undefined, { freeMemory: 'zero' });
  const [bytes, row] = [0, 1].map(() => {
    const file = shmem.memfdCreate('bench');
    file.allocate(0, size);
    const mapping = file.map();
    ends.use({
      [Symbol.dispose]: () => {
        mapping.unmap();
      },
    });
    return mapping.bytes.fill(1).fill(0); // all pages are there
  });
  const least = new Float32Array(count).fill(Infinity);
  return {
    run: () => {
      bytes.fill(0);
      const series = grow(bytes, row, least);
      return Promise.resolve(series);
    },
    end: () => ends[Symbol.asyncDispose](),
  };
}

function grow(bytes: Uint8Array<ArrayBuffer>, row: Uint8Array, least: Float32Array): Record<string, number> {
  const map = openMap({ bytes });
  const [ours, without] = [new Durations(), new Durations()];
  const key = Buffer.from(keyOf(0));
  const count = least.length;
  let at = 0;
  for (let i = 0; i < count;) {
    const begin = performance.now();
    for (const end = Math.min(count, i + CALLS_AT_ONCE); i < end; i++) {
      writeKey(key, scattered(i, count));
      const value = valueOf(i);
      const start = performance.now();
      map.set(key, value);
      const took = performance.now() - start;
      ours.add(took);
      if (took < least[i]) least[i] = took;
    }
    const until = performance.now();
    for (let n = 0; performance.now() - until < until - begin; n++) {
      writeKey(key, scattered(n, count));
      const value = valueOf(n);
      const start = performance.now();
      row.set(key, at);
      row.set(value, at + KEY_BYTES);
      without.add(performance.now() - start);
      at = at + 2 * RAW > row.length ? 0 : at + RAW;
    }
  }
  map.close();
  return {
    longest: ours.longest,
    '99.99 %': ours.within(0.9999),
    half: ours.within(0.5),
    'longest without': without.longest,
    '99.99 % without': without.within(0.9999),
    'half without': without.within(0.5),
    'longest each time': least.reduce((a, b) => Math.max(a, b)),
    'most pause': MOST_PAUSE,
  };
}

/** A number below `count`, another one for each. */
function scattered(i: number, count: number): number {
  return (i * SCATTER) % count;
}
/** A prime, so that no count of keys has it in it. */
const SCATTER = 7_368_787;

// ---- An upgrade ---------------------------------------------------------------------------------

function prepareUpgrade(options: TrialOptions): Promise<Rounds> {
  const count = keysFor(options);
  return withEnds(async (ends) => {
    const start = (hasMap: boolean): Promise<Upgradable> =>
      supervisedProgram('upgraded-map', (name) => ({ name, count, hasMap }) satisfies UpgradedMapArgument);
    const services = { map: ends.use(await start(true)), bytes: ends.use(await start(false)) };
    let current = 0;
    const sides = Object.entries(services).map(
      ([name, service]) =>
        async (): Promise<Record<string, number>> => {
          const { gap, failed, closed } = await upgraded(service, {
            connections: CONNECTIONS,
            round: current,
            loadedMs: loadedMs(options.warm),
          });
          return { [`${name} gap`]: gap, [`${name} failed`]: failed + closed };
        },
    );
    return {
      run: (round) => {
        current = round;
        return inTurn(sides, round);
      },
      end: () => ends[Symbol.asyncDispose](),
    };
  });
}

export const CALLS = 'stored-map';
export const OPENING = 'stored-map-open';
export const GROWTH = 'stored-map-growth';
export const UPGRADE = 'stored-map-upgrade';

/** What programs and six stores of a million keys take, and two files of ten million. */
const CALLS_MEMORY = 4 * GiB;
const UPGRADE_MEMORY = (size: number): number => 3.2 * size + GiB;

export const STORED_MAP_TRIALS: readonly Trial[] = [
  {
    name: CALLS,
    title: 'a map in memory beside other stores, 1 million keys of 20 bytes with values of 100',
    sizes: KEYS * RAW,
    memory: () => CALLS_MEMORY,
    prepare: prepareCalls,
  },
  {
    name: OPENING,
    title: 'maps that are opened, in files of 1 MiB, 1 GiB and 16 GiB',
    sizes: 16 * GiB,
    leastRounds: 9,
    memory: () => GiB,
    prepare: prepareOpening,
  },
  {
    name: GROWTH,
    title: 'a map that grows to 10 million keys, call by call',
    sizes: MANY_KEYS * RAW,
    rounds: 5,
    memory: UPGRADE_MEMORY,
    prepare: prepareGrowth,
  },
  {
    name: UPGRADE,
    title: 'what 50 clients notice of an upgrade with a map of 10 million keys',
    sizes: MANY_KEYS * RAW,
    leastRounds: 9,
    memory: UPGRADE_MEMORY,
    prepare: prepareUpgrade,
  },
];
