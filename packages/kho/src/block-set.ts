/**
 * Block sets: a list of fixed-size entries in linked, preserved pages (kernel: struct kho_block).
 * Room is made when an entry is announced, entries are written at serialisation, so that nothing
 * can fail for lack of memory at the handover.
 */
import { assert, checkWhole, KernelError, PAGE_SIZE, type PhysAddr, StructView } from '@liveupdate/base';
import type { Ram } from '@liveupdate/mm';
import { blockCapacity, BlockHeaderSer, MAX_BLOCKS } from './abi.ts';
import type { Kho } from './kho.ts';
import type { PreservedBlock } from './preserved-block.ts';

/** The outgoing side: room for entries that are written later. */
export class BlockSet {
  readonly #kho: Kho;
  readonly #entrySize: number;
  readonly #capacity: number;
  readonly #blocks: PreservedBlock[] = [];
  #announced = 0;

  /** @param entrySize bytes of each entry */
  constructor(kho: Kho, entrySize: number) {
    checkWhole(entrySize, 'bytes of an entry', { min: 1 });
    this.#kho = kho;
    this.#entrySize = entrySize;
    this.#capacity = blockCapacity(entrySize);
    assert(this.#capacity > 0, 'an entry fits in a block');
  }

  /** pa of the first block; 0 where nothing is announced. */
  get pa(): PhysAddr {
    return this.#blocks.length === 0 ? 0 : this.#blocks[0].pa;
  }

  /**
   * Makes room for one more entry.
   *
   * @throws KernelError ENOMEM: no page for a block. ENOSPC: the set is full.
   */
  announce(): void {
    if (this.#announced === this.#blocks.length * this.#capacity) {
      if (this.#blocks.length === MAX_BLOCKS)
        throw new KernelError('ENOSPC', `a block set holds at most ${MAX_BLOCKS * this.#capacity} entries`);
      const block = this.#kho.allocRecord(PAGE_SIZE);
      this.#blocks.at(-1)?.setU64(BlockHeaderSer.next, block.pa);
      this.#blocks.push(block);
    }
    this.#announced += 1;
  }

  /** Takes back the room for one entry. */
  retract(): void {
    assert(this.#announced > 0, 'more entries are taken back than were announced');
    this.#announced -= 1;
    if (this.#announced === (this.#blocks.length - 1) * this.#capacity) {
      const last = this.#blocks.pop();
      this.#blocks.at(-1)?.setU64(BlockHeaderSer.next, 0);
      if (last) this.#kho.unpreserveFree(last.pa);
    }
  }

  /** Writes all announced entries. `write` fills entry `i`, whose bytes are zero. */
  serialise(write: (entry: StructView, i: number) => void): void {
    for (const [b, block] of this.#blocks.entries()) {
      const first = b * this.#capacity;
      const count = Math.min(this.#capacity, this.#announced - first);
      for (let i = 0; i < count; i++) {
        const at = BlockHeaderSer.SIZE + i * this.#entrySize;
        const bytes = block.bytes.subarray(at, at + this.#entrySize);
        bytes.fill(0);
        write(new StructView(bytes), first + i);
      }
      block.setU64(BlockHeaderSer.count, count);
    }
  }
}

/** What a block set of the previous kernel holds. */
export interface IncomingBlockSet {
  /** Live views of the entries, in order. */
  readonly entries: readonly StructView[];
  /** pa of each block. */
  readonly blocks: readonly PhysAddr[];
}

/**
 * Reads a block set.
 *
 * @param pa the first block; 0: an empty set
 * @throws KernelError EINVAL: a block outside RAM, a chain that is cyclic or too long, a count of 0
 * or above capacity. EOVERFLOW: a 64-bit field is beyond 2^53.
 */
export function readBlockSet(ram: Ram, pa: PhysAddr, entrySize: number): IncomingBlockSet {
  checkWhole(pa, 'an address of a block');
  checkWhole(entrySize, 'bytes of an entry', { min: 1 });
  const entries: StructView[] = [];
  const blocks: PhysAddr[] = [];
  const seen = new Set<PhysAddr>();
  const capacity = blockCapacity(entrySize);
  for (let at = pa; at !== 0;) {
    if (!(at > 0 && at % PAGE_SIZE === 0 && at + PAGE_SIZE <= ram.size))
      throw new KernelError('EINVAL', `a block set has a block at 0x${at.toString(16)}, outside RAM`);
    if (seen.has(at))
      throw new KernelError('EINVAL', `a block set is a circle through block 0x${at.toString(16)}`);
    if (blocks.length === MAX_BLOCKS)
      throw new KernelError('EINVAL', `a block set has more than ${MAX_BLOCKS} blocks`);
    seen.add(at);
    blocks.push(at);
    const bytes = ram.bytes(at, PAGE_SIZE);
    const header = new StructView(bytes.subarray(0, BlockHeaderSer.SIZE));
    const count = header.getNumber(BlockHeaderSer.count);
    if (count === 0 || count > capacity)
      throw new KernelError(
        'EINVAL',
        `block 0x${at.toString(16)} counts ${count} entries of at most ${capacity}`,
      );
    for (let i = 0; i < count; i++) {
      const offset = BlockHeaderSer.SIZE + i * entrySize;
      entries.push(new StructView(bytes.subarray(offset, offset + entrySize)));
    }
    at = header.getNumber(BlockHeaderSer.next);
  }
  return { entries, blocks };
}
