/**
 * Node's streams over a file in memory, with the options that `node:fs` has for its own. A stream
 * holds the file with a reference of its own, and has a position of its own: neither the file's
 * position nor its owner's close() disturbs it.
 *
 * Bytes are copied once, between the file and the stream's chunks, and a turn of the event loop
 * lies between two chunks.
 */
import { Readable, Writable } from 'node:stream';
import { checkInstance, checkOptions, checkWhole } from '@liveupdate/base';
import { ShmemFile } from '@liveupdate/shmem';

/** Bytes in a chunk unless said otherwise: a copy of 0.1 ms or so. */
const CHUNK = 2 ** 20;

export interface ReadStreamOptions {
  /** First byte; default 0. */
  readonly start?: number;
  /**
   * Last byte, itself included, as fs.createReadStream has it; default the last of the file, as far
   * as that has grown when it is reached.
   */
  readonly end?: number;
  /** Bytes in a chunk; default 1 MiB. */
  readonly highWaterMark?: number;
}

export interface WriteStreamOptions {
  /** Where the first byte goes; default 0. What is in the file and not written over stays. */
  readonly start?: number;
  /** Bytes that wait before write() says so; default 1 MiB. */
  readonly highWaterMark?: number;
}

/**
 * A stream of a file's bytes; holes are zeros.
 *
 * @example
 * await pipeline(createReadStream(file), createGzip(), fs.createWriteStream('file.gz'));
 *
 * @throws KernelError EBADF: the file is closed. EINVAL: no such positions, or another option of a
 * wrong kind. Later failures come as 'error'.
 */
export function createReadStream(file: ShmemFile, options: ReadStreamOptions = {}): Readable {
  checkInstance(file, 'a file', ShmemFile);
  checkOptions(options, 'createReadStream', ['start', 'end', 'highWaterMark']);
  const { start = 0, end = Infinity, highWaterMark = CHUNK } = options;
  checkPosition(start);
  checkWhole(highWaterMark, 'bytes of a chunk', { min: 1 });
  if (end !== Infinity) checkPosition(end);
  const hold = new Hold(file);
  let position = start;
  return new Readable({
    highWaterMark,
    read(size) {
      const chunk = Buffer.allocUnsafeSlow(
        Math.max(0, Math.min(size, end + 1 - position, file.size - position)),
      );
      attempt(this, () => {
        const length = file.pread(chunk, position);
        position += length;
        this.push(length === 0 ? null : chunk);
      });
    },
    destroy(error, done) {
      hold.release();
      done(error);
    },
  });
}

/**
 * A stream that writes into a file, which grows as needed.
 *
 * @throws KernelError EBADF: the file is closed. EINVAL: no such position, or another option of a
 * wrong kind. Later failures (ENOMEM, ENOSPC, EPERM, EFBIG: see ShmemFile.write) come as 'error';
 * what was written before stays.
 */
export function createWriteStream(file: ShmemFile, options: WriteStreamOptions = {}): Writable {
  checkInstance(file, 'a file', ShmemFile);
  checkOptions(options, 'createWriteStream', ['start', 'highWaterMark']);
  const { start = 0, highWaterMark = CHUNK } = options;
  checkPosition(start);
  checkWhole(highWaterMark, 'bytes that wait', { min: 1 });
  const hold = new Hold(file);
  let position = start;
  const writeAll = (chunks: readonly Uint8Array[]): void => {
    for (let chunk of chunks) {
      while (chunk.length > 0) {
        const length = file.pwrite(chunk, position);
        position += length;
        chunk = chunk.subarray(length);
      }
    }
  };
  return new Writable({
    highWaterMark,
    write(chunk: Uint8Array, _encoding, done) {
      answer(() => writeAll([chunk]), done);
    },
    writev(chunks, done) {
      answer(() => writeAll(chunks.map(({ chunk }) => chunk as Uint8Array)), done);
    },
    destroy(error, done) {
      hold.release();
      done(error);
    },
  });
}

/** Keeps a file open whatever its users close, until it is released, once. */
class Hold {
  #file: ShmemFile | undefined;

  constructor(file: ShmemFile) {
    file.hold();
    this.#file = file;
  }

  release(): void {
    this.#file?.unhold();
    this.#file = undefined;
  }
}

function attempt(stream: Readable, work: () => void): void {
  try {
    work();
  } catch (error) {
    stream.destroy(error as Error);
  }
}

/**
 * Does the work in this turn and answers in the next, so that a fast source does not keep everybody
 * else waiting.
 */
function answer(work: () => void, done: (error?: Error | null) => void): void {
  try {
    work();
  } catch (error) {
    done(error as Error);
    return;
  }
  setImmediate(done);
}

function checkPosition(position: number): void {
  checkWhole(position, 'a position in a file');
}
