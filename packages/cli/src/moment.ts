/**
 * At which moment an image was taken, and what it leaves then.
 *
 * A kernel has one device tree from its start on and notes in it what it preserves; sessions are
 * written when it hands over. The next kernel is told of that tree, reads the record of the
 * sessions and gives it back; its own tree stands beside the old one.
 */
import { KernelError, PAGE_SIZE, physToPfn, type Pfn } from '@liveupdate/base';
import { readHandover, readKhoTree, type EntryRecord, type Handover } from '@liveupdate/kho';
import { INCOMING_HEAD, INCOMING_TAIL, PageTable, KIND, type Ram } from '@liveupdate/mm';
import type { LuoRecords } from '@liveupdate/luo-core';
import { KHO_FORMATS, khoFormat, LUO_FORMATS, luoFormat, otherVersion } from './formats/index.ts';
import { scanned } from './scanned.ts';
import { AREA_BYTES, type Area, type Findings } from './survey.ts';
import type { Taken } from './taken-marks.ts';

/**
 * - `handed over`: the records are written, and nobody has read them.
 * - `preserving`: a kernel at work; its records come at the handover.
 * - `taken over`: the next kernel is at work, and has read them.
 */
type Moment = 'handed over' | 'preserving' | 'taken over';

/** What an image leaves, by the device trees in it. */
export interface MomentFound {
  readonly moment: Moment;
  readonly handover: Handover;
  readonly entryFrom: 'setup_data' | 'search' | 'option' | 'kernel';
  /** Undefined where there is no LUO in it. */
  readonly luo:
    (Omit<LuoRecords, 'liveupdateNumber'> & { readonly liveupdateNumber: bigint | undefined }) | undefined;
  /** The sessions were put together from what was found, without a record that leads to them. */
  readonly isScanned: boolean;
  /** What the kernel at work has preserved for the one after it. */
  readonly next: Handover | undefined;
  /** Whether the kernel at work has taken a folio that it was handed. */
  readonly taken: (pfn: Pfn) => Taken;
  readonly damage: readonly KernelError[];
  readonly notes: readonly string[];
}

/** How far the LUO record of a tree is. */
type LuoState = 'none' | 'other' | 'gone' | 'waiting' | 'written';

interface Tree {
  readonly fdtAddr: number;
  readonly compatible: string;
  readonly handover: Handover;
  readonly damage: KernelError[];
  readonly luo: LuoState;
  /** How it was named, where it is no guess. */
  readonly named: EntryRecord | undefined;
}

const UNKNOWN = (): Taken => 'unknown';
/** Said of what was found without a map. */
const NO_MAP =
  'the map of preserved memory is gone: all memory was looked through, and how large a folio is was taken from its place';
/** What a field looks like that names another version. */
const LUO_VERSION = /^luo-v\d+$/;

function hex(pa: number): string {
  return `0x${pa.toString(16)}`;
}

/** Damage, each thing once and not without end. */
class Told {
  readonly damage: KernelError[] = [];
  readonly tell = (error: KernelError): void => {
    if (this.damage.length < 100 && !this.damage.some(({ message }) => message === error.message))
      this.damage.push(error);
  };
}

function luoState(ram: Ram, { subtrees }: Handover): LuoState {
  for (const { subtree, compatible, head } of LUO_FORMATS) {
    const place = subtrees.get(subtree);
    if (!place) continue;
    try {
      const record = head(ram, place);
      if (record.compatible === compatible) return record.sessions === 0 ? 'waiting' : 'written';
      return LUO_VERSION.test(record.compatible) ? 'other' : 'gone';
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      return 'gone';
    }
  }
  return 'none';
}

/** A tree that can be read, of a version that is known. */
function readTree(
  ram: Ram,
  entry: EntryRecord,
  named: EntryRecord | undefined,
  told: Told,
): Tree | undefined {
  const own = new Told();
  try {
    const { compatible } = readKhoTree(ram, entry.fdtAddr);
    const format = khoFormat(compatible);
    if (!format) throw otherVersion('the handover is', compatible, KHO_FORMATS);
    const handover = format.read(ram, entry, own.tell);
    const luo = luoState(ram, handover);
    return { fdtAddr: entry.fdtAddr, compatible, handover, damage: own.damage, luo, named };
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    told.tell(error);
    return undefined;
  }
}

/** Whether areas can be the scratch of a machine from which these pages were handed over. */
function isScratchOf(areas: readonly Area[], { table }: Handover): boolean {
  return areas.every(({ addr, size }) => {
    const [from, to] = [physToPfn(addr), physToPfn(addr + size)];
    if (to > table.frames) return false;
    for (let pfn = from; pfn < to;) {
      const kind = table.flagsOf(pfn) & KIND;
      if (kind === INCOMING_HEAD || kind === INCOMING_TAIL) return false;
      pfn = table.flagsEnd(KIND, kind, pfn, to);
    }
    return true;
  });
}

