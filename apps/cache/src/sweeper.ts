/**
 * Removes keys whose time has come and that nobody asks for: ten times a second, for a millisecond,
 * and for some more where there are many.
 *
 * Always: between `stop` and `start` it stores nothing.
 */
import type { Store } from './store.ts';

const PERIOD_MS = 100;
/** Keys that are looked at in one go, which takes some 0.1 ms. */
const STEP = 1000;
/** A go after which more time is spent: so many of its keys were over. */
const MANY = STEP / 4;
/** Milliseconds of each period, and at most where there are many. */
const USUAL_MS = 1;
const MOST_MS = 5;

export class Sweeper {
  readonly #store: Store;
  #timer: NodeJS.Timeout | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  start(): void {
    this.#timer ??= setInterval(() => {
      this.#sweep();
    }, PERIOD_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #sweep(): void {
    const { map } = this.#store;
    const start = performance.now();
    for (let limit = USUAL_MS; map.stats.expiring > 0 && performance.now() - start < limit;)
      limit = this.#store.sweep(STEP) > MANY ? MOST_MS : USUAL_MS;
  }
}
