/** What a figure is: two series of a trial, and how they become one number with its goal. */

/** How two series become a figure. */
export type Kind =
  /** `against` / `measured`: so many times faster. */
  | 'faster'
  /** `measured` / `against`: so many times as long. */
  | 'longer'
  /** `measured` / `against`, in percent, of bytes. */
  | 'share'
  /** `measured` itself: milliseconds per GiB. */
  | 'slope'
  /** `measured` - `against`, in milliseconds. */
  | 'more'
  /** `measured` itself: how many. The worst round decides. */
  | 'count';

export interface Figure {
  readonly trial: string;
  readonly title: string;
  readonly measured: string;
  readonly against: string;
  readonly kind: Kind;
  /** At least for `faster`, at most for the others. */
  readonly goal?: number;
  /**
   * Bytes: which run it is of, where the trial runs at several sizes; default the one of most
   * figures.
   */
  readonly size?: number;
  /** The goal is meant for files of this size and above; default GOAL_SIZE. */
  readonly goalSize?: number;
  /**
   * Bound that no machine misses unless something is broken, at any size: what a smoke run fails
   * on.
   */
  readonly sane?: number;
}

/**
 * Goals are meant for files of this size and above: below, what is counted is the cost of a call.
 */
export const GOAL_SIZE = 2 ** 30;
