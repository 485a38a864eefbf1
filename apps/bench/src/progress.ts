/** What is going on, on standard error: one line that changes where somebody watches, a line per trial where the output is kept. */
import type { Trial } from './runner.ts';

const CLEAR = '\r\u001B[K';

/** What runTrial calls, for one trial. */
export function progressOf({ name, title }: Trial, rounds: number): (round: number) => void {
  const { stderr } = process;
  if (!stderr.isTTY) {
    return (round) => {
      if (round === 0) stderr.write(`bench: ${name}: ${title}\n`);
    };
  }
  return (round) => {
    stderr.write(`${CLEAR}${title}: ${round === 0 ? 'setting up' : `round ${round} of ${rounds}`}`);
  };
}

/** Leaves a clean line behind. */
export function endProgress(): void {
  if (process.stderr.isTTY) process.stderr.write(CLEAR);
}
