/**
 * A second kind of file in the same session, whose handler fails where the suite wants it to. It
 * keeps no memory.
 */
import { KernelError } from '@liveupdate/base';
import type { FileHandler } from '@liveupdate/luo-core';

export class Neighbour {
  readonly number: bigint;

  constructor(number: bigint) {
    this.number = number;
  }
}

const NEIGHBOUR = 'liveupdate-testkit';

/** @param before called with each callback's name before it runs; may throw in its place */
export function neighbourHandler(
  before: (callback: string) => void = () => undefined,
): FileHandler<Neighbour> {
  return {
    compatible: NEIGHBOUR,
    canPreserve: (file): file is Neighbour => file instanceof Neighbour,
    preserve({ file }) {
      before('preserve');
      return { data: file.number };
    },
    unpreserve: () => before('unpreserve'),
    freeze() {
      before('freeze');
      return undefined;
    },
    unfreeze: () => before('unfreeze'),
    retrieve({ data }) {
      before('retrieve');
      return new Neighbour(data);
    },
    canFinish() {
      before('canFinish');
      return true;
    },
    finish: () => before('finish'),
  };
}

/** Blows at call number `at`: the failure that tests inject, one place after the other. */
export class Fuse {
  readonly #at: number;
  #calls = 0;
  /** What it made fail. */
  blown: string | undefined;

  constructor(at: number) {
    this.#at = at;
  }

  /** @throws KernelError EIO, ENOMEM for an allocation: the call with the fuse's number */
  touch(what: string): void {
    this.#calls += 1;
    if (this.#calls !== this.#at) return;
    this.blown = what;
    throw new KernelError(
      what === 'allocation' ? 'ENOMEM' : 'EIO',
      `${what} ${this.#at} fails, because the test wants it to`,
    );
  }
}
