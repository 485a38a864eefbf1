/** The table of what is measured: trials, and the figures that come of them with their goals. */
import { generations } from './generations.ts';
import { firstUse, replacement } from './processes.ts';
import type { Trial } from './runner.ts';

export const TRIALS: readonly Trial[] = [
  { name: 'small', title: 'generations in one process, 4 KiB folios', prepare: generations(false) },
  { name: 'huge', title: 'generations in one process, 2 MiB folios', prepare: generations(true) },
  { name: 'first', title: 'a program that preserves for the first time, 4 KiB folios', prepare: firstUse },
  { name: 'replace', title: 'a service that is replaced, 4 KiB folios', prepare: replacement(false) },
  { name: 'replace-huge', title: 'a service that is replaced, 2 MiB folios', prepare: replacement(true) },
];

/** How two series become a figure. */
export type Kind =
  /** `against` / `measured`: so many times faster. */
  | 'faster'
  /** `measured` / `against`: so many times as long. */
  | 'longer'
  /** `measured` / `against`, in percent, of bytes. */
  | 'share';

export interface Figure {
  readonly trial: string;
  readonly title: string;
  readonly measured: string;
  readonly against: string;
  readonly kind: Kind;
  /** At least for `faster`, at most for the others. */
  readonly goal?: number;
}

const COPIED = { against: 'copy', kind: 'faster' } as const;
const REPLACED = { measured: 'blackout', against: 'empty', kind: 'longer', goal: 3 } as const;

export const FIGURES: readonly Figure[] = [
  { trial: 'small', title: 'preserve, 4 KiB folios', measured: 'preserve', ...COPIED, goal: 20 },
  { trial: 'small', title: 'unpreserve, 4 KiB folios', measured: 'unpreserve', ...COPIED },
  { trial: 'small', title: 'retrieve, 4 KiB folios', measured: 'retrieve', ...COPIED },
  { trial: 'first', title: 'first preserve of a process, 4 KiB folios', measured: 'preserve', ...COPIED },
  { trial: 'huge', title: 'preserve, 2 MiB folios', measured: 'preserve', ...COPIED, goal: 20 },
  { trial: 'huge', title: 'unpreserve, 2 MiB folios', measured: 'unpreserve', ...COPIED },
  { trial: 'huge', title: 'retrieve, 2 MiB folios', measured: 'retrieve', ...COPIED },
  { trial: 'replace', title: 'blackout, 4 KiB folios', ...REPLACED },
  { trial: 'replace-huge', title: 'blackout, 2 MiB folios', ...REPLACED },
  {
    trial: 'first',
    title: 'memory used outside RAM',
    measured: 'outside',
    against: 'ram',
    kind: 'share',
    goal: 2,
  },
];

/** Series of a replacement, in their order; together they are the blackout. */
export const PHASES = {
  seal: 'files frozen, records written, boot page sealed',
  exec: 'old program taken down, Node loaded by the kernel',
  node: 'Node starts',
  modules: "the service's modules are loaded",
  open: 'Machine.open: lock, boot from the handover',
  retrieve: 'retrieve',
  read: 'first byte read',
} as const;

/** Goals are meant for files of this size and above: below, what is counted is the cost of a call. */
export const GOAL_SIZE = 2 ** 30;