/** What a handover without a readable tree is. */
function noHandover(ram: Ram, entry: EntryRecord): Handover {
  const table = new PageTable(ram.size);
  return {
    entry,
    scratch: [],
    subtrees: new Map(),
    preservedMap: 0,
    preservedByOrder: new Map(),
    leaves: [],
    table,
    structure: new Uint32Array(),
    kexecMetadata: undefined,
  };
}

/** What of a handover does not hang on its map. */
function known({ scratch, subtrees, kexecMetadata }: Handover): Partial<Handover> {
  return { scratch, subtrees, kexecMetadata };
}

function entryOf(
  fdtAddr: number,
  array?: { readonly pa: number; readonly areas: readonly Area[] },
): EntryRecord {
  const scratchSize = array ? array.areas.length * AREA_BYTES : 0;
  return { fdtAddr, fdtSize: PAGE_SIZE, scratchAddr: array?.pa ?? 0, scratchSize };
}

/**
 * Tells the moment of an image from what a survey found in it.
 *
 * @param given where the caller says that the handover begins
 * @throws KernelError EINVAL: nothing in it is of a handover, or there are several
 */
export function findMoment(ram: Ram, found: Findings, given?: EntryRecord): MomentFound {
  const told = new Told();
  const trees: Tree[] = [];
  const addresses = given ? [given.fdtAddr] : khoTrees(ram, found.trees);
  for (const fdtAddr of addresses) {
    const named = given ?? found.records.find((record) => record.fdtAddr === fdtAddr);
    const tree = readTree(ram, named ?? entryOf(fdtAddr), named, told);
    if (tree) trees.push(tree);
  }
  if (trees.length === 0) return withoutTree(ram, found, addresses, told);
  const context = { ram, found, told, given };
  /** A kernel that has loaded the next one has its setup_data record already. */
  const isEmpty = ({ handover }: Tree): boolean =>
    scanned(ram, found, handover, () => undefined).sessions.length === 0;
  const written = trees.filter(
    (tree) =>
      tree.luo === 'written' ||
      tree.luo === 'other' ||
      (tree.luo === 'waiting' && tree.named !== undefined && isEmpty(tree)),
  );
  const named = written.filter((tree) => tree.named);
  const whole = named.length > 0 ? named : written;
  // The record that the next kernel writes is the one to come, if it is being handed over already.
  const latest = whole.filter(({ luo }) => luo !== 'waiting');
  if (latest.length > 1) throw ambiguous(latest.map(({ handover }) => handover.entry));
  const chosen = latest.at(0) ?? whole.at(0);
  if (chosen) return handedOver(context, chosen);
  const at = trees.find(({ luo }) => luo === 'waiting');
  const old = trees.filter((tree) => tree !== at);
  const before = old.find((tree) => tree.named) ?? old.at(0);
  if (before) return takenOver(context, before, at);
  return preserving(context, at ?? trees[0]);
}

interface Context {
  readonly ram: Ram;
  readonly found: Findings;
  readonly told: Told;
  readonly given: EntryRecord | undefined;
}

function khoTrees(ram: Ram, pages: readonly number[]): number[] {
  return pages.filter((pa) => {
    try {
      return readKhoTree(ram, pa).compatible.startsWith('kho-');
    } catch {
      return false; // some other device tree, or none
    }
  });
}

/** The scratch areas that a survey found for a tree without an entry record. */
function arraysFor(
  { found }: Context,
  handover: Handover,
): { readonly pa: number; readonly areas: readonly Area[] }[] {
  return [...found.arrays.values()].filter(({ areas }) => isScratchOf(areas, handover));
}

function handedOver(context: Context, tree: Tree): MomentFound {
  const { ram, found, told } = context;
  let { handover } = tree;
  for (const each of tree.damage) told.tell(each);
  if (!tree.named) {
    const arrays = arraysFor(context, handover);
    if (arrays.length > 1) throw ambiguous(arrays.map((array) => entryOf(tree.fdtAddr, array)));
    if (arrays.length === 1) handover = readHandover(ram, entryOf(tree.fdtAddr, arrays[0]), () => undefined);
    else told.tell(noScratch(tree.fdtAddr));
  }
  const { luo, isScanned } = readSessions(ram, found, handover, told);
  return {
    moment: 'handed over',
    handover,
    entryFrom: context.given ? 'option' : tree.named ? 'setup_data' : 'search',
    luo,
    isScanned,
    next: undefined,
    taken: UNKNOWN,
    damage: told.damage,
    notes: [],
  };
}

function readSessions(
  ram: Ram,
  found: Findings,
  handover: Handover,
  told: Told,
): { readonly luo: MomentFound['luo']; readonly isScanned: boolean } {
  const format = LUO_FORMATS.find(({ subtree }) => handover.subtrees.has(subtree));
  if (!format) return { luo: undefined, isScanned: false };
  const place = handover.subtrees.get(format.subtree);
  try {
    if (place) {
      const { compatible } = format.head(ram, place);
      const own = luoFormat(compatible);
      if (!own) throw otherVersion('the sessions are', compatible, LUO_FORMATS);
      return { luo: own.read(ram, handover, told.tell), isScanned: false };
    }
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    told.tell(error);
  }
  return {
    luo: { ...scanned(ram, found, handover, told.tell), liveupdateNumber: undefined },
    isScanned: true,
  };
}

