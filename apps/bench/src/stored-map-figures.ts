/** Figures of maps beside other stores, and the words of their tables. */
import type { Figure } from './figure.ts';
import { STEPS, type KeyStoreName, type Step } from './key-store.ts';
import { CALLS, OPENING, GROWTH, UPGRADE, KEYS, MANY_KEYS, RAW, NAMES } from './stored-map-trials.ts';

const GiB = 2 ** 30;

const AGAINST: Readonly<Record<KeyStoreName, string>> = {
  heap: 'Map of the heap',
  ours: '4 KiB folios',
  huge: '2 MiB folios',
  lmdb: 'LMDB',
  sqlite: 'SQLite',
  redis: 'Redis',
};

/** What they are measured against, in words. */
export const STORED_MAP_AGAINST: Readonly<Record<string, string>> = {
  ...Object.fromEntries(
    NAMES.flatMap((name) => [...STEPS, 'memory'].map((step) => [`${name} ${step}`, AGAINST[name]] as const)),
  ),
  raw: 'keys and values',
  small: '1 MiB',
  'bytes gap': 'without a map',
  'most pause': 'at most',
  'longest without': 'without the map',
  '99.99 % without': 'without the map',
};

/** Steps, in the words of the figures and of the table. */
export const STEP_TITLES: Readonly<Record<Step, string>> = {
  set: 'new keys, many at a time',
  setBatch: 'new keys, 1,000 at a time',
  setOne: 'new key, one call',
  get: 'get, a copy',
  text: 'get, as text',
  read: 'read, no copy',
  getOne: 'get, one call',
  overwrite: 'overwrite, many at a time',
  overwriteBatch: 'overwrite, 1,000 at a time',
  overwriteOne: 'overwrite, one call',
  increment: 'increment, 1,000 at a time',
  incrementOne: 'increment, one call',
  delete: 'delete, many at a time',
};

/** A million calls of ours against a million of another store. */
function calls(
  what: string,
  step: Step,
  against: `${KeyStoreName} ${Step}`,
  more: Partial<Figure> & { readonly side?: 'ours' | 'huge' } = {},
): Figure {
  const { side = 'ours', ...others } = more;
  return {
    trial: CALLS,
    title: `map, 1 million keys: ${what}`,
    measured: `${side} ${step}`,
    against,
    kind: 'faster',
    goalSize: KEYS * RAW,
    ...others,
  };
}

const HUGE_SIDE = { side: 'huge' } as const;

/** What flatters least stands first. */
export const STORED_MAP_FIGURES: readonly Figure[] = [
  calls('increment, against a Map', 'increment', 'heap increment'),
  calls('get, against Redis, 1,000 in a pipeline', 'get', 'redis get'),
  calls('delete, against a Map', 'delete', 'heap delete'),
  calls('set, against a Map', 'set', 'heap set'),
  calls('read without a copy, against a Map', 'read', 'heap read'),
  calls('get, against a Map and a copy of the value', 'get', 'heap get'),
  calls('set, against LMDB, all in one transaction', 'set', 'lmdb set', { goal: 1 }),
  calls('set, against LMDB in transactions of 1,000', 'set', 'lmdb setBatch', { goal: 1 }),
  calls('overwrite, against LMDB, all in one transaction', 'overwrite', 'lmdb overwrite', { goal: 1 }),
  calls('overwrite, against LMDB in transactions of 1,000', 'overwrite', 'lmdb overwriteBatch', { goal: 1 }),
  calls('get, against LMDB', 'get', 'lmdb get', { goal: 2 }),
  calls('get as text, against LMDB', 'text', 'lmdb text', { goal: 2 }),
  calls('read without a copy, against LMDB (getBinaryFast)', 'read', 'lmdb read', {
    goal: 2,
  }),
  calls('set, whole when it returns, against LMDB (putSync)', 'set', 'lmdb setOne', {
    goal: 20,
  }),
  calls('overwrite, whole when it returns, against LMDB (putSync)', 'overwrite', 'lmdb overwriteOne', {
    goal: 20,
  }),
  calls('increment, against LMDB (transactionSync)', 'increment', 'lmdb incrementOne'),
  calls('delete, against LMDB, all in one transaction', 'delete', 'lmdb delete'),
  calls('get, 2 MiB folios, against LMDB', 'get', 'lmdb get', { ...HUGE_SIDE, goal: 2 }),
  calls('read without a copy, 2 MiB folios, against LMDB', 'read', 'lmdb read', { ...HUGE_SIDE, goal: 2 }),
  calls('set, 2 MiB folios, against LMDB, all in one transaction', 'set', 'lmdb set', {
    ...HUGE_SIDE,
    goal: 1,
  }),
  calls('set, 2 MiB folios, against LMDB (putSync)', 'set', 'lmdb setOne', { ...HUGE_SIDE, goal: 20 }),
  calls('get, against SQLite', 'get', 'sqlite get'),
  calls('set, against SQLite, all in one transaction', 'set', 'sqlite set'),
  calls('set, whole when it returns, against SQLite', 'set', 'sqlite setOne'),
  calls('get, against Redis, one call', 'get', 'redis getOne'),
  calls('set, against Redis, 1,000 in a pipeline', 'set', 'redis set'),
  calls('set, whole when it returns, against Redis, one call', 'set', 'redis setOne'),
  {
    trial: CALLS,
    title: 'map, 1 million keys: memory, beside keys and values alone',
    measured: 'ours memory',
    against: 'raw',
    kind: 'share',
    goal: 130,
    goalSize: KEYS * RAW,
  },
  {
    trial: CALLS,
    title: 'map, 1 million keys: memory, beside a Map',
    measured: 'ours memory',
    against: 'heap memory',
    kind: 'share',
  },
  {
    trial: CALLS,
    title: 'map, 1 million keys: memory, beside LMDB',
    measured: 'ours memory',
    against: 'lmdb memory',
    kind: 'share',
  },
  {
    trial: OPENING,
    title: 'map opened, in 16 GiB beside 1 MiB',
    measured: 'large',
    against: 'small',
    kind: 'longer',
    goal: 1.2,
    goalSize: 16 * GiB,
  },
  {
    trial: OPENING,
    title: 'map opened, in 1 GiB beside 1 MiB',
    measured: 'middle',
    against: 'small',
    kind: 'longer',
    goal: 1.2,
  },
  {
    trial: GROWTH,
    title: 'longest set while 10 million keys come in, with all that the machine does',
    measured: 'longest',
    against: 'longest without',
    kind: 'more',
  },
  {
    trial: GROWTH,
    title: 'longest set while 10 million keys come in, of what comes again in each round',
    measured: 'longest each time',
    against: 'most pause',
    kind: 'longer',
    goal: 1,
    goalSize: MANY_KEYS * RAW,
  },
  {
    trial: GROWTH,
    title: 'of 10,000 sets while 10 million keys come in, the longest but one',
    measured: '99.99 %',
    against: '99.99 % without',
    kind: 'longer',
  },
  {
    trial: UPGRADE,
    title: 'gap of ours by standby, a map of 10 million keys beside none',
    measured: 'map gap',
    against: 'bytes gap',
    kind: 'more',
    goal: 1,
    goalSize: MANY_KEYS * RAW,
  },
];
