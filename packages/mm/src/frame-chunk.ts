/**
 * The bits of 32,768 frames side by side, of which sets of frames are made: a page of them.
 *
 * In memory of any size most chunks have all their bits set, so those are one and the same: whoever
 * clears a bit takes a copy.
 */
import { findBit, setBits } from '@liveupdate/base';

export const CHUNK_SHIFT = 15;
export const CHUNK_FRAMES = 1 << CHUNK_SHIFT;
export const CHUNK_WORDS = CHUNK_FRAMES / 32;

let full: Uint32Array | undefined;

/** All bits set. It is shared: nobody clears one. */
export function fullChunk(): Uint32Array {
  if (full) return full;
  full = new Uint32Array(CHUNK_WORDS);
  setBits(full, 0, CHUNK_FRAMES);
  return full;
}

/** A copy of bits; nothing but a look at them where all are set. */
export function copyOfChunk(bits: Uint32Array): Uint32Array {
  return findBit(bits, 0, CHUNK_FRAMES, false) === CHUNK_FRAMES ? fullChunk() : bits.slice();
}

/** The same bits, in memory that is nobody else's, to be cleared. */
export function ownChunk(bits: Uint32Array): Uint32Array {
  return bits === full ? bits.slice() : bits;
}
