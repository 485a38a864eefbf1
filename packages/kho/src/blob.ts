/**
 * Bytes of any length across a handover: copied into vmalloc memory on one side, and out of it on
 * the other.
 */
import { checkObject, checkWhole, KernelError, PAGE_SIZE } from '@liveupdate/base';
import { vmalloc } from '@liveupdate/mm';
import type { BlobDescriptor } from './blob-ser.ts';
import type { IncomingMemory } from './incoming-memory.ts';
import type { OutgoingMemory } from './outgoing-memory.ts';
import { preserveVmalloc, restoreVmalloc, unpreserveVmalloc } from './vmalloc-preserve.ts';
import { checkVmalloc, EMPTY_VMALLOC, readVmallocPages } from './vmalloc-ser.ts';

/** See Kho.preserveBlob. */
export function preserveBlob(memory: OutgoingMemory, bytes: Uint8Array): BlobDescriptor {
  if (bytes.length === 0) return { length: 0, memory: EMPTY_VMALLOC };
  const area = vmalloc(memory.pages, bytes.length);
  try {
    area.write(bytes);
    return { length: bytes.length, memory: preserveVmalloc(memory, area) };
  } catch (error) {
    area.free();
    throw error;
  }
}

/** See Kho.unpreserveBlob. */
export function unpreserveBlob(memory: OutgoingMemory, blob: BlobDescriptor): void {
  checkBlob(blob);
  if (blob.length === 0) return;
  const { pfns } = readVmallocPages(memory.ram, blob.memory);
  unpreserveVmalloc(memory, blob.memory);
  memory.pages.putBulk(pfns);
}

/** See Kho.restoreBlob. */
export function restoreBlob(memory: IncomingMemory, blob: BlobDescriptor): Uint8Array {
  checkBlob(blob);
  const { totalPages, first } = blob.memory;
  const fits = blob.length === 0 ? first === 0 && totalPages === 0 : blob.length <= totalPages * PAGE_SIZE;
  if (!fits) {
    throw new KernelError(
      'EINVAL',
      `a blob of ${blob.length} bytes lies in ${totalPages} pages: it is damaged`,
    );
  }
  if (blob.length === 0) return new Uint8Array();
  readVmallocPages(memory.ram, blob.memory); // before memory is taken for what a damaged one claims
  const bytes = bytesFor(blob.length);
  const area = restoreVmalloc(memory, blob.memory);
  area.read(bytes);
  area.free();
  return bytes;
}

/** @throws KernelError EINVAL: no descriptor of a blob */
function checkBlob(blob: BlobDescriptor): void {
  checkObject(blob, 'a descriptor of a blob');
  checkWhole(blob.length, 'a length of a blob');
  checkVmalloc(blob.memory);
}

function bytesFor(length: number): Uint8Array {
  try {
    return new Uint8Array(length);
  } catch (cause) {
    throw new KernelError('ENOMEM', `no array of ${length} bytes to be had for a blob`, { cause });
  }
}
