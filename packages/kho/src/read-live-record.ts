/**
 * Reads a live record, and writes nothing: for a boot after an owner that died, and for tools. What
 * was published and not yet carried out counts as carried out.
 */
import {
  checkFunction,
  checkList,
  checkObject,
  checkWhole,
  findBit,
  KernelError,
  PAGE_SIZE,
  physToPfn,
  setBits,
  clearBits,
  StructView,
  type Pfn,
  type PhysAddr,
} from '@liveupdate/base';
import { checkRam, memoryOf, PageTable, SCRATCH, type Ram } from '@liveupdate/mm';
import { RADIX_LEAF_BITS, ScratchSer } from './abi.ts';
import {
  LEAF_PAGE,
  LEAST_OTHER_PAGE,
  LIST_AT,
  LIST_HEADER,
  LIST_WORDS,
  LIVE_MAGIC,
  LIVE_VERSION,
  LiveHeaderSer,
  LOG_AT,
  LOG_PAGE,
  LOG_REMOVE,
  LOG_ROW_WORDS,
  LOG_ROWS_INSIDE,
  LOG_ROWS_PER_PAGE,
  MOST_CHANGE,
  MOST_SCRATCH_INSIDE,
  RESIDENCY_PAGE,
  SCRATCH_AT,
  SCRATCH_PAGE,
} from './live-layout.ts';
import { forEachLeafPart, leafOfOrder, LEAF_SHIFT, MAX_RUN_ORDER, radixBit } from './radix-key.ts';
import { forEachBitRun } from './radix-walk.ts';
import { claim, type Handover, type PreservedFolio } from './read-handover.ts';
import { checkScratch, type ScratchArea } from './scratch.ts';
import type { OnDamage } from './on-damage.ts';

/** A page of a live record. */
export interface LivePage {
  readonly pfn: Pfn;
  /** One of the numbers in live-layout.ts, or one of whoever put it there. */
  readonly kind: number;
  readonly order: number;
  /** Which of its kind. */
  readonly place: number;
  /**
   * Where the line of the list is that names it: frame of the page of the list, index of a word.
   */
  readonly line: readonly [pfn: Pfn, word: number];
}

/** A row of keys that a change adds or removes. */
export interface LoggedRow {
  readonly pfn: Pfn;
  readonly count: number;
  readonly order: number;
  readonly isRemoved: boolean;
}

export interface LiveRecord {
  readonly pa: PhysAddr;
  /** Number of the last change that was published. */
  readonly published: number;
  /** Its keys, where they may not all be in the map yet. */
  readonly log: readonly LoggedRow[];
  readonly pages: readonly LivePage[];
  /** Pages of the list itself, behind that in the header's page. */
  readonly listPages: readonly Pfn[];
  readonly scratch: readonly ScratchArea[];
  readonly kexecCount: number;
  readonly liveupdateNumber: bigint;
  /**
   * Frames of which nobody knows whether the system has given them; undefined: of all. Of others
   * the pages of residency tell it.
   */
  readonly doubt: { readonly pfn: Pfn; readonly count: number } | undefined;
}

function damaged(what: string): KernelError {
  return new KernelError('EINVAL', `the live record of this RAM is damaged: ${what}`);
}

/** @throws KernelError it is given */
function stop(damage: KernelError): never {
  throw damage;
}

/** What `read` gives; `otherwise` where it is damaged. */
function readOr<T>(otherwise: T, onDamage: OnDamage, read: () => T): T {
  try {
    return read();
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    onDamage(error);
    return otherwise;
  }
}

/** The words of a page of RAM. */
export function wordsOf(ram: Ram, pfn: Pfn): Uint32Array {
  const bytes = ram.bytes(pfn * PAGE_SIZE, PAGE_SIZE);
  return new Uint32Array(bytes.buffer, bytes.byteOffset, PAGE_SIZE / 4);
}

/**
 * @param pa where the record begins
 * @param change the last change that counts, where a handover says so; default: the last that was
 * published
 * @param onDamage is told of damage to what is in it; default: it is thrown
 * @throws KernelError EINVAL: no live record, one of another version, or a damaged one. EFAULT: it
 * points outside RAM.
 */
