/**
 * Checks of what callers pass. A caller in JavaScript may pass anything, and one in TypeScript a
 * number that is none: each of these says what is wrong, as EINVAL, before anything is done.
 */
import { KernelError } from './errors.ts';
import { brandedClass, describeCopy, isCompatible } from './brand.ts';

/** Bounds of a number, both included. */
export interface Bounds {
  /** Default: 0. */
  readonly min?: number;
  /** Default: 2^53 - 1. */
  readonly max?: number;
}

/**
 * A whole number.
 *
 * @param what names it in the message: `a size`, `a position`
 * @throws KernelError EINVAL: no number, a fraction, NaN, or out of bounds
 */
export function checkWhole(
  value: number,
  what: string,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: Bounds = {},
): number {
  if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
  const upTo = max === Number.MAX_SAFE_INTEGER ? '' : ` to ${max}`;
  throw new KernelError(
    'EINVAL',
    `${shown(value)} is not ${what}: a whole number from ${min}${upTo} is expected`,
  );
}

/**
 * A text.
 *
 * @throws KernelError EINVAL: no string
 */
export function checkText(value: string, what: string): string {
  if (typeof value === 'string') return value;
  throw new KernelError('EINVAL', `${shown(value)} is not ${what}: a string is expected`);
}

/**
 * One of some words.
 *
 * @throws KernelError EINVAL: another one, or no string
 */
export function checkOneOf<T extends string>(value: T, what: string, words: readonly T[]): T {
  if (words.includes(value)) return value;
  throw new KernelError('EINVAL', `${shown(value)} is not ${what}: one of ${words.join(', ')} is expected`);
}

/**
 * True or false.
 *
 * @throws KernelError EINVAL: neither
 */
export function checkFlag(value: boolean, what: string): boolean {
  if (typeof value === 'boolean') return value;
  throw new KernelError('EINVAL', `${shown(value)} is not ${what}: true or false is expected`);
}

/**
 * An object of options, of which each is known: one that is misspelt would do nothing.
 *
 * @param what names the call in the message
 * @throws KernelError EINVAL: no object, or an option that is not known
 */
export function checkOptions(options: object, what: string, known: readonly string[]): void {
  const given: unknown = options;
  if (typeof given !== 'object' || given === null)
    throw new KernelError('EINVAL', `${shown(given)} are no options of ${what}: an object is expected`);
  for (const name of Object.keys(given)) {
    if (known.includes(name)) continue;
    throw new KernelError('EINVAL', `${what} has no option '${name}': it has ${known.join(', ')}`);
  }
}

/**
 * An object, of whatever class or none.
 *
 * @throws KernelError EINVAL: anything else
 */
export function checkObject<T extends object>(value: T, what: string): T {
  const given: unknown = value;
  if ((typeof given === 'object' && given !== null) || typeof given === 'function') return value;
  throw new KernelError('EINVAL', `${shown(given)} is not ${what}: an object is expected`);
}

/** A class, whoever may make its objects. */
export interface ClassOf<T> {
  readonly name: string;
  readonly prototype: T;
}

/**
 * An object of a class.
 *
 * @throws KernelError EINVAL: anything else
 */
export function checkInstance<T>(value: T, what: string, type: ClassOf<T>): T {
  if (isInstance(value, type)) return value;
  throw new KernelError('EINVAL', `${shown(value)} is not ${what}: a ${type.name} is expected`);
}

/**
 * Whether a value is an object of a class.
 *
 * @throws KernelError EINVAL: it is of that class, as another major version of the package has it
 */
export function isInstance<T>(value: unknown, type: ClassOf<T>): value is T {
  if (value instanceof (type as abstract new () => unknown)) return true;
  const theirs = brandedClass(value);
  const ours = brandedClass(type.prototype);
  if (!theirs || !ours || theirs.className !== ours.className) return false;
  if (isCompatible(theirs.copy, ours.copy)) return false; // of the class above this one
  throw new KernelError(
    'EINVAL',
    `this ${theirs.className} is of ${describeCopy(theirs.copy)}, and here is ${describeCopy(ours.copy)}: they do not understand each other, install one version of ${ours.copy.name}`,
  );
}

/**
 * A function.
 *
 * @throws KernelError EINVAL: anything else
 */
export function checkFunction<T>(value: T, what: string): T {
  if (typeof value === 'function') return value;
  throw new KernelError('EINVAL', `${shown(value)} is not ${what}: a function is expected`);
}

/**
 * A list: an array, of whatever.
 *
 * @throws KernelError EINVAL: anything else
 */
export function checkList<T extends readonly unknown[]>(value: T, what: string): T {
  if (Array.isArray(value)) return value;
  throw new KernelError('EINVAL', `${shown(value)} is not ${what}: an array is expected`);
}

/** A value, for a message: short, and never a failure of its own. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value.length > 40 ? `${value.slice(0, 40)}...` : value}'`;
  if (value === null || value === undefined || typeof value === 'number' || typeof value === 'boolean')
    return String(value);
  return typeof value === 'bigint' ? `${value}n` : `a value of type ${typeof value}`;
}
