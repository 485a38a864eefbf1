/**
 * The bytes of an image, wherever they are: a file that is read as far as it is looked at, or what
 * a gzip file unpacks to. Opened for reading only; nothing is locked, nothing is written.
 */
import * as fs from 'node:fs';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { codeOf, formatSize, KernelError } from '@liveupdate/base';
import type { Progress } from './progress.ts';

export interface ByteSource {
  /** Bytes. */
  readonly size: number;
  readonly compressed: boolean;
  /** Why it ends too soon: a gzip file that is damaged or cut short. */
  readonly damage: KernelError | undefined;
  /** Fills `into` with what is at `at`; zeros past the end. */
  read(into: Uint8Array, at: number): void;
}

/** The memory of the running kernel. */
export const KCORE = '/proc/kcore';

/** Part of the available memory that an image may take where it must be unpacked. */
const MEMORY_SHARE = 0.75;
/** Bytes per call of read(2): it takes at most 2 GiB. */
const READ_CHUNK = 64 * 2 ** 20;
/**
 * Unpacked bytes are kept in blocks of this size, and not at all where a block is zero: RAM mostly
 * is.
 */
const BLOCK = 2 ** 20;

/** Reads an open file up to the end of `into` or of the file. Returns how many bytes there were. */
function readFully(fd: number, into: Uint8Array, at: number): number {
  let done = 0;
  while (done < into.length) {
    const read = fs.readSync(fd, into, done, Math.min(READ_CHUNK, into.length - done), at + done);
    if (read === 0) break;
    done += read;
  }
  return done;
}

/** The bytes of an open file as they are. */
export class FileSource implements ByteSource {
  readonly compressed = false;
  readonly damage = undefined;
  readonly size: number;
  readonly #fd: number;

  constructor(fd: number, size: number) {
    this.#fd = fd;
    this.size = size;
  }

