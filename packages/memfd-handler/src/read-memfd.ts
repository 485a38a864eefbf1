/** Reads a memfd's record and changes nothing: for retrieve, and for tools that only look. */
import {
  checkWhole,
  KernelError,
  PAGE_SIZE,
  pagesFor,
  type Pfn,
  type PhysAddr,
  shown,
  StructView,
  checkFunction,
  checkInstance,
  checkObject,
} from '@liveupdate/base';
import { readVmallocDescriptor, type VmallocDescriptor } from '@liveupdate/kho';
import { PageTable, type FolioRuns, type Ram } from '@liveupdate/mm';
import { MEMFD_V1, MEMFD_V2, MemfdV1Ser, MemfdV2Ser } from './abi.ts';
import { arrayPieces, checkPlace, readFolioArray, readFolioRuns, type FolioList } from './folio-array.ts';

export interface MemfdRecord {
  /** Bytes from the start. */
  readonly position: number;
  /** Bytes in the file. */
  readonly size: number;
  /** A mask of SEAL_*; 0 in a v1 record, which keeps none. */
  readonly seals: number;
  /** Records in the folio array, those of pfn 0 included. */
  readonly folioCount: number;
  readonly array: VmallocDescriptor;
}

/** Largest file: as many pages as a record can index. */
export const MAX_MEMFD_PAGES = 2 ** 32 - 1;

function locate(ram: Ram, pa: PhysAddr, compatible: string) {
  if (compatible !== MEMFD_V1 && compatible !== MEMFD_V2)
    throw new KernelError('EINVAL', `${shown(compatible)} is no version of a memfd record`);
  checkWhole(pa, 'an address of a memfd record');
  if (pa % PAGE_SIZE !== 0)
    throw new KernelError('EINVAL', `a memfd record at 0x${pa.toString(16)}: records begin a page`);
  const layout = compatible === MEMFD_V2 ? MemfdV2Ser : MemfdV1Ser;
  return { ser: new StructView(ram.bytes(pa, layout.SIZE)), layout };
}

/**
 * The descriptor of the folio array of the record at `pa`, whatever else stands in that. For the
 * errors see readMemfdRecord.
 */
export function readMemfdArray(ram: Ram, pa: PhysAddr, compatible: string): VmallocDescriptor {
  const { ser, layout } = locate(ram, pa, compatible);
  return readVmallocDescriptor(ser.slice(layout.folios));
}

/**
 * The record at `pa`.
 *
 * @param compatible `'memfd-v2'` or `'memfd-v1'`
 * @throws KernelError EINVAL: another version, or a damaged record. EFAULT: outside RAM. EOVERFLOW:
 * a field is beyond 2^53.
 */
export function readMemfdRecord(ram: Ram, pa: PhysAddr, compatible: string): MemfdRecord {
  const { ser, layout } = locate(ram, pa, compatible);
  const record = {
    position: ser.getNumber(layout.position),
    size: ser.getNumber(layout.size),
    seals: compatible === MEMFD_V2 ? ser.getU32(MemfdV2Ser.seals) : 0,
    folioCount: ser.getNumber(layout.folioCount),
    array: readVmallocDescriptor(ser.slice(layout.folios)),
  };
  if (compatible === MEMFD_V2 && ser.getU32(MemfdV2Ser.flags) !== 0)
    throw new KernelError('EINVAL', 'a memfd record has unknown flags');
  if (pagesFor(record.size) > MAX_MEMFD_PAGES)
    throw new KernelError('EINVAL', `a memfd record claims ${record.size} bytes`);
  return record;
}

/**
 * Every folio of a record with its flags, one by one: for tools.
 *
 * @param orderOf order of the folio at a frame, as the preserved memory map has it; may throw where
 * none is preserved
 * @throws KernelError EINVAL: folios that overlap, are out of order, beyond the file, or not at a
 * multiple of their size
 */
export function readMemfdFolios(ram: Ram, record: MemfdRecord, orderOf: (pfn: Pfn) => number): FolioList {
  checkObject(record, 'a memfd record');
  checkFunction(orderOf, 'what tells orders');
  const list = readFolioArray(ram, record.array, record.folioCount);
  const pages = pagesFor(record.size);
  let next = 0;
  for (let i = 0; i < list.pfns.length; i++) {
    const index = list.indices[i];
    const size = 2 ** orderOf(list.pfns[i]);
    checkPlace(index, size, next, pages);
    next = index + size;
  }
  return list;
}

/**
 * The folios of a record in runs, checked to be what one file can have.
 *
 * @param table knows the order of the folio at each frame, as the preserved memory map has it
 * @param unwritten is given the folios that are not up to date, which the file shows as zeros
 * @throws KernelError EINVAL: a damaged array, or folios that overlap, are out of order, beyond the
 * file, or not at a multiple of their size
 */
export function readMemfdRuns(ram: Ram, record: MemfdRecord, table: PageTable, unwritten?: Pfn[]): FolioRuns {
  checkObject(record, 'a memfd record');
  checkInstance(table, 'a table of pages', PageTable);
  const pieces = arrayPieces(ram, record.array);
  return readFolioRuns(ram, pieces, record.folioCount, pagesFor(record.size), table, unwritten);
}
