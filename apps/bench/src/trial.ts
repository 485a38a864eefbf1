/**
 * One trial at one size, in a process of its own, as benchmarks of compiled-while-running languages
 * are run (JMH's forks): what the engine has learnt from other trials is no part of it. Says each
 * round that begins, and in the end what was measured. Ends with whoever started it.
 */
import { argument, say, tellFailures } from './child-side.ts';
import { exitOnSignals } from './exit-on-signals.ts';
import { runTrial, type MeasuredTrial, type RoundCounts } from './runner.ts';
import { TRIALS } from './trials.ts';

/** What the program is told. */
export interface TrialArgument extends RoundCounts {
  readonly trial: string;
  readonly size: number;
}

/** What it says. */
export interface TrialLine {
  readonly round?: number;
  readonly measured?: MeasuredTrial;
}

tellFailures();
exitOnSignals();
// Nobody says a word: the input ends. No read that waits in a thread, which process.exit() would
// wait for in turn.
process.stdin.on('end', () => process.exit(1)).resume();

const { trial, size, ...counts } = argument() as TrialArgument;
const found = TRIALS.find(({ name }) => name === trial);
if (!found) throw new Error(`there is no trial '${trial}'`);
const measured = await runTrial(found, { size }, counts, (round) => {
  say({ round } satisfies TrialLine);
});
say({ measured } satisfies TrialLine);
process.exit(0);
