/** A live update of Linux beside one of ours, on the same machine: a guest. */
import { fileURLToPath } from 'node:url';
import { Guest } from './guest.ts';
import { FIRST, RACES, type RaceKind } from './guest/race-kinds.ts';

/** Milliseconds that a busy machine may take. */
const MOST_MS = 30 * 60_000;
const PROGRAM = fileURLToPath(new URL('./guest/race.ts', import.meta.url));

/** Medians in milliseconds, by kind of folio and what was done. */
export type Race = ReadonlyMap<RaceKind, ReadonlyMap<string, number>>;

/** Runs it: minutes. */
export async function race(): Promise<Race> {
  await using guest = await Guest.start({
    program: PROGRAM,
    memory: 4608,
    processors: 2,
    env: { GUEST_STAGE: 1 },
  });
  await guest.until('raced', MOST_MS);
  const laps = guest.events.filter(({ event }) => event === 'lap');
  return new Map(
    RACES.map((kind) => {
      const of = laps.filter((each) => each.kind === kind.name);
      const names = [...new Set(of.map(({ what }) => String(what)))];
      const times = (name: string): number[] =>
        of.filter(({ what }) => what === name).map(({ ms }) => Number(ms));
      return [kind, new Map(names.map((name) => [name, median(times(name))]))] as const;
    }),
  );
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)];
}

/**
 * The race as rows of a table, the unflattering ones first. The last rows are of the folios that
 * the largest file has more than the one before.
 */
export function raceTable(of: Race): string[][] {
  const head = [
    'in a guest',
    'a copy of 256 MiB',
    'Linux',
    'here',
    'Linux, a folio',
    'here, a folio',
    'Linux by ours',
  ];
  const ms = (kind: RaceKind, who: string): number => of.get(kind)?.get(who) ?? Number.NaN;
  const [small, huge, more] = RACES;
  const rows = [huge, more, small].flatMap((kind) =>
    SHOWN.map((what) => {
      const [linux, here] = [ms(kind, `${what}, Linux`), ms(kind, `${what}, here`)];
      const folios = kind.bytes / kind.folio;
      const times = [ms(kind, 'copy'), linux, here].map((value) => `${Number(value.toPrecision(3))} ms`);
      return [`${what}, ${kind.name}`, ...times, ...perFolio(linux, here, folios)];
    }),
  );
  const further = CALLS.map((what) => {
    const [linux, here] = ['Linux', 'here'].map(
      (who) => ms(more, `${what}, ${who}`) - ms(huge, `${what}, ${who}`),
    );
    const folios = (more.bytes - huge.bytes) / more.folio;
    return [`${what}, each folio of 2 MiB more`, '', '', '', ...perFolio(linux, here, folios)];
  });
  return [head, ...rows, ...further];
}

const CALLS = ['preserve', 'retrieve'] as const;
const SHOWN = [...CALLS, FIRST];

function perFolio(linux: number, here: number, folios: number): string[] {
  const each = [linux, here].map((value) =>
    value > 0 ? `${Number(((value * 1000) / folios).toPrecision(2))} µs` : 'not measurable',
  );
  return [...each, here > 0 ? String(Number((linux / here).toPrecision(2))) : ''];
}

/** The race as a results file: what the front page takes its figures from. */
export function raceText(of: Race): string {
  const races = [...of].map(([kind, laps]) => ({ ...kind, medians: Object.fromEntries(laps) }));
  return `${JSON.stringify({ date: new Date().toISOString(), races }, undefined, 2)}\n`;
}
