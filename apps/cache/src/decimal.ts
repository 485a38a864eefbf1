/**
 * Sums of decimal numbers as people write them, exact: 0.1 and 0.2 are 0.3. Redis has 17 digits
 * behind the point, and so has this.
 */
import { CommandError } from './command.ts';

const NO_NUMBER = 'ERR value is not a valid float';
const DECIMAL = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;
const INFINITE = /^[+-]?inf(?:inity)?$/i;
/** Digits behind the point of a result. */
const DIGITS = 17;
/** As far as a `long double` goes. */
const MOST_EXPONENT = 4932;

/** A number: `digits` times ten to the power of minus `scale`. */
interface Decimal {
  readonly digits: bigint;
  readonly scale: number;
}

/** @throws CommandError: one of them is no number, or infinite */
export function addDecimals(a: string, b: string): string {
  if (INFINITE.test(a) || INFINITE.test(b))
    throw new CommandError('ERR increment would produce NaN or Infinity');
  const [first, second] = [decimalOf(a), decimalOf(b)];
  const scale = Math.max(first.scale, second.scale);
  return textOf({ digits: scaled(first, scale) + scaled(second, scale), scale });
}

function decimalOf(text: string): Decimal {
  const [mantissa, exponent] = parts(text.toLowerCase(), 'e', '0');
  if (!DECIMAL.test(text) || Math.abs(Number(exponent)) > MOST_EXPONENT) throw new CommandError(NO_NUMBER);
  const [whole, fraction] = parts(mantissa.replace('+', ''), '.', '');
  const digits = BigInt(`${whole.replace('-', '') || '0'}${fraction}`);
  const scale = fraction.length - Number(exponent);
  const signed = whole.startsWith('-') ? -digits : digits;
  return scale < 0 ? { digits: signed * 10n ** BigInt(-scale), scale: 0 } : { digits: signed, scale };
}

/** What is before and behind a mark. */
function parts(text: string, mark: string, otherwise: string): [string, string] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, otherwise] : [text.slice(0, at), text.slice(at + 1)];
}

function scaled({ digits, scale }: Decimal, to: number): bigint {
  return digits * 10n ** BigInt(to - scale);
}

function textOf({ digits, scale }: Decimal): string {
  const isNegative = digits < 0n;
  let left = isNegative ? -digits : digits;
  let places = scale;
  if (places > DIGITS) {
    left = roundedHalfEven(left, 10n ** BigInt(places - DIGITS));
    places = DIGITS;
  }
  const text = String(left).padStart(places + 1, '0');
  const fraction = text.slice(text.length - places).replace(/0+$/, '');
  const whole = text.slice(0, text.length - places);
  const value = places > 0 && fraction !== '' ? `${whole}.${fraction}` : whole;
  return isNegative && value !== '0' ? `-${value}` : value;
}

/** As Redis rounds: what it adds and takes away again leaves nothing. */
function roundedHalfEven(value: bigint, unit: bigint): bigint {
  const whole = value / unit;
  const twice = 2n * (value % unit);
  const isUp = twice > unit || (twice === unit && whole % 2n === 1n);
  return isUp ? whole + 1n : whole;
}
