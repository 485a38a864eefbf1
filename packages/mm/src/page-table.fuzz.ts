/**
 * Random changes of ranges in a page table and in a model with an entry for every frame: each
 * question gets the same answer of both, whether blocks are alike or mixed.
 */
import { PAGE_SIZE, Prng } from '@liveupdate/base';
import { expect, test } from 'vitest';
import { MAX_PINS, MAX_REFS, type Held } from './page-table-entries.ts';
import { FREE, HEAD, INCOMING_HEAD, KIND, PageTable, PRESERVED, SCRATCH, STALE, TAIL } from './page-table.ts';
import { isQuick, seed } from '@liveupdate/base/test-seed';

/** Blocks of 512, the last a short one; more than a group of 16. */
const FRAMES = 20 * 512 + 200;
const STEPS = isQuick ? 800 : 4000;

interface Frame {
  flags: number;
  order: number;
  refs: number;
  pins: number;
}

class Model {
  readonly frames = Array.from({ length: FRAMES }, (): Frame => ({
    flags: FREE,
    order: 0,
    refs: 0,
    pins: 0,
  }));

  setFolios(pfn: number, count: number, order: number, flags: number, refs: number): void {
    for (let i = 0; i < count << order; i++) {
      const isHead = i % (1 << order) === 0;
      const tail = (flags & SCRATCH) | ((flags & KIND) + 1);
      Object.assign(this.frames[pfn + i], {
        flags: isHead ? flags : tail,
        order: isHead ? order : 0,
        refs: isHead ? refs : 0,
        pins: 0,
      });
    }
  }

  isHead(pfn: number): boolean {
    return [HEAD, INCOMING_HEAD].includes(this.frames[pfn].flags & KIND);
  }

  /** The folio that a frame is in, itself where it is in none. */
  folioAt(pfn: number): { head: number; size: number } {
    let head = pfn;
    while (
      head > 0 &&
      (this.frames[head].flags & KIND) % 2 === 1 &&
      (this.frames[head].flags & KIND) !== FREE
    )
      head -= 1;
    return { head, size: this.isHead(head) ? 1 << this.frames[head].order : 1 };
  }

  /** How many of `count` folios in a row pass. */
  count(pfn: number, count: number, order: number, passes: (frame: Frame) => boolean): number {
    let n = 0;
    for (let at = pfn; n < count && at + (1 << order) <= FRAMES && passes(this.frames[at]); at += 1 << order)
      n += 1;
    return n;
  }
}

/** Few values, so that neighbours are often alike. */
function pick<T>(random: Prng, values: readonly T[]): T {
  return values[random.below(values.length)];
}

const FLAGS = [FREE, FREE | STALE, HEAD, HEAD, HEAD | PRESERVED, HEAD | SCRATCH, INCOMING_HEAD];
const MASKS = [0, KIND, PRESERVED, SCRATCH, STALE, 0xff];
const HELD: Held[] = [
  { leastRefs: 1, mostRefs: 1, leastPins: 0, mostPins: 0, leastBeside: 0 },
  { leastRefs: 2, mostRefs: MAX_REFS, leastPins: 1, mostPins: MAX_PINS, leastBeside: 1 },
];

/** Folios in a row, of which the first is one. */
function rowOf(random: Prng, model: Model): { pfn: number; count: number; order: number } | undefined {
  const from = random.below(FRAMES);
  const pfn = model.frames.findIndex((_, i) => i >= from && model.isHead(i));
  if (pfn < 0) return undefined;
  const { order, flags } = model.frames[pfn];
  const most = pick(random, [1, 3, 600]);
  const count = model.count(pfn, most, order, (frame) => {
    const at = model.frames.indexOf(frame);
    return model.isHead(at) && frame.order === order && ((frame.flags ^ flags) & (KIND | SCRATCH)) === 0;
  });
  return { pfn, count, order };
}

