/**
 * What the page table knows of each block of frames. Blocks come in groups of 32 MiB; a group whose
 * blocks are all alike (a large file, free memory) has one entry, any other an entry for each
 * block: work on a file in one piece costs next to nothing per block.
 */
import { firstOther } from './byte-scan.ts';
import { Entries, type Held } from './page-table-entries.ts';

/** In place of a block's flags: look at its frames. */
export const MIXED = 64;
/** In place of a group's flags: look at its blocks. */
const SPLIT = 128;
/** All bits of a flag byte. */
const ALL = 0xff;

const GROUP_SHIFT = 4;
/** Blocks in a group. */
const GROUP = 1 << GROUP_SHIFT;

export class PageBlocks {
  /** Number of blocks. */
  readonly length: number;
  readonly #groups: Entries;
  /** Of each block; means nothing where its group is not split. */
  readonly #each: Entries;

  constructor(length: number) {
    this.length = length;
    this.#groups = new Entries(Math.ceil(length / GROUP));
    this.#each = new Entries(length);
  }

  flagsAt(block: number): number {
    const flags = this.#groups.flags[block >>> GROUP_SHIFT];
    return flags === SPLIT ? this.#each.flags[block] : flags;
  }

  orderAt(block: number): number {
    const group = block >>> GROUP_SHIFT;
    return this.#groups.flags[group] === SPLIT ? this.#each.orders[block] : this.#groups.orders[group];
  }

  /** References and pins, as countOf gives them. */
  countAt(block: number): number {
    const group = block >>> GROUP_SHIFT;
    return this.#groups.flags[group] === SPLIT ? this.#each.counts[block] : this.#groups.counts[group];
  }

  set(block: number, flags: number, order: number, count: number): void {
    this.fill(block, block + 1, flags, order, count);
  }

  /** The same for all blocks of [from, to). */
  fill(from: number, to: number, flags: number, order: number, count: number): void {
    for (let at = from; at < to;) {
      const group = at >>> GROUP_SHIFT;
      const last = this.#wholeUntil(at, to);
      if (last > group) {
        this.#groups.fill(group, last, flags, order, count);
        at = last * GROUP;
        continue;
      }
      const end = this.#splitAt(at, to);
      this.#each.fill(at, end, flags, order, count);
      if (end % GROUP === 0) this.#join(group, flags, order, count);
      at = end;
    }
  }

  // ---- Looking along blocks ---------------------------------------------------------------------

