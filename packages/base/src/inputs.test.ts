/**
 * Everything that a caller can pass, of the wrong kind: EINVAL each time, a KernelError, and
 * nothing is changed.
 */
import { expect, test } from 'vitest';
import { bytesOf, type Bytes } from './bytes-of.ts';
import {
  checkFlag,
  checkFunction,
  checkInstance,
  checkList,
  checkObject,
  checkOneOf,
  checkOptions,
  checkText,
  checkWhole,
} from './checks.ts';
import { errnoNumber, type ErrnoCode } from './errors.ts';
import { layout } from './layout.ts';
import { Prng } from './prng.ts';
import { byteLength, StructView } from './struct-view.ts';
import {
  BYTES_IN_ALL_SHAPES,
  except,
  expectRefused,
  FORTY_BYTES,
  inputRows,
  NO_BYTES,
  NO_FLAG,
  NO_FUNCTION,
  NO_INTEGER,
  NO_LIST,
  NO_NUMBER,
  NO_OBJECT,
  NO_TEXT,
  NO_WHOLE,
  type InputCall,
} from './test-inputs.ts';
import { formatSize, parseSize } from './units.ts';

const Ser = layout('ser', 22, {
  u16: { at: 0, bytes: 2 },
  u32: { at: 2, bytes: 4 },
  s32: { at: 6, bytes: 4 },
  u64: { at: 10, bytes: 8 },
  text: { at: 18, bytes: 4 },
});
const record = new StructView(new Uint8Array(Ser.SIZE).fill(7));

const CALLS: Record<string, InputCall<undefined>> = {
  bytesOf: [(_, given: Bytes) => bytesOf(given), NO_BYTES],
  checkWhole: [(_, given: number) => checkWhole(given, 'a number'), NO_WHOLE],
  'checkWhole, bounds': [
    (_, given: number) => checkWhole(given, 'a number', { min: 3, max: 5 }),
    [2, 6, ...NO_WHOLE],
  ],
  checkText: [(_, given: string) => checkText(given, 'a text'), NO_TEXT],
  checkFlag: [(_, given: boolean) => checkFlag(given, 'a flag'), NO_FLAG],
  checkOneOf: [(_, given: 'a') => checkOneOf(given, 'a word', ['a', 'b']), ['c', 'A', '', ...NO_TEXT]],
  checkFunction: [(_, given: () => void) => checkFunction(given, 'work'), NO_FUNCTION],
  checkInstance: [(_, given: Date) => checkInstance(given, 'a date', Date), [...NO_OBJECT, {}, 0]],
  checkList: [(_, given: string[]) => checkList(given, 'a list'), NO_LIST],
  checkObject: [(_, given: object) => checkObject(given, 'an object'), NO_OBJECT],
  checkOptions: [
    (_, given: object) => {
      checkOptions(given, 'work', ['a']);
    },
    [...NO_OBJECT, { b: 1 }, { a: 1, A: 2 }],
  ],
  parseSize: [
    (_, given: string) => parseSize(given),
    [...except(NO_TEXT, 5), '', 'a', '-1', '1.5', '5x', 0.5, -1],
  ],
  formatSize: [(_, given: number) => formatSize(given), NO_NUMBER],
  byteLength: [(_, given: string) => byteLength(given), NO_TEXT],
  errnoNumber: [(_, given: ErrnoCode) => errnoNumber(given), ['ENOTHING', 'toString', 5, undefined, null]],
  'new Prng': [(_, given: number) => new Prng(given), NO_INTEGER],
  'Prng.below': [
    (_, given: number) => new Prng(1).below(given),
    [-1, 0.5, 2 ** 33, Number.NaN, undefined, null, {}, '5'],
  ],
  'new StructView': [(_, given: Bytes) => new StructView(given), NO_BYTES],
  setU16: [
    (_, given: number) => {
      record.setU16(Ser.u16, given);
    },
    [...NO_WHOLE, 2 ** 16],
  ],
  setU32: [
    (_, given: number) => {
      record.setU32(Ser.u32, given);
    },
    [...NO_WHOLE, 2 ** 32],
  ],
  setI32: [
    (_, given: number) => {
      record.setI32(Ser.s32, given);
    },
    [...NO_INTEGER, 2 ** 31, -(2 ** 31) - 1],
  ],
  setU64: [
    (_, given: bigint) => {
      record.setU64(Ser.u64, given);
    },
    [...NO_WHOLE.filter((each) => each !== 5n && typeof each !== 'number'), -1n, 2n ** 64n],
  ],
  setString: [
    (_, given: string) => {
      record.setString(Ser.text, given);
    },
    [...NO_TEXT, 'long', 'a\0'],
  ],
};

test.each(inputRows(CALLS))('$title', async ({ call }) => {
  const before = [...record.bytes];
  await expectRefused(() => call(undefined));
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
    checkObject(Object.create(null) as object, 'an object without a class');
    checkOptions({ a: undefined }, 'work', ['a']);
  }).not.toThrow();
  expect(bytesOf(new DataView(new ArrayBuffer(9), 2, 3))).toHaveLength(3);
});

test.each(BYTES_IN_ALL_SHAPES)('the bytes of a %s are taken whole', (_, given) => {
  expect(bytesOf(given)).toEqual(FORTY_BYTES);
  expect(new StructView(given).bytes).toEqual(FORTY_BYTES);
});
