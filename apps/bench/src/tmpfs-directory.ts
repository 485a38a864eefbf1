import * as fs from 'node:fs';

/** A directory on tmpfs that goes with what is in it, at the latest with this process. */
export class TmpfsDirectory implements Disposable {
  readonly path = fs.mkdtempSync('/dev/shm/liveupdate-bench-');
  readonly #remove = (): void => {
    fs.rmSync(this.path, { recursive: true, force: true });
  };

  constructor() {
    process.once('exit', this.#remove);
  }

  [Symbol.dispose](): void {
    process.off('exit', this.#remove);
    this.#remove();
  }
}
