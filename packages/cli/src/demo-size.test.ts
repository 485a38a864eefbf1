import { expect, it } from 'vitest';
import { filesThatFit, ramSizeFor } from './demo-size.ts';

const MIB = 2 ** 20;

it.each([0, 1, 31, 32, 36, 40, 63, 64, 100, 1023, 1024, 2048, 65_536].map((mib) => mib * MIB + 12_345))(
  'what fits in %d bytes is the most that does',
  (free) => {
    for (const files of [1, 4, 5000]) {
      const fits = filesThatFit(free, files);
      expect(fits % MIB).toBe(0);
      if (fits > 0) expect(ramSizeFor(fits, files)).toBeLessThanOrEqual(free);
      expect(ramSizeFor(fits + MIB, files)).toBeGreaterThan(free);
    }
  },
);
