/**
 * RAM as 32-bit words, through views that are made once for each 4 MiB: for small records all over
 * it, where a view for each would cost more than what is written.
 */
import { MAX_FOLIO_SIZE, PAGE_SIZE, pfnToPhys, type Pfn } from '@liveupdate/base';
import { memoryOf } from './memory-map.ts';
import { checkRam, type Ram } from './ram.ts';

/** Frames in 4 MiB: so much every RAM shows at once. */
const BLOCK = MAX_FOLIO_SIZE / PAGE_SIZE;
const WORDS_IN_PAGE = PAGE_SIZE / 4;

export class RamWords {
  /** The words that `page` has brought into view, live. */
  words: Uint32Array = new Uint32Array(0);
  readonly #ram: Ram;
  readonly #blocks = new Map<number, Uint32Array>();
  /** The block in view; -1: a single page. */
  #block = -1;

  /** @throws KernelError EINVAL: no RAM */
  constructor(ram: Ram) {
    checkRam(ram);
    this.#ram = ram;
  }

  /**
   * Brings a page into view. Its first word is `words[result]`, and there it is until the next
   * call.
   */
  page(pfn: Pfn): number {
    const block = Math.floor(pfn / BLOCK);
    if (block !== this.#block) {
      const words = this.#blocks.get(block) ?? this.#open(block);
      this.#block = words ? block : -1;
      this.words = words ?? wordsOf(this.#ram, pfnToPhys(pfn), PAGE_SIZE);
    }
    return this.#block < 0 ? 0 : (pfn % BLOCK) * WORDS_IN_PAGE;
  }

  /** Undefined where there are holes among those 4 MiB, which cannot be shown. */
  #open(block: number): Uint32Array | undefined {
    const from = block * MAX_FOLIO_SIZE;
    const length = Math.min(MAX_FOLIO_SIZE, this.#ram.size - from);
    if (!memoryOf(this.#ram).some((range) => from >= range.pa && from + length <= range.pa + range.length))
      return undefined;
    const words = wordsOf(this.#ram, from, length);
    this.#blocks.set(block, words);
    return words;
  }
}

function wordsOf(ram: Ram, pa: number, length: number): Uint32Array {
  const bytes = ram.bytes(pa, length);
  return new Uint32Array(bytes.buffer, bytes.byteOffset, length / 4);
}
