/** A whole run: every trial at its sizes, then the profile, put together as results. */
import { KernelError } from '@liveupdate/base';
import { bestCopyRate } from './baselines.ts';
import { commitOf, load, machineFacts, type MachineFacts } from './machine-facts.ts';
import { plan, tooMuch, type PlannedRun, type PlanOptions } from './plan.ts';
import { Child, IS_BUILT } from './child-process.ts';
import { PATIENCE } from './patience.ts';
import { profile, PROFILED, type PhaseProfile } from './profile.ts';
import { endProgress, Progress } from './progress.ts';
import { evaluate, type MeasuredRun } from './results.ts';
import type { Results } from './results-format.ts';
import { runTrial, type MeasuredTrial, type RoundCounts, type Trial } from './runner.ts';
import type { TrialArgument, TrialLine } from './trial.ts';
import { ramSizeFor } from './workload.ts';

export interface MeasureOptions extends Omit<PlanOptions, 'room'> {
  /** Rounds before those that count. */
  readonly warmUp: number;
  /** Whether each trial has a process of its own. */
  readonly isApart: boolean;
  /** How many workloads are profiled, and by how many passes of each kind. */
  readonly profiled: number;
  readonly profilePasses: number;
  /** Of the checkout, whose commit is noted. */
  readonly directory: string;
}

export async function measure(trials: readonly Trial[], options: MeasureOptions): Promise<Results> {
  const start = load();
  const commit = commitOf(options.directory); // of what runs: the checkout may move on meanwhile
  const machine: MachineFacts = machineFacts();
  const { runs, skipped } = plan(trials, { ...options, room: machine.room });
  const { warmUp, size } = options;
  const toProfile = PROFILED.slice(0, options.profiled);
  const workloads = toProfile.filter(({ workload }) => ramSizeFor(size, workload.files) <= machine.room);
  if (workloads.length < toProfile.length)
    skipped.push({ trial: 'profile', size, reason: tooMuch(ramSizeFor(size), machine.room) });
  for (const { trial, reason } of skipped) process.stderr.write(`bench: SKIPPED ${trial}: ${reason}\n`);
  if (runs.length === 0)
    throw new KernelError('ENOMEM', 'nothing can be measured here, see above: give a smaller --size');
  const copyRate = await bestCopyRate();
  const progress = new Progress(runs.length + workloads.length);
  const measured: MeasuredRun[] = [];
  for (const run of runs) {
    const report = progress.next(run.trial.title, run.size, run.rounds + warmUp);
    const counts = { warmUp, rounds: run.rounds };
    const measuring = options.isApart
      ? runApart(run, counts, report)
      : runTrial(run.trial, run, counts, report);
    const { series, ...others } = await measuring;
    measured.push({ ...run, measured: series, ...others });
  }
  const profiles: PhaseProfile[] = [];
  for (const workload of workloads) {
    progress.next(`where the time goes, ${workload.title}`, size, 1)(0);
    profiles.push(await profile(workload, size, options.profilePasses));
  }
  endProgress();
  return evaluate(measured, {
    date: new Date().toISOString(),
    commit,
    machine,
    load: { start, end: load() },
    copyRate,
    size,
    rounds: options.rounds,
    built: IS_BUILT,
    skipped,
    profile: profiles,
  });
}

/** The same as runTrial, in a process of its own. */
async function runApart(
  { trial, size }: PlannedRun,
  counts: RoundCounts,
  progress: (round: number) => void,
): Promise<MeasuredTrial> {
  const argument = { trial: trial.name, size, ...counts } satisfies TrialArgument;
  await using child = new Child<TrialLine>('trial', { argument, patience: PATIENCE.round });
  for (;;) {
    const { round, measured } = await child.line();
    if (measured) return measured;
    if (round !== undefined) progress(round);
  }
}
