/**
 * Kexec HandOver of one kernel generation: what this kernel hands to the next, and what it was
 * handed (kernel: kernel/liveupdate/kexec_handover.c). Folios are preserved in outgoing-memory.ts
 * and restored in incoming-memory.ts; here they become vmalloc areas, blobs, and a device tree.
 *
 * Always: the outgoing device tree and memory map are valid, so a next kernel may come at any
 * instant.
 */
import {
  assert,
  type Bytes,
  bytesOf,
  checkFunction,
  checkText,
  formatSize,
  KernelError,
  PAGE_SIZE,
  pfnToPhys,
  type PhysAddr,
  StructView,
  shown,
  withSuppressed,
} from '@liveupdate/base';
import {
  HEAD,
  INCOMING_HEAD,
  KIND,
  PRESERVED,
  SCRATCH,
  type PageAllocator,
  type VmallocArea,
} from '@liveupdate/mm';
import { KEXEC_METADATA, KEXEC_METADATA_VERSION, KexecMetadataSer, KHO_FDT_SIZE, ScratchSer } from './abi.ts';
import { preserveBlob, restoreBlob, unpreserveBlob } from './blob.ts';
import type { BlobDescriptor } from './blob-ser.ts';
import { OutgoingMemory } from './outgoing-memory.ts';
import { OutgoingTree } from './outgoing-tree.ts';
import type { EntryRecord, Handover, Subtree } from './read-handover.ts';
import { Publication } from './publication.ts';
import type { LiveRecord } from './read-live-record.ts';
import { recordResidency } from './residency-record.ts';
import type { ScratchArea } from './scratch.ts';
import { preserveVmalloc, restoreVmalloc, unpreserveVmalloc } from './vmalloc-preserve.ts';
import type { VmallocDescriptor } from './vmalloc-ser.ts';

/** What a kernel generation starts from. */
export interface KhoInit {
  readonly pages: PageAllocator;
  readonly scratch: readonly ScratchArea[];
  /** What the previous kernel handed over; absent on a cold boot. */
  readonly incoming?: Handover | undefined;
  /** Frames that were reserved for what it recorded of residency. */
  readonly residencyFrames?: Uint32Array | undefined;
  /** Name of this kernel for the next one; at most 64 bytes. */
  readonly release: string;
  /**
   * The live record to go on with, or `'new'`; undefined where nothing is to survive but by a
   * handover.
   */
  readonly live?: LiveRecord | 'new' | undefined;
}

/**
 * Pages that the next kernel takes before it owns anything: its tree, the first nodes of its map,
 * the scratch array, two records (11); and some more.
 */
const NEXT_KERNEL_PAGES = 16;
/**
 * Pages that are ready for records when files are preserved: enough for some sessions, and next to
 * nothing in memory.
 */
const PREPARED_PAGES = 64;
/**
 * Leaves of the map that are made ahead: a millisecond or two of work. Each has place for 128 MiB
 * in 4 KiB folios, or 64 GiB in 2 MiB folios.
 */
const MOST_PREPARED_LEAVES = 128;
/** Pages that are not handed over: the other one of the outgoing tree, and the scratch array. */
const OWN_PAGES = 2;

export class Kho extends OutgoingMemory {
  readonly scratch: readonly ScratchArea[];
  /** What the previous kernel handed over; undefined after a cold boot. */
  readonly incoming: Handover | undefined;
  /**
   * What is published for whoever comes after this kernel, should it die; undefined where nothing
   * is.
   */
  readonly publication: Publication | undefined;
  readonly #tree: OutgoingTree;
  readonly #scratchArray: PhysAddr;
  readonly #residencyFrames: Uint32Array;
  #isCommitted: boolean;
  /** Work that waits for that. */
  #whenCommitted: (() => void)[] = [];

