/**
 * Declarative layouts of the structures that one kernel leaves for the next. A layout is checked
 * when it is declared: its fields touch, do not overlap, and add up to the size. Everything is
 * little-endian and packed.
 */
import { assert } from './assert.ts';

/** Where a field lies in its structure. */
export interface Field {
  /** Offset in bytes from the start of the structure. */
  readonly at: number;
  /** Length in bytes. */
  readonly bytes: number;
}

/** A checked structure: its fields by name, with its name and size. */
export type Layout<F extends Record<string, Field>> = Readonly<F> & {
  readonly NAME: string;
  readonly SIZE: number;
};

/**
 * Declares a structure of `size` bytes.
 *
 * @example
 * const CounterSer = layout('counter_ser', 8, { value: { at: 0, bytes: 8 } });
 * record.setU64(CounterSer.value, 42n);
 *
 * @throws AssertionError where the fields leave a gap, overlap or do not add up to `size`
 */
export function layout<const F extends Record<string, Field>>(
  name: string,
  size: number,
  fields: F,
): Layout<F> {
  let end = 0;
  for (const [field, { at, bytes }] of Object.entries(fields)) {
    assert(at === end, `${name}.${field} is at ${at}, the field before it ends at ${end}`);
    assert(bytes > 0, `${name}.${field} has no bytes`);
    end = at + bytes;
  }
  assert(end === size, `${name} is declared with ${size} bytes, its fields add up to ${end}`);
  return Object.freeze({ ...fields, NAME: name, SIZE: size });
}
