/** Streams from a disk into a file of a RAM. */
import { Transform, Writable } from 'node:stream';
import type { ShmemFile } from '@liveupdate/shmem';
import { forEachDataRun } from './data-runs.ts';
import type { Progress } from './progress.ts';

/** Bytes that are read from disk and written at once: the largest folio that a file gets. */
export const CHUNK = 2 * 2 ** 20;

/** Writes what it is given into the file, and leaves pages of zeros holes. */
export function sparseWriter(file: ShmemFile, huge: boolean): Writable {
  let position = 0;
  const write = (chunk: Uint8Array, from: number, to: number): void => {
    for (let at = from; at < to;) at += file.pwrite(chunk.subarray(at, to), position + at);
  };
  return new Writable({
    highWaterMark: CHUNK,
    write(chunk: Uint8Array, _encoding, done) {
      try {
        const runs: [from: number, to: number][] = [];
        forEachDataRun(chunk, position, (from, to) => runs.push([from, to]));
        // A large folio is written whole.
        if (huge && runs.length > 0) write(chunk, 0, chunk.length);
        else for (const [from, to] of runs) write(chunk, from, to);
        position += chunk.length;
      } catch (error) {
        done(error as Error);
        return;
      }
      setImmediate(done); // signals and the display of progress get their turn
    },
    final(done) {
      if (file.size < position) file.truncate(position);
      done();
    },
  });
}

/** Shows how far it is. */
export function counting(progress: Progress): Transform {
  return new Transform({
    highWaterMark: CHUNK,
    transform(chunk: Buffer, _encoding, done) {
      progress.add(chunk.length);
      done(null, chunk);
    },
  });
}
