/**
 * Kernel after kernel of random operations on the page allocator and KHO, against a model that is a
 * Map of pages: who has which frame, what is in it, and whether the next kernel gets it. Memory is
 * refused at random. Run again what failed with LIVEUPDATE_SEED.
 */
import { KernelError, PAGE_SIZE, pfnToPhys, Prng } from '@liveupdate/base';
import { HeapRam, vmalloc, type VmallocArea } from '@liveupdate/mm';
import { expect, test } from 'vitest';
import type { BlobDescriptor } from './blob-ser.ts';
import { boot, bootCold, type FreeMemory } from './boot.ts';
import type { Kho } from './kho.ts';
import { walkRadixTree } from './radix-walk.ts';
import { readHandover } from './read-handover.ts';
import { seed } from '@liveupdate/base/test-seed';
import type { VmallocDescriptor } from './vmalloc-ser.ts';

const OPERATIONS = 100_000;
const FRAMES = 2048;
/**
 * Two trees, the scratch array, and the metadata: what a kernel takes for itself beside the map.
 */
const OWN = 4;
const INJECTED = new KernelError('ENOMEM', 'injected');

type State = 'ours' | 'preserved' | 'incoming';

/** Something with an owner: folios of one order, side by side or not. */
interface Thing {
  readonly kind: 'folio' | 'row' | 'area' | 'block' | 'blob';
  readonly heads: readonly number[];
  readonly order: number;
  readonly stamp: number;
  state: State;
  area?: VmallocArea | undefined;
  descriptor?: VmallocDescriptor | undefined;
  blob?: BlobDescriptor | undefined;
  /** Frames of the pages that list the pieces of an area. */
  chunks: number[];
}

/** The pieces and chunks of an area, read by the offsets of the ABI. */
function follow(kho: Kho, first: number): { pieces: number[]; chunks: number[] } {
  const pieces: number[] = [];
  const chunks: number[] = [];
  for (let pa = first; pa !== 0;) {
    chunks.push(pa / PAGE_SIZE);
    const words = new BigUint64Array(kho.ram.bytes(pa, PAGE_SIZE).slice().buffer);
    for (let i = 1; i < words.length && words[i] !== 0n; i++) pieces.push(Number(words[i]) / PAGE_SIZE);
    pa = Number(words[0]);
  }
  return { pieces, chunks };
}

class World {
  readonly random: Prng;
  readonly things: Thing[] = [];
  readonly frames = new Map<number, Thing | 'chunk'>();
  readonly done = new Map<string, number>();
  readonly subtrees = new Map<string, Thing>();
  kho: Kho;
  generation = 0;
  refuse = false;

  constructor(from: number) {
    this.random = new Prng(from);
    const ram = new HeapRam(FRAMES * PAGE_SIZE);
    ram.bytes(0, ram.size).fill(0xdd);
    this.kho = bootCold(ram);
    this.#arm();
  }

