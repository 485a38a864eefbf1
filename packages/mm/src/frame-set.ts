/**
 * A set of frames: one bit each, in chunks that are there where the set has members, so that RAM of
 * any size costs what is used.
 */
import { clearBits, findBit, setBits, type Pfn } from '@liveupdate/base';
import { CHUNK_FRAMES as CHUNK, CHUNK_SHIFT, CHUNK_WORDS, fullChunk, ownChunk } from './frame-chunk.ts';

export class FrameSet {
  readonly #chunks = new Map<number, Uint32Array>();

  /** Whether it has no chunk. */
  get isEmpty(): boolean {
    return this.#chunks.size === 0;
  }

  add(pfn: Pfn, count: number): void {
    forEachChunk(pfn, pfn + count, (number, from, to) => {
      if (to - from === CHUNK) {
        this.#chunks.set(number, fullChunk());
        return;
      }
      const bits = this.#chunks.get(number) ?? new Uint32Array(CHUNK_WORDS);
      this.#chunks.set(number, bits);
      setBits(bits, from, to - from);
    });
  }

  delete(pfn: Pfn, count: number): void {
    forEachChunk(pfn, pfn + count, (number, from, to) => {
      const found = to - from < CHUNK ? this.#chunks.get(number) : undefined;
      const bits = found && ownChunk(found);
      if (bits) clearBits(bits, from, to - from);
      if (bits && findBit(bits, 0, CHUNK, true) < CHUNK) this.#chunks.set(number, bits);
      else this.#chunks.delete(number);
    });
  }

  has(pfn: Pfn): boolean {
    const bits = this.#chunks.get(pfn >>> CHUNK_SHIFT);
    const place = pfn & (CHUNK - 1);
    return bits !== undefined && (bits[place >>> 5] & (1 << (place & 31))) !== 0;
  }

  /** The first frame of [pfn, end) that is a member, or is none (`!want`); `end` without one. */
  find(want: boolean, pfn: Pfn, end: Pfn): Pfn {
    for (let at = pfn; at < end;) {
      const bits = this.#chunks.get(at >>> CHUNK_SHIFT);
      const base = at - (at & (CHUNK - 1));
      const to = Math.min(end, base + CHUNK);
      if (bits) {
        const found = base + findBit(bits, at - base, to - base, want);
        if (found < to) return found;
      } else if (!want) {
        return at;
      }
      at = to;
    }
    return end;
  }

  /** Calls `visit` for each run of members in [pfn, end), ascending. */
  forEachRun(pfn: Pfn, end: Pfn, visit: (pfn: Pfn, count: number) => void): void {
    for (let at = this.find(true, pfn, end); at < end;) {
      const to = this.find(false, at, end);
      visit(at, to - at);
      at = this.find(true, to, end);
    }
  }
}

/** Calls `visit` with the part of [pfn, end) in each chunk: its number, and places in it. */
function forEachChunk(pfn: Pfn, end: Pfn, visit: (number: number, from: number, to: number) => void): void {
  for (let at = pfn; at < end;) {
    const number = Math.floor(at / CHUNK);
    const base = number * CHUNK;
    const to = Math.min(end, base + CHUNK);
    visit(number, at - base, to - base);
    at = to;
  }
}
