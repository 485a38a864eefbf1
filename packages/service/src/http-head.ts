/**
 * What a client has sent of its next request, when a connection changes hands between two requests:
 * those bytes were read here and are to be read again by whoever has the connection next.
 *
 * Node's parser does not tell where in the bytes a message ends. So each chunk is seen before it is
 * parsed, and where a message ends is reckoned from its head: its length is told there. Of a body
 * in chunks it is known only where it ends with the bytes that were read.
 */
import type { IncomingMessage } from 'node:http';

/** Bytes of a head that go along at most: what Node takes of one. */
const MOST_HEAD = 16 * 1024;

const NOTHING = Buffer.alloc(0);
const HEAD_END = Buffer.from('\r\n\r\n');
const LAST_CHUNK = Buffer.from('0\r\n\r\n');

export class HeadReader {
  /** Bytes that belong to no message yet, or perhaps to a body. */
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** Bytes of the body that is being read that are still to come; undefined: in chunks. */
  #left: number | undefined = 0;
  #isUnknown = false;

  /** A chunk that is about to be parsed. */
  add(chunk: Buffer): void {
    if (this.#left === undefined) {
      this.#keepAlone(chunk);
      return;
    }
    const body = Math.min(this.#left, chunk.length);
    this.#left -= body;
    if (body === chunk.length) return;
    const rest = body === 0 ? chunk : chunk.subarray(body);
    if (this.#bytes > MOST_HEAD)
      this.#isUnknown = true; // a head as long is refused anyhow
    else this.#push(rest);
  }

  /** The parser has found the head of a message in what was added last. */
  begins({ headers, method = '', url = '' }: IncomingMessage): void {
    const bytes = this.#take();
    const end = bytes.indexOf(HEAD_END);
    const start = `${method} ${url} `;
    // Lines that end otherwise, or the end of a body in chunks before it: where it begins is not
    // known, and no request may be read twice.
    if (end < 0 || bytes.toString('latin1', 0, start.length) !== start) {
      this.#isUnknown = true;
      return;
    }
    const rest = bytes.subarray(end + HEAD_END.length);
    if (headers['transfer-encoding'] !== undefined) {
      this.#left = undefined;
      this.#keepAlone(rest);
      return;
    }
    const body = Number(headers['content-length'] ?? 0);
    this.#left = Math.max(0, body - rest.length);
    if (rest.length > body) this.#push(rest.subarray(body));
  }

  /**
   * Between two messages, when all of the last one is read: the bytes of the next one that were
   * read, and are to be read again. undefined: that is not known, or they are too many.
   */
  rest(): Buffer | undefined {
    if (this.#isUnknown) return undefined;
    if (this.#bytes === 0 && this.#left === 0) return NOTHING;
    const bytes = this.#take();
    this.#push(bytes);
    if (this.#left === undefined)
      return bytes.subarray(-HEAD_END.length).equals(HEAD_END) ? NOTHING : undefined;
    // A whole head that was told to nobody was answered by Node.js itself.
    const isNext = this.#left === 0 && bytes.length <= MOST_HEAD && !bytes.includes(HEAD_END);
    return isNext ? bytes : undefined;
  }

  /** Of a body in chunks only the end counts. It is over when a head begins. */
  #keepAlone(chunk: Buffer): void {
    if (chunk.length < LAST_CHUNK.length && this.#bytes > 0) {
      const both = Buffer.concat([this.#take(), chunk]);
      this.#push(both.subarray(-LAST_CHUNK.length));
      return;
    }
    this.#take();
    this.#push(chunk);
  }

  #push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
  }

  #take(): Buffer {
    const bytes = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#bytes = 0;
    return bytes;
  }
}