  #arm(): void {
    this.kho.pages.beforeAllocation = () => {
      if (this.refuse && this.random.below(3) === 0) throw INJECTED;
    };
  }

  step(): string {
    const [name, run] = TABLE[this.random.below(TABLE.length)];
    this.refuse = this.random.below(8) === 0;
    let outcome;
    try {
      outcome = run(this);
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      outcome = error === INJECTED ? 'injected' : error.code;
      if (outcome !== 'injected' && outcome !== 'ENOMEM') throw error;
    }
    const key = `${name}: ${outcome}`;
    this.done.set(key, (this.done.get(key) ?? 0) + 1);
    return key;
  }

  pick(accept: (thing: Thing) => boolean): Thing | undefined {
    for (let i = 0; i < 10 && this.things.length > 0; i++) {
      const thing = this.things[this.random.below(this.things.length)];
      if (accept(thing)) return thing;
    }
    return undefined;
  }

  framesOf({ heads, order }: Thing): number[] {
    return heads.flatMap((pfn) => Array.from({ length: 2 ** order }, (_, i) => pfn + i));
  }

  own(thing: Thing): void {
    for (const pfn of this.framesOf(thing)) {
      if (this.frames.has(pfn) || pfn <= 0 || pfn >= FRAMES)
        throw new Error(`frame ${pfn} is given out twice`);
      this.frames.set(pfn, thing);
    }
    this.noteChunks(thing, thing.chunks);
    this.things.push(thing);
  }

  noteChunks(thing: Thing, chunks: number[]): void {
    thing.chunks = chunks;
    for (const pfn of chunks) {
      if (this.frames.has(pfn)) throw new Error(`chunk ${pfn} is given out twice`);
      this.frames.set(pfn, 'chunk');
    }
  }

  dropChunks(thing: Thing): void {
    for (const pfn of thing.chunks) this.frames.delete(pfn);
    thing.chunks = [];
  }

  disown(thing: Thing): void {
    for (const pfn of this.framesOf(thing)) this.frames.delete(pfn);
    this.dropChunks(thing);
    this.things.splice(this.things.indexOf(thing), 1);
  }

  stampOf(): number {
    return 1 + this.random.below(250);
  }

  fill({ heads, order, stamp }: Thing): void {
    for (const pfn of heads) {
      const bytes = this.kho.ram.bytes(pfnToPhys(pfn), PAGE_SIZE << order);
      bytes[0] = stamp;
      bytes[bytes.length - 1] = stamp;
    }
  }

  isIntact({ heads, order, stamp }: Thing): boolean {
    return heads.every((pfn) => {
      const bytes = this.kho.ram.bytes(pfnToPhys(pfn), PAGE_SIZE << order);
      return bytes[0] === stamp && bytes[bytes.length - 1] === stamp;
    });
  }

  isNamed(thing: Thing): boolean {
    return [...this.subtrees.values()].includes(thing);
  }

  /** The allocator, the map and the bytes, each against the model. */
  check(): void {
    const { kho } = this;
    const { incoming, mapPages, pages } = kho;
    pages.assertConsistent();
    for (const thing of this.things)
      if (!this.isIntact(thing)) throw new Error(`a ${thing.kind} at ${thing.heads[0]} has changed`);
    const structure = incoming?.structure.length ?? 0;
    // Page 0, and the metadata of the kernel before, which nobody restores.
    const others = 1 + (incoming ? 1 : 0) + structure * (this.committed ? 0 : 1);
    expect(pages.freePages + pages.freeScratchPages).toBe(
      FRAMES - others - OWN - mapPages - this.frames.size,
    );
    const handover = readHandover(kho.ram, kho.entry);
    const preserved = new Set<number>();
    walkRadixTree(kho.ram, handover.preservedMap, (pfn, count, order) => {
      for (let i = 0; i < count * 2 ** order; i++) preserved.add(pfn + i);
    });
    const wanted = [...this.frames.entries()].flatMap(([pfn, thing]) =>
      (thing === 'chunk' ? pages.isPreserved(pfn) : thing.state === 'preserved') ? [pfn] : [],
    );
    expect(preserved.size).toBe(wanted.length + 2); // the metadata, and the device tree
    expect(wanted.every((pfn) => preserved.has(pfn))).toBe(true);
    expect([...handover.subtrees.keys()].sort()).toEqual(['kexec-metadata', ...this.subtrees.keys()].sort());
  }

  committed = true;

  next(mode: FreeMemory): void {
    this.kho.pages.beforeAllocation = undefined;
    try {
      this.kho = boot(this.kho.ram, this.kho.entry, { freeMemory: mode });
    } catch (error) {
      // Memory is so full that no next kernel finds room. The handover is whole, but what was not
      // handed over may be gone by now.
      for (const thing of this.things) {
        if (thing.state === 'ours') this.fill(thing);
        else if (!this.isIntact(thing))
          throw new Error(`a refused boot changed a ${thing.kind}`, { cause: error });
      }
      this.#arm();
      throw error;
    }
    this.generation += 1;
    this.committed = this.random.below(2) === 0;
    if (this.committed) this.kho.commit();
    expect([...(this.kho.incoming?.subtrees.keys() ?? [])].sort()).toEqual(
      ['kexec-metadata', ...this.subtrees.keys()].sort(),
    );
    this.subtrees.clear();
    for (const thing of [...this.things]) {
      if (thing.state === 'preserved') thing.state = 'incoming';
      else this.disown(thing);
    }
    this.#arm();
  }
}

const isOurs = ({ state }: Thing): boolean => state === 'ours';
const make = (part: Omit<Thing, 'state' | 'chunks'>): Thing => ({ ...part, state: 'ours', chunks: [] });

function newFolio(world: World): string {
  const order = world.random.below(5);
  const pfn = world.kho.pages.alloc(order, { zero: world.random.below(2) === 0 });
  const thing = make({ kind: 'folio', heads: [pfn], order, stamp: world.stampOf() });
  world.own(thing);
  world.fill(thing);
  return 'done';
}

