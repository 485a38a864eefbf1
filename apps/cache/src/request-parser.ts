/**
 * Requests out of the bytes that a client sends, however they are cut: arrays of bulk strings, and
 * lines as a person types them.
 *
 * Always: an argument is a view of what came, and is copied only where its request came in pieces.
 * What is kept of a request that has not all come is at most twice as large as what came of it.
 */
import { splitLine } from './inline-line.ts';

/** A command's name and its arguments. */
export type Request = readonly Buffer[];

/** What a client says is no request. It is told so, and its connection ends. */
export class ProtocolError extends Error {}

/** Arguments of one request. */
const MOST_ARGUMENTS = 2 ** 20;
/** Bytes of an argument: `proto-max-bulk-len`. */
export const MOST_BYTES = 512 * 2 ** 20;
/** Bytes of all arguments of a request. */
const MOST_TOGETHER = 2 ** 30;
/** Bytes of a line. */
const MOST_LINE = 2 ** 16;

const NEWLINE = 10;
const RETURN = 13;
const MINUS = 45;
const ZERO = 48;
const DOLLAR = 36;
const STAR = 42;
const EMPTY = Buffer.alloc(0);

export class RequestParser {
  /** What has come and is not all parsed, from `#at` to `#end`. */
  #bytes: Buffer = EMPTY;
  #at = 0;
  #end = 0;
  /** Whether `#bytes` was made here and has room behind `#end`. */
  #isOurs = false;
  /** The request that is being read: what there is of it, and how many arguments are missing. */
  #arguments: Buffer[] = [];
  #missing = 0;
  #together = 0;
  /** Bytes of the argument that comes next; -1 where that was not said yet. */
  #length = -1;

  /** Takes more of what the client says. */
  push(chunk: Buffer): void {
    const kept = this.#end - this.#at;
    if (kept === 0) {
      this.#bytes = chunk;
      this.#at = 0;
      this.#end = chunk.length;
      this.#isOurs = false;
      return;
    }
    if (!this.#isOurs || this.#bytes.length - this.#end < chunk.length) {
      const larger = Buffer.allocUnsafe(2 * (kept + chunk.length));
      this.#bytes.copy(larger, 0, this.#at, this.#end);
      this.#bytes = larger;
      this.#at = 0;
      this.#end = kept;
      this.#isOurs = true;
    }
    chunk.copy(this.#bytes, this.#end);
    this.#end += chunk.length;
  }

  /**
   * The next request that is there as a whole.
   *
   * @throws ProtocolError: there is none, and can be none
   */
  next(): Request | undefined {
    while (this.#missing === 0) {
      if (this.#at === this.#end) return undefined;
      if (this.#bytes[this.#at] !== STAR) {
        const words = this.#line();
        if (words?.length === 0) continue; // an empty line asks for nothing
        return words;
      }
      const count = this.#number('multibulk');
      if (count === undefined) return undefined;
      if (count > MOST_ARGUMENTS) throw new ProtocolError('invalid multibulk length');
      if (count > 0) this.#begin(count);
    }
    while (this.#missing > 0) if (!this.#argument()) return undefined;
    const request = this.#arguments;
    this.#arguments = [];
    return request;
  }

  /** All that no request was made of, as bytes that mean the same to another parser. */
  rest(): Buffer {
    const unread = this.#bytes.subarray(this.#at, this.#end);
    if (this.#missing === 0) return unread;
    const parts: Buffer[] = [Buffer.from(`*${this.#arguments.length + this.#missing}\r\n`)];
    for (const each of this.#arguments)
      parts.push(Buffer.from(`$${each.length}\r\n`), each, Buffer.from('\r\n'));
    if (this.#length >= 0) parts.push(Buffer.from(`$${this.#length}\r\n`));
    return Buffer.concat([...parts, unread]);
  }

  #begin(count: number): void {
    this.#missing = count;
    this.#together = 0;
    this.#length = -1;
  }

  /** Reads one argument. Whether it was there. */
  #argument(): boolean {
    if (this.#length < 0) {
      if (this.#at === this.#end) return false;
      const mark = this.#bytes[this.#at];
      if (mark !== DOLLAR) throw new ProtocolError(`expected '$', got '${String.fromCharCode(mark)}'`);
      const length = this.#number('bulk');
      if (length === undefined) return false;
      if (length < 0 || length > MOST_BYTES) throw new ProtocolError('invalid bulk length');
      this.#together += length;
      if (this.#together > MOST_TOGETHER) throw new ProtocolError('too large a request');
      this.#length = length;
    }
    const end = this.#at + this.#length;
    if (this.#end < end + 2) return false;
    this.#arguments.push(this.#bytes.subarray(this.#at, end));
    this.#at = end + 2; // Redis does not look at the two bytes behind, either
    this.#length = -1;
    this.#missing -= 1;
    return true;
  }

  /** The number behind the mark at which we are, with its line; undefined: it is not all there. */
  #number(what: 'multibulk' | 'bulk'): number | undefined {
    const bytes = this.#bytes;
    const end = this.#end;
    let at = this.#at + 1;
    const isNegative = at < end && bytes[at] === MINUS;
    if (isNegative) at += 1;
    const first = at;
    let value = 0;
    for (; at < end && bytes[at] !== RETURN; at++) {
      const digit = bytes[at] - ZERO;
      if (digit < 0 || digit > 9 || at - first > 15) throw new ProtocolError(`invalid ${what} length`);
      value = value * 10 + digit;
    }
    if (at + 1 >= end) return undefined; // a return alone ends no line
    if (at === first) throw new ProtocolError(`invalid ${what} length`);
    this.#at = at + 2;
    return isNegative ? -value : value;
  }

  /** The words of a line; undefined: it is not all there. */
  #line(): Buffer[] | undefined {
    const unread = this.#bytes.subarray(this.#at, this.#end);
    const length = unread.indexOf(NEWLINE);
    if ((length < 0 ? unread.length : length) > MOST_LINE) throw new ProtocolError('too big inline request');
    if (length < 0) return undefined;
    const words = splitLine(unread.subarray(0, length));
    if (!words) throw new ProtocolError('unbalanced quotes in request');
    this.#at += length + 1;
    return words;
  }
}
