/**
 * Reads what a previous kernel handed over, and writes nothing: the entry record, the device tree,
 * the scratch areas, the preserved memory map. For boot and for tools alike; everything is checked
 * here, so that what comes after may rely on it.
 */
import {
  checkFunction,
  checkObject,
  checkWhole,
  KernelError,
  PAGE_SIZE,
  type Pfn,
  pfnToPhys,
  type PhysAddr,
  physToPfn,
  StructView,
} from '@liveupdate/base';
import {
  checkRam,
  forEachBlock,
  FREE,
  INCOMING_HEAD,
  INCOMING_TAIL,
  KIND,
  memoryOf,
  PageTable,
  SCRATCH,
  type Ram,
} from '@liveupdate/mm';
import {
  EntrySer,
  KEXEC_METADATA,
  KEXEC_METADATA_VERSION,
  KexecMetadataSer,
  KHO_COMPATIBLE,
  KHO_FDT_SIZE,
  PROP_COMPATIBLE,
  PROP_PRESERVED_MAP,
  PROP_SUBTREE_DATA,
  PROP_SUBTREE_SIZE,
  ScratchSer,
} from './abi.ts';
import { fdtString, type FdtNode } from './fdt.ts';
import { readFdt } from './fdt-reader.ts';
import type { OnDamage } from './on-damage.ts';
import { leafOfOrder, MAX_RUN_ORDER } from './radix-key.ts';
import { walkRadixTree } from './radix-walk.ts';
import { checkScratch, type ScratchArea } from './scratch.ts';
import { recordOf } from './vmalloc-ser.ts';

/** Where a handover begins. Addresses and sizes in bytes. */
export interface EntryRecord {
  readonly fdtAddr: PhysAddr;
  readonly fdtSize: number;
  readonly scratchAddr: PhysAddr;
  readonly scratchSize: number;
}

/** Data of one subsystem, named by the device tree. */
export interface Subtree {
  readonly name: string;
  readonly pa: PhysAddr;
  readonly size: number;
}

/** A preserved folio, or a run of pages that was preserved as one. */
export interface PreservedFolio {
  readonly pfn: Pfn;
  readonly order: number;
}

export interface KexecMetadata {
  readonly version: number;
  /** Release of the kernel that handed over. */
  readonly previousRelease: string;
  /** 1 in the first kernel that was handed anything. */
  readonly kexecCount: number;
}

export interface Handover {
  readonly entry: EntryRecord;
  readonly scratch: readonly ScratchArea[];
  readonly subtrees: ReadonlyMap<string, Subtree>;
  readonly preservedMap: PhysAddr;
  /** Preserved folios by order. */
  readonly preservedByOrder: ReadonlyMap<number, number>;
  /** A folio of each leaf of the map. */
  readonly leaves: readonly PreservedFolio[];
  /**
   * State of every frame as the handover leaves it: preserved folios incoming, scratch marked, the
   * rest free.
   */
  readonly table: PageTable;
  /**
   * Frames of the tree, the map and the scratch array themselves: not preserved, but needed until
   * this kernel has taken over.
   */
  readonly structure: Uint32Array;
  /** Absent where the previous kernel left none, or one that cannot be read. */
  readonly kexecMetadata: KexecMetadata | undefined;
  /** Of a kernel that died: all that it has published, first frame and number in turn. */
  readonly published?: readonly number[];
}

/**
 * Reads an entry record from its 32 bytes.
 *
 * @throws KernelError EINVAL: not so many bytes. EOVERFLOW: a 64-bit field is beyond 2^53
 */
export function readEntry(bytes: Uint8Array): EntryRecord {
  const ser = recordOf(bytes, EntrySer);
  return {
    fdtAddr: ser.getNumber(EntrySer.fdtAddr),
    fdtSize: ser.getNumber(EntrySer.fdtSize),
    scratchAddr: ser.getNumber(EntrySer.scratchAddr),
    scratchSize: ser.getNumber(EntrySer.scratchSize),
  };
}

/**
 * Writes an entry record into 32 bytes. @throws KernelError EINVAL: not so many bytes, or no entry
 */
export function writeEntry(bytes: Uint8Array, entry: EntryRecord): void {
  checkEntry(entry);
  const ser = recordOf(bytes, EntrySer);
  ser.setU64(EntrySer.fdtAddr, entry.fdtAddr);
  ser.setU64(EntrySer.fdtSize, entry.fdtSize);
  ser.setU64(EntrySer.scratchAddr, entry.scratchAddr);
  ser.setU64(EntrySer.scratchSize, entry.scratchSize);
}

function checkEntry(entry: EntryRecord): void {
  checkObject(entry, 'an entry record');
  for (const name of ['fdtAddr', 'fdtSize', 'scratchAddr', 'scratchSize'] as const)
    checkWhole(entry[name], name);
}

