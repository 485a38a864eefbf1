/**
 * The page allocator against a naive model: a Map of folios, and an array that names the owner of
 * every page. Random operations; after each of them the model and the allocator agree on what is
 * free, and every folio keeps its bytes.
 */
import { AssertionError, codeOf, MAX_ORDER, PAGE_SIZE, Prng } from '@liveupdate/base';
import { rowOf } from './folio-runs.ts';
import { expect, test } from 'vitest';
import { HeapRam } from './heap-ram.ts';
import { PageAllocator } from './page-allocator.ts';
import { PageTable, SCRATCH } from './page-table.ts';
import { seed } from '@liveupdate/base/test-seed';

const OPERATIONS = 30_000;
const FRAMES = 2048 + 37;
const SCRATCH_FIRST = 640;
const SCRATCH_COUNT = 128;
const INJECTED = new Error('injected');

interface Folio {
  order: number;
  refs: number;
  pins: number;
  stamp: number;
}

/** What the allocator must be like, kept in the plainest way. */
class Model {
  readonly folios = new Map<number, Folio>();
  readonly incoming = new Map<number, number>();
  /** Whether a page belongs to anyone. */
  readonly used = new Uint8Array(FRAMES);
  /** Free pages outside scratch, and in it. */
  readonly free: [normal: number, scratch: number] = [0, 0];

  isScratch(pfn: number): boolean {
    return pfn >= SCRATCH_FIRST && pfn < SCRATCH_FIRST + SCRATCH_COUNT;
  }

  take(pfn: number, order: number): void {
    for (let i = pfn; i < pfn + 2 ** order; i++) {
      if (this.used[i] !== 0) throw new Error(`page ${i} has two owners`);
      this.used[i] = 1;
      this.free[Number(this.isScratch(i))] -= 1;
    }
  }

  release(pfn: number, order: number): void {
    this.folios.delete(pfn);
    for (let i = pfn; i < pfn + 2 ** order; i++) {
      this.used[i] = 0;
      this.free[Number(this.isScratch(i))] += 1;
    }
  }

  put(pfn: number): void {
    const folio = this.folios.get(pfn)!;
    folio.refs -= 1;
    if (folio.refs === 0) this.release(pfn, folio.order);
  }

  /**
   * Whether there is a free aligned block of this order in a zone, found by looking at every page.
   */
  hasBlock(order: number, scratch: boolean): boolean {
    const pages = 2 ** order;
    for (let pfn = 0; pfn + pages <= FRAMES; pfn += pages) {
      let i = pfn;
      while (i < pfn + pages && this.used[i] === 0 && this.isScratch(i) === scratch) i += 1;
      if (i === pfn + pages) return true;
    }
    return false;
  }
}

class World {
  readonly random: Prng;
  readonly model = new Model();
  readonly pages: PageAllocator;
  readonly done = new Map<string, number>();
  #fail = false;

