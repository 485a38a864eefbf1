import { expect, it } from 'vitest';
import { filesThatFit, ramSizeFor } from './demo-size.ts';

const MIB = 2 ** 20;

it.each([0, 1, 31, 32, 36, 40, 63, 64, 100, 1023, 1024, 2048, 65_536].map((mib) => mib * MIB + 12_345))(
  'what fits in %d bytes is the most that does',
  (free) => {
    const fits = filesThatFit(free);
    expect(fits % MIB).toBe(0);
    if (fits > 0) expect(ramSizeFor(fits)).toBeLessThanOrEqual(free);
    expect(ramSizeFor(fits + MIB)).toBeGreaterThan(free);
  },
);