  read(into: Uint8Array, at: number): void {
    const there = Math.max(0, Math.min(into.length, this.size - at));
    if (readFully(this.#fd, into.subarray(0, there), at) < there)
      throw new KernelError(
        'EIO',
        'the file was made shorter while it was read: try again when nobody changes it',
      );
    into.fill(0, there);
  }
}

/** What a gzip file unpacks to. */
class UnpackedSource implements ByteSource {
  readonly compressed = true;
  readonly size: number;
  readonly damage: KernelError | undefined;
  readonly #blocks: ReadonlyMap<number, Uint8Array>;

  constructor(size: number, blocks: ReadonlyMap<number, Uint8Array>, damage: KernelError | undefined) {
    this.size = size;
    this.damage = damage;
    this.#blocks = blocks;
  }

  read(into: Uint8Array, at: number): void {
    into.fill(0);
    const end = at + into.length;
    for (let start = Math.floor(at / BLOCK) * BLOCK; start < end; start += BLOCK) {
      const block = this.#blocks.get(start);
      if (block === undefined) continue;
      const from = Math.max(at, start);
      into.set(block.subarray(from - start, Math.min(end, start + block.length) - start), from - at);
    }
  }
}

/** Collects a stream in blocks and leaves out those that are zero. */
class BlockCollector {
  readonly blocks = new Map<number, Uint8Array>();
  size = 0;
  readonly #zeros = new Uint8Array(BLOCK);
  readonly #limit = process.availableMemory() * MEMORY_SHARE;
  #block = new Uint8Array(BLOCK);
  #used = 0;

  add(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + BLOCK - this.#used);
      this.#block.set(part, this.#used);
      this.#used += part.length;
      at += part.length;
      if (this.#used === BLOCK) this.finish();
    }
  }

  /** Keeps the last block. */
  finish(): void {
    const block = this.#block.subarray(0, this.#used);
    if (Buffer.compare(block, this.#zeros.subarray(0, this.#used)) !== 0) {
      if (this.blocks.size * BLOCK > this.#limit)
        throw new KernelError(
          'ENOMEM',
          `the image unpacks to more than ${formatSize(this.#limit)}: unpack it with gunzip and inspect the file itself`,
        );
      this.blocks.set(this.size, block);
      this.#block = new Uint8Array(BLOCK);
    }
    this.size += this.#used;
    this.#used = 0;
  }
}

/**
 * The packed bytes, chunk by chunk. Read with plain calls: a stream would close the descriptor,
 * which is not its own.
 */
function* packedChunks(fd: number, progress: Progress): Generator<Uint8Array> {
  for (let at = 0; ;) {
    const chunk = new Uint8Array(BLOCK);
    const read = readFully(fd, chunk, at);
    if (read === 0) return;
    yield chunk.subarray(0, read);
    at += read;
    progress.add(read);
  }
}

/** @throws KernelError ENOMEM: it unpacks to more than this host has */
async function unpack(fd: number, progress: Progress): Promise<UnpackedSource> {
  const collector = new BlockCollector();
  const collect = async (chunks: AsyncIterable<Uint8Array>): Promise<void> => {
    for await (const chunk of chunks) collector.add(chunk);
  };
  let damage: KernelError | undefined;
  try {
    await pipeline(Readable.from(packedChunks(fd, progress)), createGunzip({ chunkSize: BLOCK }), collect);
  } catch (cause) {
    if (cause instanceof KernelError) throw cause;
    const why = cause instanceof Error ? cause.message : String(cause);
    const what = `the gzip data is damaged or cut short (${why}): copy the file again`;
    damage = new KernelError('EINVAL', what, { cause });
  }
  collector.finish();
  return new UnpackedSource(collector.size, collector.blocks, damage);
}

function openFile(path: string): { fd: number; size: number } {
  // O_NONBLOCK: opening a pipe must not wait for a writer.
  const fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  const stat = fs.fstatSync(fd);
  // That of /proc/kcore is beyond any number that can be counted with.
  if (stat.isFile()) return { fd, size: Math.min(stat.size, Number.MAX_SAFE_INTEGER) };
  fs.closeSync(fd);
  throw new KernelError(
    stat.isDirectory() ? 'EISDIR' : 'EINVAL',
    `'${path}' is no regular file: give an image or a RAM file`,
  );
}

/** An open image. `fd` is the file itself, packed or not. */
export interface OpenSource extends Disposable {
  readonly source: ByteSource;
  readonly fd: number;
}

/** Throws where a file must be whole. @throws KernelError EINVAL: damaged gzip data */
export function checkWholeSource({ damage }: ByteSource): void {
  if (damage) throw damage;
}

/**
 * Opens an image for reading, and unpacks it where it is a gzip file, as far as it goes.
 *
 * @param startUnpacking makes the display of progress; given the bytes of the packed file
 * @throws KernelError ENOENT, ENOTDIR, EACCES, ELOOP: it cannot be opened. EISDIR, EINVAL: no
 * regular file, or empty. EINVAL: gzip data of which nothing can be unpacked
 */
export async function openSource(
  path: string,
  startUnpacking: (total: number) => Promise<Progress>,
): Promise<OpenSource> {
  let file: { fd: number; size: number };
  try {
    file = openFile(path);
  } catch (cause) {
    if (cause instanceof KernelError) throw cause;
    const advice =
      codeOf(cause) === 'EACCES' || codeOf(cause) === 'EPERM'
        ? path === KCORE
          ? 'run as root'
          : 'run as the user it belongs to'
        : 'give the path of an image, or the name of a RAM';
    throw new KernelError(codeOf(cause), `'${path}' cannot be opened: ${advice}`, { cause });
  }
  const { fd, size } = file;
  try {
    if (size === 0)
      throw new KernelError('EINVAL', `'${path}' is empty: give an image of memory, or a RAM file`);
    const head = new Uint8Array(2);
    const plain = new FileSource(fd, size);
    plain.read(head, 0);
    const close = (): void => {
      fs.closeSync(fd);
    };
    if (head[0] !== 0x1f || head[1] !== 0x8b) return { source: plain, fd, [Symbol.dispose]: close };
    const progress = await startUnpacking(size);
    try {
      const source = await unpack(fd, progress);
      if (source.size === 0) checkWholeSource(source);
      return { source, fd, [Symbol.dispose]: close };
    } finally {
      progress.stop();
    }
  } catch (error) {
    fs.closeSync(fd);
    throw error;
  }
}
