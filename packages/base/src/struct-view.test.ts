import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { AssertionError } from './assert.ts';
import { layout } from './layout.ts';
import { byteLength, readU64, StructView, writeU64 } from './struct-view.ts';
import { seed } from './test-seed.ts';

const Ser = layout('sample', 40, {
  u16: { at: 0, bytes: 2 },
  pad: { at: 2, bytes: 2 },
  u32: { at: 4, bytes: 4 },
  u64: { at: 8, bytes: 8 },
  name: { at: 16, bytes: 8 },
  after: { at: 24, bytes: 16 },
});

/** A record in the middle of a buffer, so that a wrong base offset shows. */
function sample(): { ser: StructView; all: Uint8Array } {
  const all = new Uint8Array(Ser.SIZE + 32).fill(0xee);
  const bytes = all.subarray(16, 16 + Ser.SIZE).fill(0);
  return { ser: new StructView(bytes), all };
}

describe('numbers', () => {
  test.for<[what: string, set: (ser: StructView) => void, at: number, bytes: number[]]>([
    ['u16', (ser) => ser.setU16(Ser.u16, 0xbeef), 0, [0xef, 0xbe]],
    ['u32', (ser) => ser.setU32(Ser.u32, 0xdead_beef), 4, [0xef, 0xbe, 0xad, 0xde]],
    ['s32', (ser) => ser.setI32(Ser.u32, -2), 4, [0xfe, 0xff, 0xff, 0xff]],
    ['u64', (ser) => ser.setU64(Ser.u64, 0x0102_0304_0506_0708n), 8, [8, 7, 6, 5, 4, 3, 2, 1]],
    ['u64 from a number', (ser) => ser.setU64(Ser.u64, 2 ** 40 + 3), 8, [3, 0, 0, 0, 0, 1, 0, 0]],
  ])('%s is little-endian, at its place and nowhere else', ([, set, at, bytes]) => {
    const { ser, all } = sample();
    const expected = all.slice();
    set(ser);
    expected.set(bytes, 16 + at);
    expect(all).toEqual(expected);
  });

  test('what is set is got', () => {
    const { ser } = sample();
    fc.assert(
      fc.property(
        fc.nat(0xffff),
        fc.nat(0xffff_ffff),
        fc.integer(),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        fc.nat(Number.MAX_SAFE_INTEGER),
        (u16, u32, s32, u64, number) => {
          ser.setU16(Ser.u16, u16);
          ser.setU32(Ser.u32, u32);
          expect([ser.getU16(Ser.u16), ser.getU32(Ser.u32)]).toEqual([u16, u32]);
          ser.setI32(Ser.u32, s32);
          expect(ser.getI32(Ser.u32)).toBe(s32);
          ser.setU64(Ser.u64, u64);
          expect(ser.getU64(Ser.u64)).toBe(u64);
          ser.setU64(Ser.u64, number);
          expect(ser.getNumber(Ser.u64)).toBe(number);
        },
      ),
      { seed },
    );
  });

  test.for<[value: bigint, fits: boolean]>([
    [0n, true],
    [0xffff_ffffn, true],
    [0x1_0000_0000n, true],
    [2n ** 53n - 1n, true],
    [2n ** 53n, false],
    [2n ** 53n + 1n, false],
    [2n ** 63n, false],
    [2n ** 64n - 1n, false],
  ])('getNumber and readU64 of %s: fits %s', ([value, fits]) => {
    const { ser } = sample();
    ser.setU64(Ser.u64, value);
    const read = (): number => ser.getNumber(Ser.u64);
    if (fits) expect(read()).toBe(Number(value));
    else expect(read).toThrow(expect.objectContaining({ code: 'EOVERFLOW' }));
    expect(readU64(ser.view, Ser.u64.at)).toBe(fits ? Number(value) : Number.NaN);
  });

  test.for([-1, 0.5, 2 ** 53, Number.NaN])(
    '%d is no number that a u64 is set to, and nothing is written',
    (number) => {
      const ser = new StructView(new Uint8Array(Ser.SIZE).fill(7));
      expect(() => {
        ser.setU64(Ser.u64, number);
      }).toThrow(AssertionError);
      expect(ser.bytes.every((byte) => byte === 7)).toBe(true);
    },
  );

  test('writeU64 writes what setU64 writes', () => {
    const { ser } = sample();
    fc.assert(
      fc.property(fc.nat(Number.MAX_SAFE_INTEGER), (value) => {
        writeU64(ser.view, Ser.u64.at, value);
        expect(ser.getU64(Ser.u64)).toBe(BigInt(value));
      }),
      { seed },
    );
  });

  test.for([-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY])('writeU64 of %s is a bug', (value) => {
    expect(() => writeU64(new DataView(new ArrayBuffer(8)), 0, value)).toThrow(AssertionError);
  });

  test.for<[what: string, use: (ser: StructView) => unknown]>([
    ['getU16', (ser) => ser.getU16(Ser.u32)],
    ['setU16', (ser) => ser.setU16(Ser.u32, 1)],
    ['getU32', (ser) => ser.getU32(Ser.u64)],
    ['setU32', (ser) => ser.setU32(Ser.u16, 1)],
    ['getI32', (ser) => ser.getI32(Ser.u64)],
    ['setI32', (ser) => ser.setI32(Ser.u16, 1)],
    ['getU64', (ser) => ser.getU64(Ser.u32)],
    ['setU64', (ser) => ser.setU64(Ser.u32, 1)],
    ['getNumber', (ser) => ser.getNumber(Ser.u32)],
  ])('%s of a field of another width is a bug', ([, use]) => {
    expect(() => use(sample().ser)).toThrow(AssertionError);
  });

  test('a view is live both ways', () => {
    const { ser, all } = sample();
    all[16 + Ser.u16.at] = 7;
    expect(ser.getU16(Ser.u16)).toBe(7);
    ser.slice(Ser.after).fill(9);
    expect(all.subarray(40, 56)).toEqual(new Uint8Array(16).fill(9));
  });
});

