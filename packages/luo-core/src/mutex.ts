/**
 * Runs work one piece after the other, in the order of asking. Where nothing runs, it begins at
 * once, before the call returns: who preserves thousands of files one by one does not wait for a
 * turn each time.
 */
export class Mutex {
  /** Work that waits for what runs, the longest first; that before place `#begun` has begun. */
  #waiting: (() => void)[] = [];
  #begun = 0;
  #isBusy = false;

  /**
   * The result of `work`, run when all earlier work has ended. What it throws rejects the promise.
   */
  run<T>(work: () => T | Promise<T>): Promise<T> {
    if (!this.#isBusy) return this.#start(work);
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push(() => {
        this.#start(work).then(resolve, reject);
      });
    });
  }

  #start<T>(work: () => T | Promise<T>): Promise<T> {
    this.#isBusy = true;
    let result: Promise<T>;
    try {
      result = Promise.resolve(work());
    } catch (error) {
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- passed on as it is
      result = Promise.reject(error);
    }
    result.then(this.#next, this.#next);
    return result;
  }

  readonly #next = (): void => {
    this.#isBusy = false;
    if (this.#begun < this.#waiting.length) {
      this.#waiting[this.#begun++]();
    } else if (this.#begun > 0) {
      this.#waiting = [];
      this.#begun = 0;
    }
  };
}
