/** For tests: state that all counters share, in a page of an FLB. */
import { layout, type StructView } from '@liveupdate/base';
import type { FileHandler, FileLifecycleBound } from '@liveupdate/luo-core';
import type { KernelParts } from './suite-options.ts';
import { counterHandler, type Counter } from './test-counter.ts';

const RollSer = layout('roll_ser', 8, { highest: { at: 0, bytes: 8 } });

/** The highest value that any counter had when it was saved. */
export class Roll {
  #highest: number;
  /** Where it is written as it changes, while it is preserved: an FLB has no freeze. */
  record: StructView | undefined;

  constructor(highest = 0) {
    this.#highest = highest;
  }

  get highest(): number {
    return this.#highest;
  }

  save(value: number): void {
    this.#highest = Math.max(this.#highest, value);
    this.record?.setU64(RollSer.highest, this.#highest);
  }
}

export function rollFlb({ kho }: KernelParts): FileLifecycleBound<Roll> {
  /** The one of this generation, whether it came from the one before or not. */
  let roll: Roll | undefined;
  return {
    compatible: 'roll-v1',
    async preserve({ incoming }) {
      roll ??= (await incoming()) ?? new Roll();
      const block = kho.allocPreserve(RollSer.SIZE);
      roll.record = block;
      roll.save(0);
      return { data: block.pa, object: roll };
    },
    unpreserve({ data, object }) {
      object.record = undefined;
      kho.unpreserveFree(data);
    },
    retrieve({ data }) {
      roll = new Roll(kho.at(data).getNumber(RollSer.highest));
      kho.restoreFree(data);
      return roll;
    },
    finish: () => undefined,
  };
}

/** Counters that enter themselves in the roll. */
export function rolledHandler(
  parts: KernelParts,
  flb: FileLifecycleBound<Roll> = rollFlb(parts),
): FileHandler<Counter> {
  const handler = counterHandler(parts);
  return {
    ...handler,
    flbs: [flb],
    preserve(context) {
      context.flbs.outgoing(flb).save(context.file.value);
      return handler.preserve(context);
    },
    freeze(context) {
      context.flbs.outgoing(flb).save(context.file.value);
      return handler.freeze?.(context);
    },
  };
}

export const rollStates = {
  'roll-v1': { same: (actual: Roll, expected: Roll) => actual.highest === expected.highest },
};
