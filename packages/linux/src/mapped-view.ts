/**
 * A view of a file's pages that may be given to anybody: a buffer of its own over a mapping of its
 * own.
 *
 * - Taking it down maps memory of nobody over it at once. So who still has the address (a thread of
 *   the pool, a buffer that the memory was transferred to, a worker) meets that, and neither a
 *   fault nor a page of the file.
 * - The address is used again only where the buffer was detached by us and then collected. Where
 *   somebody else detached it, its memory may live on in another buffer; where it was shared, in a
 *   worker. Then it stays mapped over for the life of the process: address space, and memory for
 *   what is stored there since.
 */
import { KernelError } from '@liveupdate/base';
import type { RamPiece, RamView, SharedView, ViewOptions } from '@liveupdate/mm';
import { countMappings, giveBack, giveBackOnceCollected, retire, type Range } from './address-ranges.ts';
import { MAP_PRIVATE, viewOf } from './libc.ts';
import { bringIn, detach, mapRuns, transferable } from './mapping.ts';
import { becomeEmpty } from './retired-bytes.ts';

/** Bytes that are brought in when a view is made: 20 ms. */
const POPULATE_AT_ONCE = 256 * 2 ** 20;
/**
 * Bytes that `populate` brings in by one call, and milliseconds after which it lets others have a
 * turn.
 */
const POPULATE_STEP = 16 * 2 ** 20;
const POPULATE_TURN = 1;

/** What a view is made of. */
export interface ViewSource {
  readonly fd: number;
  /** Whole granules, none continuing the one before. */
  readonly runs: readonly RamPiece[];
  readonly granule: number;
  /** Called once, when the view is released. */
  readonly onRelease: (view: MappedView) => void;
}

export class MappedView implements RamView {
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** As it was made, whatever its user did to `bytes`. */
  readonly #buffer: ArrayBuffer;
  readonly #size: number;
  readonly #source: ViewSource;
  readonly #range: Range;
  /** The word that tells workers whether it is live. */
  #live: SharedArrayBuffer | undefined;
  /** What workers may store to without reaching the file. */
  #copy: Range | undefined;
  #isReleased = false;
  /** So many bytes from its start on are in the page tables. */
  #broughtIn = 0;

  /**
   * @throws KernelError ENOMEM: no address space, or too many mappings. ENOSPC: no memory for a
   * hole, where it is to be populated
   */
  constructor(source: ViewSource, { size, populate }: ViewOptions) {
    this.#source = source;
    this.#size = size;
    const mappings = source.runs.length + 1;
    countMappings(mappings);
    let range: Range | undefined;
    try {
      range = mapRuns(source.fd, source.runs, source.granule);
      if (populate) {
        this.#broughtIn = Math.min(range.length, POPULATE_AT_ONCE);
        bringIn(range.address, this.#broughtIn);
      }
      this.#buffer = transferable(viewOf(range.address, size));
      this.bytes = new Uint8Array(this.#buffer);
      this.#range = range;
    } catch (error) {
      if (range) {
        retire(range);
        giveBack(range);
      }
      countMappings(-mappings);
      throw error;
    }
  }

  async populate(): Promise<void> {
    const { address, length } = this.#range;
    this.#checkLive();
    let turn = performance.now();
    while (this.#broughtIn < length) {
      this.#checkLive();
      const step = Math.min(POPULATE_STEP, length - this.#broughtIn);
      bringIn(address + BigInt(this.#broughtIn), step);
      this.#broughtIn += step;
      if (performance.now() - turn < POPULATE_TURN) continue;
      await new Promise((resolve) => setImmediate(resolve));
      turn = performance.now();
    }
  }

  share(readOnly: boolean): SharedView {
    this.#checkLive();
    let { address } = this.#range;
    if (readOnly) {
      const { fd, runs, granule } = this.#source;
      if (!this.#copy) {
        countMappings(runs.length + 1);
        try {
          this.#copy = mapRuns(fd, runs, granule, MAP_PRIVATE);
        } catch (error) {
          countMappings(-runs.length - 1);
          throw error;
        }
      }
      address = this.#copy.address;
    }
    if (!this.#live) {
      this.#live = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
      Atomics.store(new Int32Array(this.#live), 0, 1);
    }
    return { address, length: this.#size, live: this.#live };
  }

  release(): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    if (this.#live) {
      const word = new Int32Array(this.#live);
      Atomics.store(word, 0, 0);
      Atomics.notify(word, 0); // who waits for the end of it
    }
    const isOurs = detach(this.#buffer) && this.#live === undefined;
    retire(this.#range);
    becomeEmpty(this.bytes);
    if (isOurs) giveBackOnceCollected(this.#range, [this.#buffer]);
    if (this.#copy) retire(this.#copy);
    countMappings(-(this.#source.runs.length + 1) * (this.#copy ? 2 : 1));
    this.#source.onRelease(this);
  }

  /** It leaves the page tables: `populate` begins anew. */
  noteDropped(): void {
    this.#broughtIn = 0;
  }

  /** Where it lies in the address space, for taking it out of the page tables. */
  get ranges(): readonly Range[] {
    return this.#copy ? [this.#range, this.#copy] : [this.#range];
  }

  #checkLive(): void {
    if (this.#isReleased) throw new KernelError('EBADF', 'this view is unmapped: map the file again');
  }
}
