/**
 * Kexec HandOver of one kernel generation: what this kernel hands to the next, and what it was handed (kernel:
 * kernel/liveupdate/kexec_handover.c).
 *
 * Always: the outgoing device tree and memory map are valid, so a next kernel may come at any instant; a preserved frame is in
 * use, outside scratch, in the map once; an incoming frame has no owner until it is restored, once.
 */
import {
  assert,
  AssertionError,
  KernelError,
  log2Ceil,
  log2Floor,
  MAX_ORDER,
  PAGE_SIZE,
  pagesFor,
  pfnToPhys,
  physToPfn,
  StructView,
  trailingZeros,
  Undo,
  writeU64,
  type Pfn,
  type PhysAddr,
} from '@liveupdate/base';
import {
  FolioRuns,
  HEAD,
  INCOMING_HEAD,
  KIND,
  PRESERVED,
  VmallocArea,
  type PageAllocator,
  type Ram,
} from '@liveupdate/mm';
import {
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
  VMALLOC_ALLOC,
  VMALLOC_CHUNK_ENTRIES,
  VMALLOC_HUGE,
} from './abi.ts';
import { fdtText, writeFdt } from './fdt-writer.ts';
import { MAX_RUN_ORDER } from './radix-key.ts';
import { RadixTree } from './radix-tree.ts';
import type { EntryRecord, Handover, ScratchArea, Subtree } from './read-handover.ts';
import { readVmallocPages, type VmallocDescriptor } from './vmalloc-ser.ts';

/** A folio that KHO hands over or was handed, as a structure in memory. */
export class PreservedBlock extends StructView {
  readonly pa: PhysAddr;

  constructor(pa: PhysAddr, bytes: Uint8Array) {
    super(bytes);
    this.pa = pa;
  }
}

/** What a kernel generation starts from. */
export interface KhoInit {
  readonly pages: PageAllocator;
  readonly scratch: readonly ScratchArea[];
  /** What the previous kernel handed over; absent on a cold boot. */
  readonly incoming?: Handover | undefined;
  /** Name of this kernel for the next one; at most 64 bytes. */
  readonly release: string;
}