/** Single pages in a row that begin anywhere. */
function newRow(world: World): string {
  const { pages } = world.kho;
  const order = 1 + world.random.below(5);
  const folio = pages.alloc(order);
  pages.split(folio);
  const before = world.random.below(2 ** order);
  for (let i = 0; i < before; i++) pages.put(folio + i);
  const heads = Array.from({ length: 2 ** order - before }, (_, i) => folio + before + i);
  const thing = make({ kind: 'row', heads, order: 0, stamp: world.stampOf() });
  world.own(thing);
  world.fill(thing);
  return 'done';
}

function newArea(world: World): string {
  const order = world.random.below(3);
  const area = vmalloc(
    world.kho.pages,
    (1 + world.random.below(world.random.below(20) === 0 ? 600 : 20)) * PAGE_SIZE,
    order,
  );
  const thing = make({ kind: 'area', heads: [...area.pfns], order, stamp: world.stampOf(), area });
  world.own(thing);
  world.fill(thing);
  return 'done';
}

function newBlock(world: World): string {
  const { pa, bytes } = world.kho.allocPreserve(1 + world.random.below(5 * PAGE_SIZE));
  if (bytes[0] !== 0 || bytes[bytes.length - 1] !== 0) throw new Error('a block that is not zero');
  const thing = make({
    kind: 'block',
    heads: [pa / PAGE_SIZE],
    order: Math.log2(bytes.length / PAGE_SIZE),
    stamp: world.stampOf(),
  });
  thing.state = 'preserved';
  world.own(thing);
  world.fill(thing);
  return 'done';
}

function newBlob(world: World): string {
  const { kho, random } = world;
  const stamp = world.stampOf();
  // Whole pages, so that the stamp stands at both ends of each.
  const blob = kho.preserveBlob(new Uint8Array((1 + random.below(8)) * PAGE_SIZE).fill(stamp));
  const { pieces, chunks } = follow(kho, blob.memory.first);
  const thing = make({ kind: 'blob', heads: pieces, order: 0, stamp, blob });
  thing.state = 'preserved';
  thing.chunks = chunks;
  world.own(thing);
  return 'done';
}

function preserve(world: World): string {
  const { kho } = world;
  const thing = world.pick(isOurs);
  if (!thing) return 'none';
  if (thing.kind === 'area' && thing.area) {
    thing.descriptor = kho.preserveVmalloc(thing.area);
    const { pieces, chunks } = follow(kho, thing.descriptor.first);
    expect(pieces).toEqual(thing.heads);
    world.noteChunks(thing, chunks);
  } else if (thing.kind === 'row') {
    kho.preservePages(thing.heads[0], thing.heads.length);
  } else {
    kho.preserveFolios(Uint32Array.from(thing.heads));
  }
  thing.state = 'preserved';
  return thing.kind;
}

function unpreserve(world: World): string {
  const { kho } = world;
  const thing = world.pick(({ state }) => state === 'preserved');
  if (!thing || world.isNamed(thing)) return 'none';
  if (thing.kind === 'block') {
    kho.unpreserveFree(pfnToPhys(thing.heads[0]));
    world.disown(thing);
  } else if (thing.blob) {
    kho.unpreserveBlob(thing.blob);
    world.disown(thing);
  } else {
    if (thing.descriptor) kho.unpreserveVmalloc(thing.descriptor);
    else if (thing.kind === 'row') kho.unpreservePages(thing.heads[0], thing.heads.length);
    else kho.unpreserveFolios(Uint32Array.from(thing.heads));
    world.dropChunks(thing);
    thing.descriptor = undefined;
    thing.state = 'ours';
  }
  return thing.kind;
}

function free(world: World): string {
  const thing = world.pick(isOurs);
  if (!thing) return 'none';
  if (thing.area) thing.area.free();
  else world.kho.pages.putBulk(Uint32Array.from(thing.heads));
  world.disown(thing);
  return thing.kind;
}

function refused(what: () => unknown): void {
  try {
    what();
  } catch (error) {
    if (error instanceof KernelError) return;
    throw error;
  }
  throw new Error('what was not handed over, or was restored, is restored');
}

