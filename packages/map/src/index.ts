export { openMap, openMapReader, type MapOptions, type MapReaderView, type MapView } from './open-map.ts';
export { MapReader, type Decoded, type MapStats, type ReaderOptions, type ScanResult } from './reader.ts';
export { StoredMap, type SetOptions } from './stored-map.ts';
export type { Compaction } from './compact.ts';
export type { Encoding } from './text.ts';
