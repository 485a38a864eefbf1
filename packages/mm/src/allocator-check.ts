/**
 * Proof that a page allocator is whole: every frame is in exactly one place, and what is free, in
 * use or incoming does not contradict itself. Texts are made where a check fails, not as arguments
 * of assert(): these loops run once per frame.
 */
import { AssertionError, MAX_ORDER, type Pfn } from '@liveupdate/base';
import {
  FREE,
  HEAD,
  INCOMING_HEAD,
  INCOMING_TAIL,
  KIND,
  PRESERVED,
  RESERVED,
  SCRATCH,
  TAIL,
  type PageTable,
} from './page-table.ts';
import type { Zone } from './zone.ts';

/**
 * Proves that no frame is lost and none is owned twice.
 *
 * @param outside free frames in no free block, first frame and number in turn
 * @throws AssertionError naming the first frame whose state contradicts itself
 */
export function assertWhole(
  table: PageTable,
  normal: Zone,
  scratch: Zone,
  outside: readonly number[] = [],
): void {
  const covered = new Uint8Array(table.frames);
  for (let i = 0; i < outside.length; i += 2)
    for (let f = outside[i]; f < outside[i] + outside[i + 1]; f++)
      assertFree(table, f, table.flagsOf(f) & SCRATCH, covered);
  assertZone(table, normal, 0, covered);
  assertZone(table, scratch, SCRATCH, covered);
  let pfn = 0;
  while (pfn < table.frames) pfn += assertFrame(table, pfn, covered);
}

function assertZone(table: PageTable, zone: Zone, scratch: number, covered: Uint8Array): void {
  let pages = 0;
  for (let order = 0; order <= MAX_ORDER; order++) {
    const blocks = zone.blocks[order];
    let count = 0;
    for (let i = blocks.first(); i >= 0; i = blocks.next(i + 1)) {
      const pfn = i * (1 << order);
      if (order < MAX_ORDER && blocks.has(i ^ 1))
        throw new AssertionError(`frames ${pfn} and its buddy are free apart, order ${order}`);
      for (let f = pfn; f < pfn + (1 << order); f++) assertFree(table, f, scratch, covered);
      count += 1;
    }
    if (count !== blocks.count)
      throw new AssertionError(`order ${order} counts ${blocks.count} free blocks and has ${count}`);
    pages += count << order;
  }
  if (pages !== zone.freePages)
    throw new AssertionError(`a zone counts ${zone.freePages} free frames and has ${pages}`);
}

/** Checks one frame of a free block. */
function assertFree(table: PageTable, pfn: Pfn, scratch: number, covered: Uint8Array): void {
  if (pfn >= table.frames || table.kindOf(pfn) !== FREE)
    throw new AssertionError(`frame ${pfn} is in a free block and ${table.kindName(pfn)}`);
  if ((table.flagsOf(pfn) & SCRATCH) !== scratch)
    throw new AssertionError(`frame ${pfn} is in the free blocks of the wrong zone`);
  if (covered[pfn] !== 0) throw new AssertionError(`frame ${pfn} is in two free blocks`);
  covered[pfn] = 1;
}

/**
 * Checks the folio, the free frame or the stretch of reserved frames that begins at `pfn`; its
 * length in frames.
 */
function assertFrame(table: PageTable, pfn: Pfn, covered: Uint8Array): number {
  const { frames } = table;
  const flags = table.flagsOf(pfn);
  const kind = flags & KIND;
  if (kind === RESERVED) return table.flagsEnd(KIND, RESERVED, pfn, frames) - pfn; // a hole may be large
  if (kind === FREE) {
    if (covered[pfn] !== 1) throw new AssertionError(`frame ${pfn} is free and in no free block`);
    if (isHeld(table, pfn)) throw new AssertionError(`free frame ${pfn} has references`);
    return 1;
  }
  if (kind !== HEAD && kind !== INCOMING_HEAD)
    throw new AssertionError(`frame ${pfn} is ${table.kindName(pfn)} of no folio`);
  const order = table.orderOf(pfn);
  const pages = 2 ** order;
  if (pfn % pages !== 0 || pfn + pages > frames)
    throw new AssertionError(`folio ${pfn} of order ${order} is not aligned or leaves RAM`);
  if (kind === HEAD) assertInUse(table, pfn);
  else if ((flags & PRESERVED) !== 0 || isHeld(table, pfn))
    throw new AssertionError(`incoming frame ${pfn} has an owner`);
  const tail = kind === HEAD ? TAIL : INCOMING_TAIL;
  for (let f = pfn + 1; f < pfn + pages; f++) {
    const is = table.flagsOf(f);
    if ((is & KIND) !== tail) throw new AssertionError(`frame ${f} in folio ${pfn} is ${table.kindName(f)}`);
    if (((is ^ flags) & SCRATCH) !== 0)
      throw new AssertionError(`folio ${pfn} lies partly in a scratch area`);
    if (isHeld(table, f)) throw new AssertionError(`tail frame ${f} has references`);
  }
  return pages;
}

function isHeld(table: PageTable, pfn: Pfn): boolean {
  return table.refsOf(pfn) !== 0 || table.pinsOf(pfn) !== 0;
}

function assertInUse(table: PageTable, pfn: Pfn): void {
  const [flags, order, refs, pins] = [
    table.flagsOf(pfn),
    table.orderOf(pfn),
    table.refsOf(pfn),
    table.pinsOf(pfn),
  ];
  if (order > MAX_ORDER) throw new AssertionError(`folio ${pfn} has order ${order}`);
  if ((flags & PRESERVED) !== 0 && (flags & SCRATCH) !== 0)
    throw new AssertionError(`frame ${pfn} lies in a scratch area and is preserved`);
  if (refs === 0 || refs < pins)
    throw new AssertionError(`folio ${pfn} has ${refs} references, ${pins} pins`);
}
