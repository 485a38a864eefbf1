/**
 * Looks for the entry record of a handover in an image of memory that does not say where it is.
 *
 * First for the `setup_data` record by which Linux passes it on x86. Where that is not in the image
 * (a core of only what was preserved does not have it), for the two things it names: a page that
 * begins with a `kho` device tree, and an array that can be no other than that of the scratch
 * areas. What was found must read as a whole handover, and there must be only one.
 */
import { setImmediate as turn } from 'node:timers/promises';
import { KernelError, MAX_FOLIO_SIZE, PAGE_SIZE } from '@liveupdate/base';
import { fdtString, readEntry, readFdt, readHandover, type EntryRecord } from '@liveupdate/kho';
import type { Ram } from '@liveupdate/mm';
import type { Progress } from './progress.ts';

/**
 * Header of a setup_data record after its `next` pointer: u32 type 10 (SETUP_KEXEC_KHO), u32 length
 * 32.
 */
const SETUP_HEADER = Buffer.from([10, 0, 0, 0, 32, 0, 0, 0]);
const ENTRY_BYTES = 32;
/** d00dfeed, as a little-endian word reads it. */
const FDT_MAGIC_WORD = 0xedfe_0dd0;
/** Bytes of an area in the array. */
export const AREA_BYTES = 16;
/** Linux aligns scratch areas to a page block: 2 MiB or more. */
const AREA_ALIGN = 2 * 2 ** 20;
/** Linux has an area for low memory, one for all, and one per NUMA node. */
const LEAST_AREAS = 3;
/** The array lies within one page. */
export const MOST_AREAS = PAGE_SIZE / AREA_BYTES;
/** The allocator that Linux takes the array from aligns to cache lines. */
const ARRAY_ALIGN = 64;
/** Arrays and trees that are tried, at most. */
const MAX_TRIED = 64;

interface Area {
  readonly addr: number;
  readonly size: number;
}

interface Findings {
  readonly records: EntryRecord[];
  /** Addresses of device trees. */
  readonly trees: number[];
  /** Scratch arrays, by what is in them: copies of one array are one. */
  readonly arrays: Map<string, { readonly pa: number; readonly areas: readonly Area[] }>;
}

/** An entry record that was found, and how. */
export interface FoundEntry {
  readonly entry: EntryRecord;
  readonly how: 'setup_data' | 'search';
}

/**
 * Areas in a row at `at`, as far as they can be scratch areas: aligned, in order of nothing, but
 * without overlap.
 */
export function areasAt(bytes: Uint8Array, at: number, align: number): Area[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const areas: Area[] = [];
  for (let from = at; from + AREA_BYTES <= bytes.length && areas.length < MOST_AREAS; from += AREA_BYTES) {
    const addr = Number(view.getBigUint64(from, true));
    const size = Number(view.getBigUint64(from + 8, true));
    if (addr === 0 || addr % align !== 0 || size % align !== 0 || addr + size > 2 ** 50) break;
    if (areas.some((other) => addr < other.addr + other.size && other.addr < addr + size)) break;
    areas.push({ addr, size });
  }
  return areas;
}

function findRecords(block: Uint8Array, found: Findings): void {
  const bytes = Buffer.from(block.buffer, block.byteOffset, block.length);
  for (
    let at = bytes.indexOf(SETUP_HEADER);
    at >= 0 && at + SETUP_HEADER.length + ENTRY_BYTES <= block.length;
    at = bytes.indexOf(SETUP_HEADER, at + 1)
  ) {
    const payload = at + SETUP_HEADER.length;
    const entry = plausibleEntry(block.slice(payload, payload + ENTRY_BYTES));
    if (entry && found.records.length < MAX_TRIED) found.records.push(entry);
  }
}

function plausibleEntry(bytes: Uint8Array): EntryRecord | undefined {
  try {
    const entry = readEntry(bytes);
    const { fdtAddr, fdtSize, scratchAddr, scratchSize } = entry;
    const isTree = fdtSize === PAGE_SIZE && fdtAddr > 0 && fdtAddr % PAGE_SIZE === 0;
    const isArray =
      scratchAddr > 0 && scratchSize > 0 && scratchSize % AREA_BYTES === 0 && scratchSize <= PAGE_SIZE;
    return isTree && isArray ? entry : undefined;
  } catch {
    return undefined; // a number beyond 2^53: these bytes are something else
  }
}

function findTrees(block: Uint8Array, pa: number, found: Findings): void {
  const words = new Uint32Array(block.buffer, block.byteOffset, block.length / 4);
  for (let at = 0; at < words.length; at += PAGE_SIZE / 4) {
    if (words[at] !== FDT_MAGIC_WORD || found.trees.length === MAX_TRIED) continue;
    if (isKhoTree(block.subarray(at * 4, at * 4 + PAGE_SIZE))) found.trees.push(pa + at * 4);
  }
}