function change(random: Prng, table: PageTable, model: Model): void {
  const order = pick(random, [0, 0, 0, 1, 4, 8, 9, 9, 10]);
  const flags = pick(random, FLAGS);
  const isFolio = (flags & KIND) === HEAD || (flags & KIND) === INCOMING_HEAD;
  const of = isFolio ? order : 0;
  const pfn = random.below(Math.floor(FRAMES / (1 << of))) << of;
  const room = Math.floor((FRAMES - pfn) / (1 << of));
  const count = Math.min(
    room,
    pick(random, [1, 1, 2, 512 >> Math.min(of, 9), 700 >> Math.min(of, 9), (16 * 512) >> of, room]),
  );
  const refs = (flags & KIND) === HEAD ? 1 + random.below(2) : 0;
  const row = rowOf(random, model);
  switch (random.below(6)) {
    case 0:
    case 1:
      for (const torn of [pfn, pfn + (count << of) - 1]) {
        // No folio loses a part of it.
        const { head, size } = model.folioAt(torn);
        table.setFolios(head, size, 0, FREE, 0);
        model.setFolios(head, size, 0, FREE, 0);
      }
      table.setFolios(pfn, count, of, flags, refs);
      model.setFolios(pfn, count, of, flags, refs);
      return;
    case 2: {
      if (!row) return;
      const held = pick(random, HELD);
      const done = model.count(row.pfn, row.count, row.order, (frame) => isHeld(held, frame));
      expect(table.addCounts(held, row.pfn, row.count, row.order, 1, 1)).toBe(done);
      for (let i = 0; i < done; i++) {
        const frame = model.frames[row.pfn + (i << row.order)];
        frame.refs += 1;
        frame.pins += 1;
      }
      return;
    }
    case 3: {
      if (!row) return;
      const kept = model.frames[row.pfn].flags ^ PRESERVED;
      table.markFolios(kept, row.pfn, row.count, row.order);
      for (let i = 0; i < row.count; i++) model.frames[row.pfn + (i << row.order)].flags = kept;
      return;
    }
    case 4: {
      const flag = pick(random, [STALE, PRESERVED]);
      const [at, pages] = [random.below(FRAMES), pick(random, [1, 100, 1500])];
      const most = Math.min(pages, FRAMES - at);
      const sets = random.below(2) === 0;
      if (sets) table.setFlag(flag, at, most);
      else table.clearFlag(flag, at, most);
      for (let i = 0; i < most; i++)
        model.frames[at + i].flags = sets
          ? model.frames[at + i].flags | flag
          : model.frames[at + i].flags & ~flag;
      return;
    }
    default: {
      const pfns = Uint32Array.from({ length: 20 }, () => random.below(FRAMES));
      const marked = table.markSingles(HEAD, HEAD | PRESERVED, pfns, 0, pfns.length);
      for (const [i, pfn] of pfns.entries()) {
        const { flags, order } = model.frames[pfn];
        const ends = flags !== HEAD || order !== 0 || pfns[i + 1] === pfn + 1;
        if (ends) expect([i, marked]).toEqual([i, i]);
        if (ends) return;
        model.frames[pfn].flags = HEAD | PRESERVED;
      }
      expect(marked).toBe(pfns.length);
    }
  }
}

function compare(random: Prng, table: PageTable, model: Model): void {
  const mask = pick(random, MASKS);
  const pfn = random.below(FRAMES);
  const end = pfn + random.below(FRAMES - pfn + 1);
  const { flags, order } = model.frames[pfn];
  const value = random.below(8) === 0 ? mask & FREE : flags & mask;
  let stop = pfn;
  while (stop < end && (model.frames[stop].flags & mask) === value) stop += 1;
  expect(['flagsEnd', table.flagsEnd(mask, value, pfn, end)]).toEqual(['flagsEnd', stop]);
  const row = rowOf(random, model);
  if (!row) return;
  const head = model.frames[row.pfn];
  const alike = model.count(
    row.pfn,
    900,
    row.order,
    (frame) => (frame.flags & KIND) === (head.flags & KIND) && frame.order === row.order,
  );
  expect(table.foliosAlike(KIND, head.flags & KIND, row.order, row.pfn, 900)).toBe(alike);
  const held = pick(random, HELD);
  expect(table.foliosHeld(held, row.pfn, row.count, row.order)).toBe(
    model.count(row.pfn, row.count, row.order, (frame) => isHeld(held, frame)),
  );
  expect([table.flagsOf(pfn), (flags & KIND) === TAIL ? order : table.orderOf(pfn)]).toEqual([flags, order]);
}

function isHeld(held: Held, { refs, pins }: Frame): boolean {
  if (refs < held.leastRefs || refs > held.mostRefs) return false;
  return pins >= held.leastPins && pins <= held.mostPins && refs - pins >= held.leastBeside;
}

/** The order of a frame that is no head means nothing. */
function whole(table: PageTable, model: Model): void {
  const { flags, orders, refs, pins } = table.snapshot();
  const is = model.frames.map((_, i) => [flags[i], model.isHead(i) ? orders[i] : 0, refs[i], pins[i]]);
  const expected = model.frames.map((frame, i) => [
    frame.flags,
    model.isHead(i) ? frame.order : 0,
    frame.refs,
    frame.pins,
  ]);
  expect(is).toEqual(expected);
  const free: number[] = [];
  table.forEachFreeRun((pfn, count) => {
    for (let i = 0; i < count; i++) free.push(pfn + i);
  });
  expect(free).toEqual([...model.frames.keys()].filter((pfn) => (model.frames[pfn].flags & KIND) === FREE));
}

test(`${STEPS} random changes from seed ${seed}`, () => {
  const random = new Prng(seed);
  let table = new PageTable(FRAMES * PAGE_SIZE);
  let model = new Model();
  for (let step = 0; step < STEPS; step++) {
    try {
      change(random, table, model);
      compare(random, table, model);
      if (step % 50 === 0) whole(table, model);
    } catch (error) {
      throw new Error(`step ${step} of seed ${seed}`, { cause: error });
    }
    if (random.below(200) > 0) continue;
    table = new PageTable(FRAMES * PAGE_SIZE);
    model = new Model();
  }
});
