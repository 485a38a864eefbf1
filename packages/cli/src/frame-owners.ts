/** Whose each frame of a RAM is: so that two who claim one are found. */
import { type Pfn } from '@liveupdate/base';

/** Frames that are looked after together. */
const CHUNK = 2 ** 15;

export class FrameOwners {
  /** Numbers of owners, counted from 1; 0: nobody. */
  readonly #chunks = new Map<number, Int32Array>();
  #count = 0;

  /** Frames that have an owner. */
  get count(): number {
    return this.#count;
  }

  /**
   * Takes frames side by side for an owner, counted from 0, but those that another has.
   *
   * @returns who has the first of those; undefined: nobody had any
   */
  claim(pfn: Pfn, count: number, owner: number): number | undefined {
    let other: number | undefined;
    for (let at = pfn; at < pfn + count; at++) {
      const chunk = this.#chunkOf(at);
      const has = chunk[at % CHUNK];
      if (has !== 0) {
        other ??= has - 1;
        continue;
      }
      chunk[at % CHUNK] = owner + 1;
      this.#count += 1;
    }
    return other;
  }

  /** The owner of a frame, counted from 0; -1: nobody. */
  ownerOf(pfn: Pfn): number {
    return (this.#chunks.get(Math.floor(pfn / CHUNK))?.[pfn % CHUNK] ?? 0) - 1;
  }

  #chunkOf(pfn: Pfn): Int32Array {
    const place = Math.floor(pfn / CHUNK);
    let chunk = this.#chunks.get(place);
    if (!chunk) {
      chunk = new Int32Array(CHUNK);
      this.#chunks.set(place, chunk);
    }
    return chunk;
  }
}
