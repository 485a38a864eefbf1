/**
 * Layout of the live record: what a RAM says of its preserved memory while its owner runs, for
 * whoever comes after one that died. It is ours alone, no other kernel reads it. It lies in pages
 * that no map names: their list is part of it.
 *
 * Always: whatever the page says counts up to the word `published`; what is being changed is marked
 * with the number after it.
 */
import { layout, PAGE_SIZE } from '@liveupdate/base';

export const LIVE_MAGIC = 'LIVE-RECORD';
export const LIVE_VERSION = 1;

export const LiveHeaderSer = layout('live_header', 72, {
  magic: { at: 0, bytes: 12 },
  version: { at: 12, bytes: 4 },
  published: { at: 16, bytes: 4 }, // number of the last change: the one word that publishes
  logged: { at: 20, bytes: 4 }, // the change whose keys are in the log; 0: none
  logRows: { at: 24, bytes: 4 },
  scratchAreas: { at: 28, bytes: 4 },
  list: { at: 32, bytes: 8 }, // pa of the second page of the list of pages; 0: none
  kexecCount: { at: 40, bytes: 4 },
  reserved: { at: 44, bytes: 4 },
  liveupdateNumber: { at: 48, bytes: 8 },
  unsure: { at: 56, bytes: 4 }, // whether not to trust the pages of residency: see mm
  doubtPfn: { at: 60, bytes: 4 },
  doubtCount: { at: 64, bytes: 4 },
  reserved2: { at: 68, bytes: 4 },
});

/** Where the parts of the header's page begin. */
export const SCRATCH_AT = 128;
export const MOST_SCRATCH_INSIDE = 16;
export const LOG_AT = SCRATCH_AT + MOST_SCRATCH_INSIDE * 16;
export const LOG_ROWS_INSIDE = 32;
export const LIST_AT = LOG_AT + LOG_ROWS_INSIDE * 12;

/** A row of the log: first frame, count, and a word of order (low byte) and what is done. */
export const LOG_ROW_WORDS = 3;
export const LOG_REMOVE = 0x100;
export const LOG_ROWS_PER_PAGE = Math.floor(PAGE_SIZE / 4 / LOG_ROW_WORDS);

/** A line of the list of pages: frame, kind (low byte) and order, which of its kind. */
export const LIST_WORDS = 4;
/** Bytes before the lines in further pages of the list: pa of the next. */
export const LIST_HEADER = 16;

/** What a page of the live record is for. Those from 16 on are LUO's. */
export const UNUSED_PAGE = 0;
export const LOG_PAGE = 1;
export const LEAF_PAGE = 2;
export const SCRATCH_PAGE = 3;
/** Which of 32,768 frames the system has given: see Residency of mm. */
export const RESIDENCY_PAGE = 4;
export const LEAST_OTHER_PAGE = 16;

/** Changes are numbered from 1 to this, and then anew. */
export const MOST_CHANGE = 2 ** 30 - 1;

/** The number after this one. */
export function nextChange(change: number): number {
  return change === MOST_CHANGE ? 1 : change + 1;
}
