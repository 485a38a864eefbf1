/**
 * Values of the wrong kind, and how a table of calls is tried with them: what `inputs.test.ts` of
 * every package uses. For tests of this workspace only: it is not published.
 */
import { expect } from 'vitest';
import { KernelError } from './errors.ts';

type Values = readonly unknown[];

export const NO_NUMBER: Values = [
  Number.NaN,
  Infinity,
  -Infinity,
  undefined,
  null,
  '5',
  5n,
  true,
  {},
  [5],
  Symbol('5'),
  () => 5,
];
/** Nothing that counts, below zero or above. */
export const NO_INTEGER: Values = [...NO_NUMBER, 0.5, 2 ** 53];
/** No size, position, count or descriptor. */
export const NO_WHOLE: Values = [...NO_INTEGER, -1];
export const NO_TEXT: Values = [undefined, null, 5, Number.NaN, 5n, true, {}, ['a'], Symbol('a'), () => 'a'];
export const NO_FLAG: Values = [undefined, null, 0, 1, 'true', 'no', {}, Symbol('a')];
export const NO_OBJECT: Values = [undefined, null, 5, 'a', 5n, true, Symbol('a')];
export const NO_LIST: Values = [...NO_OBJECT, {}];
export const NO_FUNCTION: Values = [...NO_OBJECT, {}, ['a']];
export const NO_BYTES: Values = [...NO_OBJECT, {}, [1, 2], () => 1];

/** A list without some of its values, which the parameter takes. */
export function except(values: Values, ...taken: Values): Values {
  return values.filter((value) => !taken.includes(value));
}

/** A list for a parameter that may be left out. */
export function optional(values: Values): Values {
  return except(values, undefined);
}

/** The bytes of BYTES_IN_ALL_SHAPES. */
export const FORTY_BYTES: Uint8Array = Uint8Array.from({ length: 40 }, (_, i) => i + 1);

/**
 * The same forty bytes, in a buffer that is larger, as everything that has bytes: none is to be
 * taken in part.
 */
export const BYTES_IN_ALL_SHAPES: readonly (readonly [shape: string, bytes: ArrayBufferView])[] = [
  Uint8Array,
  Int8Array,
  Uint8ClampedArray,
  Uint16Array,
  Int16Array,
  Uint32Array,
  Int32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
  DataView,
].map((Shape) => {
  const buffer = new ArrayBuffer(56);
  new Uint8Array(buffer).set(FORTY_BYTES, 8);
  const width = 'BYTES_PER_ELEMENT' in Shape ? Shape.BYTES_PER_ELEMENT : 1;
  const bytes: unknown = Reflect.construct(Shape, [buffer, 8, FORTY_BYTES.length / width]);
  return [Shape.name, bytes as ArrayBufferView];
});

/**
 * A call with one parameter open, the values that it refuses, and the code of the refusal; default
 * EINVAL. The world is what a test makes anew for each call.
 */
export type InputCall<World> = [call: (world: World, given: never) => unknown, wrong: Values, code?: string];

/** One row for each call and value. */
export function inputRows<World>(calls: Readonly<Record<string, InputCall<World>>>): {
  readonly title: string;
  readonly code: string;
  readonly call: (world: World) => unknown;
}[] {
  return Object.entries(calls).flatMap(([name, [call, wrong, code = 'EINVAL']]) =>
    wrong.map((given, i) => ({
      title: `${name}, wrong kind ${i + 1} (${typeof given})`,
      code,
      call: (world: World) => call(world, given as never),
    })),
  );
}

/** A call that is refused, at once or by its promise: by a KernelError with this code. */
export async function expectRefused(call: () => unknown, code = 'EINVAL'): Promise<void> {
  let thrown: unknown;
  try {
    await call();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(KernelError);
  expect((thrown as KernelError).code).toBe(code);
}
