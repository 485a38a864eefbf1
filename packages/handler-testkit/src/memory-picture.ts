/**
 * Memory as it must be again when everything is taken back: each folio in use with its counts, and
 * what is marked for the next kernel. Nodes of the outgoing map count as free: as in Linux, a node
 * that was needed once stays in the map, empty, for the next time.
 */
import { PAGE_SIZE, pfnToPhys, type Pfn } from '@liveupdate/base';
import { readHandover, walkRadixTree, type Kho } from '@liveupdate/kho';
import { HEAD, INCOMING_HEAD } from '@liveupdate/mm';
import type { CallbackName, OwnedCallback } from './fault.ts';

interface Folio {
  readonly order: number;
  readonly refs: number;
  readonly pins: number;
}

export interface MemoryPicture {
  readonly used: ReadonlyMap<Pfn, Folio>;
  /** Folios in the outgoing map, by frame: their order. */
  readonly preserved: ReadonlyMap<Pfn, number>;
  /** Folios of the previous kernel that nobody has restored. */
  readonly incoming: ReadonlySet<Pfn>;
}

/**
 * Looks at all frames. Proves on the way that the outgoing handover can be read and that the
 * allocator is whole.
 */
export function pictureOf(kho: Kho): MemoryPicture {
  const { pages } = kho;
  pages.assertConsistent();
  const nodes = new Set<Pfn>();
  const preserved = new Map<Pfn, number>();
  const { preservedMap } = readHandover(kho.ram, kho.entry);
  walkRadixTree(
    kho.ram,
    preservedMap,
    (pfn, count, order) => {
      for (let i = 0; i < count; i++) preserved.set(pfn + i * 2 ** order, order);
    },
    (pfn) => nodes.add(pfn),
  );
  const used = new Map<Pfn, Folio>();
  const incoming = new Set<Pfn>();
  const { table } = pages;
  for (let pfn = 0; pfn < table.frames; pfn++) {
    const kind = table.kindOf(pfn);
    if (kind === INCOMING_HEAD) incoming.add(pfn);
    if (kind === HEAD && !nodes.has(pfn))
      used.set(pfn, { order: table.orderOf(pfn), refs: table.refsOf(pfn), pins: table.pinsOf(pfn) });
  }
  return { used, preserved, incoming };
}

/** Which callbacks took a frame, and marked it for the next kernel. */
export interface FrameOwners {
  takerOf(pfn: Pfn): OwnedCallback | undefined;
  markerOf(pfn: Pfn): OwnedCallback | undefined;
  /** Which took a reference of it, or a pin, last. */
  holderOf(pfn: Pfn): OwnedCallback | undefined;
}

/** What is not as it should be, as what a callback does: `leaves 1 page at 0x5000 ...`. */
export interface Difference {
  readonly rule: string;
  /** The callback that had to do with these frames before; undefined where none had. */
  readonly by: OwnedCallback | undefined;
}

/**
 * How memory differs from what it should be. Empty where it does not. What is neither in use nor
 * incoming is free: equal pictures have equal free memory.
 *
 * @param mayGrow a file may have got pages that it keeps (holes that were filled): more pages in
 * use are no difference
 */
export function differences(
  before: MemoryPicture,
  after: MemoryPicture,
  owners: FrameOwners,
  mayGrow = false,
): Difference[] {
  const marked = missingIn(before.preserved, after.preserved);
  const kept = missingIn(before.used, after.used).filter((pfn) => !marked.includes(pfn));
  const marker = (pfn: Pfn) => owners.markerOf(pfn);
  const taker = (pfn: Pfn) => owners.takerOf(pfn);
  return [
    ...about(
      marked,
      marker,
      (what, it, by) =>
        `leaves ${what} preserved for the next kernel: ${by ?? 'preserve'}() marked ${it}, and nothing took that back`,
    ),
    ...about(
      missingIn(after.preserved, before.preserved),
      marker,
      (what) => `takes back ${what} that was preserved before`,
    ),
    ...about(
      mayGrow ? [] : kept,
      taker,
      (what, it, by) => `leaves ${what} in use` + (by ? `: ${by}() took ${it}, and nobody frees ${it}` : ''),
    ),
    ...about(
      missingIn(after.used, before.used),
      nobody,
      (what) => `frees ${what} that was in use before, and is not its own`,
    ),
    ...counts(before, after, owners),
  ];
}

export function missingIn(some: ReadonlyMap<Pfn, unknown>, all: ReadonlyMap<Pfn, unknown>): Pfn[] {
  return [...all.keys()].filter((pfn) => !some.has(pfn));
}

const nobody = () => undefined;

/** One sentence for the frames of each callback. */
export function about(
  frames: readonly Pfn[],
  ownerOf: (pfn: Pfn) => OwnedCallback | undefined,
  sentence: (what: string, it: string, by: CallbackName | undefined) => string,
): Difference[] {
  const keyOf = (pfn: Pfn) => {
    const by = ownerOf(pfn);
    return by ? `${by.kind} ${by.compatible} ${by.callback}` : '';
  };
  const groups = new Map<string, Pfn[]>(); // Map.groupBy is younger than Node.js 20
  for (const pfn of frames) {
    const key = keyOf(pfn);
    const group = groups.get(key);
    if (group) group.push(pfn);
    else groups.set(key, [pfn]);
  }
  return Array.from(groups.values(), (owned): Difference => {
    const by = ownerOf(owned[0]);
    return { by, rule: sentence(framesText(owned), owned.length === 1 ? 'it' : 'them', by?.callback) };
  });
}

/** What differs in the counts of folios that are in use as before. */
function counts(
  { used: before }: MemoryPicture,
  { used: after }: MemoryPicture,
  owners: FrameOwners,
): Difference[] {
  const holder = (pfn: Pfn) => owners.holderOf(pfn);
  const both = [...after.keys()].filter((pfn) => before.has(pfn));
  const change = (pfn: Pfn, count: 'refs' | 'pins') => after.get(pfn)![count] - before.get(pfn)![count];
  return [
    ...about(
      both.filter((pfn) => change(pfn, 'refs') > 0),
      holder,
      (what, _, by) =>
        `leaves a reference too many on ${what}` + (by ? `: ${by}() took it, and nobody drops it` : ''),
    ),
    ...about(
      both.filter((pfn) => change(pfn, 'refs') < 0),
      nobody,
      (what) => `drops a reference too many of ${what}`,
    ),
    ...about(
      both.filter((pfn) => change(pfn, 'pins') > 0),
      holder,
      (what) => `leaves ${what} pinned`,
    ),
    ...about(
      both.filter((pfn) => change(pfn, 'pins') < 0),
      nobody,
      (what) => `unpins ${what} that was pinned before`,
    ),
  ];
}

const SHOWN = 3;

/** `2 pages at 0x5000, 0x7000`. */
export function framesText(frames: readonly Pfn[]): string {
  const shown = frames.slice(0, SHOWN).map((pfn) => `0x${pfnToPhys(pfn).toString(16)}`);
  const rest = frames.length > SHOWN ? ', ...' : '';
  return `${frames.length} page${frames.length === 1 ? '' : 's'} at ${shown.join(', ')}${rest}`;
}

/** The frame of an address; undefined where no page begins there. */
export function frameAt(pa: bigint): Pfn | undefined {
  return pa > 0n && pa % BigInt(PAGE_SIZE) === 0n ? Number(pa / BigInt(PAGE_SIZE)) : undefined;
}
