/** A seeded pseudo-random source for tests, demos and benchmarks: xorshift32, never for secrets. */
import { checkWhole } from './checks.ts';

/**
 * The state after `state`: one step of xorshift32 (13, 17, 5). Never returns 0 for a non-zero
 * state.
 */
export function xorshift32(state: number): number {
  let x = state;
  x ^= x << 13;
  x ^= x >>> 17;
  x ^= x << 5;
  return x >>> 0;
}

/** Fills `words` with the numbers that follow from `seed`. Returns the state to go on from. */
export function fillRandom(words: Uint32Array, seed: number): number {
  let x = seed >>> 0 || 0x9e37_79b9;
  for (let i = 0; i < words.length; i++) {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    words[i] = x;
  }
  return x >>> 0;
}

/** A source of whole numbers below a bound, from a printed seed. */
export class Prng {
  #state: number;

  /** @throws KernelError EINVAL: no whole number */
  constructor(seed: number) {
    checkWhole(seed, 'a seed', { min: Number.MIN_SAFE_INTEGER });
    this.#state = seed >>> 0 || 0x9e37_79b9;
  }

  /**
   * A whole number from 0 to `bound` - 1; NaN where there is none, below 0.
   *
   * @throws KernelError EINVAL: no bound from 0 to 2^32
   */
  below(bound: number): number {
    checkWhole(bound, 'a bound', { max: 0x1_0000_0000 });
    this.#state = xorshift32(this.#state);
    return this.#state % bound;
  }
}
