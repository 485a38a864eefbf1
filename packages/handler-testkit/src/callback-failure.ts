/**
 * A whole life in which one callback fails: call number n of the neighbour's callbacks and of those
 * of the handler that are tried again. What failed is tried again, and in the end everything must
 * have arrived, and nothing be left.
 */
import type { OutgoingSession, PreservableFile } from '@liveupdate/luo-core';
import type { CallbackName } from './fault.ts';
import { Fuse, Neighbour } from './neighbour.ts';
import { checkNothingLeft, incoming, must, retrieve } from './scenario.ts';
import type { FileHandlerSuite } from './suite-options.ts';
import { firstKernel, nextKernel, SESSION, type KernelOptions, type TestKernel } from './kernel.ts';

/**
 * Callbacks of the handler that fail in its place, before it has done anything. Not those that are
 * not tried again: what they would have freed would be lost, by the suite's fault. Of an FLB
 * preserve alone is tried again.
 */
const TRIED_AGAIN: ReadonlySet<CallbackName> = new Set([
  'preserve',
  'preserveAll',
  'unpreserve',
  'freeze',
  'canFinish',
]);

export class CallbackFailure<F extends PreservableFile> {
  readonly #suite: FileHandlerSuite<F>;
  readonly #preserving: 'one by one' | 'in one step';
  readonly #fuse: Fuse;
  readonly #options: KernelOptions<F>;

  constructor(
    suite: FileHandlerSuite<F>,
    n: number,
    preserving: 'one by one' | 'in one step' = 'one by one',
  ) {
    const fuse = new Fuse(n);
    this.#suite = suite;
    this.#preserving = preserving;
    this.#fuse = fuse;
    this.#options = {
      before: (callback, kind) => {
        if (kind === 'handler' ? TRIED_AGAIN.has(callback) : callback === 'preserve')
          fuse.touch(kind === 'handler' ? callback : `${kind}'s ${callback}`);
      },
      beforeNeighbour: (callback) => fuse.touch(`another file's ${callback}`),
    };
  }

  /** Whether there was such a call. */
  async run(): Promise<boolean> {
    const kernel = firstKernel(this.#suite, this.#options);
    const before = kernel.picture();
    const files = [await kernel.file(1), await kernel.file(2)];
    const session = kernel.luo.createSession(SESSION);
    await this.#preserve(kernel, session, [
      [3, new Neighbour(1n)],
      [1, files[0]],
      [4, new Neighbour(2n)],
      [2, files[1]],
    ]);
    await this.#again(kernel, 'unpreserve', () => session.unpreserve(1));
    await this.#preserve(kernel, session, [[1, files[0]]]);
    await this.#again(kernel, 'freeze', () => kernel.luo.reboot());
    await this.#once(kernel, 'unfreeze', () => kernel.luo.cancelReboot());
    await this.#again(kernel, 'freeze', () => kernel.luo.reboot());
    await this.#goOn(kernel);
    await this.#once(kernel, 'unfreeze', () => kernel.luo.cancelReboot());
    await this.#again(kernel, 'unpreserve', () => session.close());
    for (const file of files) await kernel.release(file);
    kernel.checkMemory(before, 'unpreserve', this.#when);
    return this.#fuse.blown !== undefined;
  }

  /** The next kernel's part. */
  async #goOn({ parts: { ram, kho } }: TestKernel<F>): Promise<void> {
    const kernel = nextKernel(this.#suite, { ram, entry: kho.entry }, this.#options);
    const { session, before } = incoming(kernel);
    for (const token of [3, 4]) await this.#once(kernel, 'retrieve', () => session.retrieve(token));
    for (const token of [2, 1]) await kernel.release(await retrieve(kernel, session, token, token));
    await this.#once(kernel, 'finish', () => session.finish());
    await must(kernel, 'finish', () => session.close()); // where it is not finished yet
    await checkNothingLeft(kernel, before, 'finish', this.#when);
  }

  async #preserve(
    kernel: TestKernel<F>,
    session: OutgoingSession,
    files: readonly (readonly [token: number, file: PreservableFile])[],
  ): Promise<void> {
    if (this.#preserving === 'in one step')
      await this.#again(kernel, 'preserveAll', () => session.preserveAll(files));
    else
      for (const [token, file] of files)
        await this.#again(kernel, 'preserve', () => session.preserve(file, token));
  }

  /** A step that is tried again where it failed as the test wants it. */
  async #again(kernel: TestKernel<F>, callback: CallbackName, step: () => Promise<unknown>): Promise<void> {
    if (!(await this.#once(kernel, callback, step))) await must(kernel, callback, step);
  }

  /** A step that may fail, but only as the test wants it. Whether it went well. */
  async #once(kernel: TestKernel<F>, callback: CallbackName, step: () => Promise<unknown>): Promise<boolean> {
    const blown = this.#fuse.blown;
    return must(kernel, callback, async () => {
      try {
        await step();
        return true;
      } catch (error) {
        kernel.watch.check();
        if (blown !== undefined || this.#fuse.blown === undefined) throw error;
        return false;
      }
    });
  }

  get #when(): string {
    return this.#fuse.blown === undefined ? '' : ` when ${this.#fuse.blown} fails`;
  }
}