  constructor(from: number) {
    this.random = new Prng(from);
    const ram = new HeapRam(FRAMES * PAGE_SIZE);
    ram.bytes(0, ram.size).fill(0xdd);
    const table = new PageTable(ram.size);
    table.setFlag(SCRATCH, SCRATCH_FIRST, SCRATCH_COUNT);
    table.reserve(0, 1);
    for (const [pfn, order] of [
      [64, 0],
      [65, 0],
      [66, 0],
      [68, 2],
      [256, 8],
      [1024, 10],
    ]) {
      table.claimIncoming(pfn, order);
      this.model.incoming.set(pfn, order);
    }
    table.markStale();
    this.pages = new PageAllocator(ram, table);
    this.model.free[1] = SCRATCH_COUNT;
    this.model.free[0] = FRAMES - SCRATCH_COUNT;
    this.model.take(0, 0);
    for (const [pfn, order] of this.model.incoming) this.model.take(pfn, order);
    this.pages.beforeAllocation = () => {
      if (this.#fail) throw INJECTED;
    };
  }

  step(): void {
    const { random } = this;
    this.#fail = random.below(50) === 0;
    const [name, run] = OPERATIONS_TABLE[random.below(OPERATIONS_TABLE.length)];
    const result = run(this);
    this.done.set(`${name}: ${result}`, (this.done.get(`${name}: ${result}`) ?? 0) + 1);
    const { free } = this.model;
    if (this.pages.freePages !== free[0] || this.pages.freeScratchPages !== free[1])
      expect([name, this.pages.freePages, this.pages.freeScratchPages]).toEqual([name, ...free]);
  }

  /** A folio at random for which `accept` says yes; undefined where chance finds none. */
  pick(
    accept: (folio: Folio, pfn: number) => boolean = () => true,
    all: readonly number[] = [...this.model.folios.keys()],
  ): number | undefined {
    for (let i = 0; i < 8 && all.length > 0; i++) {
      const pfn = all[this.random.below(all.length)];
      if (accept(this.model.folios.get(pfn)!, pfn)) return pfn;
    }
    return undefined;
  }

  pickList(accept?: (folio: Folio, pfn: number) => boolean): Uint32Array {
    const list = new Set<number>();
    const all = [...this.model.folios.keys()];
    for (let i = this.random.below(40); i >= 0; i--) {
      const pfn = this.pick(accept, all);
      if (pfn !== undefined) list.add(pfn);
    }
    const sorted = [...list];
    if (this.random.below(2) === 0) sorted.sort((a, b) => a - b);
    return Uint32Array.from(sorted);
  }

  /** A run of folios of one order side by side, begun at a random one. */
  pickRun(accept: (folio: Folio) => boolean): { pfn: number; count: number; order: number } | undefined {
    const pfn = this.pick(accept);
    if (pfn === undefined) return undefined;
    const { order } = this.model.folios.get(pfn)!;
    const step = 2 ** order;
    let count = 1;
    for (;;) {
      const next = this.model.folios.get(pfn + count * step);
      if (next?.order !== order || !accept(next) || count === 60) return { pfn, count, order };
      count += 1;
    }
  }

  /** Notes a folio that the allocator gave, and fills it. */
  own(pfn: number, order: number, zero: boolean): void {
    this.model.take(pfn, order);
    const bytes = this.pages.ram.bytes(pfn * PAGE_SIZE, PAGE_SIZE * 2 ** order);
    if (zero) {
      const words = new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8);
      for (const word of words)
        if (!Object.is(word, 0)) throw new Error(`folio ${pfn} of order ${order} is not zero`);
    }
    const stamp = 1 + this.random.below(255);
    bytes.fill(stamp);
    this.model.folios.set(pfn, { order, refs: 1, pins: 0, stamp });
  }

  /** Folios still hold what was written into them, at both ends. */
  checkContent(): void {
    for (const [pfn, { order, stamp }] of this.model.folios) {
      const bytes = this.pages.ram.bytes(pfn * PAGE_SIZE, PAGE_SIZE * 2 ** order);
      if (bytes[0] !== stamp || bytes[bytes.length - 1] !== stamp)
        throw new Error(`folio ${pfn} has changed under its owner`);
    }
  }

  checkTable(): void {
    const { table } = this.pages;
    for (const [pfn, folio] of this.model.folios) {
      if (!this.pages.isHead(pfn)) throw new Error(`folio ${pfn} is gone`);
      const is = [table.orderOf(pfn), table.refsOf(pfn), table.pinsOf(pfn)];
      if (is[0] !== folio.order || is[1] !== folio.refs || is[2] !== folio.pins)
        expect([pfn, ...is]).toEqual([pfn, folio.order, folio.refs, folio.pins]);
    }
  }
}

function alloc(world: World): string {
  const { random, model, pages } = world;
  const order = random.below(8) === 0 ? random.below(MAX_ORDER + 1) : random.below(4);
  const movable = random.below(2) === 0;
  const zero = random.below(2) === 0;
  let pfn;
  try {
    pfn = pages.alloc(order, { movable, zero });
  } catch (error) {
    if (error === INJECTED) return 'injected';
    expect(codeOf(error)).toBe('ENOMEM');
    expect(model.hasBlock(order, false) || (movable && model.hasBlock(order, true))).toBe(false);
    return 'ENOMEM';
  }
  const inScratch = model.isScratch(pfn);
  if (inScratch) expect([movable, model.hasBlock(order, false)]).toEqual([true, false]);
  expect(pfn % 2 ** order).toBe(0);
  world.own(pfn, order, zero);
  return inScratch ? 'scratch' : 'normal';
}

