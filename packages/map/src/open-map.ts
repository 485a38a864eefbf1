/** How a map begins: in a file of its own, made where there is nothing yet. */
import {
  checkFunction,
  checkOneOf,
  checkOptions,
  checkWhole,
  formatSize,
  isInstance,
  KernelError,
  parseSize,
} from '@liveupdate/base';
import type { SharedView } from '@liveupdate/mm';
import { ShmemFile } from '@liveupdate/shmem';
import { check, checkBytes, isNothing, LEAST_BYTES, make, recover } from './format.ts';
import { HAS_RECENCY, Header } from './abi.ts';
import { Memory } from './memory.ts';
import { isOpen, noteOpen } from './open-maps.ts';
import type { MapReader, ReaderOptions, StoredMap } from './map.ts';
import { ForeignReader } from './reader.ts';
import { WrittenMap, type Ground } from './stored-map.ts';
import type { Encoding } from './text.ts';

/** A live view of a file's bytes: a mapping of one, or a file of a service. */
export interface MapView {
  readonly bytes: Uint8Array;
  share?(): SharedView;
}

/** A live view in a worker thread. */
export interface MapReaderView {
  readonly bytes: Uint8Array;
  /** Whether the thread that writes still has it. */
  readonly isLive?: boolean;
}

export interface MapOptions<K extends Encoding = 'utf8', V extends Encoding = 'utf8'> extends ReaderOptions<
  K,
  V
> {
  /**
   * What the user calls the layout of the values, a whole number; default: whatever the map has,
   * and 1 for a new one.
   */
  readonly schema?: number;
  /**
   * `'lru'`: where a new key finds no room, those that were used the longest ago go. It takes 8
   * bytes for each key, and a change for each use. Fixed when the map is made.
   */
  readonly evict?: 'lru' | 'never';
  /**
   * With `evict`: bytes beyond which keys go, at least 64 KiB, or text such as `'64MiB'`; default:
   * the file's.
   */
  readonly maxBytes?: number | string;
}

/** What an encoding returns. */
export type DecodedAs<E extends Encoding> = E extends 'view' ? Uint8Array<ArrayBuffer> : string;

const READER_OPTIONS = ['keyEncoding', 'valueEncoding', 'now'] as const;

/**
 * Opens the map in a file; where the file is all zeros, a new one is made. Both take the same time
 * for every size. What the owner before left half done, dying, is taken back.
 *
 * @param place a file, which is mapped until the map is closed; or a live view of one, or its bytes
 * @example
 * const map = openMap(file);
 * map.set('greeting', 'hello');
 * map.get('greeting'); // 'hello'
 *
 * @throws KernelError EINVAL: no such place or options; the file holds something else, a map of
 * another schema, of another way to evict, or of a format that this version does not know. EIO: it
 * is damaged. EBUSY: this process has it open already. Others as ShmemFile.map
 */
export function openMap<K extends Encoding = 'utf8', V extends Encoding = 'utf8'>(
  place: ShmemFile | MapView | Uint8Array,
  given: MapOptions<K, V> = {},
): StoredMap<DecodedAs<K>, DecodedAs<V>> {
  const options = checkReaderOptions(given, [...READER_OPTIONS, 'schema', 'evict', 'maxBytes']);
  const { schema, evict, maxBytes } = options;
  if (schema !== undefined) checkWhole(schema, 'a schema', { max: 2 ** 31 - 1 });
  if (evict !== undefined) checkOneOf(evict, 'what happens when it is full (evict)', ['lru', 'never']);
  const most = maxBytes === undefined ? Infinity : checkMost(parseSize(maxBytes));
  const file = fileUnder(place);
  const { view, bytes, unmap } = mapped(place);
  try {
    checkBytes(bytes.length);
    const memory = new Memory(bytes);
    const isNew = isNothing(memory);
    if (!isNew) check(memory);
    if (isOpen(bytes, file))
      throw new KernelError('EBUSY', 'this process has this map open: it has one writer');
    if (isNew) makeBy(memory, options);
    else openBy(memory, options);
    const end = noteOpen(bytes, file);
    const ground: Ground = {
      most,
      share: () => {
        if (view.share) return view.share();
        throw new KernelError(
          'EOPNOTSUPP',
          'this memory cannot be shared: open the map on a mapping of a file',
        );
      },
      close: () => {
        if (end()) unmap();
      },
    };
    return new WrittenMap<DecodedAs<K>, DecodedAs<V>>(memory, options, ground);
  } catch (error) {
    unmap();
    throw error;
  }
}

