/**
 * The sessions of this kernel in the live record: what preserve, unpreserve, close and finish
 * change there, each in one step, so that whoever comes after a kernel that died finds them as they
 * were told to be.
 *
 * What finish lets go stays in the record until the event loop has turned once: a file that is
 * preserved again by then is found without a gap, whatever else is published in between.
 */
import type { Publication } from '@liveupdate/kho';
import type { FolioRuns } from '@liveupdate/mm';
import { MAX_COMPATIBLE, MAX_SESSION_NAME } from './abi.ts';
import {
  coming,
  FILE,
  FILES_PAGE,
  FREE,
  going,
  isRenewed,
  ORDER,
  renewing,
  SESSION,
  SESSIONS_PAGE,
  SLOT_WORDS,
  SLOTS_IN_PAGE,
  STATE,
  stateOf,
} from './live-layout.ts';
import { FlbsPages } from './live-flbs.ts';

/** Slots of one kind, in pages of the live record. */
class SlotTable {
  readonly #publication: Publication;
  readonly #kind: number;
  readonly #pages: Uint32Array[] = [];
  readonly #numbers: BigUint64Array[] = [];
  /** Numbers of free slots; the lowest is last. */
  readonly #free: number[] = [];
  /** Slots that the change under way marks: the first `#marks` of these. */
  readonly #marked: number[] = [];
  #marks = 0;
  #order = 1;

  constructor(publication: Publication, kind: number) {
    this.#publication = publication;
    this.#kind = kind;
    const { published } = publication;
    const pages = publication.pagesOf(kind).sort((x, y) => y.place - x.place);
    for (const { place, words } of pages) {
      this.#show(place, words);
      for (let i = SLOTS_IN_PAGE - 1; i >= 0; i--)
        this.#meet(words, i * SLOT_WORDS, place * SLOTS_IN_PAGE + i, published);
    }
  }

