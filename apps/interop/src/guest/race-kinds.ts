/** What races: a file of this size, in folios of each kind. */
export const RACE_BYTES = 256 * 2 ** 20;
export const RACE_KINDS = ['4 KiB', '2 MiB'] as const;
export type RaceKind = (typeof RACE_KINDS)[number];
