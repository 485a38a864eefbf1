/** Where a blob lies, as a structure that a handler puts into its own records. */
import { checkObject, checkWhole } from '@liveupdate/base';
import { BLOB_SIZE, BlobSer } from './abi.ts';
import {
  checkVmalloc,
  readVmallocDescriptor,
  recordOf,
  writeVmallocDescriptor,
  type VmallocDescriptor,
} from './vmalloc-ser.ts';

/** Bytes of any number in preserved memory. */
export interface BlobDescriptor {
  /** Bytes in the blob. */
  readonly length: number;
  /** The pages that hold them; none where there are no bytes. */
  readonly memory: VmallocDescriptor;
}

/** Bytes that a descriptor takes in a record. */
export const BLOB_DESCRIPTOR_SIZE = BLOB_SIZE;

/**
 * Reads a descriptor from its 24 bytes.
 *
 * @throws KernelError EINVAL: not so many bytes. EOVERFLOW: a 64-bit field is beyond 2^53
 */
export function readBlobDescriptor(bytes: Uint8Array): BlobDescriptor {
  const ser = recordOf(bytes, BlobSer);
  return { length: ser.getNumber(BlobSer.length), memory: readVmallocDescriptor(ser.slice(BlobSer.memory)) };
}

/**
 * Writes a descriptor into its 24 bytes. @throws KernelError EINVAL: not so many bytes, or no
 * descriptor
 */
export function writeBlobDescriptor(bytes: Uint8Array, blob: BlobDescriptor): void {
  checkObject(blob, 'a descriptor of a blob');
  const { length, memory } = blob;
  checkVmalloc(memory);
  checkWhole(length, 'a length of a blob');
  const ser = recordOf(bytes, BlobSer);
  ser.setU64(BlobSer.length, length);
  writeVmallocDescriptor(ser.slice(BlobSer.memory), memory);
}
