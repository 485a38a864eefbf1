/**
 * Memfds that the previous kernel handed over: what a record names, taken or freed. Whatever is
 * wrong with a record, what it names and can be found is not left behind without an owner, and no
 * folio ever gets two.
 */
import {
  KernelError,
  MAX_ORDER,
  PAGE_SIZE,
  pagesFor,
  pfnToPhys,
  physToPfn,
  type Pfn,
} from '@liveupdate/base';
import { rowOf } from '@liveupdate/mm';
import type { Kho, PreservedBlock, VmallocDescriptor } from '@liveupdate/kho';
import type { FolioRuns, VmallocArea } from '@liveupdate/mm';
import { SEAL_ALL } from '@liveupdate/shmem';
import { forEachListedFrame, readFolioRuns } from './folio-array.ts';
import { readMemfdArray, readMemfdRecord, readMemfdRuns, type MemfdRecord } from './read-memfd.ts';

/**
 * A file of the previous kernel whose folios are in use here, with one reference each that the
 * caller owns.
 */
export interface TakenMemfd {
  readonly record: MemfdRecord;
  readonly runs: FolioRuns;
}

/**
 * Takes the file of a record over and frees the record.
 *
 * @throws KernelError EINVAL, EOVERFLOW: no record, or a damaged one. EOPNOTSUPP: unknown seals.
 * EIO: a folio is missing. After each of them what the record names is freed.
 */
export function takeMemfd(kho: Kho, data: bigint, compatible: string): TakenMemfd {
  const block = incomingBlock(kho, data);
  if (!block)
    throw new KernelError(
      'EINVAL',
      `no memfd record of the previous kernel begins at 0x${data.toString(16)}`,
    );
  const unwritten: Pfn[] = [];
  let record: MemfdRecord;
  let runs: FolioRuns;
  let area: VmallocArea | undefined;
  try {
    record = readMemfdRecord(kho.ram, block.pa, compatible);
    checkSeals(record);
    area = restoreArray(kho, record.array);
    runs = readRuns(kho, record, area, unwritten);
  } catch (error) {
    if (area) discard(kho, block, area);
    else discardMemfd(kho, data, compatible);
    throw error;
  }
  area?.free();
  kho.restoreFree(block.pa);
  restoreAll(kho, runs);
  const { pages } = kho;
  for (const pfn of unwritten) pages.residency.zero(pfnToPhys(pfn), PAGE_SIZE << pages.orderOf(pfn));
  return { record, runs };
}

function checkSeals({ seals }: MemfdRecord): void {
  const unknown = seals & ~SEAL_ALL;
  if (unknown === 0) return;
  throw new KernelError('EOPNOTSUPP', `a memfd record has unknown seals 0x${(unknown >>> 0).toString(16)}`);
}

/** The array of the folios, ours from now on; undefined where the record has none. */
function restoreArray(kho: Kho, array: VmallocDescriptor): VmallocArea | undefined {
  return array.first === 0 ? undefined : kho.restoreVmalloc(array);
}

function readRuns(kho: Kho, record: MemfdRecord, area?: VmallocArea, unwritten?: Pfn[]): FolioRuns {
  const { ram, pages } = kho;
  if (!area) return readMemfdRuns(ram, record, pages.table, unwritten);
  return readFolioRuns(ram, area, record.folioCount, pagesFor(record.size), pages.table, unwritten);
}

/**
 * Frees the file of a record and the record itself, as far as they can be found. An array that is
 * not whole in preserved memory is not believed: what it seems to list may be another file's, so it
 * stays out of use until the next handover.
 */
export function discardMemfd(kho: Kho, data: bigint, compatible: string): void {
  const block = incomingBlock(kho, data);
  if (!block) return;
  const record = ifReadable(() => readMemfdRecord(kho.ram, block.pa, compatible));
  const area = ifReadable(() => restoreArray(kho, readMemfdArray(kho.ram, block.pa, compatible)));
  discard(kho, block, area, record);
}

/**
 * Frees a record, its array, which is restored, and what that lists: in runs where the record is
 * good, else one by one.
 */
function discard(kho: Kho, block: PreservedBlock, area?: VmallocArea, record?: MemfdRecord): void {
  const frames: Pfn[] = [];
  const runs = area && record && ifReadable(() => readRuns(kho, record, area));
  if (area && !runs) forEachListedFrame(kho.ram, area, (pfn) => frames.push(pfn));
  area?.free();
  kho.restoreFree(block.pa);
  if (runs) discardRuns(kho, runs);
  for (const pfn of frames) discardFolio(kho, pfn);
}

/** The block at `data`, if the previous kernel left one there that nobody has restored. */
function incomingBlock(kho: Kho, data: bigint): PreservedBlock | undefined {
  const block = ifReadable(() => kho.recordAt(data));
  return block && kho.isIncoming(physToPfn(block.pa)) ? block : undefined;
}

/** Restores every folio, or frees all that it can and throws. */
function restoreAll(kho: Kho, runs: FolioRuns): void {
  const done = kho.restoreRows(runs);
  if (done === runs.length) return;
  const { pfns, counts, orders } = runs;
  kho.pages.putRows({ length: done, pfns, counts, orders });
  discardRuns(kho, runs, done);
  throw new KernelError(
    'EIO',
    `page frames from ${runs.pfns[done]} on were not handed over with the file, or are another file's: its data is lost`,
  );
}

/** Restores and frees what can be restored of these folios, from run `from` on. */
function discardRuns({ pages }: Kho, runs: FolioRuns, from = 0): void {
  for (let i = from; i < runs.length; i++) {
    const step = 1 << runs.orders[i];
    if (pages.adoptIncomingRow(runs.pfns[i], runs.counts[i], runs.orders[i])) {
      pages.putRows(rowOf(runs.pfns[i], runs.counts[i], runs.orders[i]));
      continue;
    }
    // One of the run is not there: one by one, past it.
    for (let f = 0, pfn = runs.pfns[i]; f < runs.counts[i]; f++, pfn += step) {
      if (pages.adoptIncomingRow(pfn, 1, runs.orders[i])) pages.put(pfn);
    }
  }
}

/** Frees a folio of the previous kernel; nothing where none begins at this frame. */
function discardFolio({ pages }: Kho, pfn: Pfn): void {
  if (pfn < pages.table.frames && pages.orderOf(pfn) <= MAX_ORDER && pages.adoptIncoming(pfn)) pages.put(pfn);
}

/** What `read` gives; undefined where the record does not allow it. */
function ifReadable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof KernelError) return undefined;
    throw error;
  }
}
