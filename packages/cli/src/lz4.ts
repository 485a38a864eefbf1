/**
 * Unpacks what `lz4 -l` packs, as kernels of some distributions are: the legacy frame (a magic
 * number, then blocks, each behind its size) of the LZ4 block format.
 */
import { KernelError } from '@liveupdate/base';

/** A block is at most so large, unpacked. */
const BLOCK = 8 * 2 ** 20;
const WORD = 4;
const MAGIC = 0x184c_2102;
/** A match is at least so long. */
const LEAST_MATCH = 4;
/** A length of four bits that goes on in bytes behind it, each 255 but the last. */
const GOES_ON = 15;
const MORE = 255;

/**
 * The content.
 *
 * @param most bytes that it may have
 * @throws KernelError EINVAL: it is cut short, damaged or larger than `most`
 */
export function unpackLz4(packed: Buffer, most: number): Buffer {
  const blocks: Buffer[] = [];
  let total = 0;
  for (let at = WORD; at + WORD <= packed.length;) {
    const size = packed.readUInt32LE(at);
    at += WORD;
    if (size === MAGIC) continue; // another frame
    if (size === 0) throw new KernelError('EINVAL', 'a block of it is empty');
    if (at + size > packed.length) throw new KernelError('EINVAL', 'a block of it is cut short');
    const block = Buffer.allocUnsafe(BLOCK);
    const length = unpackBlock(packed.subarray(at, at + size), block);
    if (length < 0) throw new KernelError('EINVAL', 'a block of it is damaged');
    total += length;
    if (total > most) throw new KernelError('EINVAL', `it has more than ${most} bytes`);
    blocks.push(length < BLOCK ? Buffer.from(block.subarray(0, length)) : block);
    at += size;
  }
  return Buffer.concat(blocks);
}

/** Bytes that a block has, or -1 where it is damaged. */
function unpackBlock(from: Uint8Array, to: Uint8Array): number {
  let read = 0;
  let written = 0;
  while (read < from.length) {
    const token = from[read++];
    let literals = token >> 4;
    if (literals === GOES_ON) {
      let byte = MORE;
      while (byte === MORE && read < from.length) literals += byte = from[read++];
    }
    if (read + literals > from.length || written + literals > to.length) return -1;
    for (let i = 0; i < literals; i++) to[written++] = from[read++];
    if (read === from.length) break; // the last piece has no match
    if (read + 2 > from.length) return -1;
    const distance = from[read] | (from[read + 1] << 8);
    read += 2;
    let match = token & GOES_ON;
    if (match === GOES_ON) {
      let byte = MORE;
      while (byte === MORE && read < from.length) match += byte = from[read++];
    }
    match += LEAST_MATCH;
    if (distance === 0 || distance > written || written + match > to.length) return -1;
    for (let i = 0; i < match; i++, written++) to[written] = to[written - distance];
  }
  return written;
}
