/** A live update of Linux beside one of ours, on the same machine: a guest. */
import { fileURLToPath } from 'node:url';
import { Guest } from './guest.ts';
import { RACE_BYTES, RACE_KINDS, type RaceKind } from './guest/race-kinds.ts';

const PROGRAM = fileURLToPath(new URL('./guest/race.ts', import.meta.url));
const FOLIO: Readonly<Record<RaceKind, number>> = { '4 KiB': 2 ** 12, '2 MiB': 2 ** 21 };

/** Medians in milliseconds, by kind of folio and what was done. */
export type Race = ReadonlyMap<RaceKind, ReadonlyMap<string, number>>;

/** Runs it: minutes. */
export async function race(): Promise<Race> {
  await using guest = await Guest.start({
    program: PROGRAM,
    memory: 2560,
    processors: 2,
    env: { GUEST_STAGE: 1 },
  });
  await guest.until('raced');
  const laps = guest.events.filter(({ event }) => event === 'lap');
  return new Map(
    RACE_KINDS.map((kind) => {
      const of = laps.filter((each) => each.kind === kind);
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

/** The race as rows of a table, the unflattering one first. */
export function raceTable(of: Race): string[][] {
  const head = ['256 MiB in a guest', 'copy', 'Linux', 'here', 'here, a folio', 'Linux by ours'];
  const rows = RACE_KINDS.toReversed().flatMap((kind) =>
    ['preserve', 'retrieve'].map((what) => {
      const ms = (who: string): number => of.get(kind)?.get(who) ?? Number.NaN;
      const [linux, here] = [ms(`${what}, Linux`), ms(`${what}, here`)];
      const shown = (value: number): string => `${Number(value.toPrecision(3))} ms`;
      const each = (here * 1e6) / (RACE_BYTES / FOLIO[kind]);
      return [
        `${what}, folios of ${kind}`,
        shown(ms('copy')),
        shown(linux),
        shown(here),
        `${Number((each / 1000).toPrecision(2))} µs`,
        (linux / here).toPrecision(2),
      ];
    }),
  );
  return [head, ...rows];
}

/** The race as a results file: what the front page takes its figures from. */
export function raceText(of: Race): string {
  const medians = Object.fromEntries([...of].map(([kind, laps]) => [kind, Object.fromEntries(laps)]));
  return `${JSON.stringify({ date: new Date().toISOString(), bytes: RACE_BYTES, medians }, undefined, 2)}\n`;
}
