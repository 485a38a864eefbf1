/** Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and nothing is changed. */
import { expect, test } from 'vitest';
import { bytesOf, type Bytes } from './bytes-of.ts';
import {
  checkFlag,
  checkFunction,
  checkInstance,
  checkOneOf,
  checkOptions,
  checkText,
  checkWhole,
} from './checks.ts';
import { errnoNumber, KernelError, type ErrnoCode } from './errors.ts';
import { layout } from './layout.ts';
import { Prng } from './prng.ts';
import { byteLength, StructView } from './struct-view.ts';
import { formatSize, parseSize } from './units.ts';

const NO_NUMBER = [
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
const NO_WHOLE = [...NO_NUMBER, 0.5, 2 ** 53];
const NO_SIZE = [...NO_WHOLE, -1];
const NO_TEXT = [undefined, null, 5, Number.NaN, 5n, true, {}, ['a'], Symbol('a'), () => 'a'];
const NO_OBJECT = [undefined, null, 5, 'a', 5n, true, Symbol('a')];
const NO_BYTES = [...NO_OBJECT, {}, [1, 2], () => 1];

const Ser = layout('ser', 22, {
  u16: { at: 0, bytes: 2 },
  u32: { at: 2, bytes: 4 },
  s32: { at: 6, bytes: 4 },
  u64: { at: 10, bytes: 8 },
  text: { at: 18, bytes: 4 },
});
const record = new StructView(new Uint8Array(Ser.SIZE).fill(7));

const CALLS: Record<string, [call: (given: never) => unknown, wrong: readonly unknown[]]> = {
  bytesOf: [(given: Bytes) => bytesOf(given), NO_BYTES],
  checkWhole: [(given: number) => checkWhole(given, 'a number'), NO_SIZE],
  'checkWhole, bounds': [
    (given: number) => checkWhole(given, 'a number', { min: 3, max: 5 }),
    [2, 6, ...NO_SIZE.filter((each) => each !== 5)],
  ],
  checkText: [(given: string) => checkText(given, 'a text'), NO_TEXT],
  checkFlag: [(given: boolean) => checkFlag(given, 'a flag'), [0, 1, 'true', null, undefined, {}]],
  checkOneOf: [(given: 'a') => checkOneOf(given, 'a word', ['a', 'b']), ['c', 'A', '', ...NO_TEXT]],
  checkFunction: [(given: () => void) => checkFunction(given, 'work'), [...NO_OBJECT, {}]],
  checkInstance: [(given: Date) => checkInstance(given, 'a date', Date), [...NO_OBJECT, {}, 0]],
  checkOptions: [
    (given: object) => {
      checkOptions(given, 'work', ['a']);
    },
    [...NO_OBJECT, { b: 1 }, { a: 1, A: 2 }],
  ],
  parseSize: [
    (given: string) => parseSize(given),
    [...NO_TEXT.filter((each) => each !== 5), '', 'a', '-1', '1.5', '5x', 0.5, -1],
  ],
  formatSize: [(given: number) => formatSize(given), NO_NUMBER],
  byteLength: [(given: string) => byteLength(given), NO_TEXT],
  errnoNumber: [(given: ErrnoCode) => errnoNumber(given), ['ENOTHING', 'toString', 5, undefined, null]],
  'new Prng': [(given: number) => new Prng(given), NO_WHOLE],
  'Prng.below': [
    (given: number) => new Prng(1).below(given),
    [-1, 0.5, 2 ** 33, Number.NaN, undefined, null, {}, '5'],
  ],
  'new StructView': [(given: Bytes) => new StructView(given), NO_BYTES],
  setU16: [
    (given: number) => {
      record.setU16(Ser.u16, given);
    },
    [...NO_SIZE, 2 ** 16],
  ],
  setU32: [
    (given: number) => {
      record.setU32(Ser.u32, given);
    },
    [...NO_SIZE, 2 ** 32],
  ],
  setI32: [
    (given: number) => {
      record.setI32(Ser.s32, given);
    },
    [...NO_WHOLE, 2 ** 31, -(2 ** 31) - 1],
  ],
  setU64: [
    (given: bigint) => {
      record.setU64(Ser.u64, given);
    },
    [...NO_SIZE.filter((each) => each !== 5n && typeof each !== 'number'), -1n, 2n ** 64n],
  ],
  setString: [
    (given: string) => {
      record.setString(Ser.text, given);
    },
    [...NO_TEXT, 'long', 'a\0'],
  ],
};

const rows = Object.entries(CALLS).flatMap(([name, [call, wrong]]) =>
  wrong.map((given, i) => ({ title: `${name}, wrong kind ${i + 1} (${typeof given})`, call, given })),
);

test.each(rows)('$title', ({ call, given }) => {
  const before = [...record.bytes];
  let thrown: unknown;
  try {
    call(given as never);
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(KernelError);
  expect((thrown as KernelError).code).toBe('EINVAL');
  expect([...record.bytes]).toEqual(before);
});

test('what is right is taken', () => {
  expect([
    checkWhole(5, 'a number', { min: 5, max: 5 }),
    checkText('', 'a text'),
    checkFlag(false, 'a flag'),
  ]).toEqual([5, '', false]);
  expect(() => {
    checkOptions({}, 'work', ['a']);
    checkOptions({ a: undefined }, 'work', ['a']);
  }).not.toThrow();
  expect(bytesOf(new DataView(new ArrayBuffer(9), 2, 3))).toHaveLength(3);
});
