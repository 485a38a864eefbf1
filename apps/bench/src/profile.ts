/**
 * Where the time goes: the phases in one process, and the start of the next generation's program.
 */
import * as fs from 'node:fs';
import type { Profiler } from 'node:inspector';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Child } from './child-process.ts';
import { hottest, selfTimes, type Hot } from './cpu-profile.ts';
import { PATIENCE } from './patience.ts';
import type { PhaseCounts, PhaseReport, PhasesArgument } from './phases.ts';
import type { Replacement, ServiceArgument } from './service.ts';
import { HUGE, makeRam, SMALL, type Workload } from './workload.ts';

/** What is profiled. */
interface Profiled {
  readonly name: string;
  readonly title: string;
  readonly workload: Workload;
}

export const PROFILED: readonly Profiled[] = [
  { name: 'small', title: '4 KiB folios', workload: SMALL },
  { name: 'huge', title: '2 MiB folios', workload: HUGE },
];

export interface PhaseProfile {
  readonly name: string;
  readonly title: string;
  /** Bytes. */
  readonly size: number;
  readonly phases: readonly PhaseCounts[];
  /** The next generation's program from its start to its end, by the engine's profiler. */
  readonly start: readonly Hot[];
  readonly noPerf: string | undefined;
}

const KEPT = 12;

/** @param passes of each kind of measurement; more are more exact */
export async function profile(
  { name, title, workload }: Profiled,
  size: number,
  passes: number,
): Promise<PhaseProfile> {
  await using phases = new Child<PhaseReport>('phases', {
    argument: { size, workload, passes } satisfies PhasesArgument,
    patience: PATIENCE.round, // it says all of it at once
  });
  return { name, title, size, ...(await phases.line()), start: await profileStart(workload, size) };
}

/**
 * Replaces a service once under the engine's profiler: only the program that ends by itself leaves
 * a profile.
 */
async function profileStart(workload: Workload, size: number): Promise<Hot[]> {
  const directory = fs.mkdtempSync(join(tmpdir(), 'liveupdate-bench-'));
  try {
    using ram = makeRam(workload, size);
    {
      await using service = new Child<Replacement>('service', {
        argument: { size, workload, reads: false } satisfies ServiceArgument,
        fd: ram.fd,
        execArgv: ['--cpu-prof', `--cpu-prof-dir=${directory}`, '--cpu-prof-interval=100'],
      });
      await service.line();
      service.go();
      await service.line();
      await service.line();
    }
    const [file] = fs.readdirSync(directory);
    const text = fs.readFileSync(join(directory, file), 'utf8');
    return hottest(selfTimes(JSON.parse(text) as Profiler.Profile), KEPT);
  } finally {
    fs.rmSync(directory, { recursive: true });
  }
}