  /** The first mixed one of blocks [from, to), `to` where there is none. */
  mixedFrom(from: number, to: number): number {
    const { flags, flagWords } = this.#groups;
    for (let at = from; at < to;) {
      const group = at >>> GROUP_SHIFT;
      if (flags[group] === SPLIT) {
        const end = Math.min(to, (group + 1) * GROUP);
        at = firstOther(this.#each.flags, this.#each.flagWords, at, end, MIXED, 0);
        if (at < end) return at;
      } else if (flags[group] === MIXED) {
        return at;
      } else {
        at = firstOther(flags, flagWords, group, groupsUntil(to), MIXED | SPLIT, 0) * GROUP;
      }
    }
    return to;
  }

  /**
   * The first block behind this one that has not the same flags and order, `to` where there is none
   * before that.
   */
  alikeEnd(block: number, to: number): number {
    const is = this.flagsAt(block);
    const order = this.orderAt(block);
    for (let at = block; at < to;) {
      const group = at >>> GROUP_SHIFT;
      if (this.#groups.flags[group] === SPLIT) {
        const end = Math.min(to, (group + 1) * GROUP);
        const stop = alikeUntil(this.#each, at, end, is, order);
        if (stop < end) return stop;
        at = stop;
      } else {
        const stop = alikeUntil(this.#groups, group, groupsUntil(to), is, order);
        if (stop === group) return at;
        at = stop * GROUP;
      }
    }
    return to;
  }

  // ---- Heads of folios: block `at`, `at + by` and so on below `to`, none of them mixed. What they

  /** The first that is not held so, or lies at or behind `to`. */
  heldEnd(how: Held, from: number, to: number, by: number): number {
    let at = from;
    while (at < to) {
      const group = at >>> GROUP_SHIFT;
      if (by > 1 || this.#groups.flags[group] === SPLIT) {
        const end = this.#splitAt(at, to);
        at = this.#each.heldEnd(how, at, end, by);
        if (at < end) return at;
      } else {
        const last = this.#unsplitUntil(group, groupsUntil(to));
        const stop = this.#groups.heldEnd(how, group, last, 1);
        if (stop < last) return Math.max(at, stop * GROUP);
        at = Math.min(to, stop * GROUP);
      }
    }
    return at;
  }

  /** Adds to the references and pins of those that are held so, up to the first that is not. */
  add(how: Held, from: number, to: number, by: number, refs: number, pins: number): number {
    let at = from;
    while (at < to) {
      const group = at >>> GROUP_SHIFT;
      const last = by > 1 ? group : this.#unsplitUntil(group, this.#wholeUntil(at, to));
      if (last > group) {
        const stop = this.#groups.add(how, group, last, 1, refs, pins);
        at = Math.min(to, stop * GROUP);
        if (stop < last) return at;
      } else {
        const end = this.#splitAt(at, to);
        at = this.#each.add(how, at, end, by, refs, pins);
        if (at < end) return at;
      }
    }
    return at;
  }

  /** Gives them other flags. */
  mark(from: number, to: number, by: number, flags: number): number {
    let at = from;
    while (at < to) {
      const group = at >>> GROUP_SHIFT;
      const last = by > 1 ? group : this.#unsplitUntil(group, this.#wholeUntil(at, to));
      if (last > group) {
        this.#groups.mark(group, last, 1, flags);
        at = Math.min(to, last * GROUP);
      } else {
        at = this.#each.mark(at, this.#splitAt(at, to), by, flags);
      }
    }
    return at;
  }

  // ---- Groups -----------------------------------------------------------------------------------

  /**
   * Number of the group behind the whole ones that [at, to) begins with; that of `at` where it
   * begins with none. The last group may be short.
   */
  #wholeUntil(at: number, to: number): number {
    const group = at >>> GROUP_SHIFT;
    if (at % GROUP !== 0) return group;
    return Math.max(group, to === this.length ? groupsUntil(to) : to >>> GROUP_SHIFT);
  }

  /** The first split one of groups [group, end), `end` where there is none. */
  #unsplitUntil(group: number, end: number): number {
    return firstOther(this.#groups.flags, this.#groups.flagWords, group, end, SPLIT, 0);
  }

  /** Splits the group of a block. Where it ends, or `to` before that. */
  #splitAt(block: number, to: number): number {
    const group = block >>> GROUP_SHIFT;
    this.#split(group);
    return Math.min(to, (group + 1) * GROUP);
  }

  #split(group: number): void {
    const { flags, orders, counts } = this.#groups;
    const is = flags[group];
    if (is === SPLIT) return;
    const first = group * GROUP;
    this.#each.fill(first, Math.min(first + GROUP, this.length), is, orders[group], counts[group]);
    flags[group] = SPLIT;
  }

  /** Makes a split group one entry where all of its blocks are so. */
  #join(group: number, flags: number, order: number, count: number): void {
    const { counts } = this.#each;
    const first = group * GROUP;
    const end = first + GROUP;
    if (alikeUntil(this.#each, first, end, flags, order) < end) return;
    for (let at = first; at < end; at++) if (counts[at] !== count) return;
    this.#groups.set(group, flags, order, count);
  }
}

/** Groups that blocks [0, to) lie in. */
function groupsUntil(to: number): number {
  return (to + GROUP - 1) >>> GROUP_SHIFT;
}

/** The first of entries [from, to) that has not these flags and this order. */
function alikeUntil(entries: Entries, from: number, to: number, flags: number, order: number): number {
  const end = firstOther(entries.flags, entries.flagWords, from, to, ALL, flags);
  return firstOther(entries.orders, entries.orderWords, from, end, ALL, order);
}
