/** Where a blob lies, as a structure that a handler puts into its own records. */
import { assert, StructView } from '@liveupdate/base';
import { BlobSer } from './abi.ts';
import { readVmallocDescriptor, writeVmallocDescriptor, type VmallocDescriptor } from './vmalloc-ser.ts';

/** Bytes of any number in preserved memory. */
export interface BlobDescriptor {
  /** Bytes in the blob. */
  readonly length: number;
  /** The pages that hold them; none where there are no bytes. */
  readonly memory: VmallocDescriptor;
}

/** Bytes that a descriptor takes in a record. */
export const BLOB_DESCRIPTOR_SIZE = BlobSer.SIZE;

/**
 * Reads a descriptor from its 24 bytes.
 *
 * @throws KernelError EOVERFLOW: a 64-bit field is beyond 2^53
 */
export function readBlobDescriptor(bytes: Uint8Array): BlobDescriptor {
  const ser = new StructView(bytes);
  return { length: ser.getNumber(BlobSer.length), memory: readVmallocDescriptor(ser.slice(BlobSer.memory)) };
}

/** Writes a descriptor into its 24 bytes. */
export function writeBlobDescriptor(bytes: Uint8Array, { length, memory }: BlobDescriptor): void {
  assert(bytes.length === BlobSer.SIZE, 'a blob descriptor has 24 bytes');
  const ser = new StructView(bytes);
  ser.setU64(BlobSer.length, length);
  writeVmallocDescriptor(ser.slice(BlobSer.memory), memory);
}
