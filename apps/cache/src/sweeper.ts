/**
 * Removes keys whose time has come and that nobody asks for: ten times a second, for some
 * milliseconds at most.
 *
 * Always: between `stop` and `start` it stores nothing.
 */
import type { Store } from './store.ts';

const PERIOD_MS = 100;
/** Keys that are looked at in one go. */
const STEP = 256;
/** A go after which the next follows at once: so many of its keys were over. */
const MANY = STEP / 4;
/** Milliseconds that are spent at most, of each period. */
const MOST_MS = 5;

export class Sweeper {
  readonly #store: Store;
  #timer: NodeJS.Timeout | undefined;

  constructor(store: Store) {
    this.#store = store;
  }

  start(): void {
    this.#timer ??= setInterval(() => {
      this.sweep();
    }, PERIOD_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  sweep(): void {
    const end = performance.now() + MOST_MS;
    let before: number;
    do {
      before = this.#store.expired;
      this.#store.sweep(STEP);
    } while (this.#store.expired - before > MANY && performance.now() < end);
  }
}
