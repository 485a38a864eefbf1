/**
 * The flattened form of a kdump, which QEMU writes and makedumpfile writes into pipes: pieces of
 * the file in any order, each with its place. Read as the file that they make up.
 */
import { KernelError } from '@liveupdate/base';
import type { ReadableBytes } from './elf-core-ram.ts';
import { Damage } from './damage.ts';
import { FLAT_HEADER_BYTES, FlatPiece } from './kdump-layout.ts';

const SIGNATURE = Buffer.from('makedumpfile\0\0\0\0');
/** Pieces that are taken, at most: of 64 KiB and more each where real programs write them. */
const MAX_PIECES = 2 ** 24;
/** Bytes of the file that are read at once while the pieces are listed. */
const STRIDE = 2 ** 16;

export function isFlattened(head: Uint8Array): boolean {
  return SIGNATURE.equals(head.subarray(0, SIGNATURE.length));
}

/** Pieces by their place in the whole file. */
interface Pieces {
  readonly places: Float64Array;
  readonly lengths: Float64Array;
  /** Where their bytes are. */
  readonly offsets: Float64Array;
}

/**
 * The whole file.
 *
 * @throws KernelError EINVAL: no piece can be read
 */
export function unflatten(file: ReadableBytes): { bytes: ReadableBytes; damage: readonly KernelError[] } {
  const damage = new Damage();
  const pieces = sorted(listPieces(file, damage), damage);
  const { places, lengths, offsets } = pieces;
  const count = places.length;
  if (count === 0) throw new KernelError('EINVAL', 'this flattened kdump has nothing in it: copy it again');
  const read = (into: Uint8Array, at: number): void => {
    into.fill(0);
    const end = at + into.length;
    for (let i = firstAfter(pieces, at); i < count && places[i] < end; i++) {
      const from = Math.max(at, places[i]);
      const to = Math.min(end, places[i] + lengths[i]);
      file.read(into.subarray(from - at, to - at), offsets[i] + from - places[i]);
    }
  };
  return { bytes: { size: places[count - 1] + lengths[count - 1], read }, damage: damage.all };
}

/** All pieces, in the order of the file. */
function listPieces(file: ReadableBytes, damage: Damage): [place: number, length: number, offset: number][] {
  const found: [number, number, number][] = [];
  const window = new Uint8Array(STRIDE);
  let windowAt = -STRIDE;
  for (let at = FLAT_HEADER_BYTES; ;) {
    if (at + FlatPiece.SIZE > file.size) {
      damage.say('the file is cut short: pages at its end are missing');
      break;
    }
    if (at < windowAt || at + FlatPiece.SIZE > windowAt + STRIDE) {
      file.read(window, at);
      windowAt = at;
    }
    const view = new DataView(window.buffer, at - windowAt, FlatPiece.SIZE);
    const place = view.getBigInt64(FlatPiece.offset.at, false);
    const length = view.getBigInt64(FlatPiece.size.at, false);
    if (place === -1n) break;
    const isPlace = place >= 0n && length > 0n && place + length <= BigInt(Number.MAX_SAFE_INTEGER);
    if (!isPlace || found.length === MAX_PIECES) {
      damage.say(`the flattened kdump is damaged at byte ${at}: what comes behind is left out`);
      break;
    }
    const from = at + FlatPiece.SIZE;
    const there = Math.min(Number(length), file.size - from);
    if (there > 0) found.push([Number(place), there, from]);
    at = from + Number(length);
  }
  return found;
}

/** By place; of two that have one place the later is right: a header that was written again. */
function sorted(found: [number, number, number][], damage: Damage): Pieces {
  found.sort((a, b) => a[0] - b[0] || a[2] - b[2]);
  const kept: [number, number, number][] = [];
  let end = 0;
  for (const piece of found) {
    const last = kept.at(-1);
    if (last && last[0] === piece[0] && last[1] <= piece[1]) {
      kept.pop();
    } else if (piece[0] < end) {
      damage.say(`two pieces of the flattened kdump claim byte ${piece[0]}: the file is damaged`);
      continue;
    }
    kept.push(piece);
    end = piece[0] + piece[1];
  }
  const column = (i: 0 | 1 | 2): Float64Array => Float64Array.from(kept, (piece) => piece[i]);
  return { places: column(0), lengths: column(1), offsets: column(2) };
}

/** Index of the first piece that ends after `at`. */
function firstAfter({ places, lengths }: Pieces, at: number): number {
  let low = 0;
  let high = places.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (places[middle] + lengths[middle] <= at) low = middle + 1;
    else high = middle;
  }
  return low;
}
