import { describe, expect, test } from 'vitest';
import {
  brandedClass,
  describeCopy,
  isBranded,
  isCompatible,
  type Branded,
  type PackageCopy,
} from './brand.ts';
import { AssertionError } from './assert.ts';
import { checkInstance, isInstance } from './checks.ts';
import { KernelError } from './errors.ts';

interface Thing {
  readonly isThing: true;
}

/** The same class, as a copy of its package has it. */
function classOf(version: string | undefined): new () => Thing {
  const brand: Branded = {
    className: 'Thing',
    copy: { name: '@x/things', version, url: `file:///${version}` },
  };
  return class Thing {
    readonly isThing = true;
    get liveupdateClass(): Branded {
      return brand;
    }
    static [Symbol.hasInstance](this: unknown, value: unknown): boolean {
      return isBranded(value, this);
    }
  };
}

const Ours = classOf('1.2.0');
class Below extends Ours {}

describe('a class with a brand', () => {
  test.for<[what: string, value: unknown, isOurs: boolean]>([
    ['an object of its own', new Ours(), true],
    ['of a class below it', new Below(), true],
    ['of a copy with the same version', new (classOf('1.2.0'))(), true],
    ['of a copy with another minor version', new (classOf('1.9.3'))(), true],
    ['of a copy that runs from its sources', new (classOf(undefined))(), true],
    ['of another major version', new (classOf('2.0.0'))(), false],
    ['of nothing', null, false],
    ['of no class', { isThing: true }, false],
    ['a number', 5, false],
    ['the class itself', Ours, false],
  ])('knows %s', ([, value, isOurs]) => {
    expect(value instanceof Ours).toBe(isOurs);
  });

  test('a class below it knows its own objects alone', () => {
    expect(new Ours() instanceof Below).toBe(false);
    expect(new (classOf('1.2.0'))() instanceof Below).toBe(false);
    expect(new Below() instanceof Below).toBe(true);
  });

  test('of another major version is told with both versions and places', () => {
    const other = new (classOf('2.0.0'))();
    for (const call of [
      () => isInstance<Thing>(other, Ours),
      () => checkInstance<Thing>(other, 'a thing', Ours),
    ]) {
      expect(call).toThrow(KernelError);
      expect(call).toThrow(
        /^EINVAL: this Thing is of @x\/things 2\.0\.0 \(file:\/\/\/2\.0\.0\), and here is @x\/things 1\.2\.0 \(file:\/\/\/1\.2\.0\):.* install one version of @x\/things$/,
      );
    }
    expect(isInstance(new Ours(), Below)).toBe(false); // no other version: another class
    expect(isInstance({}, Ours)).toBe(false);
    expect(isInstance(other, Map)).toBe(false);
    expect(() => checkInstance<object>({}, 'a thing', Ours)).toThrow(
      /^EINVAL: .* is not a thing: a Thing is expected$/,
    );
  });
});

test('an object says which class with a brand it is of', () => {
  expect(brandedClass(new Below())).toEqual({
    className: 'Thing',
    copy: { name: '@x/things', version: '1.2.0', url: 'file:///1.2.0' },
  });
  for (const value of [{}, null, undefined, 5, new Map(), Object.create(null) as object])
    expect(brandedClass(value)).toBeUndefined();
});

test('copies of one major version work together', () => {
  const copy = (version?: string): PackageCopy => ({ name: 'x', version, url: undefined });
  expect(isCompatible(copy('0.1.0'), copy('0.9.0'))).toBe(true);
  expect(isCompatible(copy('0.1.0'), copy('1.0.0'))).toBe(false);
  expect(describeCopy(copy())).toBe('x from its sources');
});

test('errors of another copy are errors, whatever its version', async () => {
  const [errors, asserts] = ['./errors.ts?another', './assert.ts?another'];
  const other = (await import(errors)) as { KernelError: typeof KernelError };
  expect(other.KernelError).not.toBe(KernelError);
  expect(new other.KernelError('EINVAL', 'x') instanceof KernelError).toBe(true);
  expect(new KernelError('EINVAL', 'x') instanceof other.KernelError).toBe(true);
  expect(new Error('x') instanceof KernelError).toBe(false);
  const { AssertionError: Other } = (await import(asserts)) as { AssertionError: typeof AssertionError };
  expect(Other).not.toBe(AssertionError);
  expect(new Other('x') instanceof AssertionError).toBe(true);
  expect(new Other('x') instanceof KernelError).toBe(false);
});
