/**
 * Which pages of some bytes hold anything: what is all zeros can stay a hole where the bytes go.
 */
import { PAGE_SIZE } from '@liveupdate/base';

const WORD = Uint32Array.BYTES_PER_ELEMENT;

/**
 * Calls `visit` for the runs of pages that are not all zeros, from and to as offsets in `bytes`.
 *
 * @param position of the bytes in their file, whose pages count
 */
export function forEachDataRun(
  bytes: Uint8Array,
  position: number,
  visit: (from: number, to: number) => void,
): void {
  let from = 0;
  for (let at = 0; at < bytes.length;) {
    const to = Math.min(bytes.length, at + PAGE_SIZE - ((position + at) % PAGE_SIZE));
    if (isZero(bytes, at, to)) {
      if (from < at) visit(from, at);
      from = to;
    }
    at = to;
  }
  if (from < bytes.length) visit(from, bytes.length);
}

function isZero(bytes: Uint8Array, from: number, to: number): boolean {
  let at = from;
  if ((bytes.byteOffset + from) % WORD === 0) {
    const count = Math.floor((to - from) / WORD);
    const words = new Uint32Array(bytes.buffer, bytes.byteOffset + from, count);
    for (let i = 0; i < count; i++) if (words[i] !== 0) return false;
    at += count * WORD;
  }
  for (; at < to; at++) if (bytes[at] !== 0) return false;
  return true;
}
