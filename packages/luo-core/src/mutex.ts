/** Runs asynchronous work one piece after the other, in the order of asking. */
export class Mutex {
  #last: Promise<unknown> = Promise.resolve();

  /** The result of `work`, run when all earlier work has ended. */
  run<T>(work: () => T | Promise<T>): Promise<T> {
    const result = this.#last.then(work);
    this.#last = result.catch(() => undefined);
    return result;
  }
}
