/**
 * Vmalloc areas across a handover: their pieces are preserved as folios, and listed in chained
 * pages that are preserved too (kernel: kho_preserve_vmalloc, kho_restore_vmalloc).
 */
import { KernelError } from '@liveupdate/base';
import { VmallocArea } from '@liveupdate/mm';
import type { IncomingMemory } from './incoming-memory.ts';
import type { OutgoingMemory } from './outgoing-memory.ts';
import {
  readVmallocPages,
  vmallocChunks,
  writeVmallocChunks,
  type VmallocDescriptor,
} from './vmalloc-ser.ts';

/** See Kho.preserveVmalloc. */
export function preserveVmalloc(memory: OutgoingMemory, area: VmallocArea): VmallocDescriptor {
  const { pfns, order } = area;
  memory.preserveFolios(pfns);
  try {
    const chunks = memory.allocPreservePages(vmallocChunks(pfns.length));
    return writeVmallocChunks(memory.words, { pfns, from: 0, count: pfns.length, order }, chunks, 0);
  } catch (error) {
    memory.unpreserveFolios(pfns);
    throw error;
  }
}

/** See Kho.unpreserveVmalloc. */
export function unpreserveVmalloc(memory: OutgoingMemory, descriptor: VmallocDescriptor): void {
  const { pfns, chunks } = readVmallocPages(memory.ram, descriptor);
  memory.unpreserveFolios(pfns);
  memory.unpreserveFreePages(chunks);
}

/** See Kho.restoreVmalloc. */
export function restoreVmalloc(memory: IncomingMemory, descriptor: VmallocDescriptor): VmallocArea {
  const { pfns, chunks } = readVmallocPages(memory.ram, descriptor);
  restoreAll(memory, pfns, descriptor.order);
  try {
    restoreAll(memory, chunks, 0);
  } catch (error) {
    memory.unrestoreFolios(pfns, pfns.length, descriptor.order);
    throw error;
  }
  memory.pages.putBulk(chunks);
  return new VmallocArea(memory.pages, pfns, descriptor.order);
}

/**
 * Restores folios of one order, each once: one that is named twice is not there the second time.
 * All or none.
 */
function restoreAll(memory: IncomingMemory, pfns: Uint32Array, order: number): void {
  const done = memory.restoreFolios(pfns, 0, pfns.length, order);
  if (done === pfns.length) return;
  memory.unrestoreFolios(pfns, done, order);
  throw new KernelError(
    'EINVAL',
    `a vmalloc area names frame ${pfns[done]}, which is not preserved for it, or named twice: it is damaged`,
  );
}
