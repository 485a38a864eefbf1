import { expect, test } from 'vitest';
import { fillRandom, Prng, xorshift32 } from './prng.ts';
import { seed } from './test-seed.ts';

test('xorshift32 is the published generator', () => {
  // Marsaglia, 'Xorshift RNGs' (2003): 13, 17, 5 from the seed that the paper uses.
  expect(xorshift32(2_463_534_242)).toBe(723_471_715);
});

test('the same seed gives the same numbers, another seed others', () => {
  const take = (from: number): number[] => {
    const prng = new Prng(from);
    return Array.from({ length: 20 }, () => prng.below(1_000_000));
  };
  expect(take(seed)).toEqual(take(seed));
  expect(take(seed)).not.toEqual(take(seed + 1));
});

test.for([0, 1, seed])('seed %i: numbers stay below the bound and reach all of it', (from) => {
  const prng = new Prng(from);
  const seen = new Set<number>();
  for (let i = 0; i < 1_000; i++) seen.add(prng.below(7));
  expect([...seen].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
});

test('fillRandom goes on from the state that it returns', () => {
  const whole = new Uint32Array(64);
  fillRandom(whole, seed);
  const parts = new Uint32Array(64);
  fillRandom(parts.subarray(20), fillRandom(parts.subarray(0, 20), seed));
  expect(parts).toEqual(whole);
  expect(new Set(whole).size).toBe(64);
});
