/**
 * Which bytes of a WebSocket connection (RFC 6455) belong to a message that is not all there yet:
 * whoever goes on with the connection reads them once more.
 */

/** Bytes of one message that are kept at most: a longer one has to end first. */
const MOST_KEPT = 2 ** 20;

const FINAL = 0x80;
const OPCODE = 0x0f;
/** From here on frames are about the connection, and may stand between those of a message. */
const CONTROL = 0x08;
const MASKED = 0x80;
const LENGTH = 0x7f;
/** Lengths that say how many bytes of length follow. */
const TWO_BYTES = 126;
const EIGHT_BYTES = 127;
const MASK_BYTES = 4;

/** Bytes in the head of a frame that begins so. */
function headLength(second: number): number {
  const length = second & LENGTH;
  const more = length === EIGHT_BYTES ? 8 : length === TWO_BYTES ? 2 : 0;
  return 2 + more + ((second & MASKED) === 0 ? 0 : MASK_BYTES);
}

function payloadLength(head: readonly number[]): number {
  const length = head[1] & LENGTH;
  if (length < TWO_BYTES) return length;
  const bytes = head.slice(2, length === TWO_BYTES ? 4 : 10);
  return bytes.reduce((sum, byte) => sum * 256 + byte, 0);
}

export class FrameReader {
  /** What has come of the head of a frame. */
  #head: number[] = [];
  /** Bytes of its payload that are still to come. */
  #payload = 0;
  /** Whether this frame is of a message. */
  #isData = false;
  /** Whether further frames of the same message follow. */
  #isOpen = false;
  #kept: Buffer[] = [];
  #keptLength = 0;
  #isTooLong = false;
  #messages = 0;

  /** Messages that have come whole. */
  get messages(): number {
    return this.#messages;
  }

  /** The connection has said this. */
  add(chunk: Buffer): void {
    let from = 0; // of what is kept
    for (let at = 0; at < chunk.length;) {
      if (this.#payload > 0) {
        const some = Math.min(this.#payload, chunk.length - at);
        this.#payload -= some;
        at += some;
      } else {
        this.#head.push(chunk[at]);
        at += 1;
        if (!this.#headEnds()) continue;
      }
      if (this.#payload > 0 || this.#isOpen) continue;
      from = at;
      this.#forget();
      if (this.#isData) this.#messages += 1;
    }
    this.#keep(chunk.subarray(from));
  }

  /** What is to be read again; undefined where that is too long. */
  rest(): Buffer | undefined {
    return this.#isTooLong ? undefined : Buffer.concat(this.#kept);
  }

  /** Whether that was its last byte: what it says holds then. */
  #headEnds(): boolean {
    const head = this.#head;
    if (head.length < 2 || head.length < headLength(head[1])) return false;
    this.#payload = payloadLength(head);
    this.#isData = (head[0] & OPCODE) < CONTROL;
    if (this.#isData) this.#isOpen = (head[0] & FINAL) === 0;
    this.#head = [];
    return true;
  }

  #keep(chunk: Buffer): void {
    if (chunk.length === 0 || this.#isTooLong) return;
    this.#keptLength += chunk.length;
    this.#kept.push(chunk);
    if (this.#keptLength <= MOST_KEPT) return;
    this.#isTooLong = true;
    this.#kept = [];
  }

  #forget(): void {
    this.#kept = [];
    this.#keptLength = 0;
    this.#isTooLong = false;
  }
}
