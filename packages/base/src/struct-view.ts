/**
 * A structure in memory, read and written by the fields of its layout. A StructView is a view: it
 * holds no copy, and what it writes is in RAM at once.
 */
import { assert, AssertionError } from './assert.ts';
import { bytesOf, type Bytes } from './bytes-of.ts';
import { checkText, checkWhole, shown } from './checks.ts';
import { KernelError } from './errors.ts';
import type { Field } from './layout.ts';

const encoder = new TextEncoder();
// A byte order mark is text like any other here: a name must come back as it was written.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

const S32 = { min: -(2 ** 31), max: 2 ** 31 - 1 };
const MAX_U64 = 2n ** 64n - 1n;

/** Two to the 32nd: the weight of a u64's upper half. */
const HIGH = 0x1_0000_0000;

/**
 * Reads a little-endian u64 as a number. NaN where it does not fit in 53 bits: callers refuse it.
 */
export function readU64(view: DataView, at: number): number {
  const high = view.getUint32(at + 4, true);
  return high < 0x20_0000 ? high * HIGH + view.getUint32(at, true) : Number.NaN;
}

/** Writes a number of at most 53 bits as a little-endian u64. */
export function writeU64(view: DataView, at: number, value: number): void {
  if (!(Number.isSafeInteger(value) && value >= 0)) throw new AssertionError(`${value} is no u64 of 53 bits`);
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / HIGH), true);
}

/** Bytes before the first NUL, or all of them where there is none. */
function untilNul(bytes: Uint8Array): Uint8Array {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}

export class StructView {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  /**
   * A record over `bytes`, which are not copied.
   *
   * @throws KernelError EINVAL: nothing that has bytes
   */
  constructor(bytes: Bytes) {
    this.bytes = bytesOf(bytes);
    this.view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
  }

  getU16(field: Field): number {
    assert(field.bytes === 2, 'field is not a u16');
    return this.view.getUint16(field.at, true);
  }

  setU16(field: Field, value: number): void {
    assert(field.bytes === 2, 'field is not a u16');
    this.view.setUint16(field.at, checkWhole(value, 'a u16', { max: 0xffff }), true);
  }

  getU32(field: Field): number {
    assert(field.bytes === 4, 'field is not a u32');
    return this.view.getUint32(field.at, true);
  }

  setU32(field: Field, value: number): void {
    assert(field.bytes === 4, 'field is not a u32');
    this.view.setUint32(field.at, checkWhole(value, 'a u32', { max: 0xffff_ffff }), true);
  }

  getI32(field: Field): number {
    assert(field.bytes === 4, 'field is not an s32');
    return this.view.getInt32(field.at, true);
  }

  setI32(field: Field, value: number): void {
    assert(field.bytes === 4, 'field is not an s32');
    this.view.setInt32(field.at, checkWhole(value, 'an s32', S32), true);
  }

  getU64(field: Field): bigint {
    assert(field.bytes === 8, 'field is not a u64');
    return this.view.getBigUint64(field.at, true);
  }

  /**
   * @param value a number is of at most 53 bits (another one is a bug of the program:
   * AssertionError); a bigint of 64
   * @throws KernelError EINVAL: neither, or a bigint of more bits
   */
  setU64(field: Field, value: bigint | number): void {
    assert(field.bytes === 8, 'field is not a u64');
    if (typeof value === 'number') {
      writeU64(this.view, field.at, value);
      return;
    }
    if (!(typeof value === 'bigint' && value >= 0n && value <= MAX_U64))
      throw new KernelError('EINVAL', `${shown(value)} is no u64`);
    this.view.setBigUint64(field.at, value, true);
  }

  /**
   * A u64 that is an address, a count or a size, as a number.
   *
   * @throws KernelError EOVERFLOW: above 2^53, which no real machine has; the structure is damaged
   */
  getNumber(field: Field): number {
    assert(field.bytes === 8, 'field is not a u64');
    const value = readU64(this.view, field.at);
    if (Number.isNaN(value)) {
      throw new KernelError(
        'EOVERFLOW',
        `a 64-bit field holds 0x${this.getU64(field).toString(16)}: the record is damaged`,
      );
    }
    return value;
  }

  /** Text of a NUL-padded field; all of it where no NUL ends it. */
  getString(field: Field): string {
    return decoder.decode(untilNul(this.slice(field)));
  }

  /** Whether a string field is ended by a NUL inside it, as every writer must. */
  isTerminated(field: Field): boolean {
    return this.slice(field).includes(0);
  }

  /**
   * Writes text and fills the rest of its field with zeros. One byte is kept for the NUL.
   *
   * @throws KernelError EINVAL: longer than the field without its NUL, or with a NUL in it; nothing
   * is written
   */
  setString(field: Field, text: string): void {
    if (checkText(text, 'a text').includes('\0'))
      throw new KernelError('EINVAL', 'a text with a NUL in it would be cut short there: leave it out');
    const encoded = encoder.encode(text);
    if (encoded.length >= field.bytes) {
      throw new KernelError(
        'EINVAL',
        `'${text}' has ${encoded.length} bytes, at most ${field.bytes - 1} fit`,
      );
    }
    const target = this.slice(field);
    target.fill(0);
    target.set(encoded);
  }

  /** The bytes of one field, live. */
  slice(field: Field): Uint8Array {
    return this.bytes.subarray(field.at, field.at + field.bytes);
  }
}

/** Bytes that a string takes in UTF-8, without a NUL. @throws KernelError EINVAL: no string */
export function byteLength(text: string): number {
  return checkText(text, 'a text') === '' ? 0 : encoder.encode(text).length;
}
