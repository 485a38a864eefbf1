/** In-memory files of Linux 6.19. */
import { MEMFD_V1, readMemfdFolios, readMemfdRecord } from '@liveupdate/memfd-handler';
import type { MemfdFormat } from './format.ts';
import { mayBeMemfd, type MemfdOffsets } from './may-be-memfd.ts';

const OFFSETS: MemfdOffsets = { size: 8, folioCount: 16, folios: 24, end: 40 };

export const memfdV1: MemfdFormat = {
  compatible: MEMFD_V1,
  read: (ram, pa) => readMemfdRecord(ram, pa, MEMFD_V1),
  folios: readMemfdFolios,
  mayBe: (page, ramSize) => mayBeMemfd(page, OFFSETS, ramSize),
};
