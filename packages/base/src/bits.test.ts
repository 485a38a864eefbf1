import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  clearBits,
  findBit,
  log2Ceil,
  log2Floor,
  lowestBit,
  popCount,
  setBits,
  trailingZeros,
} from './bits.ts';
import { seed } from './test-seed.ts';

const runs = { seed, numRuns: 2_000 };
const u32 = fc.oneof(
  fc.nat(0xffff_ffff),
  fc.nat(31).map((n) => (1 << n) >>> 0),
  fc.constantFrom(0xffff_ffff, 0x8000_0001),
);
/** Whole numbers from 1 to 2^53, powers of two and their neighbours among them. */
const whole = fc.oneof(
  fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
  fc.nat(53).map((n) => 2 ** n),
  fc.integer({ min: 1, max: 53 }).map((n) => 2 ** n - 1),
  fc.integer({ min: 0, max: 52 }).map((n) => 2 ** n + 1),
);

/** Binary digits of a number, without rounding. */
const digits = (n: number): string => BigInt(n).toString(2);

describe('single words and numbers', () => {
  test('lowestBit', () => {
    fc.assert(
      fc.property(
        u32.filter((n) => n !== 0),
        (word) => {
          expect(lowestBit(word)).toBe(/0*$/.exec(digits(word))![0].length);
          expect(lowestBit(word | 0)).toBe(lowestBit(word));
        },
      ),
      runs,
    );
  });

  test('popCount', () => {
    fc.assert(
      fc.property(u32, (word) => {
        expect(popCount(word)).toBe(digits(word).replaceAll('0', '').length);
        expect(popCount(word | 0)).toBe(popCount(word));
      }),
      runs,
    );
  });

  test('log2Floor, log2Ceil and trailingZeros, up to 2^53', () => {
    fc.assert(
      fc.property(whole, (n) => {
        const text = digits(n);
        expect(log2Floor(n)).toBe(text.length - 1);
        expect(log2Ceil(n)).toBe(text.length - (/^10*$/.test(text) ? 1 : 0));
        expect(trailingZeros(n)).toBe(/0*$/.exec(text)![0].length);
      }),
      runs,
    );
  });
});

describe('bit ranges', () => {
  const WORDS = 8;
  const BITS = WORDS * 32;
  const start = fc.array(fc.boolean(), { minLength: BITS, maxLength: BITS });
  const range = fc
    .tuple(fc.nat(BITS), fc.nat(BITS))
    .map(([a, b]) => ({ from: Math.min(a, b), count: Math.abs(a - b) }));

  function pack(bits: readonly boolean[]): Uint32Array {
    const words = new Uint32Array(WORDS);
    for (const [i, on] of bits.entries()) if (on) words[i >> 5] |= 1 << (i & 31);
    return words;
  }

  test.for([
    ['setBits', setBits, true],
    ['clearBits', clearBits, false],
  ] as const)('%s changes the range and nothing else', ([, apply, on]) => {
    fc.assert(
      fc.property(start, range, (bits, { from, count }) => {
        const words = pack(bits);
        apply(words, from, count);
        expect(words).toEqual(pack(bits.map((bit, i) => (i >= from && i < from + count ? on : bit))));
      }),
      runs,
    );
  });

  test('findBit', () => {
    // Long runs of one kind, or the search never leaves its first word.
    const bitRuns = fc
      .array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 20 })
      .map((lengths) => lengths.flatMap((length, i) => Array<boolean>(length).fill(i % 2 === 0)))
      .map((bits) => Array.from({ length: BITS }, (_, i) => bits[i] ?? false));
    fc.assert(
      fc.property(
        fc.oneof(start, bitRuns),
        fc.nat(BITS),
        fc.nat(BITS),
        fc.boolean(),
        (bits, from, end, on) => {
          const naive = bits.findIndex((bit, i) => i >= from && i < end && bit === on);
          expect(findBit(pack(bits), from, end, on)).toBe(naive < 0 ? end : naive);
        },
      ),
      runs,
    );
  });

  test('a count of 0 changes nothing, at the end of the words too', () => {
    const words = new Uint32Array(WORDS);
    setBits(words, BITS, 0);
    setBits(words, 5, -1);
    expect(words).toEqual(new Uint32Array(WORDS));
  });
});
