/**
 * What is going on, on standard error: one line that changes where somebody watches, a line per run
 * where the output is kept.
 */
import { formatSize } from '@liveupdate/base';

const CLEAR = '\r\u001B[K';

/** Progress through a plan of several runs. */
export class Progress {
  readonly #total: number;
  readonly #start = Date.now();
  #at = 0;

  constructor(total: number) {
    this.#total = total;
  }

  /** What runTrial calls, for the next run. Warm-up counts as rounds here. */
  next(title: string, size: number, rounds: number): (round: number) => void {
    this.#at += 1;
    const what = `${this.#at}/${this.#total} ${title}, ${formatSize(size)}`;
    const { stderr } = process;
    if (!stderr.isTTY) {
      return (round) => {
        if (round === 0) stderr.write(`bench: ${what}\n`);
      };
    }
    return (round) => {
      const seconds = Math.round((Date.now() - this.#start) / 1000);
      const doing = round === 0 ? 'setting up' : `round ${round} of ${rounds}`;
      stderr.write(`${CLEAR}${seconds} s  ${what}: ${doing}`);
    };
  }
}

/** Leaves a clean line behind. */
export function endProgress(): void {
  if (process.stderr.isTTY) process.stderr.write(CLEAR);
}
