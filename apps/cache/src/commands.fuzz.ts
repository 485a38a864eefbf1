/** Commands against a naive model: whatever is asked in whatever order, both say the same. */
import { seed, isQuick } from '@liveupdate/base/test-seed';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { TestCache } from './test-client.ts';
import type { Value } from './test-resp.ts';

interface Kept {
  readonly value: string;
  /** Infinity: never. */
  readonly expires: number;
}

const NO_INTEGER = { error: 'ERR value is not an integer or out of range' };

/** The same commands over a Map, as slowly and plainly as can be. */
class Model {
  readonly #kept = new Map<string, Kept>();
  now = 1_700_000_000_000;

  #get(key: string): Kept | undefined {
    const kept = this.#kept.get(key);
    return kept && kept.expires > this.now ? kept : undefined;
  }

  #set(key: string, value: string, expires = this.#get(key)?.expires ?? Infinity): void {
    this.#kept.set(key, { value, expires });
  }

  ask(name: string, key: string, more: string): Value {
    const kept = this.#get(key);
    const value = kept?.value ?? '';
    switch (name) {
      case 'GET':
        return kept?.value ?? null;
      case 'SET':
        this.#set(key, more, Infinity);
        return 'OK';
      case 'SETNX':
        if (!kept) this.#set(key, more, Infinity);
        return kept ? 0 : 1;
      case 'GETDEL':
        this.#kept.delete(key);
        return kept?.value ?? null;
      case 'GETSET':
        this.#set(key, more, Infinity);
        return kept?.value ?? null;
      case 'DEL':
        this.#kept.delete(key);
        return kept ? 1 : 0;
      case 'EXISTS':
        return kept ? 1 : 0;
      case 'APPEND':
        this.#set(key, value + more);
        return value.length + more.length;
      case 'STRLEN':
        return value.length;
      case 'PEXPIRE':
        if (kept && Number(more) <= 0) this.#kept.delete(key);
        else if (kept) this.#set(key, value, this.now + Number(more));
        return kept ? 1 : 0;
      case 'PSETEX':
        this.#set(key, key, this.now + Number(more));
        return 'OK';
      case 'PTTL':
        return kept ? (kept.expires === Infinity ? -1 : kept.expires - this.now) : -2;
      case 'PERSIST':
        if (!kept || kept.expires === Infinity) return 0;
        this.#set(key, value, Infinity);
        return 1;
      case 'RENAME':
        if (!kept) return { error: 'ERR no such key' };
        this.#kept.delete(key);
        this.#set(more, value, kept.expires);
        return 'OK';
      case 'INCRBY': {
        const isInteger =
          !kept || (/^(?:0|-?[1-9]\d*)$/.test(value) && BigInt.asIntN(64, BigInt(value)) === BigInt(value));
        if (!isInteger) return NO_INTEGER;
        const sum = BigInt(value === '' ? 0 : value) + BigInt(more);
        if (BigInt.asIntN(64, sum) !== sum) return { error: 'ERR increment or decrement would overflow' };
        this.#set(key, String(sum));
        return Number.isSafeInteger(Number(sum)) ? Number(sum) : sum;
      }
      default:
        throw new Error(`the model has no ${name}`);
    }
  }

  get keys(): string[] {
    return [...this.#kept.keys()].filter((key) => this.#get(key)).sort();
  }
}

const key = fc.constantFrom('a', 'b', 'c', 'key with space', '\0\xff');
const values = fc.oneof(
  fc.constantFrom('', '0', '-1', '12', '007', '9223372036854775807', '9007199254740991', 'text'),
  fc.string({ unit: 'binary-ascii', maxLength: 40 }),
  fc.integer({ min: 100, max: 3000 }).map((length) => 'x'.repeat(length)),
);
const step = fc.oneof(
  fc.record({ name: fc.constantFrom('GET', 'GETDEL', 'DEL', 'EXISTS', 'STRLEN', 'PTTL', 'PERSIST'), key, more: fc.constant('') }),
  fc.record({ name: fc.constantFrom('SET', 'SETNX', 'GETSET', 'APPEND'), key, more: values }),
  fc.record({ name: fc.constant('RENAME'), key, more: key }),
  fc.record({ name: fc.constant('PEXPIRE'), key, more: fc.integer({ min: -5, max: 200 }).map(String) }),
  fc.record({ name: fc.constant('PSETEX'), key, more: fc.integer({ min: 1, max: 200 }).map(String) }),
  fc.record({ name: fc.constant('INCRBY'), key, more: fc.constantFrom('1', '-1', '9007199254740991', '9223372036854775807', '-9223372036854775808') }),
  fc.record({ name: fc.constant('wait'), key, more: fc.integer({ min: 1, max: 100 }).map(String) }),
); // prettier-ignore

function requestOf(name: string, key: string, more: string): string[] {
  if (name === 'PSETEX') return [name, key, more, key];
  return more === '' && !['SET', 'SETNX', 'GETSET', 'APPEND'].includes(name)
    ? [name, key]
    : [name, key, more];
}

test('commands and a model say the same', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 80 }), (steps) => {
      const model = new Model();
      const { ask } = new TestCache({ now: () => model.now }).client();
      for (const { name, key, more } of steps) {
        if (name === 'wait') {
          model.now += Number(more);
          continue;
        }
        expect(ask(...requestOf(name, key, more))).toEqual(model.ask(name, key, more));
      }
      expect((ask('KEYS', '*') as string[]).sort()).toEqual(model.keys);
    }),
    { seed, numRuns: isQuick ? 100 : 2000 },
  );
});