function u64Property(node: FdtNode, name: string): number {
  const value = node.properties.get(name);
  if (value?.length !== 8)
    throw new KernelError(
      'EINVAL',
      `the KHO device tree has no 8-byte '${name}' in node '${node.name || '/'}'`,
    );
  return new StructView(value).getNumber({ at: 0, bytes: 8 });
}

function readScratch(ram: Ram, entry: EntryRecord): ScratchArea[] {
  const { scratchAddr, scratchSize } = entry;
  const isArray = scratchSize > 0 && scratchSize % ScratchSer.SIZE === 0;
  // In one page, so that keeping that page keeps the array.
  if (!isArray || scratchAddr === 0 || (scratchAddr % PAGE_SIZE) + scratchSize > PAGE_SIZE) {
    throw new KernelError(
      'EINVAL',
      `the scratch array has ${scratchSize} bytes at 0x${scratchAddr.toString(16)}: the handover is damaged`,
    );
  }
  const bytes = ram.bytes(scratchAddr, scratchSize);
  const areas: ScratchArea[] = [];
  for (let at = 0; at < scratchSize; at += ScratchSer.SIZE) {
    const ser = new StructView(bytes.subarray(at, at + ScratchSer.SIZE));
    areas.push({ addr: ser.getNumber(ScratchSer.addr), size: ser.getNumber(ScratchSer.size) });
  }
  checkScratch(areas, ram);
  return areas;
}

function readMetadata(ram: Ram, subtree: Subtree | undefined): KexecMetadata | undefined {
  if (!subtree || subtree.size < KexecMetadataSer.SIZE) return undefined;
  const bytes = new Uint8Array(KexecMetadataSer.SIZE);
  forEachBlock(subtree.pa, bytes.length, (pa, length) => bytes.set(ram.bytes(pa, length), pa - subtree.pa));
  const ser = new StructView(bytes);
  const version = ser.getU32(KexecMetadataSer.version);
  if (version !== KEXEC_METADATA_VERSION) return undefined;
  return {
    version,
    previousRelease: ser.getString(KexecMetadataSer.previousRelease),
    kexecCount: ser.getU32(KexecMetadataSer.kexecCount),
  };
}

function readSubtrees(ram: Ram, root: FdtNode, attempt: Attempt): Map<string, Subtree> {
  const subtrees = new Map<string, Subtree>();
  for (const node of root.children) attempt(() => addSubtree(subtrees, ram, node));
  return subtrees;
}

function addSubtree(subtrees: Map<string, Subtree>, ram: Ram, node: FdtNode): void {
  const pa = u64Property(node, PROP_SUBTREE_DATA);
  const size = u64Property(node, PROP_SUBTREE_SIZE);
  if (subtrees.has(node.name))
    throw new KernelError('EINVAL', `the KHO device tree names '${node.name}' twice`);
  if (!(pa > 0 && size > 0 && pa + size <= ram.size)) {
    throw new KernelError(
      'EINVAL',
      `subtree '${node.name}' is at 0x${pa.toString(16)} + ${size} bytes, outside RAM`,
    );
  }
  subtrees.set(node.name, { name: node.name, pa, size });
}

/** Takes `count` preserved folios side by side out of the free memory. */
export function claim(table: PageTable, pfn: Pfn, count: number, order: number): void {
  const pages = count * 2 ** order;
  const isFree =
    pfn + pages <= table.frames && table.flagsEnd(KIND | SCRATCH, FREE, pfn, pfn + pages) === pfn + pages;
  if (!isFree) {
    const isScratch = table.isUnclaimed(pfn, pages);
    throw new KernelError(
      'EINVAL',
      `preserved frames ${pfn}..${pfn + pages - 1} (order ${order}) ${isScratch ? 'lie in a scratch area' : 'are no memory, or preserved twice'}`,
    );
  }
  table.claimIncoming(pfn, order, count);
}

/** A blob in memory that the next boot gives away would be read as whatever comes to lie there. */
function checkSubtree(table: PageTable, { name, pa, size }: Subtree): void {
  for (let pfn = physToPfn(pa); pfnToPhys(pfn) < pa + size; pfn++) {
    const kind = table.kindOf(pfn);
    if (kind !== INCOMING_HEAD && kind !== INCOMING_TAIL)
      throw new KernelError('EINVAL', `the data of subtree '${name}' is not preserved (frame ${pfn})`);
  }
}

/**
 * Keeps the handover's own pages out of free memory, in scratch too (Linux puts the scratch array
 * there), until it is consumed. The device tree is one of them, though it is preserved.
 */
