/**
 * Upgrades under load, of ours and of what one would have without, and one of each moment by
 * moment. Each side is upgraded several times, in turns. The upgrade whose moments are kept is the
 * one whose silence is the median: neither the luckiest nor the worst.
 */
import * as fs from 'node:fs';
import { KernelError } from '@liveupdate/base';
import { IS_BUILT } from './child-process.ts';
import { MachineWatch, type Disturbance } from './disturbance.ts';
import { commitOf, machineFacts, type MachineFacts } from './machine-facts.ts';
import { seriesOf } from './stats.ts';
import { LEAD_MS, MOMENT_MS } from './moments.ts';
import type { LoadReport } from './upgrade-load.ts';
import { retried } from './upgrade-sides.ts';
import { CONNECTIONS, missing, starts, upgraded, type SideName } from './upgrade-trial.ts';

/** Version of the file's format. */
const VERSION = 1;

/** What is drawn, in this order. */
export const PICTURED = ['standby', 'workers', 'lmdb', 'heap'] as const satisfies readonly SideName[];

/** What is kept of every upgrade, a number each. */
const EACH = ['failed', 'closed', 'gap', 'silence', 'wait'] as const;

/** One upgrade of a side, and what the clients of all of them met. */
export interface PicturedSide extends Pick<LoadReport, (typeof EACH)[number] | 'silenceEnd' | 'moments'> {
  readonly side: (typeof PICTURED)[number];
  readonly all: Readonly<Record<(typeof EACH)[number], readonly number[]>>;
}

/** What stands in the file. */
export interface PicturedUpgrades {
  readonly version: typeof VERSION;
  readonly date: string;
  readonly commit: string | undefined;
  readonly built: boolean;
  readonly machine: MachineFacts;
  /** What others did to the machine meanwhile. */
  readonly disturbance: Disturbance;
  /** Bytes of state. */
  readonly size: number;
  readonly clients: number;
  /** Upgrades of each side. */
  readonly upgrades: number;
  /** What one number of the moments counts, and how much of them is before the upgrade; ms. */
  readonly momentMs: number;
  readonly leadMs: number;
  readonly sides: readonly PicturedSide[];
}

export interface PictureOptions {
  readonly size: number;
  readonly upgrades: number;
  /** Milliseconds of load before each upgrade and after it. */
  readonly loadedMs: number;
  /** Of the checkout, whose commit is noted. */
  readonly directory: string;
}

/** Upgrades every side that can be had here. `progress` is called before each upgrade. */
export async function measurePictured(
  { size, upgrades, loadedMs, directory }: PictureOptions,
  progress: (side: string, upgrade: number) => void,
): Promise<PicturedUpgrades> {
  const commit = commitOf(directory);
  const machine = machineFacts();
  const start = starts(size);
  const names = PICTURED.filter((name) => missing(name) === undefined);
  await using ours = await start.standby();
  const watch = new MachineWatch();
  const met = new Map(names.map((name) => [name, [] as LoadReport[]]));
  for (let round = 0; round < upgrades; round++) {
    for (const name of names) {
      progress(name, round + 1);
      const load = { connections: CONNECTIONS, round, loadedMs };
      const measure = async (): Promise<LoadReport> => {
        await using others = name === 'standby' ? undefined : await start[name]();
        return await upgraded(others ?? ours, load);
      };
      met.get(name)!.push(await (name === 'standby' ? measure() : retried(name, measure)));
    }
  }
  return {
    version: VERSION,
    date: new Date().toISOString(),
    commit,
    built: IS_BUILT,
    machine,
    disturbance: watch.end(),
    size,
    clients: CONNECTIONS,
    upgrades,
    momentMs: MOMENT_MS,
    leadMs: LEAD_MS,
    sides: names.map((name) => kept(name, met.get(name)!)),
  };
}

/** What all met, and the upgrade in the middle by its silence. */
function kept(side: PicturedSide['side'], met: readonly LoadReport[]): PicturedSide {
  const middle = met.toSorted((a, b) => a.silence - b.silence)[Math.floor(met.length / 2)];
  const { failed, closed, gap, silence, silenceEnd, wait, moments } = middle;
  const all = Object.fromEntries(
    EACH.map((what) => [what, seriesOf(met.map((each) => each[what])).values!]),
  ) as PicturedSide['all'];
  return { side, failed, closed, gap, silence, silenceEnd, wait, all, moments };
}

export function writePictured(path: string, upgrades: PicturedUpgrades): void {
  const text = JSON.stringify(upgrades, undefined, 2).replace(/\[[\s\d.,]+\]/g, (row) =>
    row.replace(/\s+/g, ' '),
  );
  fs.writeFileSync(path, `${text}\n`);
}

/** @throws KernelError EINVAL: another version, or no such file; and any code of reading a file */
export function readPictured(path: string): PicturedUpgrades {
  const read = JSON.parse(fs.readFileSync(path, 'utf8')) as PicturedUpgrades;
  if ((read.version as number) !== VERSION)
    throw new KernelError('EINVAL', `${path} has no pictured upgrades of version ${VERSION}`);
  return read;
}
