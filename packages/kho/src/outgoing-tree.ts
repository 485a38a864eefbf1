/**
 * The device tree that leads the next kernel to what this one hands over (kernel: kho_add_subtree).
 *
 * Always: the published tree is whole. It has two pages, written in turn, so that a next kernel may
 * come at any instant. The one that is published is itself preserved: Linux reads it again when
 * memory that is not has long been used for something else.
 */
import { KernelError, pfnToPhys, writeU64, type PhysAddr } from '@liveupdate/base';
import type { PageAllocator } from '@liveupdate/mm';
import {
  KHO_COMPATIBLE,
  KHO_FDT_SIZE,
  PROP_COMPATIBLE,
  PROP_PRESERVED_MAP,
  PROP_SUBTREE_DATA,
  PROP_SUBTREE_SIZE,
} from './abi.ts';
import { fdtText, writeFdt } from './fdt-writer.ts';
import type { Subtree } from './read-handover.ts';

function u64Bytes(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  writeU64(new DataView(bytes.buffer), 0, value);
  return bytes;
}

export class OutgoingTree {
  readonly #pages: PageAllocator;
  readonly #mapRoot: PhysAddr;
  readonly #mark: (pa: PhysAddr, isHandedOver: boolean) => void;
  readonly #subtrees = new Map<string, Subtree>();
  readonly #buffers: readonly [PhysAddr, PhysAddr];
  #published: 0 | 1 = 0;
  /** Whether there is a tree yet. */
  #isPublished = false;

  /**
   * A tree that publishes nothing before the first subtree is added.
   *
   * @param mapRoot the map of preserved pages
   * @param mark puts a page into that map, or takes it out
   * @throws KernelError ENOMEM: no pages for it
   */
  constructor(pages: PageAllocator, mapRoot: PhysAddr, mark: (pa: PhysAddr, isHandedOver: boolean) => void) {
    this.#pages = pages;
    this.#mapRoot = mapRoot;
    this.#mark = mark;
    this.#buffers = [pfnToPhys(pages.alloc(0, { zero: true })), pfnToPhys(pages.alloc(0, { zero: true }))];
  }

  /** Where the published tree lies. */
  get pa(): PhysAddr {
    return this.#buffers[this.#published];
  }

  /**
   * @throws KernelError EEXIST: the name is taken. EINVAL: no name of a node. ENOMEM: the tree is
   * full (one page).
   */
  add(subtree: Subtree): void {
    const { name } = subtree;
    if (name === '' || /[\0/]/.test(name)) {
      throw new KernelError(
        'EINVAL',
        `'${name}' is no name of a subtree: it is empty, or has a '/' or a NUL`,
      );
    }
    if (this.#subtrees.has(name)) throw new KernelError('EEXIST', `there is a subtree '${name}' already`);
    this.#subtrees.set(name, subtree);
    try {
      this.#publish();
    } catch (error) {
      this.#subtrees.delete(name);
      throw error;
    }
  }

  /** @throws KernelError ENOENT: no such name */
  remove(name: string): void {
    if (!this.#subtrees.delete(name)) throw new KernelError('ENOENT', `there is no subtree '${name}'`);
    this.#publish();
  }

  /** Writes the tree into the page that is not published, then publishes that. */
  #publish(): void {
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
      [PROP_PRESERVED_MAP, u64Bytes(this.#mapRoot)],
    ]);
    const bytes = writeFdt({ name: '', properties, children }, KHO_FDT_SIZE);
    const other = this.#published === 0 ? 1 : 0;
    this.#mark(this.#buffers[other], true);
    this.#pages.ram.bytes(this.#buffers[other], KHO_FDT_SIZE).set(bytes);
    if (this.#isPublished) this.#mark(this.pa, false);
    this.#published = other;
    this.#isPublished = true;
  }
}
