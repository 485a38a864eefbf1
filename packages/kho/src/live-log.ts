/**
 * The log of a live record: keys that a change adds and removes, until they are in the map. What is
 * in it counts where it is of the last change that was published.
 */
import { KernelError, physToPfn, type PhysAddr } from '@liveupdate/base';
import type { FolioRuns, Ram } from '@liveupdate/mm';
import {
  LiveHeaderSer,
  LOG_AT,
  LOG_PAGE,
  LOG_REMOVE,
  LOG_ROW_WORDS,
  LOG_ROWS_INSIDE,
  LOG_ROWS_PER_PAGE,
} from './live-layout.ts';
import type { LivePages } from './live-pages.ts';
import { pagesOfKind, wordsOf, type LiveRecord } from './read-live-record.ts';

const CHANGE = LiveHeaderSer.logged.at / 4;
const ROWS = LiveHeaderSer.logRows.at / 4;

export class LiveLog {
  readonly #own: LivePages;
  readonly #header: Uint32Array;
  /** Pages for what has no place in the header's. */
  readonly #further: Uint32Array[];

  /**
   * @param pa of the header's page, which the log begins in
   * @param found what is there already; undefined: nothing
   */
  constructor(ram: Ram, own: LivePages, pa: PhysAddr, found: LiveRecord | undefined) {
    this.#own = own;
    this.#header = wordsOf(ram, physToPfn(pa));
    this.#further = found ? pagesOfKind(found, LOG_PAGE).map(({ pfn }) => wordsOf(ram, pfn)) : [];
  }

  /** @throws KernelError ENOMEM, ENOSPC: no page for so many rows */
  makeRoom(rows: number): void {
    while (LOG_ROWS_INSIDE + this.#further.length * LOG_ROWS_PER_PAGE < rows)
      this.#further.push(this.#own.add(LOG_PAGE, this.#further.length).words);
  }

  /** The same where it is no error that there is none. */
  hasRoom(rows: number): boolean {
    if (rows <= LOG_ROWS_INSIDE) return true;
    try {
      this.makeRoom(rows);
      return true;
    } catch (error) {
      if (error instanceof KernelError) return false;
      throw error;
    }
  }

  /** Writes the keys of a change. There must be room. */
  write(added: FolioRuns, gone: FolioRuns, change: number): void {
    this.#writeRows(0, added, 0);
    this.#writeRows(added.length, gone, LOG_REMOVE);
    this.#header[ROWS] = added.length + gone.length;
    this.#header[CHANGE] = change;
  }

  /** Nothing is in it. */
  clear(): void {
    this.#header[CHANGE] = 0;
  }

  #writeRows(from: number, { length, pfns, counts, orders }: FolioRuns, what: number): void {
    for (let i = 0; i < length; i++) {
      const behind = from + i - LOG_ROWS_INSIDE;
      const words = behind < 0 ? this.#header : this.#further[Math.floor(behind / LOG_ROWS_PER_PAGE)];
      const at =
        behind < 0 ? LOG_AT / 4 + (from + i) * LOG_ROW_WORDS : (behind % LOG_ROWS_PER_PAGE) * LOG_ROW_WORDS;
      words[at] = pfns[i];
      words[at + 1] = counts[i];
      words[at + 2] = orders[i] | what;
    }
  }
}
