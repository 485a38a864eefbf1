/**
 * Vmalloc areas across a handover: their pieces are preserved as folios, and listed in chained pages that are preserved too (kernel:
 * kho_preserve_vmalloc, kho_restore_vmalloc).
 */
import { KernelError, PAGE_SIZE, pfnToPhys, Undo, writeU64 } from '@liveupdate/base';
import { VmallocArea } from '@liveupdate/mm';
import { VMALLOC_ALLOC, VMALLOC_CHUNK_ENTRIES, VMALLOC_HUGE } from './abi.ts';
import type { IncomingMemory } from './incoming-memory.ts';
import type { OutgoingMemory } from './outgoing-memory.ts';
import type { PreservedBlock } from './preserved-block.ts';
import { readVmallocPages, type VmallocDescriptor } from './vmalloc-ser.ts';

/** See Kho.preserveVmalloc. */
export function preserveVmalloc(memory: OutgoingMemory, area: VmallocArea): VmallocDescriptor {
  using undo = new Undo();
  memory.preserveFolios(area.pfns);
  undo.add(() => {
    memory.unpreserveFolios(area.pfns);
  });
  const chunks: PreservedBlock[] = [];
  const chunkCount = Math.floor(area.pfns.length / VMALLOC_CHUNK_ENTRIES) + 1;
  while (chunks.length < chunkCount) {
    const chunk = memory.allocPreserve(PAGE_SIZE);
    undo.add(() => {
      memory.unpreserveFree(chunk.pa);
    });
    chunks.push(chunk);
  }
  for (const [c, chunk] of chunks.entries()) {
    const first = c * VMALLOC_CHUNK_ENTRIES;
    const count = Math.min(VMALLOC_CHUNK_ENTRIES, area.pfns.length - first);
    writeU64(chunk.view, 0, c + 1 < chunkCount ? chunks[c + 1].pa : 0);
    for (let i = 0; i < count; i++) writeU64(chunk.view, (i + 1) * 8, pfnToPhys(area.pfns[first + i]));
  }
  undo.keep();
  const flags = VMALLOC_ALLOC | (area.order > 0 ? VMALLOC_HUGE : 0);
  return { first: chunks[0].pa, totalPages: area.pageCount, flags, order: area.order };
}

/** See Kho.unpreserveVmalloc. */
export function unpreserveVmalloc(memory: OutgoingMemory, descriptor: VmallocDescriptor): void {
  const { pfns, chunks } = readVmallocPages(memory.ram, descriptor);
  memory.unpreserveFolios(pfns);
  memory.unpreserveFolios(chunks);
  memory.pages.putBulk(chunks, 0, chunks.length);
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

/** Restores folios of one order, each once: one that is named twice is not there the second time. All or none. */
function restoreAll(memory: IncomingMemory, pfns: Uint32Array, order: number): void {
  const done = memory.restoreFolios(pfns, 0, pfns.length, order);
  if (done === pfns.length) return;
  memory.unrestoreFolios(pfns, done, order);
  throw new KernelError(
    'EINVAL',
    `a vmalloc area names frame ${pfns[done]}, which is not preserved for it, or named twice: it is damaged`,
  );
}
