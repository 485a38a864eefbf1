/** An FLB that is registered, and what LUO keeps of it. */
import type { CallbackOwner } from './callbacks.ts';
import type { FileLifecycleBound } from './flb.ts';

/** What preserve gave. */
interface Preserved {
  readonly data: bigint;
  readonly object: unknown;
}

/** A registered FLB. */
export class Flb implements CallbackOwner {
  readonly flb: FileLifecycleBound;
  /** How many handlers it is registered with. */
  handlers = 0;
  /** Preserved files that hold it. */
  files = 0;
  /** Its place among those of this kernel in the live record. */
  place = 0;
  /** Without a file only after an unpreserve that threw. */
  preserved: Preserved | undefined;

  constructor(flb: FileLifecycleBound) {
    this.flb = flb;
  }

  get compatible(): string {
    return this.flb.compatible;
  }

  get title(): string {
    return `FLB '${this.flb.compatible}'`;
  }

  /** The strings of records that are its own. */
  get strings(): string[] {
    return [this.flb.compatible, ...(this.flb.alsoReads ?? [])];
  }
}