  /**
   * Takes the mark that a kernel which died left on a slot for what it means: nobody shall come
   * upon it when this kernel publishes a change of that number.
   */
  #meet(words: Uint32Array, at: number, slot: number, published: number): void {
    const word = words[at + STATE];
    const state = stateOf(word, published);
    if (word !== state) this.#settle(slot, published);
    if (state === FREE) this.#free.push(slot);
    else this.#order = Math.max(this.#order, words[at + ORDER] + words[at + ORDER + 1] * 2 ** 32 + 1);
  }

  #show(place: number, words: Uint32Array): void {
    this.#pages[place] = words;
    this.#numbers[place] = new BigUint64Array(words.buffer, words.byteOffset, words.length / 2);
  }

  /** The words of the page that a slot lies in, which begins at `placeOf(slot)`. */
  wordsOf(slot: number): Uint32Array {
    return this.#pages[Math.floor(slot / SLOTS_IN_PAGE)];
  }

  /** The same words, two by two. */
  numbersAt(slot: number): BigUint64Array {
    return this.#numbers[Math.floor(slot / SLOTS_IN_PAGE)];
  }

  /**
   * A free slot, which is the caller's until `give`.
   *
   * @throws KernelError ENOMEM, ENOSPC: no page for more slots
   */
  take(): number {
    if (this.#free.length === 0) {
      const place = this.#pages.length;
      this.#show(place, this.#publication.addPage(this.#kind, place).words);
      for (let i = SLOTS_IN_PAGE - 1; i >= 0; i--) this.#free.push(place * SLOTS_IN_PAGE + i);
    }
    return this.#free.pop() ?? 0;
  }

  give(slot: number): void {
    this.#free.push(slot);
  }

  /** From the next change on, a slot whose words are written counts. */
  mark(slot: number): void {
    const words = this.wordsOf(slot);
    const at = placeOf(slot);
    words[at + ORDER] = this.#order;
    words[at + ORDER + 1] = this.#order / 2 ** 32;
    this.#order += 1;
    words[at + STATE] = coming(this.#publication.next);
    this.#marked[this.#marks++] = slot;
  }

  /** From the next change on, a slot counts no more. One that does not yet is free at once. */
  unmark(slot: number): void {
    const words = this.wordsOf(slot);
    const at = placeOf(slot);
    if (words[at + STATE] === coming(this.#publication.next)) {
      words[at + STATE] = FREE;
    } else {
      words[at + STATE] = going(this.#publication.next);
      this.#marked[this.#marks++] = slot;
    }
  }

  /** From the next change on, a slot of a file that counts already has other data. */
  renew(slot: number, data: bigint): void {
    const at = placeOf(slot);
    this.numbersAt(slot)[(at + FILE.newData) / 2] = data;
    this.wordsOf(slot)[at + STATE] = renewing(this.#publication.next);
    this.#marked[this.#marks++] = slot;
  }

  /** Takes the mark of a slot for what it means where this is the last change. */
  #settle(slot: number, published: number): number {
    const words = this.wordsOf(slot);
    const at = placeOf(slot);
    if (isRenewed(words[at + STATE], published)) {
      const numbers = this.numbersAt(slot);
      numbers[(at + FILE.data) / 2] = numbers[(at + FILE.newData) / 2];
    }
    return (words[at + STATE] = stateOf(words[at + STATE], published));
  }

  /** Whether no slot is marked. */
  get isClean(): boolean {
    return this.#marks === 0;
  }

  /**
   * Takes the marks of the change that is being made away, so that another can be published.
   *
   * @returns puts them back, for the change that is then the next
   */
  setAside(): () => void {
    const { next, published } = this.#publication;
    const marks = this.#marked.slice(0, this.#marks).map((slot) => {
      const words = this.wordsOf(slot);
      const word = words[placeOf(slot) + STATE];
      words[placeOf(slot) + STATE] = stateOf(word, published);
      return { slot, isComing: word === coming(next), isGoing: word === going(next) };
    });
    this.#marks = 0;
    return () => {
      for (const { slot, isComing, isGoing } of marks) {
        const at = placeOf(slot) + STATE;
        if (isComing) this.wordsOf(slot)[at] = coming(this.#publication.next);
        if (isGoing) this.wordsOf(slot)[at] = going(this.#publication.next);
        this.#marked[this.#marks++] = slot;
      }
    };
  }

  /** The change was published: marks are carried out. */
  carryOut(): void {
    const change = this.#publication.published;
    for (let i = 0; i < this.#marks; i++) {
      const slot = this.#marked[i];
      if (this.#settle(slot, change) === FREE) this.give(slot);
    }
    this.#marks = 0;
  }
}

function placeOf(slot: number): number {
  return (slot % SLOTS_IN_PAGE) * SLOT_WORDS;
}

/** What a session of the previous kernel leaves when it is finished, or a file of it. */
export interface Dropped {
  /** Slots of files. */
  readonly files: readonly number[];
  readonly session: number | undefined;
  /** Folios that were taken over for it. */
  readonly rows: readonly FolioRuns[];
  /** Nothing that the previous kernel left is unfinished any more. */
  readonly isLast: boolean;
}

/** What is written of a file. */
interface WrittenFile {
  readonly handler: { readonly compatible: string };
  readonly token: bigint;
  readonly data: bigint;
  /** The FLBs that it holds. */
  readonly flbs: readonly { readonly place: number }[];
}

const encoder = new TextEncoder();

export class LiveSessions {
  readonly publication: Publication;
  readonly flbs: FlbsPages;
  /** Runs work when no change is being made. */
  whenIdle: (work: () => void) => void = (work) => {
    work();
  };
  readonly #sessions: SlotTable;
  readonly #files: SlotTable;
  /** Compatible strings as words. */
  readonly #strings = new Map<string, Uint32Array>();
  /** Of sessions that are finished, and in the record still: what goes with them. */
  readonly #finished: (() => Dropped)[] = [];

  constructor(publication: Publication) {
    this.publication = publication;
    this.#sessions = new SlotTable(publication, SESSIONS_PAGE);
    this.#files = new SlotTable(publication, FILES_PAGE);
    this.flbs = new FlbsPages(publication);
    publication.whenPublished = () => {
      this.#files.carryOut();
      this.#sessions.carryOut();
    };
  }

  // ---- Slots ------------------------------------------------------------------------------------

  /**
   * Publishes a session, with no file in it, and nothing of a change that is being made: callbacks
   * may be waited for.
   *
   * @returns its slot
   * @throws KernelError ENOMEM, ENOSPC: no page for it
   */
  addSession(name: string): number {
    const slot = this.#sessions.take();
    const words = this.#sessions.wordsOf(slot);
    const at = placeOf(slot);
    writeText(words, at + SESSION.name, name, MAX_SESSION_NAME + 1);
    if (this.#isClean) {
      this.#sessions.mark(slot);
      this.publish();
      return slot;
    }
    const putBack = [this.#files.setAside(), this.#sessions.setAside()];
    this.publication.apart(() => {
      this.#sessions.mark(slot);
    });
    for (const each of putBack) each();
    return slot;
  }

  /** @throws KernelError ENOMEM, ENOSPC: no page for it */
  takeFile(): number {
    return this.#files.take();
  }

  /** A slot that takeFile gave is not needed. */
  giveFile(slot: number): void {
    this.#files.give(slot);
  }

  /** Writes what a file is; it counts from the next change on. */
  writeFile(slot: number, session: number, { handler, token, data, flbs }: WrittenFile): void {
    const words = this.#files.wordsOf(slot);
    const at = placeOf(slot);
    words[at + FILE.session] = session;
    const numbers = this.#files.numbersAt(slot);
    numbers[(at + FILE.token) / 2] = token;
    numbers[(at + FILE.data) / 2] = data;
    words[at + FILE.flbs] = flbs.length === 0 ? 0 : this.flbs.page;
    words[at + FILE.mask] = 0;
    words[at + FILE.mask + 1] = 0;
    for (const { place } of flbs) words[at + FILE.mask + (place >>> 5)] |= 1 << (place & 31);
    const text = this.#wordsOf(handler.compatible);
    for (let i = 0; i < text.length; i++) words[at + FILE.compatible + i] = text[i];
    this.#files.mark(slot);
  }

  /** From the next change on, this file has other data. Takes no memory. */
  renewFile(slot: number, data: bigint): void {
    this.#files.renew(slot, data);
  }

  /** From the next change on, this file is not there. */
  dropFile(slot: number): void {
    this.#files.unmark(slot);
  }

  /** From the next change on, this session is not there; neither are its files. */
  dropSession(slot: number): void {
    this.#sessions.unmark(slot);
  }

  // ---- Changes ----------------------------------------------------------------------------------

  /** What was written since the last change counts from now on. */
  publish(): void {
    this.publication.publish();
  }

  /**
   * A session of the previous kernel is finished: it is dropped when the event loop has turned.
   *
   * @param leave tells then what goes: all that was not preserved again
   */
  finish(leave: () => Dropped): void {
    this.#finished.push(leave);
    this.publication.soon(() => {
      if (!this.tryFlush())
        this.whenIdle(() => {
          this.flush();
        });
    });
  }

  /**
   * The same as flush.
   *
   * @returns false where a change is being made, which would be published in half: nothing is done
   */
  tryFlush(): boolean {
    const isClean = this.#isClean;
    if (isClean) this.flush();
    return isClean;
  }

  /** What was finished is not in the record any more. */
  flush(): void {
    if (this.#finished.length === 0) return;
    for (const leave of this.#finished.splice(0)) this.drop(leave());
    this.publish();
  }

  /** A file of the previous kernel, or a session, goes with the next change. */
  drop({ files, session, rows, isLast }: Dropped): void {
    for (const slot of files) this.#files.unmark(slot);
    if (session !== undefined) this.#sessions.unmark(session);
    for (const each of rows) this.publication.dropArrived(each);
    if (isLast) this.publication.dropAllArrived();
  }

  /** Whether no change is being made. */
  get #isClean(): boolean {
    return this.publication.isClean && this.#files.isClean && this.#sessions.isClean;
  }

  #wordsOf(compatible: string): Uint32Array {
    let words = this.#strings.get(compatible);
    if (!words) {
      words = new Uint32Array((MAX_COMPATIBLE + 1) / 4);
      writeText(words, 0, compatible, MAX_COMPATIBLE + 1);
      this.#strings.set(compatible, words);
    }
    return words;
  }
}

function writeText(words: Uint32Array, at: number, text: string, bytes: number): void {
  const view = new Uint8Array(words.buffer, words.byteOffset + at * 4, bytes);
  view.fill(0);
  encoder.encodeInto(text, view);
}