export function readLiveRecord(
  ram: Ram,
  pa: PhysAddr,
  change?: number,
  onDamage: OnDamage = stop,
): LiveRecord {
  checkRam(ram);
  checkWhole(pa, 'the address of a live record');
  checkFunction(onDamage, 'what is told of damage');
  if (!(pa > 0 && pa % PAGE_SIZE === 0 && pa + PAGE_SIZE <= ram.size))
    throw damaged(`it begins at 0x${pa.toString(16)}`);
  const header = new StructView(ram.bytes(pa, LiveHeaderSer.SIZE));
  if (header.getString(LiveHeaderSer.magic) !== LIVE_MAGIC) throw damaged('it has no beginning');
  const version = header.getU32(LiveHeaderSer.version);
  if (version !== LIVE_VERSION)
    throw new KernelError(
      'EINVAL',
      `the live record has version ${version}, this program knows ${LIVE_VERSION}: open the RAM with the program that made it`,
    );
  const published = change ?? header.getU32(LiveHeaderSer.published);
  if (published === 0 || published > MOST_CHANGE) throw damaged(`it tells of change ${published}`);
  const { pages, listPages } = readList(ram, pa, header, onDamage);
  const areas = header.getU32(LiveHeaderSer.scratchAreas);
  return {
    pa,
    published,
    log: readOr([], onDamage, () => readLog(ram, pa, header, published, pages)),
    pages,
    listPages,
    scratch: readOr([], onDamage, () => readScratchAreas(ram, pa, areas, pages)),
    kexecCount: header.getU32(LiveHeaderSer.kexecCount),
    liveupdateNumber: header.getU64(LiveHeaderSer.liveupdateNumber),
    doubt: readDoubt(ram, header),
  };
}

function readList(
  ram: Ram,
  pa: PhysAddr,
  header: StructView,
  onDamage: OnDamage,
): Pick<LiveRecord, 'pages' | 'listPages'> {
  const pages: LivePage[] = [];
  const listPages: Pfn[] = [];
  const first = physToPfn(pa);
  const frames = physToPfn(ram.size);
  const seen = new Set<Pfn>([0, first]);
  const claimPage = (pfn: Pfn, what: string): void => {
    if (pfn >= frames) throw damaged(`${what} ${pfn} is outside RAM`);
    if (seen.has(pfn)) throw damaged(`${what} ${pfn} is used twice`);
    seen.add(pfn);
  };
  const readLines = (pfn: Pfn, from: number): void => {
    const words = wordsOf(ram, pfn);
    for (let at = from / 4; at + LIST_WORDS <= words.length; at += LIST_WORDS) {
      const [frame, kind, place] = [words[at], words[at + 1], words[at + 2]];
      // A page that was never noted; or one of an owner to be, which was to enlarge this RAM and
      // published nothing.
      if (frame === 0 || frame >= frames) continue;
      readOr(undefined, onDamage, () => {
        const page: LivePage = { pfn: frame, kind: kind & 0xff, order: kind >>> 8, place, line: [pfn, at] };
        checkPage(ram, page);
        claimPage(frame, 'page');
        pages.push(page);
      });
    }
  };
  readLines(first, LIST_AT);
  readOr(undefined, onDamage, () => {
    for (let at = header.getNumber(LiveHeaderSer.list); at !== 0;) {
      if (at % PAGE_SIZE !== 0) throw damaged(`its list goes on at 0x${at.toString(16)}`);
      const pfn = physToPfn(at);
      claimPage(pfn, 'page of the list');
      listPages.push(pfn);
      readLines(pfn, LIST_HEADER);
      at = new StructView(ram.bytes(at, LIST_HEADER)).getNumber({ at: 0, bytes: 8 });
    }
  });
  return { pages, listPages };
}

/** Where it makes no sense, nothing is known: whoever boots asks the system then. */
function readDoubt(ram: Ram, header: StructView): LiveRecord['doubt'] {
  const [pfn, count] = [header.getU32(LiveHeaderSer.doubtPfn), header.getU32(LiveHeaderSer.doubtCount)];
  if (header.getU32(LiveHeaderSer.unsure) !== 0 || (pfn + count) * PAGE_SIZE > ram.size) return undefined;
  return { pfn, count };
}

/** @throws KernelError EINVAL: no live record has such a page */
function checkPage(ram: Ram, { kind, order, place }: LivePage): void {
  const isKnown = kind <= RESIDENCY_PAGE || kind >= LEAST_OTHER_PAGE;
  if (!isKnown || (kind === LEAF_PAGE && order > MAX_RUN_ORDER) || place > ram.size / PAGE_SIZE)
    throw damaged(`a page is of kind ${kind}, order ${order}, number ${place}`);
}

