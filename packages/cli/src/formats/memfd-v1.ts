/** In-memory files of Linux 6.19. */
import { mayBeMemfdRecord, MEMFD_V1, readMemfdFolios, readMemfdRecord } from '@liveupdate/memfd-handler';
import type { MemfdFormat } from './format.ts';

export const memfdV1: MemfdFormat = {
  compatible: MEMFD_V1,
  read: (ram, pa) => readMemfdRecord(ram, pa, MEMFD_V1),
  folios: readMemfdFolios,
  mayBe: (page, ramSize) => mayBeMemfdRecord(page, MEMFD_V1, ramSize),
};