type AnyOptions = MapOptions<Encoding, Encoding>;

function makeBy(memory: Memory, { schema = 1, evict }: AnyOptions): void {
  const hashKey = crypto.getRandomValues(new Int32Array(2));
  make(memory, { schema, hasRecency: evict === 'lru', hashKey });
}

/** Opens what is there. */
function openBy(memory: Memory, { schema, evict }: AnyOptions): void {
  const { words } = memory;
  if (schema !== undefined && schema !== words[Header.schema])
    throw new KernelError(
      'EINVAL',
      `this map is of schema ${words[Header.schema]}, and ${schema} is asked for: open it without, change its values, and set map.schema`,
    );
  const has = (words[Header.flags] & HAS_RECENCY) === 0 ? 'never' : 'lru';
  if (evict !== undefined && evict !== has)
    throw new KernelError('EINVAL', `this map was made with evict: '${has}', which stays so`);
  recover(memory);
}

/**
 * Opens a map in a thread that does not write it. What it reads is whole, while the other thread
 * writes. It sees what has expired as gone, and does not count as a use.
 *
 * @param view what `openSharedView` of `@liveupdate/linux` made of `map.share()`
 * @throws KernelError EINVAL: no such view or options, or no map. EIO: it is damaged
 */
export function openMapReader<K extends Encoding = 'utf8', V extends Encoding = 'utf8'>(
  view: MapReaderView,
  given: ReaderOptions<K, V> = {},
): MapReader<DecodedAs<K>, DecodedAs<V>> {
  const options = checkReaderOptions(given, READER_OPTIONS);
  const bytes = bytesUnder(view);
  checkBytes(bytes.length);
  const memory = new Memory(bytes);
  check(memory);
  return new ForeignReader<DecodedAs<K>, DecodedAs<V>>(memory, options, () => view.isLive !== false);
}

/** @returns a copy: what was checked stays as it was */
function checkReaderOptions<T extends ReaderOptions<Encoding, Encoding>>(
  given: T,
  known: readonly string[],
): T {
  checkOptions(given, 'a map', known);
  const options = { ...given };
  const { keyEncoding = 'utf8', valueEncoding = 'utf8', now } = options;
  checkOneOf(keyEncoding, 'an encoding of keys', ['utf8', 'view']);
  checkOneOf(valueEncoding, 'an encoding of values', ['utf8', 'view']);
  if (now !== undefined) checkFunction(now, 'a clock');
  return options;
}

/** @throws KernelError EINVAL: less than the smallest map */
function checkMost(bytes: number): number {
  if (bytes >= LEAST_BYTES) return bytes;
  throw new KernelError('EINVAL', `maxBytes: a map takes at least ${formatSize(LEAST_BYTES)}`);
}

/** What is one for all who have the file of a place, where that is known. */
function fileUnder(place: ShmemFile | MapView | Uint8Array): object | undefined {
  if (isInstance(place, ShmemFile)) return place.inode;
  const { file } = Object(place) as { readonly file?: unknown }; // a file of a service has it
  return isInstance(file, ShmemFile) ? file.inode : undefined;
}

interface Mapped {
  readonly view: MapView;
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly unmap: () => void;
}

function mapped(place: ShmemFile | MapView | Uint8Array): Mapped {
  if (!isInstance(place, ShmemFile)) {
    const view = place instanceof Uint8Array ? { bytes: place } : place;
    return { view, bytes: bytesUnder(view), unmap: () => undefined };
  }
  if (place.size === 0)
    throw new KernelError(
      'EINVAL',
      `the file is empty: give it a size first, such as ${formatSize(2 ** 26)}`,
    );
  const mapping = place.map();
  return {
    view: mapping,
    bytes: mapping.bytes,
    unmap: () => {
      mapping.unmap();
    },
  };
}

/** @throws KernelError EINVAL: no view */
function bytesUnder(place: MapView): Uint8Array<ArrayBuffer> {
  const { bytes } = Object(place) as Partial<MapView>;
  if (bytes instanceof Uint8Array && bytes.byteOffset % 8 === 0) return bytes as Uint8Array<ArrayBuffer>;
  throw new KernelError(
    'EINVAL',
    'a map is opened in a ShmemFile, in a mapping of one, in a file of a service, or in bytes',
  );
}