function u64Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  writeU64(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export class Kho {
  readonly pages: PageAllocator;
  readonly scratch: readonly ScratchArea[];
  /** What the previous kernel handed over; undefined after a cold boot. */
  readonly incoming: Handover | undefined;
  readonly #map: RadixTree;
  readonly #subtrees = new Map<string, Subtree>();
  readonly #scratchArray: PhysAddr;
  /** Two pages, written in turn, so that the published tree is never half-written. */
  readonly #trees: readonly [PhysAddr, PhysAddr];
  #tree: 0 | 1 = 0;
  #committed = false;

  /**
   * Begins the outgoing side: an empty map, and a device tree with the kexec metadata in it.
   *
   * @throws KernelError ENOMEM: RAM is too small. EINVAL: the release is too long.
   */
  constructor({ pages, scratch, incoming, release }: KhoInit) {
    this.pages = pages;
    this.scratch = scratch;
    this.incoming = incoming;
    this.#map = new RadixTree(pages);
    this.#trees = [pfnToPhys(pages.alloc(0, { zero: true })), pfnToPhys(pages.alloc(0, { zero: true }))];
    this.#scratchArray = this.#writeScratchArray();
    const metadata = this.allocPreserve(KexecMetadataSer.SIZE);
    metadata.setU32(KexecMetadataSer.version, KEXEC_METADATA_VERSION);
    metadata.setString(KexecMetadataSer.previousRelease, release);
    metadata.setU32(KexecMetadataSer.kexecCount, (incoming?.kexecMetadata?.kexecCount ?? 0) + 1);
    this.addSubtree(KEXEC_METADATA, metadata.pa, KexecMetadataSer.SIZE);
  }

  get ram(): Ram {
    return this.pages.ram;
  }

  /** What the next kernel must be told. Changes whenever a subtree comes or goes. */
  get entry(): EntryRecord {
    return {
      fdtAddr: this.#trees[this.#tree],
      fdtSize: KHO_FDT_SIZE,
      scratchAddr: this.#scratchArray,
      scratchSize: Math.max(1, this.scratch.length) * ScratchSer.SIZE,
    };
  }

  // ---- Outgoing memory -------------------------------------------------------------------------------------------------------

  /**
   * Hands a folio in use to the next kernel. It stays in use here, at its place, until it is unpreserved.
   *
   * @throws KernelError EINVAL: not the head of a folio in use, or in a scratch area. EEXIST: preserved already. ENOMEM: no page for the map.
   */
  preserveFolio(pfn: Pfn): void {
    this.preserveRun(pfn, 1, this.#checkPreservable(pfn));
  }

  /** Takes a folio back. It must be preserved. */
  unpreserveFolio(pfn: Pfn): void {
    this.unpreserveRun(pfn, 1, this.#checkPreserved(pfn));
  }

  /**
   * Hands `count` folios in use of one order over that lie side by side. All or none.
   *
   * @throws KernelError as preserveFolio
   */
  preserveRun(pfn: Pfn, count: number, order: number): void {
    const { flags, orders } = this.pages.table;
    const step = 2 ** order;
    for (let i = 0, at = pfn; i < count; i++, at += step) {
      if (flags[at] !== HEAD) this.#checkPreservable(at);
      if (orders[at] !== order)
        throw new KernelError('EINVAL', `folio ${at} is of order ${orders[at]}, not ${order}`);
    }
    this.#map.addRun(pfn, count, order);
    this.#mark(HEAD | PRESERVED, pfn, count, order);
  }

  /** Takes back `count` preserved folios of one order that lie side by side. */
  unpreserveRun(pfn: Pfn, count: number, order: number): void {
    const { flags, orders } = this.pages.table;
    const step = 2 ** order;
    for (let i = 0, at = pfn; i < count; i++, at += step) {
      if (flags[at] !== (HEAD | PRESERVED) || orders[at] !== order) {
        throw new AssertionError(`folio ${at} of order ${order} is not preserved`);
      }
    }
    this.#map.deleteRun(pfn, count, order);
    this.#mark(HEAD, pfn, count, order);
  }

  /**
   * Hands folios over, run by run. All or none.
   *
   * @throws KernelError as preserveFolio
   */
  preserveRuns({ length, pfns, counts, orders }: FolioRuns): void {
    let done = 0;
    try {
      for (; done < length; done++) this.preserveRun(pfns[done], counts[done], orders[done]);
    } catch (error) {
      while (--done >= 0) this.unpreserveRun(pfns[done], counts[done], orders[done]);
      throw error;
    }
  }

  /** Takes folios back, run by run. All must be preserved. */
  unpreserveRuns({ length, pfns, counts, orders }: FolioRuns): void {
    for (let i = length - 1; i >= 0; i--) this.unpreserveRun(pfns[i], counts[i], orders[i]);
  }

  /**
   * Hands the folios `pfns[from .. from + count - 1]` over, run by run. All or none.
   *
   * @throws KernelError as preserveFolio
   */
  preserveFolios(pfns: Uint32Array, from = 0, count = pfns.length - from): void {
    const { flags, orders } = this.pages.table;
    const end = from + count;
    let at = from;
    try {
      while (at < end) {
        const first = pfns[at];
        const order = this.#checkPreservable(first);
        const step = 2 ** order;
        let run = 1;
        for (let next = first + step; at + run < end; next += step, run++) {
          if (pfns[at + run] !== next || flags[next] !== HEAD || orders[next] !== order) break;
        }
        this.preserveRun(first, run, order);
        at += run;
      }
    } catch (error) {
      this.unpreserveFolios(pfns, from, at - from);
      throw error;
    }
  }

  /** Takes the folios `pfns[from .. from + count - 1]` back. All must be preserved. */
  unpreserveFolios(pfns: Uint32Array, from = 0, count = pfns.length - from): void {
    const { flags, orders } = this.pages.table;
    const end = from + count;
    let at = from;
    while (at < end) {
      const first = pfns[at];
      const order = this.#checkPreserved(first);
      const step = 2 ** order;
      let run = 1;
      for (let next = first + step; at + run < end; next += step, run++) {
        if (pfns[at + run] !== next || flags[next] !== (HEAD | PRESERVED) || orders[next] !== order) break;
      }
      this.unpreserveRun(first, run, order);
      at += run;
    }
  }

  /**
   * Hands `count` pages of order 0 in a row over, in aligned power-of-two runs, one key each. All or none.
   *
   * @throws KernelError as preserveFolio
   */
  preservePages(pfn: Pfn, count: number): void {
    for (let i = pfn; i < pfn + count; i++) {
      if (this.#checkPreservable(i) !== 0)
        throw new KernelError('EINVAL', `frame ${i} is not a page of order 0`);
    }
    using undo = new Undo();
    forEachPageRun(pfn, count, (first, order) => {
      this.#map.addRun(first, 1, order);
      undo.add(() => {
        this.#map.deleteRun(first, 1, order);
      });
    });
    this.pages.table.setFlag(PRESERVED, pfn, count);
    undo.keep();
  }

  /** Takes pages back that preservePages was called for, with the same numbers. */
  unpreservePages(pfn: Pfn, count: number): void {
    if (!this.pages.table.allHave(PRESERVED, true, pfn, count))
      throw new AssertionError(`pages ${pfn} + ${count} are not all preserved`);
    forEachPageRun(pfn, count, (first, order) => {
      this.#map.deleteRun(first, 1, order);
    });
    this.pages.table.clearFlag(PRESERVED, pfn, count);
  }

  /**
   * A zeroed, physically contiguous, preserved block of at least `size` bytes: the next power of two in pages.
   *
   * @throws KernelError EINVAL: size is 0. E2BIG: above 4 MiB (order 10). ENOMEM: no memory; nothing is kept.
   */
  allocPreserve(size: number): PreservedBlock {
    if (!(size > 0)) throw new KernelError('EINVAL', `a preserved block of ${size} bytes`);
    const order = log2Ceil(pagesFor(size));
    if (order > MAX_ORDER)
      throw new KernelError('E2BIG', `${size} bytes do not fit in one folio of 4 MiB: use vmalloc memory`);
    const pfn = this.pages.alloc(order, { zero: true });
    try {
      this.preserveFolio(pfn);
    } catch (error) {
      this.pages.put(pfn);
      throw error;
    }
    return this.#block(pfn);
  }

  /** Takes back what allocPreserve gave, and frees it. */
  unpreserveFree(data: bigint | PhysAddr): void {
    const pfn = Number(data) / PAGE_SIZE;
    this.unpreserveFolio(pfn);
    this.pages.put(pfn);
  }

  /**
   * Hands a vmalloc area over. The area stays in use here.
   *
   * @throws KernelError as preserveFolio, for the pieces and for the chunks that list them; nothing is kept
   */
  preserveVmalloc(area: VmallocArea): VmallocDescriptor {
    using undo = new Undo();
    const pieces = runsOf(area.pfns, area.order);
    this.preserveRuns(pieces);
    undo.add(() => {
      this.unpreserveRuns(pieces);
    });
    const chunks: PreservedBlock[] = [];
    const chunkCount = Math.floor(area.pfns.length / VMALLOC_CHUNK_ENTRIES) + 1;
    while (chunks.length < chunkCount) {
      const chunk = this.allocPreserve(PAGE_SIZE);
      undo.add(() => {
        this.unpreserveFree(chunk.pa);
      });
      chunks.push(chunk);
    }
    for (const [c, chunk] of chunks.entries()) {
      const first = c * VMALLOC_CHUNK_ENTRIES;
      const count = Math.min(VMALLOC_CHUNK_ENTRIES, area.pfns.length - first);
      writeU64(chunk.view, 0, c + 1 < chunkCount ? chunks[c + 1].pa : 0);
      for (let i = 0; i < count; i++) writeU64(chunk.view, (i + 1) * 8, pfnToPhys(area.pfns[first + i]));
    }
    undo.keep();
    const flags = VMALLOC_ALLOC | (area.order > 0 ? VMALLOC_HUGE : 0);
    return { first: chunks[0].pa, totalPages: area.pageCount, flags, order: area.order };
  }

  /** Takes a vmalloc area back and frees its chunks; the area stays in use. */
  unpreserveVmalloc(descriptor: VmallocDescriptor): void {
    const { pfns, chunks } = readVmallocPages(this.ram, descriptor);
    this.unpreserveRuns(runsOf(pfns, descriptor.order));
    this.unpreserveRuns(runsOf(chunks, 0));
    this.pages.putBulk(chunks, 0, chunks.length);
  }

  /**
   * Names data in the device tree. Its pages must be preserved.
   *
   * @param size bytes
   * @throws KernelError EEXIST: the name is taken. EINVAL: no name of a node, no bytes, or not all of them preserved. ENOMEM: the tree is full (one
   * page).
   */
  addSubtree(name: string, pa: PhysAddr, size: number): void {
    if (name === '' || /[\0/]/.test(name))
      throw new KernelError(
        'EINVAL',
        `'${name}' is no name of a subtree: it is empty, or has a '/' or a NUL`,
      );
    if (this.#subtrees.has(name)) throw new KernelError('EEXIST', `there is a subtree '${name}' already`);
    if (!this.#isPreservedRange(pa, size))
      throw new KernelError('EINVAL', `the data of subtree '${name}' (${size} bytes) is not preserved`);
    this.#subtrees.set(name, { name, pa, size });
    try {
      this.#publishTree();
    } catch (error) {
      this.#subtrees.delete(name);
      throw error;
    }
  }

  /**
   * Takes a name out of the device tree.
   *
   * @throws KernelError ENOENT: no such name
   */
  removeSubtree(name: string): void {
    if (!this.#subtrees.delete(name)) throw new KernelError('ENOENT', `there is no subtree '${name}'`);
    this.#publishTree();
  }

  /** Pages that the outgoing map takes. */
  get mapPages(): number {
    return this.#map.nodePages();
  }

  // ---- Incoming memory -------------------------------------------------------------------------------------------------------

  /**
   * This kernel has taken over: the tree and map that led to it are freed, and cannot be read again. Before this call the handover is whole, and
   * another boot can be made from it. A second call does nothing.
   */
  commit(): void {
    if (!this.incoming || this.#committed) return;
    this.#committed = true;
    for (const pfn of this.incoming.structure) {
      this.pages.releaseReserved(pfn);
      this.ram.discard(pfnToPhys(pfn), PAGE_SIZE);
    }
  }

  /** Data that the previous kernel named so; undefined where there is none. */
  retrieveSubtree(name: string): Subtree | undefined {
    return this.incoming?.subtrees.get(name);
  }

  /** Whether a folio of the previous kernel begins here that nobody restored yet. */
  isIncoming(pfn: Pfn): boolean {
    const { table } = this.pages;
    return pfn < table.frames && (table.flags[pfn] & KIND) === INCOMING_HEAD;
  }

  /**
   * Makes a folio of the previous kernel one of ours, with one reference. Once only.
   *
   * @throws KernelError ENOENT: not preserved, a tail page, or restored already; nothing is changed
   */
  restoreFolio(pfn: Pfn): void {
    if (!this.isIncoming(pfn) || this.pages.orderOf(pfn) > MAX_ORDER || !this.pages.adoptIncoming(pfn))
      throw this.#notIncoming(pfn);
  }

  /**
   * Restores folios, run by run, until one run cannot be: none of its folios is restored then.
   *
   * @returns how many runs were restored; less than `runs.length` where run number `result` has a folio that cannot be
   */
  restoreRuns({ length, pfns, counts, orders }: FolioRuns): number {
    for (let i = 0; i < length; i++) {
      if (orders[i] > MAX_ORDER || !this.pages.adoptIncomingRun(pfns[i], counts[i], orders[i])) return i;
    }
    return length;
  }

  /**
   * Restores the folios `pfns[from .. from + count - 1]`, run by run, until one cannot be.
   *
   * @returns how many were restored; less than `count` where `pfns[from + result]` is no folio to restore
   */
  restoreFolios(pfns: Uint32Array, from = 0, count = pfns.length - from): number {
    const end = from + count;
    let at = from;
    while (at < end) {
      const first = pfns[at];
      let run = 1;
      while (at + run < end && pfns[at + run] === first + run) run += 1;
      if (run > 1 && this.pages.adoptIncomingRun(first, run, 0)) {
        at += run;
        continue;
      }
      // Not a run of single pages, or not all of it is incoming: one by one, up to the one that is not.
      for (const stop = at + run; at < stop; at++) {
        if (this.pages.table.orders[pfns[at]] > MAX_ORDER || !this.pages.adoptIncoming(pfns[at]))
          return at - from;
      }
    }
    return count;
  }

  /**
   * Restores `count` pages that were preserved by preservePages, as single pages with one reference each.
   *
   * @throws KernelError ENOENT: not such pages; nothing is changed
   */
  restorePages(pfn: Pfn, count: number): void {
    const { table } = this.pages;
    forEachPageRun(pfn, count, (first, order) => {
      if (!this.isIncoming(first) || table.orders[first] !== order) throw this.#notIncoming(first);
    });
    forEachPageRun(pfn, count, (first) => {
      this.pages.adoptIncoming(first);
      this.pages.split(first);
    });
  }

  /**
   * A block of memory by the number that a handler keeps: one of ours, or one that the previous kernel handed over.
   *
   * @throws KernelError EINVAL: no folio begins at this address
   */
  at(data: bigint | PhysAddr): PreservedBlock {
    const pa = Number(data);
    const pfn = physToPfn(pa);
    const { table } = this.pages;
    const known = pa > 0 && pa % PAGE_SIZE === 0 && (this.isIncoming(pfn) || this.pages.isHead(pfn));
    if (!known || table.orders[pfn] > MAX_ORDER)
      throw new KernelError('EINVAL', `no preserved block begins at 0x${pa.toString(16)}`);
    return this.#block(pfn);
  }

  /**
   * Frees a block that the previous kernel handed over.
   *
   * @throws KernelError ENOENT: no such block, or restored already
   */
  restoreFree(data: bigint | PhysAddr): void {
    const pfn = Number(data) / PAGE_SIZE; // a fraction where no page begins: no folio does
    this.restoreFolio(pfn);
    this.pages.put(pfn);
  }

  /**
   * Restores a vmalloc area and frees the chunks that listed it.
   *
   * @throws KernelError EINVAL: a damaged descriptor, or pages that are not ours to restore; nothing is changed
   */
  restoreVmalloc(descriptor: VmallocDescriptor): VmallocArea {
    const { pfns, chunks } = readVmallocPages(this.ram, descriptor);
    const all = [runsOf(pfns, descriptor.order), runsOf(chunks, 0)];
    for (const runs of all) this.#checkIncoming(runs);
    if (namesTwice(pfns, chunks))
      throw new KernelError('EINVAL', 'a vmalloc area names a page twice: it is damaged');
    for (const runs of all) {
      const restored = this.restoreRuns(runs);
      assert(restored === runs.length, 'pages that were just found incoming can be restored');
    }
    this.pages.putBulk(chunks);
    return new VmallocArea(this.pages, pfns, descriptor.order);
  }

  // ---- Inside ----------------------------------------------------------------------------------------------------------------

  #block(pfn: Pfn): PreservedBlock {
    return new PreservedBlock(pfnToPhys(pfn), this.pages.folioBytes(pfn));
  }

  /** Throws EINVAL unless every folio of these runs waits to be restored. */
  #checkIncoming({ length, pfns, counts, orders }: FolioRuns): void {
    const { table } = this.pages;
    for (let i = 0; i < length; i++) {
      for (let f = 0, pfn = pfns[i]; f < counts[i]; f++, pfn += 1 << orders[i]) {
        if (!this.isIncoming(pfn) || table.orders[pfn] !== orders[i]) {
          throw new KernelError('EINVAL', `a vmalloc area names frame ${pfn}, which is not preserved for it`);
        }
      }
    }
  }

  /** Whether [pa, pa + size) lies in folios that are all preserved; it may begin in the midst of one page, not in a tail. */
  #isPreservedRange(pa: PhysAddr, size: number): boolean {
    if (!(Number.isSafeInteger(pa) && Number.isSafeInteger(size) && size > 0)) return false;
    let pfn = physToPfn(pa);
    while (pfnToPhys(pfn) < pa + size) {
      if (!this.pages.isHead(pfn) || !this.pages.isPreserved(pfn)) return false;
      pfn += 2 ** this.pages.orderOf(pfn);
    }
    return true;
  }

  /** The order of a folio that may be preserved. */
  #checkPreservable(pfn: Pfn): number {
    const { table } = this.pages;
    const flags = pfn < table.frames ? table.flags[pfn] : 0;
    if (flags === HEAD) return table.orders[pfn];
    if ((flags & KIND) !== HEAD)
      throw new KernelError('EINVAL', `frame ${pfn} is ${table.kindName(pfn)}, not a folio in use`);
    if ((flags & PRESERVED) !== 0) throw new KernelError('EEXIST', `frame ${pfn} is preserved already`);
    throw new KernelError(
      'EINVAL',
      `frame ${pfn} lies in a scratch area, which the next kernel overwrites: move it first`,
    );
  }

  #checkPreserved(pfn: Pfn): number {
    if (!this.pages.isHead(pfn) || !this.pages.isPreserved(pfn))
      throw new AssertionError(`frame ${pfn} is not preserved`);
    return this.pages.table.orders[pfn];
  }

  /** Sets the flags of `count` folio heads. */
  #mark(flags: number, pfn: Pfn, count: number, order: number): void {
    const table = this.pages.table.flags;
    if (order === 0) table.fill(flags, pfn, pfn + count);
    else for (let i = 0, step = 2 ** order; i < count; i++) table[pfn + i * step] = flags;
  }

  #writeScratchArray(): PhysAddr {
    assert(this.scratch.length * ScratchSer.SIZE <= PAGE_SIZE, 'the scratch array fits in a page');
    const pa = pfnToPhys(this.pages.alloc(0, { zero: true }));
    for (const [i, area] of this.scratch.entries()) {
      const ser = new StructView(this.ram.bytes(pa + i * ScratchSer.SIZE, ScratchSer.SIZE));
      ser.setU64(ScratchSer.addr, area.addr);
      ser.setU64(ScratchSer.size, area.size);
    }
    return pa;
  }

  /** Writes the tree into the page that is not published, then publishes that. */
  #publishTree(): void {
    const children = [...this.#subtrees.values()].map((subtree) => ({
      name: subtree.name,
      properties: new Map([
        [PROP_SUBTREE_DATA, u64Bytes(subtree.pa)],
        [PROP_SUBTREE_SIZE, u64Bytes(subtree.size)],
      ]),
      children: [],
    }));
    const properties = new Map([
      [PROP_COMPATIBLE, fdtText(KHO_COMPATIBLE)],
      [PROP_PRESERVED_MAP, u64Bytes(this.#map.root)],
    ]);
    const bytes = writeFdt({ name: '', properties, children }, KHO_FDT_SIZE);
    const other = this.#tree === 0 ? 1 : 0;
    this.ram.bytes(this.#trees[other], KHO_FDT_SIZE).set(bytes);
    this.#tree = other;
  }

  #notIncoming(pfn: Pfn): KernelError {
    return new KernelError(
      'ENOENT',
      `frame ${pfn} is ${this.pages.table.kindName(pfn)}: no preserved folio begins there that is not restored yet`,
    );
  }
}

/** Cuts pages in a row into aligned power-of-two runs: the same cuts on both sides of a handover. */
function forEachPageRun(pfn: Pfn, count: number, visit: (pfn: Pfn, order: number) => void): void {
  let at = pfn;
  let left = count;
  while (left > 0) {
    const order = Math.min(trailingZeros(at), log2Floor(left), MAX_RUN_ORDER);
    visit(at, order);
    at += 2 ** order;
    left -= 2 ** order;
  }
}

/** Pieces of one order as runs, in their order; the index is that of their pages. */
function runsOf(pfns: Uint32Array, order: number): FolioRuns {
  const runs = new FolioRuns();
  for (let i = 0; i < pfns.length; i++) runs.push(i << order, pfns[i], 1, order);
  return runs;
}

/** Whether a frame is in these lists more than once. */
function namesTwice(pfns: Uint32Array, chunks: Uint32Array): boolean {
  const all = new Uint32Array(pfns.length + chunks.length);
  all.set(pfns);
  all.set(chunks, pfns.length);
  all.sort();
  for (let i = 1; i < all.length; i++) if (all[i] === all[i - 1]) return true;
  return false;
}
