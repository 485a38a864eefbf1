export { FOLIO_DIRTY, FOLIO_UPTODATE, MEMFD_V1, MEMFD_V2 } from './abi.ts';
export { type FolioList } from './folio-array.ts';
export { memfdHandler, type MemfdHandlerInit } from './memfd-handler.ts';
export { readMemfdFolios, readMemfdRecord, readMemfdRuns, type MemfdRecord } from './read-memfd.ts';
