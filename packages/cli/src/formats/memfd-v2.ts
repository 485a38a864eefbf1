/** In-memory files of Linux 7.x. */
import { mayBeMemfdRecord, MEMFD_V2, readMemfdFolios, readMemfdRecord } from '@liveupdate/memfd-handler';
import type { MemfdFormat } from './format.ts';

export const memfdV2: MemfdFormat = {
  compatible: MEMFD_V2,
  read: (ram, pa) => readMemfdRecord(ram, pa, MEMFD_V2),
  folios: readMemfdFolios,
  mayBe: (page, ramSize) => mayBeMemfdRecord(page, MEMFD_V2, ramSize),
};
