export { FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE } from './fallocate.ts';
export type { Folios } from './folios.ts';
export { ShmemInode } from './inode.ts';
export type { ShmemMapping } from './mapping.ts';
export { ShmemMount, type HugePolicy, type ShmemOptions } from './mount.ts';
export type { PageCache } from './page-cache.ts';
export type { PageRange, PageRunVisitor } from './page-range.ts';
export type { PinnedFolios } from './pin.ts';
export {
  MAX_MEMFD_NAME,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  MFD_EXEC,
  MFD_HUGETLB,
  MFD_NOEXEC_SEAL,
  SEAL_ALL,
  SEAL_EXEC,
  SEAL_FUTURE_WRITE,
  SEAL_GROW,
  SEAL_SEAL,
  SEAL_SHRINK,
  SEAL_WRITE,
  sealNames,
} from './seals.ts';
export { SEEK_CUR, SEEK_DATA, SEEK_END, SEEK_HOLE, SEEK_SET } from './seek.ts';
export { ShmemFile, type ShmemStat } from './shmem-file.ts';
export { Shmem } from './shmem.ts';
