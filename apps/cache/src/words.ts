/** What the words of a request mean. */
import { CommandError, NO_INTEGER } from './command.ts';

const MINUS = 45;
const ZERO = 48;
/** Decimal digits that any double holds exactly. */
const EXACT_DIGITS = 15;
const CANONICAL = /^(?:0|-?[1-9]\d{0,18})$/;

/** In capitals: names of commands and of options. */
export function word(bytes: Buffer): string {
  return bytes.toString('latin1').toUpperCase();
}

/** A whole number of 64 bits, in the one way to write it; undefined: it is none. */
export function asInteger(bytes: Uint8Array): bigint | undefined {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1');
  if (!CANONICAL.test(text)) return undefined;
  const value = BigInt(text);
  return BigInt.asIntN(64, value) === value ? value : undefined;
}

/** @throws CommandError: it is none */
export function integer(bytes: Buffer, otherwise = NO_INTEGER): bigint {
  const value = asInteger(bytes);
  if (value === undefined) throw new CommandError(otherwise);
  return value;
}

/**
 * The same where a number of 53 bits is as good: one beyond is the largest, or the smallest.
 *
 * @throws CommandError: it is no integer
 */
export function count(bytes: Buffer, otherwise = NO_INTEGER): number {
  const isNegative = bytes.length > 1 && bytes[0] === MINUS;
  const first = isNegative ? 1 : 0;
  if (bytes.length === 0 || bytes.length > EXACT_DIGITS) return clamped(integer(bytes, otherwise));
  let value = 0;
  for (let i = first; i < bytes.length; i++) {
    const digit = bytes[i] - ZERO;
    if (digit < 0 || digit > 9) throw new CommandError(otherwise);
    value = value * 10 + digit;
  }
  if (bytes[first] === ZERO && bytes.length > 1) throw new CommandError(otherwise);
  return isNegative ? -value : value;
}

function clamped(value: bigint): number {
  return Math.max(-Number.MAX_SAFE_INTEGER, Math.min(Number.MAX_SAFE_INTEGER, Number(value)));
}