function isKhoTree(bytes: Uint8Array): boolean {
  try {
    return fdtString(readFdt(bytes), 'compatible')?.startsWith('kho-') === true;
  } catch {
    return false;
  }
}

function findArrays(block: Uint8Array, pa: number, found: Findings): void {
  const words = new Uint32Array(block.buffer, block.byteOffset, block.length / 4);
  for (let at = 0; at < words.length; at += ARRAY_ALIGN / 4) {
    // The first area decides nearly always: a low word that is aligned, and not all zero.
    if (words[at] % AREA_ALIGN !== 0 || words[at + 2] % AREA_ALIGN !== 0) continue;
    if ((words[at] | words[at + 1]) === 0) continue;
    const page = Math.floor((at * 4) / PAGE_SIZE) * PAGE_SIZE;
    const areas = areasAt(block.subarray(page, page + PAGE_SIZE), at * 4 - page, AREA_ALIGN);
    if (areas.length < LEAST_AREAS || areas.every(({ size }) => size === 0)) continue;
    const key = JSON.stringify(areas);
    if (!found.arrays.has(key) && found.arrays.size < MAX_TRIED)
      found.arrays.set(key, { pa: pa + at * 4, areas });
  }
}

async function scan(ram: Ram, progress: Progress): Promise<Findings> {
  const found: Findings = { records: [], trees: [], arrays: new Map() };
  for (let pa = 0; pa < ram.size; pa += MAX_FOLIO_SIZE) {
    const block = ram.bytes(pa, Math.min(MAX_FOLIO_SIZE, ram.size - pa));
    findRecords(block, found);
    findTrees(block, pa, found);
    findArrays(block, pa, found);
    progress.add(block.length);
    await turn();
  }
  return found;
}

/**
 * The one entry record that `ram` has.
 *
 * @param reopen the same memory with the size that an entry's scratch areas ask for
 * @throws KernelError EINVAL: none, more than one, or one whose handover cannot be read (its error
 * then)
 */
export async function findEntry(
  ram: Ram,
  reopen: (entry: EntryRecord) => Ram,
  progress: Progress,
): Promise<FoundEntry> {
  const found = await scan(ram, progress);
  let failure: unknown;
  const reads = ({ entry }: FoundEntry): boolean => {
    try {
      readHandover(reopen(entry), entry);
      return true;
    } catch (error) {
      failure ??= error;
      return false;
    }
  };
  const records = distinct(found.records.map((entry) => ({ entry, how: 'setup_data' as const })));
  const good = records.filter(reads);
  if (good.length === 0) good.push(...pairs(found).filter(reads));
  if (good.length === 1) return good[0];
  if (good.length > 1) throw ambiguous(good);
  throw failure instanceof KernelError ? failure : nothingFound(found);
}

function distinct(entries: FoundEntry[]): FoundEntry[] {
  return [...new Map(entries.map((found) => [JSON.stringify(found.entry), found])).values()];
}

/** Every tree with every array. */
function pairs({ trees, arrays }: Findings): FoundEntry[] {
  return trees.flatMap((fdtAddr) =>
    Array.from(arrays.values(), ({ pa, areas }) => ({
      entry: {
        fdtAddr,
        fdtSize: PAGE_SIZE,
        scratchAddr: pa,
        scratchSize: areas.length * AREA_BYTES,
      },
      how: 'search' as const,
    })),
  );
}

/** An address as it is written for --entry. */
function hex(pa: number): string {
  return `0x${pa.toString(16)}`;
}

function ambiguous(entries: readonly FoundEntry[]): KernelError {
  const choices = entries
    .slice(0, 4)
    .map(({ entry }) => `--entry ${hex(entry.fdtAddr)},${hex(entry.scratchAddr)},${entry.scratchSize}`);
  return new KernelError(
    'EINVAL',
    `this image holds ${entries.length} handovers: choose one (${choices.join(' or ')})`,
  );
}

function nothingFound({ trees }: Findings): KernelError {
  if (trees.length > 0) {
    return new KernelError(
      'EINVAL',
      `this image has a KHO device tree at ${trees.map(hex).join(', ')} and no scratch array: say where it is, with --entry ${hex(trees[0])},<address of the scratch array>`,
    );
  }
  return new KernelError(
    'EINVAL',
    'this image has no KHO device tree: it holds no handover, or its pages are elsewhere; if you know better, give --entry fdtAddr,scratchAddr',
  );
}