describe('strings', () => {
  test.for<[text: string, bytes: number]>([
    ['', 0],
    ['seven 7', 7],
    ['ü', 2],
    ['日本', 6],
    ['😀', 4],
    ['\uFEFFbom', 6],
  ])("'%s' comes back, its %i bytes padded with zeros", ([text, bytes]) => {
    const { ser, all } = sample();
    ser.slice(Ser.name).fill(0xff);
    ser.setString(Ser.name, text);
    expect(ser.getString(Ser.name)).toBe(text);
    expect(byteLength(text)).toBe(bytes);
    expect(ser.isTerminated(Ser.name)).toBe(true);
    expect(ser.slice(Ser.name).subarray(bytes)).toEqual(new Uint8Array(8 - bytes));
    expect(all[40]).toBe(0);
  });

  test.for(['eight 88', 'much too long for it', 'üüüü', 'a\0b', '\0'])("refuses '%s'", (text) => {
    const { ser, all } = sample();
    ser.setString(Ser.name, 'before');
    const before = all.slice();
    expect(() => ser.setString(Ser.name, text)).toThrow(expect.objectContaining({ code: 'EINVAL' }));
    expect(all).toEqual(before);
  });

  test('a field that no NUL ends is read whole, and said to be so', () => {
    const { ser } = sample();
    ser.slice(Ser.name).fill(0x61);
    expect(ser.getString(Ser.name)).toBe('aaaaaaaa');
    expect(ser.isTerminated(Ser.name)).toBe(false);
  });

  test('text ends at the first NUL, whatever follows', () => {
    const { ser } = sample();
    ser.slice(Ser.name).set([0x61, 0, 0x62]);
    expect(ser.getString(Ser.name)).toBe('a');
  });

  test('bytes that are no UTF-8 are read without an exception', () => {
    const { ser } = sample();
    ser.slice(Ser.name).set([0xff, 0xfe, 0x61]);
    expect(ser.getString(Ser.name)).toBe('\uFFFD\uFFFDa');
  });
});
