/**
 * Replies in the client's version of the protocol, in one buffer: those of a whole pipeline leave
 * together.
 *
 * Always: what a command has begun to say can be taken back (`rewind`) until it leaves.
 */

/** What a client speaks: RESP2, or RESP3 where it said HELLO 3. */
export type ProtocolVersion = 2 | 3;

/** Bytes of a new buffer; a reply may make it larger. */
const BUFFER = 2 ** 16;
/** Bytes beyond which a buffer is given up when it is empty. */
const MOST_KEPT = 2 ** 20;

const ZERO = 48;
const RETURN = 13;
const NEWLINE = 10;
const [STATUS, ERROR, INTEGER, BULK, ARRAY, MAP, SET, VERBATIM] = Buffer.from('+-:$*%~=');

export class Reply {
  version: ProtocolVersion = 2;
  #bytes: Buffer = Buffer.allocUnsafeSlow(BUFFER);
  #end = 0;

  /** Bytes that have not left. */
  get length(): number {
    return this.#end;
  }

  /** All that was said since `length` was so many bytes is not said. */
  rewind(length: number): void {
    this.#end = length;
  }

  /** What was said: a view of the buffer, good until something else is said. */
  said(): Buffer {
    return this.#bytes.subarray(0, this.#end);
  }

  /** Begins anew. @param isGone whether the buffer belongs to somebody else from now on */
  clear(isGone: boolean): void {
    if (isGone || this.#bytes.length > MOST_KEPT) this.#bytes = Buffer.allocUnsafeSlow(BUFFER);
    this.#end = 0;
  }

  /** One line of ASCII, such as OK. */
  status(text: string): void {
    this.#line(STATUS, text);
  }

  /** One line that begins with a code, such as `ERR syntax error`. */
  error(text: string): void {
    this.#line(ERROR, text.replaceAll(/[\r\n]/g, ' '));
  }

  integer(value: number | bigint): void {
    if (typeof value === 'bigint' || value < 0) this.#line(INTEGER, String(value));
    else this.#head(INTEGER, value);
  }

  bulk(value: Uint8Array): void {
    this.#head(BULK, value.length);
    this.#body(value);
  }

  text(text: string): void {
    this.bulk(Buffer.from(text));
  }

  /** Text for people: RESP3 says so. */
  verbatim(text: string): void {
    if (this.version === 2) {
      this.text(text);
      return;
    }
    const bytes = Buffer.from(`txt:${text}`);
    this.#head(VERBATIM, bytes.length);
    this.#body(bytes);
  }

  /** No value. */
  nothing(): void {
    this.#raw(this.version === 2 ? '$-1\r\n' : '_\r\n');
  }

  /** No array: what EXEC says where a watched key has changed. */
  noArray(): void {
    this.#raw(this.version === 2 ? '*-1\r\n' : '_\r\n');
  }

  /** So many replies follow. */
  array(length: number): void {
    this.#head(ARRAY, length);
  }

  /** So many that are all different follow. */
  set(length: number): void {
    this.#head(this.version === 2 ? ARRAY : SET, length);
  }

  /** So many pairs follow. */
  map(pairs: number): void {
    if (this.version === 2) this.#head(ARRAY, 2 * pairs);
    else this.#head(MAP, pairs);
  }

  /** An array of texts. */
  texts(texts: readonly string[]): void {
    this.array(texts.length);
    for (const text of texts) this.text(text);
  }

  #line(mark: number, text: string): void {
    this.#raw(String.fromCharCode(mark) + text + '\r\n');
  }

  #raw(text: string): void {
    this.#need(3 * text.length);
    this.#end += this.#bytes.write(text, this.#end, 'utf8');
  }

  /** A mark, a whole number that is not negative, and the end of the line. */
  #head(mark: number, value: number): void {
    this.#need(20);
    const bytes = this.#bytes;
    let at = this.#end;
    bytes[at++] = mark;
    if (value < 10) {
      bytes[at++] = ZERO + value;
    } else {
      let digits = 1;
      for (let bound = 10; bound <= value; bound *= 10) digits += 1;
      let left = value;
      for (let i = at + digits - 1; i >= at; i--) {
        const next = Math.floor(left / 10);
        bytes[i] = ZERO + (left - next * 10);
        left = next;
      }
      at += digits;
    }
    bytes[at] = RETURN;
    bytes[at + 1] = NEWLINE;
    this.#end = at + 2;
  }

  #body(value: Uint8Array): void {
    this.#need(value.length + 2);
    this.#bytes.set(value, this.#end);
    const end = this.#end + value.length;
    this.#bytes[end] = RETURN;
    this.#bytes[end + 1] = NEWLINE;
    this.#end = end + 2;
  }

  #need(more: number): void {
    if (this.#end + more <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafeSlow(2 * (this.#end + more));
    this.#bytes.copy(larger, 0, 0, this.#end);
    this.#bytes = larger;
  }
}
