import { expect, test } from 'vitest';
import { detach } from './mapping.ts';
import { becomeEmpty } from './retired-bytes.ts';

/** Bytes of a view that was taken down. */
function retired(): Uint8Array {
  const bytes = Uint8Array.of(1, 2, 3, 4);
  detach(bytes.buffer);
  becomeEmpty(bytes);
  return bytes;
}

/** Arguments with which no method of an empty array throws, where it needs some. */
const ARGUMENTS: Record<string, unknown[]> = {
  every: [() => true],
  filter: [() => true],
  find: [() => true],
  findIndex: [() => true],
  findLast: [() => true],
  findLastIndex: [() => true],
  forEach: [() => undefined],
  map: [() => 1],
  reduce: [() => 1, 0],
  reduceRight: [() => 1, 0],
  some: [() => true],
  set: [[]],
  setFromBase64: [''],
  setFromHex: [''],
};
/** An empty array has no element that could be replaced. */
const THROWS_WHEN_EMPTY = ['with'];

function methods(): string[] {
  const prototypes = [Uint8Array.prototype, Object.getPrototypeOf(Uint8Array.prototype) as object];
  return prototypes.flatMap((prototype) =>
    Object.getOwnPropertyNames(prototype).filter((name) => {
      const value: unknown = Reflect.getOwnPropertyDescriptor(prototype, name)?.value;
      return typeof value === 'function' && name !== 'constructor' && !THROWS_WHEN_EMPTY.includes(name);
    }),
  );
}

test.each(methods())('%s of retired bytes does what it does on an empty array', (name) => {
  const args = ARGUMENTS[name] ?? [];
  const [bytes, empty] = [retired(), new Uint8Array(0)];
  const call = (on: Uint8Array): unknown => {
    const result = (Reflect.get(on, name) as (...args: unknown[]) => unknown).apply(on, args);
    if (result === on) return 'itself';
    const isIterator = result !== null && typeof result === 'object' && 'next' in result;
    return isIterator ? [...(result as IterableIterator<unknown>)] : result;
  };
  expect(call(bytes)).toEqual(call(empty));
});

test('retired bytes are a Uint8Array without elements', () => {
  const bytes = retired();
  expect(bytes).toBeInstanceOf(Uint8Array);
  expect([bytes.length, bytes.byteLength, bytes.byteOffset, [...bytes], bytes.constructor]).toEqual([
    0,
    0,
    0,
    [],
    Uint8Array,
  ]);
  bytes[0] = 5;
  expect(bytes[0]).toBeUndefined();
  expect(new Uint8Array(4).fill(7)).toEqual(Uint8Array.of(7, 7, 7, 7)); // others have their methods
});

test('what has no place is refused as by an empty array', () => {
  const bytes = retired();
  expect(() => bytes.set([1])).toThrow(RangeError);
  expect(() => bytes.with(0, 1)).toThrow(RangeError);
});

test('bytes that may not be changed are left as they are', () => {
  const bytes = Object.preventExtensions(Uint8Array.of(1));
  detach(bytes.buffer);
  expect(() => becomeEmpty(bytes)).not.toThrow();
  expect(bytes.length).toBe(0);
});
