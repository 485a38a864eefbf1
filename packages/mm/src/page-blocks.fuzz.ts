/**
 * Random changes of blocks, and of a model with an entry for every block: each question gets the
 * same answer of both, whether groups are split or not.
 */
import { Prng } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { MIXED, PageBlocks } from './page-blocks.ts';
import { countOf, MAX_PINS, MAX_REFS, pinsIn, refsIn, type Held } from './page-table-entries.ts';
import { FREE, HEAD, PRESERVED } from './page-table.ts';
import { seed } from '@liveupdate/base/test-seed';

/** Groups of 16, the last a short one. */
const BLOCKS = 6 * 16 + 5;
const STEPS = 20_000;

const FLAGS = [FREE, HEAD, HEAD, HEAD | PRESERVED, MIXED];
const HELD: Held[] = [
  { leastRefs: 0, mostRefs: MAX_REFS - 1, leastPins: 0, mostPins: MAX_PINS - 1, leastBeside: 0 },
  { leastRefs: 1, mostRefs: 1, leastPins: 0, mostPins: 0, leastBeside: 0 },
  { leastRefs: 2, mostRefs: MAX_REFS, leastPins: 1, mostPins: MAX_PINS, leastBeside: 1 },
];

interface Entry {
  flags: number;
  order: number;
  count: number;
}

function isHeld(held: Held, { count }: Entry): boolean {
  const [refs, pins] = [refsIn(count), pinsIn(count)];
  if (refs < held.leastRefs || refs > held.mostRefs || refs - pins < held.leastBeside) return false;
  return pins >= held.leastPins && pins <= held.mostPins;
}

class World {
  readonly blocks = new PageBlocks(BLOCKS);
  readonly model = Array.from({ length: BLOCKS }, (): Entry => ({ flags: 0, order: 0, count: 0 }));
  readonly #random: Prng;

  constructor(random: Prng) {
    this.#random = random;
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.#random.below(values.length)];
  }

  /** A range that often begins or ends with a group. */
  #range(): { from: number; to: number } {
    const at = (): number => {
      const any = this.#random.below(BLOCKS + 1);
      return this.#random.below(2) === 0 ? any : Math.min(BLOCKS, Math.round(any / 16) * 16);
    };
    const [a, b] = [at(), at()];
    return { from: Math.min(a, b), to: Math.max(a, b) };
  }

  change(): void {
    const { blocks, model } = this;
    const { from, to } = this.#range();
    const flags = this.#pick(FLAGS);
    const by = this.#pick([1, 1, 1, 2]);
    switch (this.#random.below(4)) {
      case 0: {
        const order = flags === MIXED ? 0 : this.#pick([0, 9]);
        const count = flags === MIXED ? 0 : this.#pick([countOf(1, 0), countOf(2, 1)]);
        blocks.fill(from, to, flags, order, count);
        for (let at = from; at < to; at++) model[at] = { flags, order, count };
        return;
      }
      case 1: {
        if (from === BLOCKS) return;
        const like = model[Math.max(0, from - 1)]; // as the block before, so that groups become alike
        blocks.set(from, like.flags, like.order, like.count);
        model[from] = { ...like };
        return;
      }
      case 2: {
        const held = this.#pick(HELD);
        const more = this.#pick([[1, 1] as const, [1, 0] as const]);
        let at = from;
        for (; at < to && isHeld(held, model[at]); at += by) {
          const { count } = model[at];
          model[at].count = countOf(refsIn(count) + more[0], pinsIn(count) + more[1]);
        }
        expect(['add', blocks.add(held, from, to, by, more[0], more[1])]).toEqual(['add', at]);
        return;
      }
      default:
        blocks.mark(from, to, by, flags);
        for (let at = from; at < to; at += by) model[at].flags = flags;
    }
  }

  compare(): void {
    const { blocks, model } = this;
    const { from, to } = this.#range();
    const held = this.#pick(HELD);
    const by = this.#pick([1, 1, 2]);
    const first = (end: (at: number) => boolean, step = 1): number => {
      let at = from;
      while (at < to && !end(at)) at += step;
      return at;
    };
    expect(['heldEnd', blocks.heldEnd(held, from, to, by)]).toEqual([
      'heldEnd',
      first((at) => !isHeld(held, model[at]), by),
    ]);
    expect(['mixed', blocks.mixedFrom(from, to)]).toEqual([
      'mixed',
      first((at) => (model[at].flags & MIXED) !== 0),
    ]);
    if (from < to)
      expect(['alike', blocks.alikeEnd(from, to)]).toEqual([
        'alike',
        first((at) => model[at].flags !== model[from].flags || model[at].order !== model[from].order),
      ]);
  }

  whole(): void {
    const is = this.model.map((_, at) => ({
      flags: this.blocks.flagsAt(at),
      order: this.blocks.orderAt(at),
      count: this.blocks.countAt(at),
    }));
    expect(is).toEqual(this.model);
  }
}

test(`${STEPS} random changes from seed ${seed}`, () => {
  const random = new Prng(seed);
  let world = new World(random);
  for (let step = 0; step < STEPS; step++) {
    try {
      world.change();
      world.compare();
      if (step % 10 === 0) world.whole();
    } catch (error) {
      throw new Error(`step ${step} of seed ${seed}`, { cause: error });
    }
    if (random.below(200) === 0) world = new World(random);
  }
});
