/**
 * The maps that are open in this process, whichever copy of this package opened them: a map has one
 * writer. It is known by its file, and by its bytes in a buffer. Two generations of a service in
 * one process have files and buffers of their own: which of them writes is the service's to say.
 */

/** What all copies agree on. */
interface OpenMap {
  readonly bytes: Uint8Array;
  /** What is the same for all who have the file; undefined: only its bytes are known. */
  readonly file: object | undefined;
}

const NAME = Symbol.for('@liveupdate/map: open');

function openMaps(): Set<WeakRef<OpenMap>> {
  const all = globalThis as { [NAME]?: Set<WeakRef<OpenMap>> | undefined };
  all[NAME] ??= new Set();
  return all[NAME];
}

/** Whether a map is open there. */
export function isOpen(bytes: Uint8Array, file: object | undefined): boolean {
  let isThere = false;
  for (const each of openMaps()) {
    const other = each.deref();
    if (!other) openMaps().delete(each);
    else isThere ||= (file !== undefined && other.file === file) || touch(bytes, other.bytes);
  }
  return isThere;
}

function touch(one: Uint8Array, other: Uint8Array): boolean {
  return (
    one.buffer === other.buffer &&
    one.byteOffset < other.byteOffset + other.byteLength &&
    other.byteOffset < one.byteOffset + one.byteLength
  );
}

/** @returns what ends it, and tells whether it had not ended before. Keep it as long as the map */
export function noteOpen(bytes: Uint8Array, file: object | undefined): () => boolean {
  const map: OpenMap = { bytes, file };
  const reference = new WeakRef(map);
  openMaps().add(reference);
  return () => openMaps().delete(reference) && map.bytes === bytes;
}
