/**
 * The maps that are open in this process, whichever copy of this package opened them: a map has one
 * writer. Two views of one file are two buffers; that they have the same memory is seen by a store
 * to one of them, which is taken back at once.
 */
import { Header } from './abi.ts';
import type { Memory } from './memory.ts';

/** What all copies agree on. */
interface OpenMap {
  readonly words: Int32Array;
}

const NAME: unique symbol = Symbol.for('@liveupdate/map: open');

function openMaps(): Set<WeakRef<OpenMap>> {
  const all = globalThis as { [NAME]?: Set<WeakRef<OpenMap>> | undefined };
  all[NAME] ??= new Set();
  return all[NAME];
}

/** Whether a map is open in the memory of another one. */
export function isOpen({ words }: Memory): boolean {
  let isSame = false;
  for (const each of openMaps()) {
    const other = each.deref();
    if (!other) openMaps().delete(each);
    else isSame ||= isOneMemory(words, other.words);
  }
  return isSame;
}

function isOneMemory(words: Int32Array, others: Int32Array): boolean {
  const mine = words[Header.nobody];
  const before = others[Header.nobody];
  words[Header.nobody] = mine ^ 2;
  const after = others[Header.nobody];
  words[Header.nobody] = mine;
  return before !== after;
}

/** @returns `end` ends it, and tells whether it had not ended before */
export function noteOpen(memory: Memory): { readonly end: () => boolean } {
  const reference = new WeakRef<OpenMap>(memory);
  openMaps().add(reference);
  return { end: () => openMaps().delete(reference) };
}