/** Pages of one kind, in their order. */
export function pagesOfKind({ pages }: Pick<LiveRecord, 'pages'>, kind: number): LivePage[] {
  return pages.filter((page) => page.kind === kind).sort((a, b) => a.place - b.place);
}

function readLog(
  ram: Ram,
  pa: PhysAddr,
  header: StructView,
  published: number,
  pages: readonly LivePage[],
): LoggedRow[] {
  // What was logged for a change that was not published did not happen.
  if (header.getU32(LiveHeaderSer.logged) !== published) return [];
  const rows = header.getU32(LiveHeaderSer.logRows);
  const further = pagesOfKind({ pages }, LOG_PAGE);
  const perPage = LOG_ROWS_PER_PAGE;
  if (rows > LOG_ROWS_INSIDE + further.length * perPage) throw damaged(`it logs ${rows} rows`);
  const frames = physToPfn(ram.size);
  return Array.from({ length: rows }, (_, i) => {
    const behind = i - LOG_ROWS_INSIDE;
    const words = wordsOf(ram, behind < 0 ? physToPfn(pa) : further[Math.floor(behind / perPage)].pfn);
    const at = behind < 0 ? LOG_AT / 4 + i * LOG_ROW_WORDS : (behind % perPage) * LOG_ROW_WORDS;
    const [pfn, count, what] = [words[at], words[at + 1], words[at + 2]];
    const order = what & 0xff;
    if (order > MAX_RUN_ORDER || count === 0 || pfn + count * 2 ** order > frames)
      throw damaged(`it logs ${count} folios of order ${order} at frame ${pfn}`);
    return { pfn, count, order, isRemoved: (what & LOG_REMOVE) !== 0 };
  });
}

function readScratchAreas(
  ram: Ram,
  pa: PhysAddr,
  count: number,
  pages: readonly LivePage[],
): readonly ScratchArea[] {
  const page = pages.find(({ kind }) => kind === SCRATCH_PAGE);
  const most = page ? PAGE_SIZE / ScratchSer.SIZE : MOST_SCRATCH_INSIDE;
  if (count > most) throw damaged(`it has ${count} scratch areas`);
  const from = page ? page.pfn * PAGE_SIZE : pa + SCRATCH_AT;
  const areas = Array.from({ length: count }, (_, i) => {
    const ser = new StructView(ram.bytes(from + i * ScratchSer.SIZE, ScratchSer.SIZE));
    return { addr: ser.getNumber(ScratchSer.addr), size: ser.getNumber(ScratchSer.size) };
  });
  checkScratch(areas, ram);
  return areas;
}

/** A leaf of the map of published keys: those of one order, from one place on. */
export interface LiveLeaf {
  readonly order: number;
  readonly place: number;
  /** A bit for each key. */
  readonly words: Uint32Array;
}

/**
 * The map of published keys, as copies, with what the log has still to bring into it.
 *
 * @param onDamage is told of damage; default: it is thrown
 * @throws KernelError EINVAL: two leaves for the same keys, or none for a key that was logged
 */
export function readLiveLeaves(ram: Ram, record: LiveRecord, onDamage: OnDamage = stop): LiveLeaf[] {
  checkRam(ram);
  checkObject(record, 'a live record');
  checkList(record.pages, 'the pages of a live record');
  checkFunction(onDamage, 'what is told of damage');
  const leaves = new Map<string, LiveLeaf>();
  for (const { pfn, order, place } of pagesOfKind(record, LEAF_PAGE)) {
    const name = `${order}/${place}`;
    if (leaves.has(name)) onDamage(damaged(`two pages hold the keys of order ${order} at ${place}`));
    else leaves.set(name, { order, place, words: wordsOf(ram, pfn).slice() });
  }
  for (const { pfn, count, order, isRemoved } of record.log) {
    forEachLeafPart(pfn, count, order, (place, bit, bits) => {
      const leaf = leaves.get(`${order}/${place}`);
      if (!leaf) onDamage(damaged(`there is no page for keys of order ${order} at ${place}`));
      else if (isRemoved) clearBits(leaf.words, bit, bits);
      else setBits(leaf.words, bit, bits);
    });
  }
  return [...leaves.values()];
}

