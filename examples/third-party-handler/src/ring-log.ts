/**
 * The last lines of a log, in one folio of the machine's memory: the newest push out the oldest.
 * Each line is its length in two bytes and its text, and may go on at the start of the folio.
 */
import { KernelError, OpenFile, type Pfn } from '@liveupdate/base';
import type { PageAllocator } from '@liveupdate/mm';

/** Bytes of the length before each line. */
const HEAD = 2;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class RingLog extends OpenFile {
  readonly pages: PageAllocator;
  /** The folio; it belongs to the log. */
  readonly pfn: Pfn;
  readonly #bytes: Uint8Array;
  /** Where the oldest line begins. */
  #start = 0;
  /** Bytes of all lines, from there on. */
  #length = 0;

  /** A log over a folio in use, which it then owns. */
  private constructor(pages: PageAllocator, pfn: Pfn) {
    super();
    this.pages = pages;
    this.pfn = pfn;
    this.#bytes = pages.folioBytes(pfn);
  }

  /**
   * An empty log of 4096 << order bytes.
   *
   * @throws KernelError ENOMEM
   */
  static create(pages: PageAllocator, order = 0): RingLog {
    return new RingLog(pages, pages.alloc(order));
  }

  /**
   * The log that lies in a folio already.
   *
   * @throws KernelError EINVAL: no lines lie there
   */
  static from(pages: PageAllocator, pfn: Pfn, start: number, length: number): RingLog {
    const log = new RingLog(pages, pfn);
    log.#start = start;
    log.#length = length;
    if (!log.#isWhole()) throw new KernelError('EINVAL', 'a ring log is damaged: its lines do not add up');
    return log;
  }

  get start(): number {
    return this.#start;
  }

  get length(): number {
    return this.#length;
  }

  /** @throws KernelError EINVAL: longer than the log, or than 65,535 bytes. EBADF: closed. */
  append(line: string): void {
    this.checkOpen();
    const text = encoder.encode(line);
    const size = HEAD + text.length;
    if (size > this.#bytes.length || text.length > 0xffff)
      throw new KernelError('EINVAL', `a line of ${text.length} bytes does not fit`);
    while (this.#length + size > this.#bytes.length) this.#drop();
    this.#put(this.#length, Uint8Array.of(text.length & 0xff, text.length >> 8));
    this.#put(this.#length + HEAD, text);
    this.#length += size;
  }

  /** The lines, the oldest first. */
  *lines(): Generator<string> {
    for (let at = 0; at < this.#length;) {
      const size = this.#sizeAt(at);
      yield decoder.decode(this.#get(at + HEAD, size - HEAD));
      at += size;
    }
  }

  protected override get title(): string {
    return 'the log';
  }

  protected override freed(): void {
    this.pages.put(this.pfn);
  }

  #drop(): void {
    const size = this.#sizeAt(0);
    this.#start = (this.#start + size) % this.#bytes.length;
    this.#length -= size;
  }

  /** Bytes of the line at `at`, with its head. */
  #sizeAt(at: number): number {
    const [low, high] = this.#get(at, HEAD);
    return HEAD + low + high * 256;
  }

  #isWhole(): boolean {
    if (!(this.#start < this.#bytes.length && this.#length <= this.#bytes.length)) return false;
    let at = 0;
    while (at < this.#length) at += this.#sizeAt(at);
    return at === this.#length;
  }

  #put(at: number, source: Uint8Array): void {
    const from = (this.#start + at) % this.#bytes.length;
    const first = source.subarray(0, this.#bytes.length - from);
    this.#bytes.set(first, from);
    this.#bytes.set(source.subarray(first.length), 0);
  }

  #get(at: number, length: number): Uint8Array {
    const from = (this.#start + at) % this.#bytes.length;
    const result = new Uint8Array(length);
    const first = this.#bytes.subarray(from, from + length);
    result.set(first);
    result.set(this.#bytes.subarray(0, length - first.length), first.length);
    return result;
  }
}
