/** Random calls, against a naive model; all of the map is looked at again and again. */
import { codeOf, Prng } from '@liveupdate/base';
import { seed } from '@liveupdate/base/test-seed';
import { describe, expect, it } from 'vitest';
import { openMap } from './open-map.ts';
import type { StoredMap } from './map.ts';
import { bytesOf } from './test-file.ts';

interface Value {
  text: string;
  expires: number;
}

class Model {
  /** In the order of use, the newest last. */
  readonly keys = new Map<string, Value>();
  time = 1_000_000;

  live(key: string): Value | undefined {
    const value = this.keys.get(key);
    return value && value.expires > this.time ? value : undefined;
  }

  use(key: string): Value | undefined {
    const value = this.live(key);
    if (!value) this.keys.delete(key);
    else {
      this.keys.delete(key);
      this.keys.set(key, value);
    }
    return value;
  }
}

function textOf(random: Prng, most: number): string {
  const length = random.below(random.below(8) === 0 ? most : 40);
  if (random.below(4) === 0) return 'ü€😀'.repeat(length / 8);
  return String(random.below(1e9))
    .repeat(length / 8 + 1)
    .slice(0, length);
}

/** One call on both; one that finds no room leaves both as they were. */
function step(map: StoredMap, model: Model, random: Prng, keys: number): void {
  try {
    call(map, model, random, keys);
  } catch (error) {
    if (codeOf(error) !== 'ENOSPC') throw error;
  }
}

function call(map: StoredMap, model: Model, random: Prng, keys: number): void {
  const key = `key ${random.below(keys)}`;
  switch (random.below(14)) {
    case 0:
    case 1:
    case 2:
    case 3: {
      const text = textOf(random, 3000);
      const expires = random.below(4) === 0 ? model.time + random.below(1000) : Infinity;
      map.set(key, text, { expires });
      model.keys.delete(key);
      model.keys.set(key, { text, expires });
      break;
    }
    case 4:
      expect(map.get(key)).toBe(model.use(key)?.text);
      break;
    case 5: {
      const wasThere = model.live(key) !== undefined;
      expect(map.delete(key)).toBe(wasThere);
      model.keys.delete(key);
      break;
    }
    case 6: {
      const by = random.below(10) - 5;
      const value = model.use(key);
      if (value && !/^(0|-?[1-9]\d{0,18})$/.test(value.text)) {
        expect(() => map.increment(key, by)).toThrow(expect.objectContaining({ code: 'EINVAL' }) as Error);
        break;
      }
      const sum = Number(value?.text ?? 0) + by;
      if (!Number.isSafeInteger(sum) || !Number.isSafeInteger(Number(value?.text ?? 0))) {
        expect(map.get(key)).toBe(value?.text);
        break;
      }
      expect(map.increment(key, by)).toBe(sum);
      model.keys.delete(key);
      model.keys.set(key, { text: String(sum), expires: value?.expires ?? Infinity });
      break;
    }
    case 7: {
      const moment = [Infinity, model.time - 1, model.time + random.below(2000)][random.below(3)];
      const value = model.use(key);
      expect(map.expireAt(key, moment)).toBe(value !== undefined);
      if (value && moment <= model.time) model.keys.delete(key);
      else if (value) value.expires = moment;
      break;
    }
    case 8:
      expect([map.expiry(key), map.has(key)]).toEqual([
        model.live(key)?.expires,
        model.live(key) !== undefined,
      ]);
      break;
    case 9:
      model.time += random.below(100);
      break;
    case 10:
      map.sweep(1 + random.below(100));
      for (const [name, { expires }] of model.keys) if (expires <= model.time) model.keys.delete(name);
      map.sweep(2 ** 30);
      expect(map.size).toBe(model.keys.size);
      break;
    case 11:
      if (random.below(4) === 0) map.compact(random.below(2) + 0.01);
      break;
    case 12:
      if (random.below(200) === 0) {
        map.clear();
        model.keys.clear();
      }
      break;
    default:
      expect(map.read(key, (value) => new TextDecoder().decode(value))).toBe(model.use(key)?.text);
  }
}

function compareAll(map: StoredMap, model: Model): void {
  map.verify();
  const live = [...model.keys].filter(([, { expires }]) => expires > model.time);
  expect(new Map(map.entries())).toEqual(new Map(live.map(([key, { text }]) => [key, text])));
}

describe(`LIVEUPDATE_SEED=${seed}`, () => {
  it.each([
    { name: 'few keys', size: 2 ** 20, keys: 200, steps: 20_000 },
    { name: 'many keys', size: 2 ** 22, keys: 12_000, steps: 100_000 },
    { name: 'a map that is full most of the time', size: 2 ** 17, keys: 1000, steps: 30_000 },
  ])('does what a model does: $name', ({ size, keys, steps }) => {
    const random = new Prng(seed);
    const model = new Model();
    const place = bytesOf(size);
    let map = openMap(place, { now: () => model.time });
    for (let i = 0; i < steps; i++) {
      step(map, model, random, keys);
      if (i % 2000 !== 1999) continue;
      compareAll(map, model);
      map.close();
      map = openMap(place, { now: () => model.time });
    }
    compareAll(map, model);
    map.close();
  });

  it('removes what was used the longest ago, and nothing else', () => {
    const random = new Prng(seed);
    const model = new Model();
    const place = bytesOf(2 ** 17);
    let map = openMap(place, { evict: 'lru', now: () => model.time });
    for (let i = 0; i < 30_000; i++) {
      const { evicted } = map.stats;
      step(map, model, random, 2000);
      for (let gone = map.stats.evicted - evicted; gone > 0;) {
        // What expired is removed first.
        const [oldest] = [...model.keys].find(([, { expires }]) => expires > model.time) ?? [];
        for (const [name, { expires }] of model.keys) if (expires <= model.time) model.keys.delete(name);
        if (oldest !== undefined) model.keys.delete(oldest);
        gone -= 1;
      }
      if (i % 2000 !== 1999) continue;
      compareAll(map, model);
      map.close();
      map = openMap(place, { evict: 'lru', now: () => model.time });
    }
    expect(map.stats.evicted).toBeGreaterThan(100);
  });
});
