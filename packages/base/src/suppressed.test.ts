import { describe, expect, test } from 'vitest';
import { KernelError } from './errors.ts';
import { suppressedBy, withSuppressed } from './suppressed.ts';

describe('what came on top of an error', () => {
  test('is attached to it, in order, and the error stays the one that was thrown', () => {
    const first = new KernelError('ENOENT', 'first');
    expect(withSuppressed(first, [])).toBe(first);
    expect('suppressed' in first).toBe(false);
    expect(withSuppressed(first, [1, undefined])).toBe(first);
    withSuppressed(first, [new Error('later')]);
    expect(suppressedBy(first)).toEqual([1, undefined, new Error('later')]);
    expect(Object.keys(first)).not.toContain('suppressed');
  });

  test.each([undefined, null, 'text', 7, Object.freeze(new Error('frozen'))])(
    '%s, which cannot carry it, stays as it is',
    (thrown) => {
      expect(withSuppressed(thrown, [1])).toBe(thrown);
      expect(suppressedBy(thrown)).toEqual([]);
    },
  );

  test('is nothing where the property is another thing', () => {
    expect(suppressedBy({ suppressed: 'x' })).toEqual([]);
  });
});
