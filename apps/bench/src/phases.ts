/**
 * A program that goes through generations again and again, and tells for each phase where the time
 * went: what the engine's own profiler, the kernel's counters for this process, the write tracker
 * and perf say. Each of them disturbs the others, so each has passes of its own.
 */
import { Session } from 'node:inspector/promises';
import { memoryUsage, resourceUsage } from 'node:process';
import { trackWrites } from '@liveupdate/linux';
import { argument, now, say, tellFailures } from './child-side.ts';
import { hottest, selfTimes, type Hot } from './cpu-profile.ts';
import { GENERATION_PHASES, Generations, type Phase } from './generations.ts';
import { missingPerf, Perf } from './perf.ts';
import type { Workload } from './workload.ts';

export interface PhasesArgument {
  readonly size: number;
  readonly workload: Workload;
  /** Passes for each kind of measurement. */
  readonly passes: number;
}

/** What one phase took, on average of the passes. */
export interface PhaseCounts {
  readonly phase: Phase;
  /** All times in milliseconds. */
  readonly time: number;
  readonly user: number;
  readonly system: number;
  readonly faults: number;
  /**
   * Bytes of JavaScript objects made, as far as no collection came in between, and of array
   * buffers.
   */
  readonly heap: number;
  readonly arrays: number;
  /** Bytes of RAM in pages that were written. */
  readonly written: number;
  /** System calls; undefined without perf. */
  readonly calls: number | undefined;
  /** JavaScript functions, by the engine's profiler. */
  readonly functions: readonly Hot[];
  /** Functions of everything, the kernel's too, by perf; empty without it. */
  readonly symbols: readonly Hot[];
}

export interface PhaseReport {
  readonly phases: readonly PhaseCounts[];
  /** Why there is nothing of perf; undefined where there is. */
  readonly noPerf: string | undefined;
}

/** How many names are kept of each list. */
const KEPT = 6;
const SAMPLE_EVERY = 50; // microseconds
const NAMES = Object.keys(GENERATION_PHASES) as Phase[];

type Sums = Record<
  Phase,
  Record<'time' | 'user' | 'system' | 'faults' | 'heap' | 'arrays' | 'written', number>
>;

tellFailures();
const { size, workload, passes } = argument() as PhasesArgument;
using machine = new Generations(workload, size);
const sums = Object.fromEntries(
  NAMES.map((phase) => [phase, { time: 0, user: 0, system: 0, faults: 0, heap: 0, arrays: 0, written: 0 }]),
) as Sums;

for (let pass = 0; pass < 2; pass++) await machine.pass((_, work) => work()); // the engine compiles
for (let pass = 0; pass < passes; pass++) await machine.pass(counted);
for (let pass = 0; pass < 2; pass++) await machine.pass(tracked);
const functions = await sampled();
const noPerf = missingPerf();
const phases: PhaseCounts[] = [];
for (const phase of NAMES) {
  const { written, ...counts } = sums[phase];
  const means = Object.fromEntries(Object.entries(counts).map(([name, sum]) => [name, sum / passes]));
  phases.push({
    phase,
    ...(means as typeof counts),
    written: written / 2,
    calls: noPerf === undefined ? await callsIn(phase) : undefined,
    functions: hottest(functions.get(phase) ?? new Map(), KEPT),
    symbols: noPerf === undefined ? await symbolsIn(phase) : [],
  });
}
say({ phases, noPerf } satisfies PhaseReport);

async function counted(phase: Phase, work: () => Promise<void>): Promise<void> {
  const sum = sums[phase];
  const [usage, memory, start] = [resourceUsage(), memoryUsage(), now()];
  await work();
  const [end, usageAfter, memoryAfter] = [now(), resourceUsage(), memoryUsage()];
  sum.time += end - start;
  sum.user += (usageAfter.userCPUTime - usage.userCPUTime) / 1000;
  sum.system += (usageAfter.systemCPUTime - usage.systemCPUTime) / 1000;
  sum.faults += usageAfter.minorPageFault - usage.minorPageFault;
  sum.heap += Math.max(0, memoryAfter.heapUsed - memory.heapUsed);
  sum.arrays += Math.max(0, memoryAfter.arrayBuffers - memory.arrayBuffers);
}

async function tracked(phase: Phase, work: () => Promise<void>): Promise<void> {
  using tracker = trackWrites(machine.ram);
  await work();
  sums[phase].written += tracker.parts().ram;
}

/** Passes under the engine's profiler: microseconds by function, for each phase. */
async function sampled(): Promise<Map<Phase, Map<string, number>>> {
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: SAMPLE_EVERY });
  const times = new Map<Phase, Map<string, number>>();
  for (let pass = 0; pass < passes; pass++) {
    await machine.pass(async (phase, work) => {
      await session.post('Profiler.start');
      await work();
      const { profile } = await session.post('Profiler.stop');
      const into = times.get(phase) ?? new Map<string, number>();
      times.set(phase, into);
      for (const [name, time] of selfTimes(profile)) into.set(name, (into.get(name) ?? 0) + time);
    });
  }
  session.disconnect();
  return times;
}

async function callsIn(wanted: Phase): Promise<number> {
  const perf = await Perf.counting();
  await machine.pass((phase, work) => (phase === wanted ? perf.on(work) : work()));
  return perf.calls();
}

async function symbolsIn(wanted: Phase): Promise<Hot[]> {
  const perf = await Perf.sampling();
  for (let pass = 0; pass < passes; pass++)
    await machine.pass((phase, work) => (phase === wanted ? perf.on(work) : work()));
  return perf.hottest(KEPT);
}
