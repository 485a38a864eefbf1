import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import { assert, AssertionError } from './assert.ts';
import { codeOf, errnoCode, errnoNumber, KernelError, type ErrnoCode } from './errors.ts';

describe('KernelError', () => {
  test('has the code, the negative number, the text and the cause', () => {
    const cause = new Error('why');
    const error = new KernelError('EBUSY', 'the device is open', { cause });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'KernelError', code: 'EBUSY', errno: -16, cause });
    expect(error.message).toContain('the device is open');
    expect('cause' in new KernelError('EBUSY', 'no cause')).toBe(false);
  });

  test('numbers are those of this host, which is Linux', () => {
    const known: Record<string, number> = { ...constants.errno, ELIBBAD: 80, ETOOMANYREFS: 109 }; // Node leaves these out
    for (let number = 1; number < 200; number++) {
      const code = errnoCode(number);
      if (code === 'EIO' && number !== known['EIO']) continue; // one without a name here
      expect([number, errnoNumber(code)]).toEqual([known[code], number]);
    }
    expect(errnoCode(12)).toBe('ENOMEM');
    expect(errnoCode(4_000)).toBe('EIO');
    expect(errnoCode(0)).toBe('EIO');
  });

  test.for<[what: string, error: unknown, code: ErrnoCode]>([
    ['a KernelError', new KernelError('ENODATA', ''), 'ENODATA'],
    ["a Node system error's", Object.assign(new Error(), { code: 'ENOSPC' }), 'ENOSPC'],
    ['an unknown code', Object.assign(new Error(), { code: 'ERR_INVALID_ARG_TYPE' }), 'EIO'],
    ['a code that is a number', { code: 5 }, 'EIO'],
    ['a name that every object has', { code: 'toString' }, 'EIO'],
    ['a plain error', new Error('x'), 'EIO'],
    ['a string', 'ENOENT', 'EIO'],
    ['null', null, 'EIO'],
    ['undefined', undefined, 'EIO'],
  ])('codeOf %s', ([, error, code]) => {
    expect(codeOf(error)).toBe(code);
  });
});

describe('assert', () => {
  test('passes or throws an AssertionError, which is no KernelError', () => {
    assert(true, 'fine');
    const fail = (): void => assert(false, 'broken');
    expect(fail).toThrow(AssertionError);
    expect(fail).toThrow('broken');
    expect(fail).not.toThrow(KernelError);
  });
});
