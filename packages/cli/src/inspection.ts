/**
 * What a handover holds, as data: for the text that people read and for the JSON that programs
 * read.
 */
import { KernelError, PAGE_SIZE, type Pfn } from '@liveupdate/base';
import { readHandover, type Handover } from '@liveupdate/kho';
import { readLuo, type FileRecord, type LuoRecords } from '@liveupdate/luo-core';
import {
  MEMFD_V1,
  MEMFD_V2,
  readMemfdFolios,
  readMemfdRecord,
  type FolioList,
} from '@liveupdate/memfd-handler';
import { INCOMING_HEAD, type PageTable, type Ram } from '@liveupdate/mm';
import { hashContent } from './content-hash.ts';
import type { OpenImage } from './open-image.ts';
import type { Progress } from './progress.ts';

/** What is known of a memfd beside its record. */
interface MemfdContent {
  /** Bytes. */
  readonly position: number;
  readonly size: number;
  /** A mask of SEAL_*. */
  readonly seals: number;
  readonly folios: number;
  /** Folios by order. */
  readonly folioOrders: ReadonlyMap<number, number>;
  /** The different flags that its folios have. */
  readonly folioFlags: readonly number[];
  /** Hex; undefined where it was not asked for. */
  readonly sha256: string | undefined;
}

export interface InspectedFile extends FileRecord {
  /** undefined for a file of a kind that is not known here. */
  readonly memfd: MemfdContent | undefined;
}

export interface InspectedSession {
  readonly name: string;
  readonly files: readonly InspectedFile[];
}

export interface Inspection {
  readonly image: OpenImage;
  readonly handover: Handover;
  /** undefined where the previous kernel had no LUO. */
  readonly luo: LuoRecords | undefined;
  readonly sessions: readonly InspectedSession[];
  /** Preserved folios, or runs of pages: their number and their bytes. */
  readonly preserved: { readonly count: number; readonly bytes: number };
}

/** A reader of one file, with all that it needs. */
interface FileReader {
  readonly ram: Ram;
  readonly handover: Handover;
  /** undefined: no hashes. */
  readonly progress: Progress | undefined;
}

/**
 * Reads everything in a handover, and checks it on the way.
 *
 * @param startHashing where hashes of all contents are wanted: makes the display of progress, given
 * the bytes of all files
 * @throws KernelError EINVAL, EFAULT, EOVERFLOW: the handover is damaged or of another version.
 * EBUSY: it was taken over meanwhile.
 */
export async function readInspection(
  image: OpenImage,
  startHashing?: (total: number) => Promise<Progress>,
): Promise<Inspection> {
  const { ram } = image;
  const handover = readHandover(ram, image.entry);
  const luo = readLuo(ram, handover);
  const progress = luo && (await startHashing?.(totalSize(ram, luo)));
  const sessions: InspectedSession[] = [];
  try {
    for (const session of luo?.sessions ?? []) {
      const files: InspectedFile[] = [];
      for (const record of session.files) {
        const memfd = await inFile(session.name, record, () =>
          readMemfd({ ram, handover, progress }, record),
        );
        files.push({ ...record, memfd });
      }
      sessions.push({ name: session.name, files });
    }
  } finally {
    progress?.stop();
  }
  image.checkUnchanged();
  const preserved = { count: 0, bytes: 0 };
  for (const [order, count] of handover.preservedByOrder) {
    preserved.count += count;
    preserved.bytes += count * PAGE_SIZE * 2 ** order;
  }
  return { image, handover, luo, sessions, preserved };
}

export function isMemfd({ compatible }: FileRecord): boolean {
  return compatible === MEMFD_V1 || compatible === MEMFD_V2;
}

/** Address of a handler's record. @throws KernelError EINVAL: no address */
export function recordAddress({ data }: FileRecord): number {
  if (data > BigInt(Number.MAX_SAFE_INTEGER))
    throw new KernelError('EINVAL', `its data 0x${data.toString(16)} is no address: the record is damaged`);
  return Number(data);
}

/** Bytes in all memfds. */
function totalSize(ram: Ram, luo: LuoRecords): number {
  let total = 0;
  for (const { files } of luo.sessions) {
    for (const file of files)
      if (isMemfd(file)) total += readMemfdRecord(ram, recordAddress(file), file.compatible).size;
  }
  return total;
}

/** Says which file it was that could not be read. */
async function inFile<T>(session: string, { token }: FileRecord, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (cause) {
    if (!(cause instanceof KernelError)) throw cause;
    const message = cause.message.slice(cause.code.length + 2);
    throw new KernelError(cause.code, `token ${token} of session '${session}': ${message}`, { cause });
  }
}

async function readMemfd(reader: FileReader, file: FileRecord): Promise<MemfdContent | undefined> {
  if (!isMemfd(file)) return undefined;
  const { ram, handover, progress } = reader;
  const { table } = handover;
  const record = readMemfdRecord(ram, recordAddress(file), file.compatible);
  const list = readMemfdFolios(ram, record, (pfn) => preservedOrder(handover, pfn));
  const { position, size, seals } = record;
  return {
    position,
    size,
    seals,
    folios: list.pfns.length,
    folioOrders: countOrders(list, table),
    folioFlags: [...new Set(list.flags)].sort((a, b) => a - b),
    sha256: progress && (await hashContent({ ram, size, folios: list, table }, progress)),
  };
}

/** Order of the preserved folio at a frame. @throws KernelError EINVAL: none begins there */
export function preservedOrder({ table }: Handover, pfn: Pfn): number {
  if (pfn >= table.frames || table.kindOf(pfn) !== INCOMING_HEAD)
    throw new KernelError('EINVAL', `its folio at frame ${pfn} is not preserved: the record is damaged`);
  return table.orderOf(pfn);
}

function countOrders({ pfns }: FolioList, table: PageTable): Map<number, number> {
  const counts = new Map<number, number>();
  for (const pfn of pfns) {
    const order = table.orderOf(pfn);
    counts.set(order, (counts.get(order) ?? 0) + 1);
  }
  return counts;
}