function allocBulk(world: World): string {
  const { random, model, pages } = world;
  const count = random.below(random.below(10) === 0 ? 1500 : 60);
  const movable = random.below(2) === 0;
  const zero = random.below(2) === 0;
  const out = new Uint32Array(count);
  try {
    pages.allocBulk(out, 0, count, { movable, zero });
  } catch (error) {
    if (error === INJECTED) return 'injected';
    expect(codeOf(error)).toBe('ENOMEM');
    expect(model.free[0] + (movable ? model.free[1] : 0)).toBeLessThan(count);
    return 'ENOMEM';
  }
  const scratchPages = out.filter((pfn) => model.isScratch(pfn)).length;
  if (scratchPages > 0) expect([movable, model.free[0]]).toEqual([true, count - scratchPages]);
  for (const pfn of out) world.own(pfn, 0, zero);
  return scratchPages > 0 ? 'scratch' : 'normal';
}

const isFreeToGo = ({ refs, pins }: Folio): boolean => refs > pins;
const isPinned = ({ pins }: Folio): boolean => pins > 0;

function put(world: World): string {
  const pfn = world.pick();
  if (pfn === undefined) return 'none';
  if (!isFreeToGo(world.model.folios.get(pfn)!)) {
    expect(() => world.pages.put(pfn)).toThrow(AssertionError);
    return 'pinned';
  }
  world.pages.put(pfn);
  world.model.put(pfn);
  return 'done';
}

function putBulk(world: World): string {
  const list = world.pickList(isFreeToGo);
  world.pages.putBulk(list);
  for (const pfn of list) world.model.put(pfn);
  return 'done';
}

function putRun(world: World): string {
  const run = world.pickRun(isFreeToGo);
  if (!run) return 'none';
  world.pages.putRows(rowOf(run.pfn, run.count, run.order));
  for (let i = 0; i < run.count; i++) world.model.put(run.pfn + i * 2 ** run.order);
  return run.count > 1 ? 'many' : 'one';
}

function get(world: World): string {
  const list = world.pickList();
  for (const pfn of list) world.pages.get(pfn);
  for (const pfn of list) world.model.folios.get(pfn)!.refs += 1;
  return 'done';
}

function changePins(world: World, list: Iterable<number>, by: 1 | -1): void {
  for (const pfn of list) {
    const folio = world.model.folios.get(pfn)!;
    folio.pins += by;
    if (by > 0) folio.refs += 1;
    else world.model.put(pfn);
  }
}

function pin(world: World): string {
  const list = world.pickList();
  for (const pfn of list) world.pages.pinRows(rowOf(pfn, 1, world.pages.orderOf(pfn)));
  changePins(world, list, 1);
  return 'done';
}

function unpin(world: World): string {
  const list = world.pickList(isPinned);
  for (const pfn of list) world.pages.unpinRows(rowOf(pfn, 1, world.pages.orderOf(pfn)));
  changePins(world, list, -1);
  return list.length > 0 ? 'done' : 'none';
}

function pinRun(world: World): string {
  const run = world.pickRun(isPinned) ?? world.pickRun(() => true);
  if (!run) return 'none';
  const heads = Array.from({ length: run.count }, (_, i) => run.pfn + i * 2 ** run.order);
  const unpins = heads.every((pfn) => isPinned(world.model.folios.get(pfn)!));
  if (unpins) world.pages.unpinRows(rowOf(run.pfn, run.count, run.order));
  else world.pages.pinRows(rowOf(run.pfn, run.count, run.order));
  changePins(world, heads, unpins ? -1 : 1);
  return unpins ? 'unpinned' : 'pinned';
}

