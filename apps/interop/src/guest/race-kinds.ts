/**
 * What races: files, each in folios of one size. The third tells what a folio more costs, apart
 * from what each call does once.
 */
const MiB = 2 ** 20;
export const RACES = [
  { name: '256 MiB in folios of 4 KiB', bytes: 256 * MiB, folio: 4096 },
  { name: '256 MiB in folios of 2 MiB', bytes: 256 * MiB, folio: 2 * MiB },
  { name: '1 GiB in folios of 2 MiB', bytes: 1024 * MiB, folio: 2 * MiB },
] as const;
export type RaceKind = (typeof RACES)[number];

/** The preserve before all others, for which nothing is compiled or in the caches. */
export const FIRST = 'the first preserve';
