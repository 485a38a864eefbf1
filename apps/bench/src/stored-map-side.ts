/**
 * A program that keeps values under keys in one way, and measures what that costs each time it is
 * told to: each side has a process of its own, in which nothing of another one is compiled,
 * collected or counted. It begins and ends each round with an empty store.
 */
import { KernelError } from '@liveupdate/base';
import { argument, awaitGo, now, say, tellFailures } from './child-side.ts';
import { STEPS, type KeyStoreName, type Step } from './key-store.ts';
import { openKeyStore } from './key-stores.ts';
import { keysInOrder, VALUE_BYTES } from './keys.ts';

/** What the program is told. */
export interface SideArgument {
  readonly name: KeyStoreName;
  readonly count: number;
}

/**
 * For a million keys, milliseconds of each step, and of those what this process had of processors:
 * on a busy machine it says more. And bytes.
 */
export type SideLine = Readonly<Partial<Record<Step | `${Step} cpu` | 'memory', number>>>;

/** Of so many keys what is measured counts; where it is done with some of them, that is scaled. */
const MILLION = 1e6;

/**
 * The part of all keys that a step is done with, where others than a fifth of them: new keys come
 * in until all are there, and one call at a time takes some ten times as long.
 */
const PARTS: Readonly<Partial<Record<Step, number>>> = {
  setBatch: 0.05,
  setOne: 0.02,
  getOne: 0.02,
  overwriteBatch: 0.05,
  overwriteOne: 0.02,
  incrementOne: 0.02,
};
const PART = 0.2;

/** Rows of keys, each in an order of its own. */
interface Keys {
  readonly set: readonly string[];
  readonly read: readonly string[];
  readonly changed: readonly string[];
  readonly deleted: readonly string[];
}

tellFailures();
const { name, count } = argument() as SideArgument;
/** Keys of numbers: as long as the others, and in a store of as many. */
const COUNTERS = 10;
const all: Keys = {
  set: keysInOrder(count, 1),
  read: keysInOrder(count, 2),
  changed: keysInOrder(count, 3),
  deleted: keysInOrder(count, 4),
};
const counted = keysInOrder(Math.ceil(count / COUNTERS), 5).map((key) => `hit${key.slice(3)}`);
/** Each is met several times. */
const counters = Array.from({ length: count }, (_, i) => counted[Math.imul(i, 7919) % counted.length]);

await using store = await openKeyStore(name, count + counted.length);
say({});
while (await awaitGo()) say(await round());

async function round(): Promise<SideLine> {
  const line: { -readonly [What in keyof SideLine]: SideLine[What] } = {};
  for (const step of STEPS) {
    const work = store.steps[step];
    if (!work) continue;
    const keys = keysOf(step);
    const cpu = process.cpuUsage();
    const start = now();
    const bytes = await work(keys);
    line[step] = ((now() - start) * MILLION) / keys.length;
    const { user, system } = process.cpuUsage(cpu);
    line[`${step} cpu`] = ((user + system) / 1000 / keys.length) * MILLION;
    if (typeof bytes === 'number' && bytes !== keys.length * VALUE_BYTES)
      throw new KernelError('EIO', `${step} of ${name}: ${bytes} bytes, of ${keys.length} keys`);
    if (step === 'get') line.memory = await store.memory();
  }
  await store.clear();
  return line;
}

/** What a step is done with; keys are added in three ways, each with keys of its own. */
function keysOf(step: Step): readonly string[] {
  const { set, read, changed, deleted } = all;
  const part = PARTS[step] ?? PART;
  const some = (keys: readonly string[]): readonly string[] => keys.slice(0, Math.ceil(keys.length * part));
  switch (step) {
    case 'set':
    case 'setBatch':
    case 'setOne': {
      const length = (of: 'setBatch' | 'setOne'): number =>
        of in store.steps ? Math.ceil(set.length * (PARTS[of] ?? 0)) : 0;
      const one = set.length - length('setOne');
      const batch = one - length('setBatch');
      if (step === 'set') return set.slice(0, batch);
      return step === 'setBatch' ? set.slice(batch, one) : set.slice(one);
    }
    case 'delete':
      return some(deleted);
    case 'increment':
    case 'incrementOne':
      return some(counters);
    case 'overwrite':
    case 'overwriteBatch':
    case 'overwriteOne':
      return some(changed);
    default:
      return some(read);
  }
}