  /**
   * Begins the outgoing side: an empty map, and a device tree with the kexec metadata in it.
   *
   * @throws KernelError ENOMEM: RAM is too small. EINVAL: the release is too long.
   */
  constructor({ pages, scratch, incoming, residencyFrames, release, live }: KhoInit) {
    super(pages);
    this.scratch = scratch;
    this.incoming = incoming;
    this.#isCommitted = incoming === undefined;
    this.#residencyFrames = residencyFrames ?? new Uint32Array(0);
    this.#tree = new OutgoingTree(pages, this.mapRoot, (pa, isHandedOver) => {
      this.markOwn(pa, isHandedOver);
    });
    this.#scratchArray = this.#writeScratchArray();
    const metadata = this.allocRecord(KexecMetadataSer.SIZE);
    metadata.setU32(KexecMetadataSer.version, KEXEC_METADATA_VERSION);
    metadata.setString(KexecMetadataSer.previousRelease, release);
    const count = (incoming?.kexecMetadata?.kexecCount ?? 0) + 1;
    if (live === 'new') this.publication = Publication.create(pages, { scratch, kexecCount: count - 1 });
    else if (live) this.publication = Publication.resume(pages, live, incoming?.published);
    this.watchKeys(this.publication);
    this.publication?.noteKexec(count >>> 0);
    metadata.setU32(KexecMetadataSer.kexecCount, count >>> 0); // after the last comes 0, as in Linux
    this.addSubtree(KEXEC_METADATA, metadata.pa, KexecMetadataSer.SIZE);
  }

  /** What the next kernel must be told. Changes whenever a subtree comes or goes. */
  get entry(): EntryRecord {
    return {
      fdtAddr: this.#tree.pa,
      fdtSize: KHO_FDT_SIZE,
      scratchAddr: this.#scratchArray,
      scratchSize: Math.max(1, this.scratch.length) * ScratchSer.SIZE,
    };
  }

  /** The memory is another's now, or nobody's: nothing is preserved, taken back or published. */
  override end(): void {
    this.publication?.end();
    super.end();
  }

  // ---- What is handed over ----------------------------------------------------------------------

  /**
   * Hands a vmalloc area over. The area stays in use here.
   *
   * @throws KernelError as preserveFolio, for the pieces and for the chunks that list them; nothing
   * is kept
   */
  preserveVmalloc(area: VmallocArea): VmallocDescriptor {
    return preserveVmalloc(this, area);
  }

  /** Takes a vmalloc area back and frees its chunks; the area stays in use. */
  unpreserveVmalloc(descriptor: VmallocDescriptor): void {
    unpreserveVmalloc(this, descriptor);
  }

  /**
   * Hands a copy of `bytes` over, of any length. Put the descriptor into your record
   * (writeBlobDescriptor).
   *
   * @param bytes any typed array, a DataView or a buffer: its bytes, whatever its elements
   * @throws KernelError ENOMEM: no memory for it; nothing is kept. EINVAL: it has no bytes, or was
   * detached
   */
  preserveBlob(bytes: Bytes): BlobDescriptor {
    return preserveBlob(this, bytesOf(bytes));
  }

  /** Takes a blob back and frees its memory. */
  unpreserveBlob(blob: BlobDescriptor): void {
    unpreserveBlob(this, blob);
  }

  /**
   * Names data in the device tree. Its pages must be preserved.
   *
   * @param size bytes
   * @throws KernelError EEXIST: the name is taken. EINVAL: no name of a node, no bytes, or not all
   * of them preserved. ENOMEM: the tree is full (one page).
   */
  addSubtree(name: string, pa: PhysAddr, size: number): void {
    checkText(name, 'a name of a subtree');
    if (!this.isPreservedRange(pa, size))
      throw new KernelError(
        'EINVAL',
        `the data of subtree '${name}' (${shown(size)} bytes) is not preserved`,
      );
    this.#tree.add({ name, pa, size });
  }

  /**
   * Takes a name out of the device tree.
   *
   * @throws KernelError ENOENT: no such name. EINVAL: no text
   */
  removeSubtree(name: string): void {
    this.#tree.remove(checkText(name, 'a name of a subtree'));
  }

  /**
   * Tells the next kernel which memory of a sparse RAM is there, when everything else is written.
   * Without memory for that it finds out itself.
   *
   * @returns takes it back: the handover is called off
   */
  recordResidency(): () => void {
    if (this.publication?.recordResidency()) return () => undefined; // it is in the live record
    return recordResidency(this, this);
  }

  /**
   * Hands on what the previous kernel left and nobody has finished.
   *
   * @returns takes it back: the handover is called off
   * @throws KernelError ENOMEM: no page for the map; nothing is changed
   */
  carryArrived(): () => void {
    const rows = this.publication?.arrivedRows();
    return rows ? this.carryOn(rows) : () => undefined;
  }

  /**
   * Makes sure that the next kernel finds enough memory to begin with, and that the system has
   * given it: on one that is full nobody could boot else.
   *
   * @throws KernelError ENOMEM: what is preserved leaves it too little. ENOSPC: the system has no
   * more. Nothing is changed.
   */
  checkRoomForNext(): void {
    // What is free now is free then. Else what it gets must be counted: all that is in use here and
    // not preserved, too.
    if (this.pages.freePages >= NEXT_KERNEL_PAGES) {
      if (this.pages.prepare(NEXT_KERNEL_PAGES)) return;
      this.pages.residency.relieve();
      throw new KernelError(
        'ENOSPC',
        `the system has not the ${NEXT_KERNEL_PAGES} pages that the next kernel needs to begin: free some of the file system, or make it larger`,
      );
    }
    const { freePages, heldPages } = this.pages;
    const left =
      freePages +
      heldPages +
      this.#unpreservedPages() -
      this.mapPages -
      OWN_PAGES -
      (this.publication?.pageCount ?? 0);
    if (left >= NEXT_KERNEL_PAGES) return;
    throw new KernelError(
      'ENOMEM',
      `what is preserved leaves ${Math.max(0, left)} of the ${NEXT_KERNEL_PAGES} pages that the next kernel needs to begin: unpreserve files of ${formatSize((NEXT_KERNEL_PAGES - Math.max(0, left)) * PAGE_SIZE)}, or make a larger RAM`,
    );
  }

  /**
   * Pages outside scratch that are in use, or were handed over and not taken, and that the next
   * kernel does not get from us.
   */
  #unpreservedPages(): number {
    const { table } = this.pages;
    let count = 0;
    for (let pfn = 0; pfn < table.frames;) {
      const flags = table.flagsOf(pfn);
      const isHead = (flags & KIND) === HEAD || (flags & KIND) === INCOMING_HEAD;
      const size = isHead ? 1 << table.orderOf(pfn) : 1;
      if (isHead && (flags & (PRESERVED | SCRATCH)) === 0) count += size;
      pfn += size;
    }
    return count;
  }

  // ---- What was handed over ---------------------------------------------------------------------

  /**
   * This kernel has taken over: the tree and map that led to it are freed, and cannot be read
   * again. Before this call the handover is whole, and another boot can be made from it. A second
   * call does nothing.
   *
   * @throws what work that waited for it threw first; all of it has run
   */
  commit(): void {
    if (!this.incoming || this.#isCommitted) return;
    this.#isCommitted = true;
    this.publication?.takeOver();
    const frames = Uint32Array.from([...this.incoming.structure, ...this.#residencyFrames]).sort();
    for (let i = 0, from = 0; i < frames.length; i++) {
      if (frames[i + 1] === frames[i] + 1) continue;
      this.pages.releaseReserved(frames[from], i + 1 - from);
      from = i + 1;
    }
    const errors: unknown[] = [];
    for (const work of this.#whenCommitted.splice(0)) {
      try {
        work();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw withSuppressed(errors[0], errors.slice(1));
  }

  /**
   * Whether this kernel has taken over (see commit), or was handed nothing. Until then what it was
   * handed must stay as it is, byte by byte, restored or not: should this kernel die, another boots
   * from it.
   */
  get isCommitted(): boolean {
    return this.#isCommitted;
  }

  /**
   * Runs `work` once this kernel has taken over: at once where it has, and where it was handed
   * nothing; never where it hands over, or ends, before that. It must not throw.
   *
   * @throws KernelError EINVAL: no function
   */
  whenCommitted(work: () => void): void {
    checkFunction(work, 'work for when the handover is consumed');
    if (this.#isCommitted) work();
    else this.#whenCommitted.push(work);
  }

  /**
   * Does ahead what preserving would wait for: what was handed over will likely be handed over
   * again, so its place in the map is made, and the memory of some pages is taken from the system.
   * As far as there is memory.
   */
  prepare(): void {
    for (const folio of this.incoming?.leaves.slice(0, MOST_PREPARED_LEAVES) ?? []) {
      // Not of what the next kernel needs, and whoever allocates until then.
      if (this.pages.freePages < 2 * NEXT_KERNEL_PAGES || !this.prepareMap(folio)) break;
    }
    this.pages.prepare(PREPARED_PAGES);
  }

  /**
   * Gives the memory of all that is free back to the system, but for what the next kernel needs to
   * begin.
   */
  giveBackFree(): void {
    this.pages.residency.giveBackFree(NEXT_KERNEL_PAGES);
  }

  /** Data that the previous kernel named so; undefined where there is none. */
  retrieveSubtree(name: string): Subtree | undefined {
    checkText(name, 'a name of a subtree');
    return this.incoming?.subtrees.get(name);
  }

  /**
   * Restores a vmalloc area and frees the chunks that listed it.
   *
   * @throws KernelError EINVAL: a damaged descriptor, or pages that are not ours to restore;
   * nothing is changed
   */
  restoreVmalloc(descriptor: VmallocDescriptor): VmallocArea {
    return restoreVmalloc(this, descriptor);
  }

  /**
   * The bytes of a blob; its memory is freed. To free it without a look, call it and forget the
   * bytes.
   *
   * @throws KernelError EINVAL: a damaged descriptor, or pages that are not ours to restore.
   * ENOMEM: no array of that length. Nothing is changed.
   */
  restoreBlob(blob: BlobDescriptor): Uint8Array {
    return restoreBlob(this, blob);
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
}
