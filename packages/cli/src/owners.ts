/**
 * Whose the preserved memory is: what records and files name, by owner, and what nobody names that
 * is known here.
 */
import { KernelError, PAGE_SIZE, pagesFor, physToPfn, type Pfn } from '@liveupdate/base';
import { readVmallocPages } from '@liveupdate/kho';
import type { PageTable } from '@liveupdate/mm';
import { FrameOwners } from './frame-owners.ts';
import type { Left } from './left.ts';
import type { PreservedMemfd } from './preserved-file.ts';
import { forEachHeads } from './taken-marks.ts';

/** Who owns preserved memory. */
interface Owner {
  readonly name: string;
  /** Bytes. */
  readonly bytes: number;
}

/** A run of preserved pages that nobody owns. */
interface Unowned {
  /** Physical address. */
  readonly pa: number;
  readonly bytes: number;
}

export interface Ownership {
  /** In the order in which they were asked; those that own nothing are left out. */
  readonly owners: readonly Owner[];
  /** By address; at most MOST_RUNS of them. */
  readonly unowned: readonly Unowned[];
  readonly unownedBytes: number;
  /** What is owned twice, or by somebody and not preserved: a page of each kind for each owner. */
  readonly damage: readonly string[];
  /** What owners are called, by number. */
  readonly names: readonly string[];
  /** The number of the owner of a frame, counted from 0; -1: nobody's. */
  readonly ownerOf: (pfn: Pfn) => number;
}

/** A file, and what it is called. */
export interface OwningFile {
  readonly name: string;
  readonly memfd: PreservedMemfd | undefined;
}

const MOST_RUNS = 1000;
const RECORDS = 'records of sessions, files and FLBs';

/** Finds out who owns what. */
export function ownershipOf({ ram, handover, luo }: Left, files: readonly OwningFile[]): Ownership {
  const frames = new FrameOwners();
  const names: string[] = [];
  const pages: number[] = [];
  const damage: string[] = [];
  /** Takes frames for an owner. Those that another has stay with that one. */
  const claim = (owner: number, pfn: Pfn, count: number): void => {
    const before = frames.count;
    const other = frames.claim(pfn, count, owner);
    pages[owner] += frames.count - before;
    if (other === undefined || other === owner) return;
    const what = `frame ${pfn} (0x${(pfn * PAGE_SIZE).toString(16)}) is in ${names[owner]} and in ${names[other]}`;
    if (damage.length < MOST_RUNS && !damage.includes(what)) damage.push(what);
  };
  const owner = (name: string): number => {
    pages.push(0);
    return names.push(name) - 1;
  };
  const records = owner(RECORDS);
  for (const pa of luo?.pages ?? []) claim(records, physToPfn(pa), 1);
  for (const { name, memfd } of files) {
    if (!memfd) continue;
    const me = owner(name);
    claim(me, physToPfn(memfd.pa), 1);
    claimArray(ram, memfd, (pfn, count) => {
      claim(me, pfn, count);
    });
    const { folios, orders } = memfd.content;
    for (let i = 0; i < orders.length; i++) claim(me, folios.pfns[i], 2 ** orders[i]);
  }
  for (const { name, pa, size } of handover.subtrees.values()) {
    const first = physToPfn(pa);
    const count = pagesFor(pa + size) - first;
    // The record of LUO is one of its pages already.
    if (!isAllOwned(frames, first, count)) claim(owner(`subtree '${name}'`), first, count);
  }
  const tree = physToPfn(handover.entry.fdtAddr);
  if (tree > 0 && !isAllOwned(frames, tree, 1)) claim(owner('device tree'), tree, 1);
  const { runs, bytes } = unownedRuns(handover.table, frames);
  return {
    owners: names.map((name, i) => ({ name, bytes: pages[i] * PAGE_SIZE })).filter((each) => each.bytes > 0),
    unowned: runs,
    unownedBytes: bytes,
    damage,
    names,
    ownerOf: (pfn) => frames.ownerOf(pfn),
  };
}

function claimArray(
  ram: Left['ram'],
  { record }: PreservedMemfd,
  claim: (pfn: Pfn, count: number) => void,
): void {
  try {
    const { pfns, chunks } = readVmallocPages(ram, record.array);
    for (const pfn of chunks) claim(pfn, 1);
    for (const pfn of pfns) claim(pfn, 2 ** record.array.order);
  } catch (error) {
    if (!(error instanceof KernelError)) throw error; // told where the file was read
  }
}

function isAllOwned(frames: FrameOwners, pfn: Pfn, count: number): boolean {
  for (let at = pfn; at < pfn + count; at++) if (frames.ownerOf(at) < 0) return false;
  return true;
}

function unownedRuns(table: PageTable, frames: FrameOwners): { runs: Unowned[]; bytes: number } {
  const runs: Unowned[] = [];
  let bytes = 0;
  let from = -1;
  let end = -1;
  const finish = (): void => {
    if (from >= 0 && runs.length < MOST_RUNS)
      runs.push({ pa: from * PAGE_SIZE, bytes: (end - from) * PAGE_SIZE });
    from = -1;
  };
  forEachHeads(table, (first, last) => {
    for (let pfn = first; pfn < last; pfn++) {
      if (frames.ownerOf(pfn) >= 0) continue;
      const size = 2 ** table.orderOf(pfn);
      if (pfn !== end) {
        finish();
        from = pfn;
      } else if (from < 0) from = pfn;
      end = pfn + size;
      bytes += size * PAGE_SIZE;
    }
  });
  finish();
  return { runs, bytes };
}
