/**
 * What stands on the front page of the repository: what survives an upgrade, a crash and another
 * kernel, with figures beside what one would have without; and the picture of an upgrade.
 */
import * as fs from 'node:fs';
import { join } from 'node:path';
import { formatSize } from '@liveupdate/base';
import { disturbed } from './disturbance.ts';
import { themedPicture } from './page-style.ts';
import { readPictured, type PicturedSide, type PicturedUpgrades } from './pictured-upgrades.ts';
import { findRun, readResults } from './results.ts';
import type { Results } from './results-format.ts';
import { summarize } from './stats.ts';
import { markdownTable, time } from './tables.ts';

/** Live updates of Linux itself: results/race.json of the repository. */
export interface RaceResults {
  readonly races: readonly {
    /** In the file, and in each of its folios. */
    readonly bytes: number;
    readonly folio: number;
    /** In ms, by what was done; the copy is of 256 MiB in each. */
    readonly medians: Readonly<Record<string, number>>;
  }[];
}

/** The race that the front page tells of. */
const SHOWN = { bytes: 2 ** 28, folio: 2 ** 21 };

const RACE = 'results/race.json';

const HEAD = ['', 'what survives', 'nobody is answered for', 'what one would have without'];

/** Between the lines of a cell. */
const LINE = '<br>';

const WITHOUT: Readonly<Record<Exclude<PicturedSide['side'], 'standby'>, string>> = {
  workers: 'two workers over LMDB, rolled',
  lmdb: 'LMDB, restarted',
  heap: 'state written and read again',
};

/** Where the upgrades that are drawn lie, beside the results of this file. */
export function picturedFile(file: string): string {
  return file.replace(/\.json$/, '-upgrade.json');
}

/**
 * The table and the picture, in Markdown.
 *
 * @param root of the repository
 * @param file results, named from there; those of the picture and of Linux are found beside it
 */
export function frontPage(root: string, file: string): string {
  const pictured = picturedFile(file);
  const results = readResults(join(root, file));
  const upgrades = readPictured(join(root, pictured));
  const race = fs.existsSync(join(root, RACE))
    ? (JSON.parse(fs.readFileSync(join(root, RACE), 'utf8')) as RaceResults)
    : undefined;
  return [
    markdownTable([HEAD, upgraded(upgrades), killed(results), replaced(race)]),
    measuredWhere(upgrades, race),
    themedPicture(
      pictured.replace(/\.json$/, ''),
      `Requests answered in each ${upgrades.momentMs} ms while a service is upgraded, four ways`,
    ),
  ].join('\n\n');
}

function upgraded({ sides }: PicturedUpgrades): string[] {
  const ours = sides.find(({ side }) => side === 'standby')!;
  const others = sides.flatMap((each) =>
    each.side === 'standby' ? [] : [`${WITHOUT[each.side]}: ${median(each)}, ${lost(each)}`],
  );
  return [
    '**a new version**',
    'memory, listening sockets, open connections',
    `${median(ours)}, ${lost(ours)}`,
    others.join(LINE),
  ];
}

function median({ all }: PicturedSide): string {
  return time(summarize(all.silence).median);
}

/** The worst of all upgrades. */
function lost({ all }: PicturedSide): string {
  const most = Math.max(...all.failed);
  return most === 0 ? 'no request fails' : `${most} requests fail`;
}

function killed(results: Results): string[] {
  const { series } = findRun(results, 'killed')!;
  const others = { mapped: 'a mapped file on tmpfs', lmdb: 'LMDB' };
  const waits = Object.entries(others)
    .filter(([side]) => side in series)
    .map(([side, title]) => `${title}: ${time(series[side].median)}`);
  return [
    '**a crash**, `kill -9`',
    'memory, listening sockets',
    time(series['answer'].median),
    [...waits, 'state in the heap: it is lost'].join(LINE),
  ];
}

function replaced(race: RaceResults | undefined): string[] {
  const without = 'everything is read again from disk';
  const row = ['**another kernel**', 'memory, at the same addresses', 'the start of that kernel', without];
  const large = race?.races.find(({ bytes, folio }) => bytes === SHOWN.bytes && folio === SHOWN.folio);
  if (!large) return row;
  const { medians, bytes } = large;
  const [ours, copied] = [medians['preserve, Linux'] + medians['retrieve, Linux'], medians['copy']];
  const size = formatSize(bytes);
  row[2] += `, and ${time(ours)} for ${size}`;
  row[3] += `${LINE}a copy of ${size} in memory: ${time(copied)}`;
  return row;
}

function measuredWhere(
  { clients, size, upgrades, machine, disturbance, date }: PicturedUpgrades,
  race: RaceResults | undefined,
): string {
  const doubt = disturbed(disturbance);
  return (
    `${formatSize(size)} of state, ${clients} clients, medians, of lost requests the most in ${upgrades} upgrades; ` +
    `${machine.cpus} × ${machine.cpu}, which the clients share, Linux ${machine.kernel}, Node ${machine.node}, ` +
    `${date.slice(0, 10)}.${race ? " The kernel's row: in QEMU, by software." : ''}` +
    (doubt === undefined ? '' : ` No trust: ${doubt}.`)
  );
}
