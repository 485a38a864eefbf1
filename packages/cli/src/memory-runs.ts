/** What physical memory is used for, in runs: for a map of it. */
import { FREE, INCOMING_HEAD, INCOMING_TAIL, KIND, RESERVED, SCRATCH, type PageTable } from '@liveupdate/mm';

/** In place of an owner. */
export const NOBODY = -1;
export const IN_SCRATCH = -2;
export const STRUCTURE = -3;
/** Of several owners: there are too many runs to tell them apart. */
const SEVERAL = -4;

/** Frames side by side of one use: first frame, number, owner. */
export type MemoryRun = readonly [first: number, count: number, owner: number];

/** Runs that a page is given, at most; more are put together. */
const MOST_RUNS = 50_000;

/**
 * Everything that is not free, by address.
 *
 * @param ownerOf the number of the owner of a frame, below 0: nobody's
 */
export function memoryRuns(table: PageTable, ownerOf: (pfn: number) => number): MemoryRun[] {
  for (let step = 1; ; step *= 4) {
    const runs = runsOf(table, ownerOf, step);
    if (runs.length <= MOST_RUNS || step > table.frames) return runs;
  }
}

/** The same, with what lies within one stretch of `step` frames as one run. */
function runsOf(table: PageTable, ownerOf: (pfn: number) => number, step: number): MemoryRun[] {
  const runs: [number, number, number][] = [];
  const add = (first: number, count: number, owner: number): void => {
    const last = runs.at(-1);
    const end = last ? last[0] + last[1] : -1;
    if (last && end === first && last[2] === owner) last[1] += count;
    else if (last && step > 1 && Math.floor(last[0] / step) === Math.floor(first / step)) {
      last[1] = first + count - last[0];
      if (last[2] !== owner) last[2] = SEVERAL;
    } else if (runs.length <= MOST_RUNS) runs.push([first, count, owner]);
  };
  const { frames } = table;
  for (let pfn = 0; pfn < frames;) {
    const flags = table.flagsOf(pfn);
    const end = table.flagsEnd(KIND | SCRATCH, flags & (KIND | SCRATCH), pfn, frames);
    const kind = flags & KIND;
    if (kind === INCOMING_HEAD || kind === INCOMING_TAIL)
      for (let at = pfn; at < end; at++) add(at, 1, Math.max(NOBODY, ownerOf(at)));
    else if (kind === FREE && (flags & SCRATCH) !== 0) add(pfn, end - pfn, IN_SCRATCH);
    else if (kind === RESERVED) add(pfn, end - pfn, STRUCTURE);
    pfn = end;
  }
  return runs;
}
