/**
 * Reads all of a handover, from the entry record to the last folio of a memfd, as a boot and its
 * handlers do.
 */
import { KernelError, PAGE_SIZE, pfnToPhys, physToPfn, type PhysAddr } from '@liveupdate/base';
import {
  readHandover,
  readVmallocPages,
  walkRadixTree,
  type EntryRecord,
  type Handover,
} from '@liveupdate/kho';
import { readLuo, type FileRecord } from '@liveupdate/luo-core';
import { INCOMING_HEAD, KIND, type Ram, type RamPiece } from '@liveupdate/mm';
import { readMemfdFolios, readMemfdRecord, readMemfdRuns } from './read-memfd.ts';

/** RAM that counts how often it is looked at, and refuses when that has no end. */
export class CountingRam implements Ram {
  readonly size: number;
  readonly #under: Ram;
  readonly #limit: number;
  looks = 0;

  constructor(under: Ram, limit: number) {
    this.#under = under;
    this.#limit = limit;
    this.size = under.size;
  }

  bytes(pa: number, length: number): Uint8Array {
    this.looks += 1;
    if (this.looks > this.#limit) throw new Error(`RAM was looked at ${this.looks} times: this has no end`);
    return this.#under.bytes(pa, length);
  }

  discard(pa: number, length: number): never {
    throw new Error(`reading discards 0x${pa.toString(16)} + ${length}`);
  }

  close(): void {
    this.#under.close();
  }
}

function orderOf({ table }: Handover): (pfn: number) => number {
  return (pfn) => {
    if (pfn >= table.frames || (table.flagsOf(pfn) & KIND) !== INCOMING_HEAD)
      throw new KernelError('EINVAL', `frame ${pfn} is not preserved`);
    return table.orderOf(pfn);
  };
}

/** Where a file's record, its chunks and its folio array lie. */
export interface FilePages {
  readonly file: FileRecord;
  readonly pages: readonly PhysAddr[];
}

/** The folios of one memfd, and a byte of each. Returns the bytes in it. */
export function readFile(ram: Ram, handover: Handover, { data, compatible }: FileRecord): number {
  const record = readMemfdRecord(ram, Number(data), compatible);
  const { pfns } = readMemfdFolios(ram, record, orderOf(handover));
  readMemfdRuns(ram, record, handover.table);
  let bytes = 0;
  for (const pfn of pfns) {
    const piece: RamPiece = { pa: pfnToPhys(pfn), length: PAGE_SIZE * 2 ** handover.table.orderOf(pfn) };
    ram.bytes(piece.pa, 1);
    ram.bytes(piece.pa + piece.length - 1, 1);
    bytes += piece.length;
  }
  return bytes;
}

/** Every page that the structures of a handover lie in: what there is to damage. */
export function structurePages(
  ram: Ram,
  entry: EntryRecord,
): {
  readonly kho: readonly PhysAddr[];
  readonly luo: readonly PhysAddr[];
  readonly files: readonly FilePages[];
} {
  const handover = readHandover(ram, entry);
  const page = (pa: PhysAddr): PhysAddr => pfnToPhys(physToPfn(pa));
  const kho = [page(entry.fdtAddr), page(entry.scratchAddr)];
  walkRadixTree(
    ram,
    handover.preservedMap,
    () => undefined,
    (node) => kho.push(pfnToPhys(node)),
  );
  for (const { pa } of handover.subtrees.values()) kho.push(page(pa));
  const luo = readLuo(ram, handover);
  const files = (luo?.sessions ?? [])
    .flatMap((session) => session.files)
    .map((file) => {
      const { array } = readMemfdRecord(ram, Number(file.data), file.compatible);
      const { pfns, chunks } = readVmallocPages(ram, array);
      return { file, pages: [Number(file.data), ...[...chunks, ...pfns].map((pfn) => pfnToPhys(pfn))] };
    });
  return { kho, luo: luo?.pages ?? [], files };
}