function split(world: World): string {
  const pfn = world.pick(({ pins, order }) => pins === 0 && order > 0);
  if (pfn === undefined) return 'none';
  const { order, refs, stamp } = world.model.folios.get(pfn)!;
  world.pages.split(pfn);
  for (let i = 0; i < 2 ** order; i++) world.model.folios.set(pfn + i, { order: 0, refs, pins: 0, stamp });
  return 'done';
}

function adopt(world: World): string {
  const { random, model, pages } = world;
  const [pfn, order] = [...model.incoming][random.below(model.incoming.size)] ?? [random.below(FRAMES), 0];
  if (random.below(20) !== 0) {
    const other = random.below(FRAMES);
    if (!model.incoming.has(other)) expect(pages.adoptIncoming(other)).toBe(false);
    return 'refused';
  }
  if (!model.incoming.delete(pfn)) return 'none';
  const bytes = pages.ram.bytes(pfn * PAGE_SIZE, PAGE_SIZE * 2 ** order);
  expect([bytes[0], bytes[bytes.length - 1]]).toEqual([0xdd, 0xdd]);
  expect(pages.adoptIncoming(pfn, order)).toBe(true);
  bytes.fill(0xdd);
  model.folios.set(pfn, { order, refs: 1, pins: 0, stamp: 0xdd });
  return 'done';
}

/** Frees most of what there is, so that a run does not stay full for ever. */
function sweep(world: World): string {
  if (world.random.below(30) !== 0) return 'not now';
  for (const [pfn, folio] of [...world.model.folios]) {
    const pinned = Array<number>(folio.pins).fill(pfn);
    for (const at of pinned) world.pages.unpinRows(rowOf(at, 1, folio.order));
    changePins(world, pinned, -1);
    while (world.model.folios.has(pfn) && world.random.below(10) !== 0) {
      world.pages.put(pfn);
      world.model.put(pfn);
    }
  }
  return 'done';
}

const OPERATIONS_TABLE: readonly [name: string, run: (world: World) => string][] = [
  ['alloc', alloc],
  ['alloc', alloc],
  ['alloc', alloc],
  ['allocBulk', allocBulk],
  ['put', put],
  ['put', put],
  ['putBulk', putBulk],
  ['putRun', putRun],
  ['get', get],
  ['pin', pin],
  ['unpin', unpin],
  ['unpin', unpin],
  ['pinRun', pinRun],
  ['split', split],
  ['adopt', adopt],
  ['sweep', sweep],
];

test(`${OPERATIONS} random operations from seed ${seed}`, () => {
  const world = new World(seed);
  for (let i = 0; i < OPERATIONS; i++) {
    try {
      world.step();
      if (i % 100 === 0) world.pages.assertConsistent();
      if (i % 100 === 0) world.checkTable();
      if (i % 200 === 0) world.checkContent();
    } catch (error) {
      throw new Error(`operation ${i} of seed ${seed}`, { cause: error });
    }
  }
  // A fuzz that never gets where it hurts proves nothing.
  for (const outcome of [
    'alloc: normal',
    'alloc: scratch',
    'alloc: ENOMEM',
    'alloc: injected',
    'allocBulk: normal',
    'allocBulk: scratch',
    'allocBulk: ENOMEM',
    'put: done',
    'put: pinned',
    'putRun: many',
    'pinRun: pinned',
    'pinRun: unpinned',
    'split: done',
    'adopt: done',
    'sweep: done',
  ])
    expect([outcome, world.done.has(outcome)]).toEqual([outcome, true]);
  for (const [pfn, folio] of world.model.folios) {
    for (let i = 0; i < folio.pins; i++) world.pages.unpinRows(rowOf(pfn, 1, folio.order));
    for (let i = folio.refs - folio.pins; i > 0; i--) world.pages.put(pfn);
  }
  for (const [pfn] of world.model.incoming) {
    world.pages.adoptIncoming(pfn);
    world.pages.put(pfn);
  }
  expect([world.pages.freePages, world.pages.freeScratchPages]).toEqual([
    FRAMES - 1 - SCRATCH_COUNT,
    SCRATCH_COUNT,
  ]);
  world.pages.assertConsistent();
});
