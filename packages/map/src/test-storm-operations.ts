/**
 * What a process does to a map until it is killed: operation `n` of a seed is the same in the
 * process that does it and in the model that knows what must be found.
 */
import { Prng } from '@liveupdate/base';
import { valueOf } from './test-values.ts';

export interface Operated {
  set(key: string, value: string, expires: number | 'keep'): void;
  delete(key: string): void;
  increment(key: string, by: number): void;
  expireAt(key: string, moment: number): void;
  clear(): void;
  compact(): void;
}

/** The clock that both have. */
export function timeOf(operation: number): number {
  return 1_000_000 + operation;
}

const KEYS = 20_000;

export function operate(map: Operated, seed: number, operation: number): void {
  const random = new Prng((seed + Math.imul(operation, 0x9e37_79b1)) >>> 0);
  random.below(1);
  const kind = random.below(100);
  // For a while the map grows, and then it shrinks.
  const isGrowing = operation % 60_000 < 40_000;
  const key = `key ${random.below(isGrowing ? KEYS : KEYS / 10)}`;
  if (kind < (isGrowing ? 60 : 20)) {
    const length = random.below(random.below(20) === 0 ? 5000 : 150);
    const expires = [Infinity, Infinity, 'keep', timeOf(operation) + random.below(20_000)] as const;
    map.set(key, valueOf(key, operation, length), expires[random.below(4)]);
  } else if (kind < 85) {
    map.delete(isGrowing ? key : `key ${random.below(KEYS)}`);
  } else if (kind < 92) {
    map.increment(`counter ${random.below(50)}`, random.below(1000) - 400);
  } else if (kind < 98) {
    map.expireAt(key, timeOf(operation) + random.below(3) * 5000);
  } else if (kind < 99) {
    map.compact();
  } else if (random.below(500) === 0) {
    map.clear();
  }
}

/** Keys with their values and when they expire. */
export class StormModel implements Operated {
  readonly keys = new Map<string, { value: string; expires: number }>();
  /** Operations that are done. */
  done = 0;
  readonly seed: number;

  constructor(seed: number) {
    this.seed = seed;
  }

  goOn(operations: number): void {
    while (this.done < operations) {
      operate(this, this.seed, this.done);
      this.done += 1;
    }
  }

  get content(): Map<string, string> {
    const live = [...this.keys].filter(([, { expires }]) => expires > timeOf(this.done));
    return new Map(live.map(([key, { value, expires }]) => [key, `${value} until ${expires}`]));
  }

  #live(key: string): { value: string; expires: number } | undefined {
    const found = this.keys.get(key);
    return found && found.expires > timeOf(this.done) ? found : undefined;
  }

  set(key: string, value: string, expires: number | 'keep'): void {
    this.keys.set(key, {
      value,
      expires: expires === 'keep' ? (this.#live(key)?.expires ?? Infinity) : expires,
    });
  }

  delete(key: string): void {
    this.keys.delete(key);
  }

  increment(key: string, by: number): void {
    this.keys.set(key, { value: String(Number(this.keys.get(key)?.value ?? 0) + by), expires: Infinity });
  }

  expireAt(key: string, moment: number): void {
    const found = this.#live(key);
    if (found && moment > timeOf(this.done)) found.expires = moment;
    else this.keys.delete(key);
  }

  clear(): void {
    this.keys.clear();
  }

  compact(): void {
    // moves what is there
  }
}
