/** For tests: images of one memory, written field by field from the formats' descriptions. */
import { deflateSync, zstdCompressSync } from 'node:zlib';
import { fillRandom, Prng } from '@liveupdate/base';
import type { ReadableBytes } from './elf-core-ram.ts';
import { snappyCompress } from 'hysnappy';

const PAGE = 4096;

/** A file in memory. */
export function fileOf(bytes: Uint8Array): ReadableBytes {
  return {
    size: bytes.length,
    read: (into, at) => {
      into.fill(0);
      if (at < bytes.length) into.set(bytes.subarray(at, at + into.length));
    },
  };
}

/** Memory as it mostly is: zeros, text, and some noise. */
export function memory(pages: number, seed: number): Uint8Array {
  const random = new Prng(seed);
  const bytes = new Uint8Array(pages * PAGE);
  for (let page = 0; page < pages; page++) {
    const kind = random.below(4);
    const at = page * PAGE;
    if (kind === 1) fillRandom(new Uint32Array(bytes.buffer, at, PAGE / 4), seed + page + 1);
    if (kind === 2) for (let i = 0; i < PAGE; i++) bytes[at + i] = 97 + ((i + page) % 23);
    if (kind === 3) bytes[at + random.below(PAGE)] = 1;
  }
  return bytes;
}

type Packing = 'none' | 'zlib' | 'zstd' | 'snappy' | 'lzo';
const FLAGS: Record<Packing, number> = { none: 0, zlib: 1, lzo: 2, snappy: 4, zstd: 0x20 };

function pack(page: Uint8Array, packing: Packing): Uint8Array {
  if (packing === 'zlib') return deflateSync(page);
  if (packing === 'zstd') return zstdCompressSync(page);
  if (packing === 'snappy') return snappyCompress(page);
  return page;
}

export interface KdumpOptions {
  readonly packing?: Packing;
  /** Pages that the file has; default: all. */
  readonly has?: (page: number) => boolean;
  /** A part of a dump: its first page and the one behind its last. */
  readonly part?: readonly [number, number];
  /** Packings page by page. */
  readonly mixed?: readonly Packing[];
}

/** A kdump of memory, and where its parts lie. */
export function kdump(bytes: Uint8Array, options: KdumpOptions = {}): { file: Buffer; descriptors: number } {
  const { packing = 'zlib', has = () => true, part, mixed } = options;
  const pages = bytes.length / PAGE;
  const bitmapBlocks = Math.ceil(pages / 8 / PAGE);
  const descriptors = (2 + 2 * bitmapBlocks) * PAGE;
  const header = Buffer.alloc(descriptors);
  header.write('KDUMP   ', 0, 'latin1');
  header.writeInt32LE(6, 8);
  header.write('Linux', 12);
  header.write('7.3.4-test', 142);
  header.writeUInt32LE(FLAGS[packing], 424);
  header.writeInt32LE(PAGE, 428);
  header.writeInt32LE(1, 432);
  header.writeUInt32LE(2 * bitmapBlocks, 436);
  header.writeUInt32LE(pages, 440);
  if (part) {
    header.writeInt32LE(1, PAGE + 12);
    header.writeBigUInt64LE(BigInt(part[0]), PAGE + 80);
    header.writeBigUInt64LE(BigInt(part[1]), PAGE + 88);
  }
  header.writeBigUInt64LE(BigInt(pages), PAGE + 96);
  const table: Buffer[] = [];
  const contents: Uint8Array[] = [];
  const count = Array.from({ length: pages }, (_, i) => i).filter(
    (i) => has(i) && (!part || (i >= part[0] && i < part[1])),
  ).length;
  let offset = descriptors + count * 24;
  let zeros: number | undefined;
  for (let page = 0; page < pages; page++) {
    header[2 * PAGE + (page >> 3)] |= 1 << (page & 7);
    if (!has(page)) continue;
    header[(2 + bitmapBlocks) * PAGE + (page >> 3)] |= 1 << (page & 7);
    if (part && (page < part[0] || page >= part[1])) continue;
    const content = bytes.subarray(page * PAGE, (page + 1) * PAGE);
    const how = mixed?.[page % mixed.length] ?? packing;
    const small = pack(content, how);
    const isPacked = small.length < PAGE;
    const stored = isPacked ? small : content;
    const descriptor = Buffer.alloc(24);
    const isZeros = !mixed && content.every((byte) => byte === 0);
    descriptor.writeBigUInt64LE(BigInt(isZeros ? (zeros ?? offset) : offset), 0);
    descriptor.writeUInt32LE(stored.length, 8);
    descriptor.writeUInt32LE(isPacked || how === 'lzo' ? FLAGS[how] : 0, 12);
    table.push(descriptor);
    if (isZeros && zeros !== undefined) continue;
    if (isZeros) zeros = offset;
    contents.push(stored);
    offset += stored.length;
  }
  return { file: Buffer.concat([header, ...table, ...contents]), descriptors };
}

/** The same in the form for pipes, its pieces in any order. */
export function flattened(file: Uint8Array, seed: number): Buffer {
  const random = new Prng(seed);
  const pieces: Buffer[] = [];
  const put = (at: bigint, bytes: Uint8Array, size = BigInt(bytes.length)): void => {
    const head = Buffer.alloc(16);
    head.writeBigInt64BE(at, 0);
    head.writeBigInt64BE(size, 8);
    pieces.splice(random.below(pieces.length + 1), 0, Buffer.concat([head, bytes]));
  };
  for (let at = 0; at < file.length;) {
    const length = Math.min(file.length - at, 1 + random.below(20_000));
    put(BigInt(at), file.subarray(at, at + length));
    at += length;
  }
  const header = Buffer.alloc(PAGE);
  header.write('makedumpfile');
  header.writeBigInt64BE(1n, 16);
  header.writeBigInt64BE(1n, 24);
  const end = Buffer.alloc(16);
  end.writeBigInt64BE(-1n, 0);
  end.writeBigInt64BE(-1n, 8);
  return Buffer.concat([header, ...pieces, end]);
}

/** An ELF core with these pieces of memory, whose number stands in a section if need be. */
export function elfCore(pieces: readonly { pa: bigint; bytes: Uint8Array }[], inSection = false): Buffer {
  const headers = 64 + 56 * pieces.length + (inSection ? 64 : 0);
  const header = Buffer.alloc(headers);
  header.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  header.writeUInt16LE(4, 16);
  header.writeBigUInt64LE(64n, 32);
  header.writeUInt16LE(56, 54);
  header.writeUInt16LE(inSection ? 0xffff : pieces.length, 56);
  if (inSection) {
    header.writeBigUInt64LE(BigInt(headers - 64), 40);
    header.writeUInt32LE(pieces.length, headers - 64 + 44);
  }
  let offset = headers;
  for (const [i, { pa, bytes }] of pieces.entries()) {
    const at = 64 + 56 * i;
    header.writeUInt32LE(1, at);
    header.writeBigUInt64LE(BigInt(offset), at + 8);
    header.writeBigUInt64LE(pa, at + 24);
    header.writeBigUInt64LE(BigInt(bytes.length), at + 32);
    header.writeBigUInt64LE(BigInt(bytes.length), at + 40);
    offset += bytes.length;
  }
  return Buffer.concat([header, ...pieces.map(({ bytes }) => bytes)]);
}
