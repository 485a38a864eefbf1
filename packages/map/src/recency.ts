/**
 * The order in which entries were used last: a list through all of them, in the entries themselves.
 * All functions are called in a change.
 */
import { ENTRY_NEWER, ENTRY_OLDER, Header } from './abi.ts';
import type { Memory } from './memory.ts';

/**
 * An entry that is in no list yet becomes the newest. Its own words are written without the
 * journal.
 */
export function addNewest(memory: Memory, entry: number): void {
  const { words } = memory;
  const newest = words[Header.newest];
  words[entry + ENTRY_NEWER] = 0;
  words[entry + ENTRY_OLDER] = newest;
  if (newest === 0) memory.store(Header.oldest, entry / 2);
  else memory.store(newest * 2 + ENTRY_NEWER, entry / 2);
  memory.store(Header.newest, entry / 2);
}

export function takeOut(memory: Memory, entry: number): void {
  const { words } = memory;
  const newer = words[entry + ENTRY_NEWER];
  const older = words[entry + ENTRY_OLDER];
  memory.store(newer === 0 ? Header.newest : newer * 2 + ENTRY_OLDER, older);
  memory.store(older === 0 ? Header.oldest : older * 2 + ENTRY_NEWER, newer);
}

/** An entry of the list becomes the newest. */
export function makeNewest(memory: Memory, entry: number): void {
  const { words } = memory;
  if (words[Header.newest] === entry / 2) return;
  takeOut(memory, entry);
  const newest = words[Header.newest];
  memory.store(entry + ENTRY_NEWER, 0);
  memory.store(entry + ENTRY_OLDER, newest);
  memory.store(newest * 2 + ENTRY_NEWER, entry / 2);
  memory.store(Header.newest, entry / 2);
}

/** A new entry, not in the list yet, takes the place of another one in it. */
export function takePlaceOf(memory: Memory, old: number, entry: number): void {
  const { words } = memory;
  const newer = words[old + ENTRY_NEWER];
  const older = words[old + ENTRY_OLDER];
  words[entry + ENTRY_NEWER] = newer;
  words[entry + ENTRY_OLDER] = older;
  memory.store(newer === 0 ? Header.newest : newer * 2 + ENTRY_OLDER, entry / 2);
  memory.store(older === 0 ? Header.oldest : older * 2 + ENTRY_NEWER, entry / 2);
}