function restore(world: World): string {
  const { kho, random } = world;
  const thing = world.pick(({ state }) => state === 'incoming');
  if (!thing) return 'none';
  const restoreIt = (): void => {
    if (thing.blob) expect(kho.restoreBlob(thing.blob)[0]).toBe(thing.stamp);
    else if (thing.descriptor) thing.area = kho.restoreVmalloc(thing.descriptor);
    else if (thing.kind === 'row') kho.restorePages(thing.heads[0], thing.heads.length);
    else if (thing.kind === 'block' && random.below(2) === 0) kho.restoreFree(pfnToPhys(thing.heads[0]));
    else kho.restoreFolio(thing.heads[0]);
  };
  if (!world.isIntact(thing)) throw new Error(`a ${thing.kind} did not survive`);
  const freed = kho.pages.freePages;
  restoreIt();
  const isFreed = thing.blob !== undefined || (thing.kind === 'block' && kho.pages.freePages > freed);
  if (isFreed) {
    world.disown(thing);
  } else {
    world.dropChunks(thing);
    thing.state = 'ours';
    refused(restoreIt); // once only
    if (thing.kind === 'block') (thing as { kind: Thing['kind'] }).kind = 'folio';
  }
  thing.descriptor = undefined;
  return thing.kind;
}

function restoreNonsense(world: World): string {
  const { kho, random } = world;
  const pfn = random.below(FRAMES + 10);
  const thing = world.frames.get(pfn);
  const isIncoming = thing === 'chunk' || thing?.state === 'incoming';
  if (isIncoming || kho.isIncoming(pfn)) return 'none';
  refused(() => {
    kho.restoreFolio(pfn);
  });
  refused(() => {
    kho.restorePages(pfn, 1 + random.below(5));
  });
  return 'refused';
}

function preserveTwice(world: World): string {
  const thing = world.pick(({ state, kind }) => state === 'preserved' && kind === 'folio');
  if (!thing) return 'none';
  refused(() => {
    world.kho.preserveFolio(thing.heads[0]);
  });
  return 'refused';
}

function subtree(world: World): string {
  const name = `s${world.random.below(6)}`;
  if (world.subtrees.delete(name)) {
    world.kho.removeSubtree(name);
    return 'removed';
  }
  const thing = world.pick(({ kind, state }) => kind === 'block' && state === 'preserved');
  if (!thing) return 'none';
  world.kho.addSubtree(name, pfnToPhys(thing.heads[0]), PAGE_SIZE);
  world.subtrees.set(name, thing);
  return 'added';
}

function handOver(world: World): string {
  if (world.random.below(25) !== 0) return 'not now';
  const modes: FreeMemory[] = ['poison', 'keep', 'discard'];
  world.next(modes[world.random.below(3)]);
  return 'done';
}

const TABLE: readonly [name: string, run: (world: World) => string][] = [
  ['folio', newFolio],
  ['row', newRow],
  ['area', newArea],
  ['block', newBlock],
  ['blob', newBlob],
  ['preserve', preserve],
  ['preserve', preserve],
  ['preserve', preserve],
  ['unpreserve', unpreserve],
  ['free', free],
  ['free', free],
  ['restore', restore],
  ['restore', restore],
  ['restore', restore],
  ['nonsense', restoreNonsense],
  ['twice', preserveTwice],
  ['subtree', subtree],
  ['hand over', handOver],
];

test(`${OPERATIONS} random operations from seed ${seed}`, () => {
  const world = new World(seed);
  for (let i = 0; i < OPERATIONS; i++) {
    let what = '';
    try {
      what = world.step();
      if (i % 150 === 0 || (what.endsWith('injected') && i % 7 === 0)) world.check();
    } catch (error) {
      throw new Error(`operation ${i} (${what}) of seed ${seed}`, { cause: error });
    }
  }
  expect(world.generation).toBeGreaterThan(100);
  // A fuzz that never gets where it hurts proves nothing.
  for (const outcome of [
    ...['folio', 'row', 'area', 'block', 'blob'].flatMap((kind) => [`${kind}: done`, `${kind}: injected`]),
    ...['folio', 'row', 'area'].flatMap((kind) => [
      `preserve: ${kind}`,
      `unpreserve: ${kind}`,
      `free: ${kind}`,
    ]),
    ...['folio', 'row', 'area', 'blob'].map((kind) => `restore: ${kind}`),
    'area: ENOMEM',
    'preserve: injected',
    'nonsense: refused',
    'twice: refused',
    'subtree: added',
    'subtree: removed',
  ])
    expect([outcome, world.done.has(outcome)]).toEqual([outcome, true]);
});