function claimStructure(table: PageTable, frames: ReadonlySet<Pfn>, tree: Pfn): Uint32Array {
  const isOwn = (pfn: Pfn): boolean =>
    pfn === tree && table.kindOf(pfn) === INCOMING_HEAD && table.orderOf(pfn) === 0;
  const claimed = [...frames].filter((pfn) => table.isUnclaimed(pfn, 1) || isOwn(pfn));
  for (const pfn of claimed) table.reserve(pfn, 1);
  return Uint32Array.from(claimed.sort((a, b) => a - b));
}

/** Does one thing, and tells of damage in it where somebody wants to know. */
type Attempt = (read: () => void) => void;

function attemptWith(onDamage: OnDamage | undefined): Attempt {
  return (read) => {
    try {
      read();
    } catch (error) {
      if (!onDamage || !(error instanceof KernelError)) throw error;
      onDamage(error);
    }
  };
}

/**
 * The device tree of a handover, of whatever version.
 *
 * @throws KernelError EINVAL: no RAM, no address of a page, or no device tree there. EFAULT:
 * outside RAM
 */
export function readKhoTree(
  ram: Ram,
  fdtAddr: PhysAddr,
): { readonly compatible: string; readonly root: FdtNode } {
  checkRam(ram);
  checkWhole(fdtAddr, 'the address of a device tree');
  if (fdtAddr % PAGE_SIZE !== 0 || fdtAddr === 0)
    throw new KernelError('EINVAL', `a device tree at 0x${fdtAddr.toString(16)}: it begins a page`);
  const root = readFdt(ram.bytes(fdtAddr, KHO_FDT_SIZE));
  return { compatible: fdtString(root, PROP_COMPATIBLE) ?? '', root };
}

/**
 * Reads and checks a handover.
 *
 * @param ram as the previous kernel left it
 * @param onDamage for tools: is told of each thing that is damaged and left out, as scratch areas,
 * a subtree, a part of the map; and a scratchSize of 0 stands for areas that are not known.
 * Default: it is thrown.
 * @throws KernelError EINVAL: the handover is damaged, of another version, or contradicts itself.
 * EFAULT: it points outside RAM, or into a hole of its memory map. EOVERFLOW: a 64-bit field is
 * beyond 2^53.
 */
export function readHandover(ram: Ram, entry: EntryRecord, onDamage?: OnDamage): Handover {
  checkRam(ram);
  checkEntry(entry);
  if (onDamage !== undefined) checkFunction(onDamage, 'what is told of damage');
  const attempt = attemptWith(onDamage);
  if (entry.fdtSize !== KHO_FDT_SIZE || entry.fdtAddr % PAGE_SIZE !== 0 || entry.fdtAddr === 0) {
    throw new KernelError(
      'EINVAL',
      `the entry record names a device tree of ${entry.fdtSize} bytes at 0x${entry.fdtAddr.toString(16)}`,
    );
  }
  const root = readFdt(ram.bytes(entry.fdtAddr, entry.fdtSize));
  const compatible = fdtString(root, PROP_COMPATIBLE);
  if (compatible !== KHO_COMPATIBLE) {
    throw new KernelError(
      'EINVAL',
      `the handover is '${compatible ?? 'of no version'}', this reads '${KHO_COMPATIBLE}': open it with the program that knows it`,
    );
  }
  const isScratchKnown = !onDamage || entry.scratchSize > 0;
  let scratch: ScratchArea[] = [];
  if (isScratchKnown)
    attempt(() => {
      scratch = readScratch(ram, entry);
    });
  const preservedMap = u64Property(root, PROP_PRESERVED_MAP);
  const subtrees = readSubtrees(ram, root, attempt);

  const table = new PageTable(ram.size, memoryOf(ram));
  table.reserve(0, 1);
  for (const area of scratch) table.setFlag(SCRATCH, physToPfn(area.addr), physToPfn(area.size));
  const counts = new Float64Array(MAX_RUN_ORDER + 1);
  const structure = new Set<Pfn>([physToPfn(entry.fdtAddr)]);
  if (scratch.length > 0) structure.add(physToPfn(entry.scratchAddr));
  const leaves: PreservedFolio[] = [];
  walkRadixTree(
    ram,
    preservedMap,
    (pfn, count, order) => {
      claim(table, pfn, count, order);
      counts[order] += count;
      const last = leaves.at(-1);
      if (last?.order !== order || leafOfOrder(last.pfn, order) !== leafOfOrder(pfn, order))
        leaves.push({ pfn, order });
    },
    (node) => structure.add(node),
    onDamage,
  );
  for (const subtree of subtrees.values())
    attempt(() => {
      checkSubtree(table, subtree);
    });
  return {
    entry,
    scratch,
    subtrees,
    preservedMap,
    preservedByOrder: new Map([...counts.entries()].filter(([, count]) => count > 0).reverse()),
    leaves,
    table,
    structure: claimStructure(table, structure, physToPfn(entry.fdtAddr)),
    kexecMetadata: readMetadata(ram, subtrees.get(KEXEC_METADATA)),
  };
}
