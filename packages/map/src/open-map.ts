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
import { check, checkBytes, isNothing, make, recover } from './format.ts';
import { HAS_RECENCY, Header } from './abi.ts';
import { Memory } from './memory.ts';
import type { MapReader, ReaderOptions, StoredMap } from './map.ts';
import { ForeignReader } from './reader.ts';
import { WrittenMap, type Ground } from './stored-map.ts';
import type { Encoding } from './text.ts';

/** A live view of a file's bytes: a mapping of one, or a file of a service. */
export interface MapView {
  readonly bytes: Uint8Array<ArrayBuffer>;
  share?(): SharedView;
}

/** A live view in a worker thread. */
export interface MapReaderView {
  readonly bytes: Uint8Array<ArrayBuffer>;
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
  /** With `evict`: bytes beyond which keys go, or text such as `'64MiB'`; default: the file's. */
  readonly maxBytes?: number | string;
}

/** What an encoding returns. */
export type DecodedAs<E extends Encoding> = E extends 'view' ? Uint8Array<ArrayBuffer> : string;

const READER_OPTIONS = ['keyEncoding', 'valueEncoding', 'now'] as const;

/** Files and buffers in which a map of this process is open. */
const open = new WeakSet<object>();

/**
 * Opens the map in a file; where the file is all zeros, a new one is made. Both take the same time
 * for every size. What the owner before left half done, dying, is taken back.
 *
 * @param place a file, which is mapped until the map is closed; or a live view of one
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
  place: ShmemFile | MapView,
  options: MapOptions<K, V> = {},
): StoredMap<DecodedAs<K>, DecodedAs<V>> {
  checkReaderOptions(options, [...READER_OPTIONS, 'schema', 'evict', 'maxBytes']);
  const { schema, evict, maxBytes } = options;
  if (schema !== undefined) checkWhole(schema, 'a schema', { max: 2 ** 31 - 1 });
  if (evict !== undefined) checkOneOf(evict, 'what happens when it is full (evict)', ['lru', 'never']);
  const most = maxBytes === undefined ? Infinity : parseSize(maxBytes);
  const identity = isInstance(place, ShmemFile) ? place.inode : viewOf(place).bytes.buffer;
  if (open.has(identity)) throw new KernelError('EBUSY', 'this process has this map open: it has one writer');
  const { view, unmap } = mapped(place);
  try {
    checkBytes(view.bytes.length);
    const memory = new Memory(view.bytes);
    begin(memory, options);
    open.add(identity);
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
        open.delete(identity);
        unmap();
      },
    };
    return new WrittenMap<DecodedAs<K>, DecodedAs<V>>(memory, options, ground);
  } catch (error) {
    unmap();
    throw error;
  }
}

/** Makes the map, or opens what is there. */
function begin(memory: Memory, { schema, evict }: MapOptions<Encoding, Encoding>): void {
  if (isNothing(memory)) {
    const hashKey = crypto.getRandomValues(new Int32Array(2));
    make(memory, { schema: schema ?? 1, hasRecency: evict === 'lru', hashKey });
    return;
  }
  check(memory);
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
  options: ReaderOptions<K, V> = {},
): MapReader<DecodedAs<K>, DecodedAs<V>> {
  checkReaderOptions(options, READER_OPTIONS);
  const { bytes } = viewOf(view);
  checkBytes(bytes.length);
  const memory = new Memory(bytes);
  check(memory);
  return new ForeignReader<DecodedAs<K>, DecodedAs<V>>(memory, options, () => view.isLive !== false);
}

function checkReaderOptions(options: ReaderOptions<Encoding, Encoding>, known: readonly string[]): void {
  checkOptions(options, 'a map', known);
  const { keyEncoding = 'utf8', valueEncoding = 'utf8', now } = options;
  checkOneOf(keyEncoding, 'an encoding of keys', ['utf8', 'view']);
  checkOneOf(valueEncoding, 'an encoding of values', ['utf8', 'view']);
  if (now !== undefined) checkFunction(now, 'a clock');
}

interface Mapped {
  readonly view: MapView;
  readonly unmap: () => void;
}

function mapped(place: ShmemFile | MapView): Mapped {
  if (!isInstance(place, ShmemFile)) return { view: place, unmap: () => undefined };
  if (place.size === 0)
    throw new KernelError(
      'EINVAL',
      `the file is empty: give it a size first, such as ${formatSize(2 ** 26)}`,
    );
  const mapping = place.map();
  return {
    view: mapping,
    unmap: () => {
      mapping.unmap();
    },
  };
}

/** @throws KernelError EINVAL: no view */
function viewOf(place: MapView): MapView {
  const { bytes } = Object(place) as Partial<MapView>;
  if (bytes instanceof Uint8Array && bytes.byteOffset % 8 === 0) return place;
  throw new KernelError(
    'EINVAL',
    'a map is opened in a ShmemFile, in a mapping of one, or in a file of a service',
  );
}
