/** What has to end with a trial, the last first; also where setting it up fails half way. */
export class Ends implements AsyncDisposable {
  readonly #ends: (() => unknown)[] = [];

  /** Notes what ends at the end, and gives it back. */
  use<Used extends Disposable | AsyncDisposable>(used: Used): Used {
    this.#ends.push(() =>
      Symbol.asyncDispose in used ? used[Symbol.asyncDispose]() : used[Symbol.dispose](),
    );
    return used;
  }

  /** Ends everything, even where one of the ends fails; throws the first failure then. */
  async [Symbol.asyncDispose](): Promise<void> {
    const failures: unknown[] = [];
    for (let end = this.#ends.pop(); end; end = this.#ends.pop()) {
      try {
        await end();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }
}

/** Sets something up with ends; where that fails, what was set up so far ends. */
export async function withEnds<T>(setUp: (ends: Ends) => Promise<T>): Promise<T> {
  const ends = new Ends();
  try {
    return await setUp(ends);
  } catch (error) {
    await ends[Symbol.asyncDispose]();
    throw error;
  }
}

/** Sets up something that ends; where that fails, it ends at once. */
export async function setUp<Made extends AsyncDisposable>(
  made: Made,
  work: (made: Made) => Promise<unknown>,
): Promise<Made> {
  try {
    await work(made);
    return made;
  } catch (error) {
    await made[Symbol.asyncDispose]();
    throw error;
  }
}
