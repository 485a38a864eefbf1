/** Memory that is kept by other means, set up for a trial. */
import { Child } from './child-process.ts';
import { setUp } from './ends.ts';
import type { StoreArgument, StoreKind } from './open-store.ts';
import type { StoreStart } from './store.ts';

/** A program whose bytes stay on tmpfs while it is replaced. */
export class KeptStore implements AsyncDisposable {
  readonly #child: Child<StoreStart>;

  private constructor(argument: StoreArgument) {
    this.#child = new Child('store', { argument });
  }

  /** Starts one, with its bytes written. */
  static start(kind: StoreKind, directory: string, size: number): Promise<KeptStore> {
    return setUp(new KeptStore({ kind, directory, size }), (store) => store.#child.line());
  }

  /** Milliseconds from its end to the first byte that the next generation reads. */
  async replace(): Promise<number> {
    this.#child.go();
    const { start } = await this.#child.line();
    await this.#child.line(); // it stands again
    return start!;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#child[Symbol.asyncDispose]();
  }
}
