export {
  openMap,
  openMapReader,
  type DecodedAs,
  type MapOptions,
  type MapReaderView,
  type MapView,
} from './open-map.ts';
export type {
  Decoded,
  MapReader,
  MapStats,
  ReaderOptions,
  ScanResult,
  SetOptions,
  StoredMap,
} from './map.ts';
export type { Compaction } from './compact.ts';
export type { Encoding } from './text.ts';
