import { describe, expect, test } from 'vitest';
import { AssertionError } from './assert.ts';
import { layout, type Field } from './layout.ts';

describe('layout', () => {
  test('keeps the fields and adds name and size', () => {
    const Ser = layout('point', 12, { x: { at: 0, bytes: 4 }, y: { at: 4, bytes: 8 } });
    expect(Ser).toEqual({ x: { at: 0, bytes: 4 }, y: { at: 4, bytes: 8 }, NAME: 'point', SIZE: 12 });
    expect(Object.isFrozen(Ser)).toBe(true);
  });

  test('a structure of no fields has no bytes', () => {
    expect(layout('nothing', 0, {}).SIZE).toBe(0);
  });

  test.for<[what: string, size: number, fields: Record<string, Field>]>([
    ['a gap', 12, { a: { at: 0, bytes: 4 }, b: { at: 8, bytes: 4 } }],
    ['an overlap', 8, { a: { at: 0, bytes: 8 }, b: { at: 4, bytes: 4 } }],
    ['a first field that is not at 0', 12, { a: { at: 4, bytes: 8 } }],
    ['fields that end before the size', 16, { a: { at: 0, bytes: 8 } }],
    ['fields that end after the size', 4, { a: { at: 0, bytes: 8 } }],
    ['a field of no bytes', 4, { a: { at: 0, bytes: 0 }, b: { at: 0, bytes: 4 } }],
    ['a field of negative length', 0, { a: { at: 0, bytes: 4 }, b: { at: 4, bytes: -4 } }],
    ['fields out of order', 8, { b: { at: 4, bytes: 4 }, a: { at: 0, bytes: 4 } }],
    ['no fields but a size', 8, {}],
    ['a length that is no number', Number.NaN, { a: { at: 0, bytes: Number.NaN } }],
  ])('refuses %s', ([, size, fields]) => {
    expect(() => layout('bad', size, fields)).toThrow(AssertionError);
  });
});
