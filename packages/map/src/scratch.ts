/**
 * Bytes of a key or a value on their way into the map, as words: filled up with zeros, since whole
 * words are hashed, compared and stored. Text is its UTF-8.
 */
import { bytesOf, KernelError, type Bytes } from '@liveupdate/base';

const FIRST_ROOM = 256;
const encoder = new TextEncoder();

export class Scratch {
  words = new Int32Array(FIRST_ROOM / 4);
  bytes = new Uint8Array(this.words.buffer);
  /** Bytes. */
  length = 0;

  /**
   * @param most bytes that there may be: more are refused before any is copied
   * @throws KernelError EINVAL: neither text nor bytes, or text that has no UTF-8. EMSGSIZE: more
   * than `most` bytes
   */
  put(given: string | Bytes, what: 'key' | 'value', most: number): void {
    if (typeof given === 'string') {
      checkLength(given.length, what, most);
      this.#putText(given, what, most);
    } else {
      const bytes = bytesOf(given);
      checkLength(bytes.length, what, most);
      this.#putBytes(bytes);
    }
  }

  /** Four characters at once, as long as all of them are ASCII. */
  #putText(text: string, what: string, most: number): void {
    const { length } = text;
    this.#reserve(length);
    const { words } = this;
    const whole = length >>> 2;
    let i = 0;
    let seen = 0;
    for (let word = 0; word < whole; word++, i += 4) {
      const a = text.charCodeAt(i);
      const b = text.charCodeAt(i + 1);
      const c = text.charCodeAt(i + 2);
      const d = text.charCodeAt(i + 3);
      seen |= a | b | c | d;
      words[word] = a | (b << 8) | (c << 16) | (d << 24);
    }
    let last = 0;
    for (let shift = 0; i < length; i++, shift += 8) {
      const code = text.charCodeAt(i);
      seen |= code;
      last |= code << shift;
    }
    words[whole] = last;
    this.length = length;
    if (seen > 0x7f) this.#encode(text, what, most);
  }

  #encode(text: string, what: string, most: number): void {
    if (/\p{Surrogate}/u.test(text)) {
      this.shrink();
      throw new KernelError('EINVAL', `a ${what} has half a character: it cannot be stored as UTF-8`);
    }
    const room = Math.min(3 * text.length, most);
    this.#reserve(room);
    const { read, written } = encoder.encodeInto(text, this.bytes.subarray(0, room));
    if (read < text.length) {
      this.shrink();
      throw tooLong(what, most, 'more');
    }
    this.length = written;
    this.#pad();
  }

  #putBytes(bytes: Uint8Array): void {
    this.length = bytes.length;
    this.#reserve(bytes.length);
    this.bytes.set(bytes);
    this.#pad();
  }

  #pad(): void {
    for (let i = this.length; (i & 3) !== 0; i++) this.bytes[i] = 0;
  }

  /** Room for so many bytes, and the word in which they end. */
  #reserve(length: number): void {
    if (length + 4 <= this.bytes.length) return;
    this.words = new Int32Array(2 ** Math.ceil(Math.log2(length + 4)) / 4);
    this.bytes = new Uint8Array(this.words.buffer);
  }

  /** What a value of some megabytes took is not kept. */
  shrink(): void {
    if (this.bytes.length <= MOST_KEPT) return;
    this.words = new Int32Array(FIRST_ROOM / 4);
    this.bytes = new Uint8Array(this.words.buffer);
  }
}

const MOST_KEPT = 2 ** 20;

function checkLength(length: number, what: string, most: number): void {
  if (length > most) throw tooLong(what, most, String(length));
}

function tooLong(what: string, most: number, length: string): KernelError {
  return new KernelError('EMSGSIZE', `a ${what} has at most ${most} bytes, and this one ${length}`);
}
