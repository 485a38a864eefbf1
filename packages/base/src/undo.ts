/**
 * Undo stacks: what a function acquires it gives back in reverse, in one visible place, unless it
 * got to the end.
 */

import { DISPOSE, type Disposing } from './dispose.ts';

/**
 * Steps that take back what was done, run last first when the scope ends, unless `keep()` was
 * called.
 *
 * @example
 * using undo = new Undo();
 * const page = pages.alloc(0);
 * undo.add(() => pages.free(page));
 * mayThrow(page);
 * undo.keep();
 */
export interface Undo extends Disposing {
  add(step: () => void): void;
  /** The work is done: nothing is taken back. */
  keep(): void;
  /** Takes back what was done, for hot paths that do without `using`. */
  all(): void;
}

/** An undo stack with nothing on it. */
export const Undo: new () => Undo = class implements Undo {
  readonly #steps: (() => void)[] = [];

  add(step: () => void): void {
    this.#steps.push(step);
  }

  keep(): void {
    this.#steps.length = 0;
  }

  all(): void {
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) step();
  }

  [DISPOSE](): void {
    this.all();
  }
};