/** Calls `visit` with each run of keys side by side. */
export function forEachLiveRun(
  leaves: readonly LiveLeaf[],
  visit: (pfn: Pfn, count: number, order: number) => void,
): void {
  for (const { order, place, words } of leaves) {
    forEachBitRun(words, RADIX_LEAF_BITS, (bit, bits) => {
      visit((place * 2 ** LEAF_SHIFT + bit) * 2 ** order, bits, order);
    });
  }
}

/**
 * For tools: the order of the published folio that begins at a frame, whatever else is published of
 * it; undefined where none does.
 */
export function orderInLeaves(leaves: readonly LiveLeaf[]): (pfn: Pfn) => number | undefined {
  checkList(leaves, 'a list of leaves');
  const byOrder: (Uint32Array | undefined)[][] = [];
  for (const { order, place, words } of leaves) (byOrder[order] ??= [])[place] = words;
  return (pfn) => {
    for (let order = byOrder.length - 1; order >= 0; order--) {
      const words = pfn % 2 ** order === 0 ? byOrder.at(order)?.[leafOfOrder(pfn, order)] : undefined;
      const bit = radixBit(pfn, order);
      if (words && findBit(words, bit, bit + 1, true) === bit) return order;
    }
    return undefined;
  };
}

/** The pages of a live record itself. */
export function framesOfLive(record: LiveRecord): Pfn[] {
  checkObject(record, 'a live record');
  const { pa, listPages, pages } = record;
  checkList(pages, 'the pages of a live record');
  return [physToPfn(pa), ...listPages, ...pages.map(({ pfn }) => pfn)];
}

/**
 * Keeps the pages of a live record out of free memory. @throws KernelError EINVAL: one is not free
 */
export function reserveLivePages(table: PageTable, record: LiveRecord, onDamage: OnDamage = stop): void {
  for (const pfn of framesOfLive(record)) {
    if (!table.isUnclaimed(pfn, 1)) onDamage(damaged(`its page ${pfn} is ${table.kindName(pfn)} as well`));
    else table.reserve(pfn, 1);
  }
}

/** Claims folios side by side, or those of them that can be. Returns how many. */
function claimAll(table: PageTable, pfn: Pfn, count: number, order: number, onDamage: OnDamage): number {
  try {
    claim(table, pfn, count, order);
    return count;
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
    onDamage(error);
    if (count === 1) return 0;
  }
  const half = Math.floor(count / 2);
  const untold = (): void => undefined;
  return (
    claimAll(table, pfn, half, order, untold) +
    claimAll(table, pfn + half * 2 ** order, count - half, order, untold)
  );
}

/**
 * What an owner that died left, as a handover: all published memory, and nothing of what that
 * kernel had for itself.
 *
 * @param onDamage is told of damage; default: it is thrown
 * @throws KernelError EINVAL: the record contradicts itself. EFAULT: it points outside RAM.
 */
export function readDeadKernel(ram: Ram, record: LiveRecord, onDamage: OnDamage = stop): Handover {
  checkRam(ram);
  checkObject(record, 'a live record');
  checkList(record.scratch, 'the scratch areas of a live record');
  const table = new PageTable(ram.size, memoryOf(ram));
  table.reserve(0, 1);
  for (const area of record.scratch) table.setFlag(SCRATCH, physToPfn(area.addr), physToPfn(area.size));
  const counts = new Map<number, number>();
  const leaves: PreservedFolio[] = [];
  const published: number[] = [];
  for (const leaf of readLiveLeaves(ram, record, onDamage)) {
    let isFirst = true;
    forEachLiveRun([leaf], (pfn, count, order) => {
      published.push(pfn, count * 2 ** order);
      counts.set(order, (counts.get(order) ?? 0) + claimAll(table, pfn, count, order, onDamage));
      if (isFirst) leaves.push({ pfn, order });
      isFirst = false;
    });
  }
  reserveLivePages(table, record, onDamage);
  return {
    entry: { fdtAddr: 0, fdtSize: 0, scratchAddr: 0, scratchSize: 0 },
    scratch: record.scratch,
    subtrees: new Map(),
    preservedMap: 0,
    preservedByOrder: counts,
    leaves,
    table,
    structure: new Uint32Array(0),
    kexecMetadata: {
      version: 1,
      previousRelease: '',
      kexecCount: record.kexecCount,
    },
    published,
  };
}