function preserving(context: Context, tree: Tree): MomentFound {
  const { ram, found, told } = context;
  for (const each of tree.damage) told.tell(each);
  const handover = withScratch(context, tree);
  const luo = tree.luo === 'none' ? undefined : numbered(ram, handover);
  return {
    moment: 'preserving',
    handover,
    entryFrom: context.given ? 'option' : 'search',
    luo: { ...scanned(ram, found, handover, told.tell), liveupdateNumber: luo },
    isScanned: true,
    next: undefined,
    taken: UNKNOWN,
    damage: told.damage,
    notes: [
      'a kernel is at work: this is what it has preserved so far; names, tokens and FLBs are written when it hands over',
    ],
  };
}

/** With the scratch areas, where there is no doubt which they are. */
function withScratch(context: Context, tree: Tree): Handover {
  if (tree.named) return tree.handover;
  const arrays = arraysFor(context, tree.handover);
  if (arrays.length !== 1) return tree.handover;
  return readHandover(context.ram, entryOf(tree.fdtAddr, arrays[0]), () => undefined);
}

/** Number of the live update that a tree is written for. */
function numbered(ram: Ram, { subtrees }: Handover): bigint | undefined {
  for (const { subtree, head, compatible } of LUO_FORMATS) {
    const place = subtrees.get(subtree);
    if (!place) continue;
    const record = head(ram, place);
    if (record.compatible === compatible) return record.liveupdateNumber;
  }
  return undefined;
}

/**
 * Whether the memory map of a tree is still there. The next kernel gives its pages back; where it
 * is gone, nothing that it seems to say counts.
 */
function isMapWhole({ damage, handover: { preservedByOrder } }: Tree): boolean {
  return damage.length === 0 && preservedByOrder.size > 0;
}

function takenOver(context: Context, tree: Tree, at: Tree | undefined): MomentFound {
  const { ram, found, told } = context;
  // That its LUO record is gone is no damage, nor that its map is: both were given back.
  if (isMapWhole(tree)) for (const each of tree.damage) told.tell(each);
  const handover = withScratch(context, tree);
  const next = at ? numbered(ram, at.handover) : undefined;
  const isMapped = isMapWhole(tree);
  const luo = scanned(ram, found, handover, told.tell, isMapped);
  const taken = isMapped ? found.marks.read(handover.table, handover.structure) : UNKNOWN;
  return {
    moment: 'taken over',
    handover: isMapped ? handover : { ...noHandover(ram, handover.entry), ...known(handover) },
    entryFrom: context.given ? 'option' : tree.named ? 'setup_data' : 'search',
    luo: { ...luo, liveupdateNumber: next === undefined ? undefined : next - 1n },
    isScanned: true,
    next: at?.handover,
    taken,
    damage: told.damage,
    notes: [
      'the next kernel is at work and has read the record that led to the sessions, or this image does not have it: they were found by looking through the memory that was handed over',
      ...(isMapped ? [] : [NO_MAP]),
    ],
  };
}

/** Nothing leads anywhere: what was found is all there is. */
function withoutTree(ram: Ram, found: Findings, addresses: readonly number[], told: Told): MomentFound {
  const handover = noHandover(ram, entryOf(addresses.at(0) ?? 0));
  const own = new Told();
  const luo = scanned(ram, found, handover, own.tell);
  const first = told.damage.at(0);
  if (luo.sessions.every(({ files }) => files.length === 0)) throw first ?? nothingFound();
  for (const each of own.damage) told.tell(each);
  if (!first) told.tell(nothingFound());
  return {
    moment: 'taken over',
    handover,
    entryFrom: 'search',
    luo: { ...luo, liveupdateNumber: undefined },
    isScanned: true,
    next: undefined,
    taken: UNKNOWN,
    damage: told.damage,
    notes: ['without a device tree, this is what looks like sessions and files of a handover', NO_MAP],
  };
}

function ambiguous(entries: readonly EntryRecord[]): KernelError {
  const choices = entries
    .slice(0, 4)
    .map(({ fdtAddr, scratchAddr, scratchSize }) =>
      scratchSize > 0
        ? `--entry ${hex(fdtAddr)},${hex(scratchAddr)},${scratchSize}`
        : `--entry ${hex(fdtAddr)},0`,
    );
  return new KernelError(
    'EINVAL',
    `this image holds ${entries.length} handovers: choose one (${choices.join(' or ')})`,
  );
}

function noScratch(fdtAddr: number): KernelError {
  return new KernelError(
    'EINVAL',
    `this image has a KHO device tree at ${hex(fdtAddr)} and no scratch array: say where it is, with --entry ${hex(fdtAddr)},<address of the scratch array>`,
  );
}

function nothingFound(): KernelError {
  return new KernelError(
    'EINVAL',
    'this image has no KHO device tree: it holds no handover, or its pages are elsewhere; if you know better, give --entry fdtAddr,scratchAddr',
  );
}
