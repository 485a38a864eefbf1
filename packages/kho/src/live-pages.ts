/**
 * The pages of a live record, and the list that names them: no map does.
 *
 * Always: a page is in the list with one word, and what it is for is another. So a kernel that dies
 * in between leaves a page that is free, or one that is for nothing yet.
 */
import { KernelError, pfnToPhys, physToPfn, StructView, type Pfn, type PhysAddr } from '@liveupdate/base';
import type { PageAllocator } from '@liveupdate/mm';
import { LIST_AT, LIST_HEADER, LIST_WORDS, LiveHeaderSer, UNUSED_PAGE } from './live-layout.ts';
import { wordsOf, type LivePage, type LiveRecord } from './read-live-record.ts';

/** A page of the record, for whoever keeps something in it. */
export interface RecordPage {
  readonly pfn: Pfn;
  /** Which of its kind. */
  readonly place: number;
  readonly words: Uint32Array;
}

/** A line of the list. */
interface Line {
  readonly words: Uint32Array;
  readonly at: number;
}

export class LivePages {
  readonly #pages: PageAllocator;
  readonly #header: Uint32Array;
  /** Lines that name no page; the one that is used next is last. */
  readonly #freeLines: Line[] = [];
  /** Pages in the list that are for nothing at present. */
  readonly #unused: { readonly pfn: Pfn; readonly line: Line }[] = [];
  readonly #lines = new Map<Pfn, Line>();
  #lastList: Uint32Array | undefined;
  #count = 1;

  /**
   * @param pa of the header's page, which the list begins in
   * @param found what stands in it already; undefined: nothing
   */
  constructor(pages: PageAllocator, pa: PhysAddr, found: LiveRecord | undefined) {
    this.#pages = pages;
    this.#header = wordsOf(pages.ram, physToPfn(pa));
    this.#addLines(this.#header, LIST_AT / 4);
    if (!found) return;
    for (const pfn of found.listPages) {
      this.#lastList = wordsOf(pages.ram, pfn);
      this.#addLines(this.#lastList, LIST_HEADER / 4);
    }
    this.#count += found.listPages.length + found.pages.length;
    for (const page of found.pages) this.#meet(page);
  }

  /** Pages of RAM that the record takes. */
  get count(): number {
    return this.#count;
  }

  /**
   * A page of zeros, part of the record from now on.
   *
   * @param kind what it is for
   * @param place which of its kind
   * @throws KernelError ENOMEM, ENOSPC: no page; nothing is changed
   */
  add(kind: number, place: number, order = 0): RecordPage {
    const reused = this.#unused.pop();
    if (reused) {
      const words = wordsOf(this.#pages.ram, reused.pfn);
      words.fill(0);
      this.#lines.set(reused.pfn, reused.line);
      writeKind(reused.line, kind, place, order);
      return { pfn: reused.pfn, place, words };
    }
    if (this.#freeLines.length === 0) this.#addListPage();
    const pfn = this.#pages.alloc(0, { zero: true });
    const line = this.#freeLines.pop();
    if (!line) throw new KernelError('ENOMEM', 'no line for a page of the live record');
    this.#count += 1;
    this.#lines.set(pfn, line);
    writeKind(line, kind, place, order);
    line.words[line.at] = pfn; // it is in the list with this word
    return { pfn, place, words: wordsOf(this.#pages.ram, pfn) };
  }

  /** The pages of one kind. */
  ofKind(kind: number): RecordPage[] {
    return [...this.#lines]
      .filter(([, { words, at }]) => (words[at + 1] & 0xff) === kind)
      .map(([pfn, { words, at }]) => ({ pfn, place: words[at + 2], words: wordsOf(this.#pages.ram, pfn) }));
  }

  /** A page is for nothing any more, and is used for whatever is needed next. */
  drop(pfn: Pfn): void {
    const line = this.#lines.get(pfn);
    if (!line) return;
    this.#lines.delete(pfn);
    line.words[line.at + 1] = UNUSED_PAGE;
    this.#unused.push({ pfn, line });
  }

  #meet({ pfn, kind, line: [list, at] }: LivePage): void {
    const line = { words: wordsOf(this.#pages.ram, list), at };
    if (kind === UNUSED_PAGE) this.#unused.push({ pfn, line });
    else this.#lines.set(pfn, line);
  }

  #addListPage(): void {
    const pfn = this.#pages.alloc(0, { zero: true });
    const words = wordsOf(this.#pages.ram, pfn);
    this.#addLines(words, LIST_HEADER / 4);
    this.#count += 1;
    const field = this.#lastList ? { at: 0, bytes: 8 } : LiveHeaderSer.list;
    const { buffer, byteOffset, byteLength } = this.#lastList ?? this.#header;
    new StructView(new Uint8Array(buffer, byteOffset, byteLength)).setU64(field, pfnToPhys(pfn));
    this.#lastList = words;
  }

  /** Notes the lines of a page of the list that name no page, so that the first is used first. */
  #addLines(words: Uint32Array, from: number): void {
    for (let at = words.length - LIST_WORDS; at >= from; at -= LIST_WORDS)
      if (words[at] === 0) this.#freeLines.push({ words, at });
  }
}

/** The kind last: it is what makes a line that names a page mean something. */
function writeKind({ words, at }: Line, kind: number, place: number, order: number): void {
  words[at + 2] = place;
  words[at + 1] = kind | (order << 8);
}
